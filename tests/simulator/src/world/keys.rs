//! Auth keys: whose they are, whether they still count, and which connection holds each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::World;
use super::passwords::Check;
use crate::error::RpcError;
use crate::server::link::{End, Link};
use crate::violations::Violation;
use crate::wire::crypto::AuthKey;

/// A salt is current for this long, and accepted for twice that.
pub(crate) const SALT_SECONDS: i32 = 1800;
/// Most salts handed out in advance.
const MAX_FUTURE_SALTS: i32 = 64;
/// Sessions remembered for each key.
const REMEMBERED_SESSIONS: usize = 8;
/// Connections a dead key may open, once told, before they count as a violation.
const PATIENCE: u32 = 3;
/// How long a reconnecting client's old connection may take to be seen closed.
pub(crate) const RECONNECT_GRACE: Duration = Duration::from_millis(300);

/// What the server knows about an auth key.
pub(crate) struct KeyRecord {
    pub(crate) key: Arc<AuthKey>,
    /// Derived at the key's creation and valid beside the scheduled ones.
    pub(crate) first_salt: Option<i64>,
    /// How often its salts were drawn anew.
    salt_epoch: u64,
    /// The datacenter at which it was made; others do not know it.
    pub(crate) dc: i32,
    /// Whose key it is, once logged in.
    pub(crate) user: Option<i64>,
    /// Who may become its user by giving the password.
    pub(crate) pending: Option<i64>,
    /// The question about a password that it was asked last.
    pub(crate) check: Option<Check>,
    /// What every call is answered with, once the key is worth nothing.
    pub(crate) dead: Option<RpcError>,
    told_dead: bool,
    returns: u32,
    /// The connection that holds the key now.
    pub(crate) link: Option<Arc<Link>>,
    sessions: VecDeque<i64>,
}

/// A salt and when it counts, in Unix seconds.
pub(crate) struct Salt {
    pub(crate) value: i64,
    pub(crate) since: i32,
    pub(crate) until: i32,
}

impl World {
    /// Makes a key that is logged in as `user`, or that nobody is logged in with.
    pub(crate) fn issue_key(&mut self, user: Option<i64>, dc: i32) -> Arc<AuthKey> {
        let mut bytes = [0; 256];
        self.rng.fill(&mut bytes[..]);
        let key = AuthKey::new(bytes);
        let id = key.id();
        self.admit_key(key, None, dc);
        let record = self.keys.get_mut(&id).expect("the key was just admitted");
        record.user = user;
        Arc::clone(&record.key)
    }

    /// Registers a key nobody is logged in with.
    pub(crate) fn admit_key(&mut self, key: AuthKey, first_salt: Option<i64>, dc: i32) {
        let record = KeyRecord {
            key: Arc::new(key),
            first_salt,
            salt_epoch: 0,
            dc,
            user: None,
            pending: None,
            check: None,
            dead: None,
            told_dead: false,
            returns: 0,
            link: None,
            sessions: VecDeque::new(),
        };
        self.keys.insert(record.key.id(), record);
    }

    /// Gives the key to a connection, unless another one holds it.
    pub(crate) fn hold_key(&mut self, key_id: i64, link: &Arc<Link>) -> bool {
        let Some(record) = self.keys.get_mut(&key_id) else { return false };
        if record.link.is_some() {
            return false;
        }
        self.take_key(key_id, link);
        true
    }

    /// Gives the key to a second connection, which kills the key.
    pub(crate) fn hold_key_twice(&mut self, key_id: i64, link: &Arc<Link>) {
        let user = self.keys.get(&key_id).and_then(|record| record.user).unwrap_or_default();
        let holder = self.keys.get(&key_id).and_then(|record| Some(record.link.as_ref()?.id));
        let (new, old) = (link.id, holder.unwrap_or_default());
        let text = format!("account {user} on connection {new} while connection {old} lived");
        self.violations.count(Violation::AuthKeyConnectedTwice, text);
        self.kill_key(key_id, "AUTH_KEY_DUPLICATED");
        self.take_key(key_id, link);
    }

    fn take_key(&mut self, key_id: i64, link: &Arc<Link>) {
        let Some(record) = self.keys.get_mut(&key_id) else { return };
        record.link = Some(Arc::clone(link));
        if record.told_dead {
            record.returns += 1;
            if record.returns > PATIENCE {
                let (user, returns) = (record.user.unwrap_or_default(), record.returns);
                let text = format!("account {user} on connection {}, time {returns}", link.id);
                self.violations.count(Violation::ConnectedAfterRevoke, text);
            }
        }
        if let Some(user) = record.user.and_then(|user| self.users.get_mut(&user)) {
            user.connections_now += 1;
            user.connections_total += 1;
        }
    }

    /// A connection is gone.
    pub(crate) fn release_key(&mut self, key_id: i64, link: &Link) {
        let Some(record) = self.keys.get_mut(&key_id) else { return };
        if record.link.as_ref().is_some_and(|held| held.id == link.id) {
            record.link = None;
        }
        if let Some(user) = record.user.and_then(|user| self.users.get_mut(&user)) {
            user.connections_now = user.connections_now.saturating_sub(1);
            user.links.retain(|held| held.id != link.id);
        }
    }

    /// The key becomes the user's; a connection that holds it counts as theirs from now on.
    pub(crate) fn log_in(&mut self, key_id: i64, user: i64) {
        self.log_out(key_id);
        self.login_tokens.forget(key_id);
        let Some(record) = self.keys.get_mut(&key_id) else { return };
        record.user = Some(user);
        let connected = u64::from(record.link.is_some());
        let user = self.user_mut(user);
        user.connections_now += connected;
        user.connections_total += connected;
    }

    /// The key stays, but is nobody's any more; answers whether it was somebody's, or about to be.
    pub(crate) fn log_out(&mut self, key_id: i64) -> bool {
        let Some(record) = self.keys.get_mut(&key_id) else { return false };
        let (was, pending) = (record.user.take(), record.pending.take());
        let link = record.link.clone();
        if let Some(user) = was.and_then(|user| self.users.get_mut(&user))
            && let Some(link) = link
        {
            user.connections_now = user.connections_now.saturating_sub(1);
            user.links.retain(|held| held.id != link.id);
            link.detach();
        }
        was.is_some() || pending.is_some()
    }

    /// From now on every call with this key fails with `error`.
    pub(crate) fn kill_key(&mut self, key_id: i64, error: impl Into<String>) {
        let Some(record) = self.keys.get_mut(&key_id) else { return };
        record.dead = Some(RpcError::named(error.into()));
        if let Some(link) = &record.link
            && let Some(user) = record.user.and_then(|user| self.users.get_mut(&user))
        {
            user.links.retain(|held| held.id != link.id);
        }
    }

    /// The error a dead key's calls are answered with; the key counts as told from then on.
    pub(crate) fn tell_dead(&mut self, key_id: i64) -> Option<RpcError> {
        let record = self.keys.get_mut(&key_id)?;
        let error = record.dead.clone()?;
        record.told_dead = true;
        Some(error)
    }

    /// Keys logged in as `user`.
    pub(crate) fn keys_of(&self, user: i64) -> Vec<i64> {
        let mine = self.keys.iter().filter(|(_, record)| record.user == Some(user));
        mine.map(|(id, _)| *id).collect()
    }

    /// Those of them that count.
    pub(crate) fn live_keys(&self, user: i64) -> impl Iterator<Item = &KeyRecord> {
        let theirs = self.keys.values().filter(move |record| record.user == Some(user));
        theirs.filter(|record| record.dead.is_none())
    }

    /// Ends every connection of `user`.
    pub(crate) fn disconnect(&mut self, user: i64, end: End) {
        for key_id in self.keys_of(user) {
            if let Some(link) = self.keys.get(&key_id).and_then(|record| record.link.as_ref()) {
                link.end(end);
            }
        }
    }

    /// Whether a session of this key is seen for the first time.
    pub(crate) fn is_new_session(&mut self, key_id: i64, session_id: i64) -> bool {
        let Some(record) = self.keys.get_mut(&key_id) else { return false };
        if record.sessions.contains(&session_id) {
            return false;
        }
        record.sessions.truncate(REMEMBERED_SESSIONS - 1);
        record.sessions.push_front(session_id);
        true
    }

    /// Forgets a session; answers whether it was known.
    pub(crate) fn forget_session(&mut self, key_id: i64, session_id: i64) -> bool {
        let Some(record) = self.keys.get_mut(&key_id) else { return false };
        let before = record.sessions.len();
        record.sessions.retain(|known| *known != session_id);
        before != record.sessions.len()
    }

    /// The salt of the period that contains `now`.
    pub(crate) fn current_salt(&self, key_id: i64, now: i32) -> i64 {
        self.salt(key_id, now / SALT_SECONDS).value
    }

    /// Whether a client may use `salt` now; neighbouring periods allow for clocks and latency.
    pub(crate) fn salt_is_valid(&self, key_id: i64, salt: i64, now: i32) -> bool {
        let period = now / SALT_SECONDS;
        (period - 1..=period + 1).any(|period| self.salt(key_id, period).value == salt)
            || self.keys.get(&key_id).is_some_and(|record| record.first_salt == Some(salt))
    }

    /// The salts of this and the following periods.
    pub(crate) fn future_salts(&self, key_id: i64, now: i32, count: i32) -> Vec<Salt> {
        let period = now / SALT_SECONDS;
        (0..count.clamp(1, MAX_FUTURE_SALTS)).map(|n| self.salt(key_id, period + n)).collect()
    }

    /// All salts that were handed out are worthless from now on.
    pub(crate) fn expire_salts(&mut self, key_id: i64) {
        if let Some(record) = self.keys.get_mut(&key_id) {
            record.first_salt = None;
            record.salt_epoch += 1;
        }
    }

    fn salt(&self, key_id: i64, period: i32) -> Salt {
        let epoch = self.keys.get(&key_id).map_or(0, |record| record.salt_epoch);
        let value = self.secret_number(key_id as u64, 0x5a17 + (epoch << 16), period as u64);
        let since = period * SALT_SECONDS;
        Salt { value, since, until: since + 2 * SALT_SECONDS }
    }
}
