//! Who uses which session that a command brought: monitors, joins, and commands that are under way. Counts;
//! what follows when nobody uses one any more is the fleet's to do.

use std::collections::HashMap;

use uuid::Uuid;

use crate::protocol::accounts::record::PoolMember;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::values::ids::{AuthKeyId, SessionId};

/// What keeps sessions for as long as its record is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::actors) enum Holder {
    /// A monitor of the bridge.
    Monitor(ChatKey),
    /// A join.
    Join(Uuid),
}

/// How much a session is used.
#[derive(Debug, Default, PartialEq, Eq)]
struct Use {
    /// Holders whose records name it, or are about to.
    holders: usize,
    /// Commands under way that brought it.
    commands: usize,
}

/// The sessions there are, by the key that each came with: one id may have come with several keys, of which
/// a monitor may still use an older one.
#[derive(Debug, Default)]
pub(super) struct Uses {
    accounts: HashMap<AuthKeyId, HashMap<SessionId, Use>>,
    held: HashMap<Holder, Vec<PoolMember>>,
}

impl Uses {
    fn entry(&mut self, session: &PoolMember) -> &mut Use {
        let of_account = self.accounts.entry(session.account).or_default();
        of_account.entry(session.session.clone()).or_default()
    }

    /// There is such a session, whether it is used or not.
    pub(super) fn know(&mut self, session: &PoolMember) {
        self.entry(session);
    }

    /// From now on `holder` uses these sessions and no others. Answers those that nobody uses any more.
    pub(super) fn hold(&mut self, holder: Holder, sessions: Vec<PoolMember>) -> Vec<PoolMember> {
        let sessions = distinct(sessions);
        sessions.iter().for_each(|session| self.entry(session).holders += 1);
        let before = match sessions.is_empty() {
            true => self.held.remove(&holder),
            false => self.held.insert(holder, sessions),
        };
        let before = before.unwrap_or_default();
        before.iter().for_each(|session| self.entry(session).holders -= 1);
        before.into_iter().filter(|session| self.is_unused(session)).collect()
    }

    /// A command brought these sessions and is under way.
    pub(super) fn hold_for_command(&mut self, sessions: &[PoolMember]) {
        sessions.iter().for_each(|session| self.entry(session).commands += 1);
    }

    /// That command is over. Answers the sessions that nobody uses any more.
    pub(super) fn release(&mut self, sessions: Vec<PoolMember>) -> Vec<PoolMember> {
        for session in &sessions {
            let commands = &mut self.entry(session).commands;
            *commands = commands.saturating_sub(1);
        }
        distinct(sessions).into_iter().filter(|session| self.is_unused(session)).collect()
    }

    /// Whether it is known and nobody uses it.
    pub(super) fn is_unused(&self, session: &PoolMember) -> bool {
        let of_account = self.accounts.get(&session.account);
        of_account.and_then(|of_account| of_account.get(&session.session)) == Some(&Use::default())
    }

    /// All that nobody uses.
    pub(super) fn unused(&self) -> Vec<PoolMember> {
        let all = self.accounts.iter().flat_map(|(account, of_account)| {
            let unused = of_account.iter().filter(|(_, how)| **how == Use::default());
            unused.map(|(id, _)| PoolMember { session: id.clone(), account: *account })
        });
        all.collect()
    }

    /// A session is there no more.
    pub(super) fn forget(&mut self, session: &PoolMember) {
        let Some(of_account) = self.accounts.get_mut(&session.account) else { return };
        of_account.remove(&session.session);
        if of_account.is_empty() {
            self.accounts.remove(&session.account);
        }
    }

    /// Whether a command brought this key under any id.
    pub(super) fn has_account(&self, account: AuthKeyId) -> bool {
        self.accounts.contains_key(&account)
    }

    /// How many sessions are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.values().map(HashMap::len).sum()
    }
}

/// A pool may name a session twice.
fn distinct(sessions: Vec<PoolMember>) -> Vec<PoolMember> {
    let mut distinct: Vec<PoolMember> = Vec::with_capacity(sessions.len());
    for session in sessions {
        if !distinct.contains(&session) {
            distinct.push(session);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn session(number: u8) -> PoolMember {
        // Two ids a key, and one id under two keys.
        let account = AuthKeyId(u64::from(number / 2));
        PoolMember { session: SessionId(format!("s{}", number % 3)), account }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold(u8, Vec<u8>),
        CommandHold(Vec<u8>),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let pool = || prop::collection::vec(0..6_u8, 0..4);
        prop_oneof![
            3 => (0..3_u8, pool()).prop_map(|(holder, pool)| Step::Hold(holder, pool)),
            1 => pool().prop_map(Step::CommandHold),
            1 => any::<usize>().prop_map(Step::Release),
        ]
    }

    proptest! {
        /// What is answered as unused is what no holder and no command names any more, and each session
        /// is answered in the step that ends its last use.
        #[test]
        fn a_session_is_unused_once_its_last_use_has_ended(
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let name = |session: &PoolMember| format!("{}/{}", session.account.0, session.session);
            let mut uses = Uses::default();
            let mut held: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            let mut commands: Vec<Vec<u8>> = Vec::new();
            let used = |held: &BTreeMap<u8, Vec<u8>>, commands: &Vec<Vec<u8>>| -> BTreeSet<String> {
                let all = held.values().chain(commands).flatten();
                all.map(|number| name(&session(*number))).collect()
            };
            for step in steps {
                let before = used(&held, &commands);
                let pool = |numbers: &[u8]| numbers.iter().map(|n| session(*n)).collect::<Vec<_>>();
                let unused = match step {
                    Step::Hold(holder, numbers) => {
                        let key = Holder::Monitor(ChatKey(holder.to_string()));
                        let unused = uses.hold(key, pool(&numbers));
                        held.insert(holder, numbers);
                        unused
                    }
                    Step::CommandHold(numbers) => {
                        uses.hold_for_command(&pool(&numbers));
                        commands.push(numbers);
                        Vec::new()
                    }
                    Step::Release(index) if !commands.is_empty() => {
                        let numbers = commands.swap_remove(index % commands.len());
                        uses.release(pool(&numbers))
                    }
                    Step::Release(_) => Vec::new(),
                };
                let after = used(&held, &commands);
                let told: BTreeSet<String> = unused.iter().map(name).collect();
                prop_assert_eq!(told.len(), unused.len(), "each once");
                prop_assert_eq!(&told, &before.difference(&after).cloned().collect());
                unused.iter().for_each(|session| uses.forget(session));
                prop_assert_eq!(uses.len(), after.len());
                prop_assert!(uses.unused().is_empty());
            }
        }
    }
}
