//! The directory: which accounts belong to whom. Read by everybody who answers users; written by the
//! fleet alone, and only after the store has what it says. Every lookup takes the scope of the one who
//! asks, so that nobody sees a row of somebody else's.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::users::owner::{AccountId, Scope, UserId};
use crate::protocol::values::ids::AuthKeyId;

type OwnerAndId = (UserId, AccountId);

/// The directory.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Rows>);

#[derive(Debug, Default)]
struct Rows {
    accounts: BTreeMap<OwnerAndId, OwnedAccount>,
    /// For admins, who name an account without its owner, and list all by age.
    owners: BTreeMap<AccountId, UserId>,
    /// By the person or bot at Telegram, of which there is one account at the most.
    people: HashMap<i64, OwnerAndId>,
    keys: HashMap<AuthKeyId, OwnerAndId>,
}

impl Rows {
    fn forget(&mut self, place: &OwnerAndId) -> Option<OwnedAccount> {
        let account = self.accounts.remove(place)?;
        self.owners.remove(&account.id);
        self.people.remove(&account.telegram_id);
        self.keys.remove(&account.key);
        Some(account)
    }
}

impl Directory {
    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account `id`, if it exists in `scope`.
    pub(in crate::actors) fn get(&self, scope: &Scope, id: AccountId) -> Option<OwnedAccount> {
        let rows = self.read();
        let owner = match scope {
            Scope::Only(user) => user.clone(),
            Scope::Everybody => rows.owners.get(&id)?.clone(),
        };
        rows.accounts.get(&(owner, id)).cloned()
    }

    /// Up to `limit` accounts in `scope` that `wanted` takes, in the order of their ids, behind the id
    /// `after`, whether that one is there or not.
    pub(in crate::actors) fn list(
        &self,
        scope: &Scope,
        after: Option<AccountId>,
        limit: usize,
        wanted: impl Fn(&OwnedAccount) -> bool,
    ) -> Vec<OwnedAccount> {
        let rows = self.read();
        let is_wanted = |account: &&OwnedAccount| wanted(account);
        match scope {
            Scope::Only(user) => {
                let first = match after {
                    Some(after) => Bound::Excluded((user.clone(), after)),
                    None => Bound::Included((user.clone(), AccountId(Uuid::nil()))),
                };
                let range = rows.accounts.range((first, Bound::Unbounded));
                let own = range.map(|(_, account)| account);
                let own = own.take_while(|account| account.user == *user);
                own.filter(is_wanted).take(limit).cloned().collect()
            }
            Scope::Everybody => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let places = rows.owners.range((from, Bound::Unbounded));
                let places = places.map(|(id, owner)| (owner.clone(), *id));
                let all = places.filter_map(|place| rows.accounts.get(&place));
                all.filter(is_wanted).take(limit).cloned().collect()
            }
        }
    }

    /// Whoever is this person or bot at Telegram, whoever owns it.
    pub(in crate::actors) fn of_person(&self, telegram_id: i64) -> Option<OwnedAccount> {
        let rows = self.read();
        rows.accounts.get(rows.people.get(&telegram_id)?).cloned()
    }

    /// The account that is connected with this key.
    pub(in crate::actors) fn of_key(&self, key: AuthKeyId) -> Option<OwnedAccount> {
        let rows = self.read();
        rows.accounts.get(rows.keys.get(&key)?).cloned()
    }

    /// What an account is called wherever people read of it: a user's by the id that the API takes, any
    /// other, which only session ids name, by its key's.
    pub fn name_of(&self, key: AuthKeyId) -> String {
        let rows = self.read();
        rows.keys.get(&key).map_or_else(|| key.to_string(), |(_, id)| id.to_string())
    }

    /// Takes over a row, in the place of what was known of it.
    pub(in crate::actors) fn put(&self, account: OwnedAccount) {
        let place = (account.user.clone(), account.id);
        let mut rows = self.write();
        rows.forget(&place);
        rows.owners.insert(account.id, account.user.clone());
        rows.people.insert(account.telegram_id, place.clone());
        rows.keys.insert(account.key, place.clone());
        rows.accounts.insert(place, account);
    }

    /// Forgets a row.
    pub(in crate::actors) fn remove(&self, owner: &UserId, id: AccountId) {
        self.write().forget(&(owner.clone(), id));
    }
}

#[cfg(test)]
pub(in crate::actors) mod tests {
    use super::*;
    use crate::protocol::values::ids::UnixMillis;

    pub(in crate::actors) fn owned(user: &str, number: u64) -> OwnedAccount {
        OwnedAccount {
            id: AccountId(Uuid::from_u128(u128::from(number))),
            user: UserId::new(user).unwrap(),
            key: AuthKeyId(number),
            api_id: None,
            is_bot: false,
            telegram_id: number as i64,
            phone_masked: None,
            username: None,
            first_name: None,
            is_paused: false,
            is_made_here: false,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        }
    }

    fn only(user: &str) -> Scope {
        Scope::Only(UserId::new(user).unwrap())
    }

    fn numbers(accounts: &[OwnedAccount]) -> Vec<u64> {
        accounts.iter().map(|account| account.key.0).collect()
    }

    #[test]
    fn an_account_exists_for_its_owner_and_for_admins() {
        let directory = Directory::default();
        directory.put(owned("one", 1));
        let id = owned("one", 1).id;
        assert!(directory.get(&only("one"), id).is_some());
        assert!(directory.get(&only("two"), id).is_none());
        assert!(directory.get(&Scope::Everybody, id).is_some());
        directory.remove(&UserId::new("two").unwrap(), id);
        assert!(directory.get(&only("one"), id).is_some(), "nobody removes another's");
        directory.remove(&UserId::new("one").unwrap(), id);
        assert!(directory.of_person(1).is_none() && directory.of_key(AuthKeyId(1)).is_none());
    }

    #[test]
    fn lists_hold_ones_own_page_by_page() {
        let directory = Directory::default();
        for (user, number) in [("one", 1), ("one", 2), ("one", 3), ("two", 4), ("o", 5)] {
            directory.put(owned(user, number));
        }
        let first = directory.list(&only("one"), None, 2, |_| true);
        assert_eq!(numbers(&first), [1, 2]);
        let rest = directory.list(&only("one"), Some(first[1].id), 2, |_| true);
        assert_eq!(numbers(&rest), [3]);
        let all = directory.list(&Scope::Everybody, None, 9, |account| account.key.0 != 2);
        assert_eq!(numbers(&all), [1, 3, 4, 5]);
        assert_eq!(directory.list(&only("three"), None, 9, |_| true), []);
    }

    #[test]
    fn a_list_goes_on_behind_an_account_that_is_gone() {
        let directory = Directory::default();
        for (user, number) in [("one", 1), ("one", 2), ("two", 3), ("one", 4)] {
            directory.put(owned(user, number));
        }
        let gone = owned("one", 2).id;
        directory.remove(&UserId::new("one").unwrap(), gone);
        assert_eq!(numbers(&directory.list(&only("one"), Some(gone), 9, |_| true)), [4]);
        assert_eq!(numbers(&directory.list(&Scope::Everybody, Some(gone), 9, |_| true)), [3, 4]);
    }

    #[test]
    fn an_account_that_logged_in_anew_leaves_its_old_key() {
        let directory = Directory::default();
        directory.put(owned("one", 1));
        directory.put(OwnedAccount { key: AuthKeyId(77), ..owned("one", 1) });
        assert!(directory.of_key(AuthKeyId(1)).is_none());
        assert_eq!(directory.of_key(AuthKeyId(77)).unwrap().id, owned("one", 1).id);
        assert_eq!(directory.list(&only("one"), None, 9, |_| true).len(), 1);
    }
}
