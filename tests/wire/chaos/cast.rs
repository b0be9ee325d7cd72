//! Who takes part: the accounts and chats, which of them are harmed, and what the backend does
//! about it. Knows the books; performs no faults.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use telewarden_simulator::{Chat, ChatKind, Simulator};

use super::plan::Extent;
use crate::support::{Listener, Stage};

const USERS: usize = 20;
const BOTS: usize = 4;
const SUPERGROUPS: usize = 10;
const BROADCASTS: usize = 3;
const BASIC_GROUPS: usize = 3;

/// An account and the session of it that is in use.
pub(super) struct Member {
    pub(super) listener: Listener,
    name: String,
    generation: u32,
    is_revoked: bool,
}

/// A monitored chat.
pub(super) struct Room {
    pub(super) chat: Chat,
    /// As commands name it, and so as events do.
    pub(super) spelling: Value,
    /// Accounts in the order in which they listen.
    pool: Vec<usize>,
    removed: BTreeSet<usize>,
    banned: BTreeSet<usize>,
    /// Whether its sessions changed since the backend named them last.
    is_touched: bool,
    is_empty: bool,
    /// How often nobody was left.
    pub(super) emptied: usize,
}

/// Everybody.
pub(super) struct Cast {
    pub(super) members: Vec<Member>,
    /// First those in which somebody who was removed can read afterwards what was said meanwhile.
    pub(super) rooms: Vec<Room>,
    orders: u32,
}

impl Cast {
    /// Makes everybody at the simulator.
    pub(super) async fn assemble(stage: &Stage) -> Self {
        let mut members = Vec::new();
        for index in 0..USERS + BOTS {
            let name =
                if index < USERS { format!("u{index}") } else { format!("b{}", index - USERS) };
            let listener = match index < USERS {
                true => stage.listener(&name).await,
                false => stage.bot(&name).await,
            };
            members.push(Member { listener, name, generation: 0, is_revoked: false });
        }
        let mut cast = Self { members, rooms: Vec::new(), orders: 0 };
        let user = |index: usize| index % USERS;
        for index in 0..SUPERGROUPS {
            let name = (index < 2).then(|| format!("forum_{index}"));
            let pool = vec![user(index), user(index + 7), user(index + 13)];
            cast.add(stage, ChatKind::Supergroup, name, pool).await;
        }
        for index in 0..BROADCASTS {
            let name = (index == 0).then(|| "the_news".to_owned());
            let pool = vec![user(index + 10), user(index + 4), user(index + 17)];
            cast.add(stage, ChatKind::Channel, name, pool).await;
        }
        for pool in [vec![USERS, USERS + 1], vec![USERS + 2, USERS + 3], vec![3, USERS + 1, 9]] {
            cast.add(stage, ChatKind::Supergroup, None, pool).await;
        }
        for index in 0..BASIC_GROUPS {
            let pool = vec![user(index + 14), user(index + 2), user(index + 8)];
            cast.add(stage, ChatKind::Group, None, pool).await;
        }
        cast
    }

    async fn add(&mut self, stage: &Stage, kind: ChatKind, name: Option<String>, pool: Vec<usize>) {
        let inside: Vec<&Listener> = pool.iter().map(|one| &self.members[*one].listener).collect();
        let chat = stage.chat(kind, name.as_deref(), &inside).await;
        let spelling = name.map_or_else(|| chat.chat_id.into(), |name| format!("@{name}").into());
        self.rooms.push(Room {
            chat,
            spelling,
            pool,
            removed: BTreeSet::new(),
            banned: BTreeSet::new(),
            is_touched: false,
            is_empty: false,
            emptied: 0,
        });
    }

    /// How much there is to go wrong.
    pub(super) fn extent(&self) -> Extent {
        Extent { accounts: self.members.len(), forgiving_chats: self.rooms.len() - BASIC_GROUPS }
    }

    /// The user id of an account.
    pub(super) fn user_id(&self, account: usize) -> i64 {
        self.members[account].listener.user_id
    }

    /// The command that names a chat's sessions, and its correlation id.
    pub(super) fn order(&mut self, room: usize, turn: usize) -> (Value, String) {
        let Room { pool, spelling, .. } = &mut self.rooms[room];
        let length = pool.len();
        pool.rotate_left(turn % length);
        let sessions: Vec<Value> =
            pool.iter().map(|one| self.members[*one].listener.data()).collect();
        let (primary, backups) = sessions.split_first().expect("a pool is never empty");
        self.orders += 1;
        // Both names serve for both purposes.
        let order = match self.orders % 2 {
            0 => json!({"command": "start_monitoring_chat", "primary_session": primary}),
            _ => json!({"command": "switch_monitoring_source", "new_primary_session": primary}),
        };
        let mut order = order;
        order["chat_id"] = spelling.clone();
        order["backup_sessions_pool"] = backups.to_vec().into();
        (order, format!("order_{}", self.orders))
    }

    /// How many sessions a chat has.
    pub(super) fn pool_size(&self, room: usize) -> usize {
        self.rooms[room].pool.len()
    }

    /// The id of the session that is to listen to a chat.
    pub(super) fn primary(&self, room: usize) -> &str {
        &self.members[self.rooms[room].pool[0]].listener.id
    }

    /// How many commands were sent.
    pub(super) fn orders(&self) -> u32 {
        self.orders
    }

    /// The next account that can be removed from a chat.
    pub(super) fn removable(&self, room: usize) -> Option<usize> {
        let room = &self.rooms[room];
        room.pool.iter().copied().find(|one| !room.removed.contains(one))
    }

    /// All accounts that can be removed from a chat.
    pub(super) fn all_removable(&self, room: usize) -> Vec<usize> {
        let room = &self.rooms[room];
        room.pool.iter().copied().filter(|one| !room.removed.contains(one)).collect()
    }

    /// Whether somebody can be kept out of a chat for good.
    pub(super) fn can_ban(&self, room: usize) -> bool {
        self.rooms[room].pool.len() - self.rooms[room].banned.len() > 2
    }

    /// An account is not in a chat any more.
    pub(super) fn removed(&mut self, room: usize, account: usize, for_good: bool) {
        self.rooms[room].removed.insert(account);
        if for_good {
            self.rooms[room].banned.insert(account);
        }
        self.rooms[room].is_touched = true;
        self.count_empty();
    }

    /// An account's session has been ended. `false` if it was before.
    pub(super) fn revoked(&mut self, account: usize) -> bool {
        if std::mem::replace(&mut self.members[account].is_revoked, true) {
            return false;
        }
        for room in self.rooms.iter_mut().filter(|room| room.pool.contains(&account)) {
            room.is_touched = true;
        }
        self.count_empty();
        true
    }

    fn count_empty(&mut self) {
        let members = &self.members;
        for room in &mut self.rooms {
            let is_lost = |one: &usize| room.removed.contains(one) || members[*one].is_revoked;
            if !room.is_empty && room.pool.iter().all(is_lost) {
                room.is_empty = true;
                room.emptied += 1;
            }
        }
    }

    /// Gives back what was taken away; answers the chats whose sessions the backend has to name.
    pub(super) async fn mend(&mut self, sim: &Simulator) -> Vec<usize> {
        for member in self.members.iter_mut().filter(|member| member.is_revoked) {
            let user_id = member.listener.user_id;
            member.generation += 1;
            member.is_revoked = false;
            let id = format!("{}.{}", member.name, member.generation);
            let session_string = sim.add_session(user_id).await.expect("a new session");
            member.listener = Listener { id, user_id, session_string };
        }
        let mut touched = Vec::new();
        for (index, room) in self.rooms.iter_mut().enumerate() {
            for account in std::mem::take(&mut room.removed) {
                if room.banned.remove(&account) {
                    room.pool.retain(|one| *one != account);
                } else {
                    let user_id = self.members[account].listener.user_id;
                    sim.add_member(room.chat.chat_id, user_id).await.expect("it comes back");
                }
            }
            room.is_empty = false;
            if std::mem::take(&mut room.is_touched) {
                touched.push(index);
            }
        }
        touched
    }
}
