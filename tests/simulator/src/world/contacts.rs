//! Address books: whom each account has as a contact, under which name, with or without a phone.
//!
//! Sources: <https://core.telegram.org/api/contacts>,
//! <https://core.telegram.org/method/contacts.importContacts>,
//! <https://core.telegram.org/method/contacts.addContact>, and for who is found by phone
//! <https://core.telegram.org/constructor/privacyKeyAddedByPhone>.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::logins::normal_phone;
use crate::clock::unix_seconds;

/// Phones without an account that are kept for one address book.
const UNMATCHED_MAX: usize = 100_000;

/// How an account has somebody in its address book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    /// As its owner gave it, or empty.
    pub(crate) phone: String,
    /// Whether its owner lets the contact see the owner's own phone.
    pub(crate) shares_phone: bool,
    /// Unix seconds.
    pub(crate) added: i32,
}

/// An account's contacts, and the phones that it knows beside.
#[derive(Default)]
pub(crate) struct AddressBook {
    pub(crate) contacts: BTreeMap<i64, Contact>,
    /// Imported phones that are nobody's or hidden; the server keeps them.
    unmatched: BTreeSet<String>,
}

impl AddressBook {
    /// Imported phones that led to nobody.
    pub(crate) fn saved(&self) -> usize {
        self.unmatched.len()
    }

    /// What lets a client tell whether its list is that of the server.
    /// Source: <https://core.telegram.org/api/offsets#hash-generation>.
    pub(crate) fn hash(&self) -> i64 {
        let ids = self.contacts.keys().map(|id| *id as u64);
        let mix = |hash: u64, id: u64| {
            let hash = hash ^ (hash >> 21);
            let hash = hash ^ (hash << 35);
            (hash ^ (hash >> 4)).wrapping_add(id)
        };
        std::iter::once(self.saved() as u64).chain(ids).fold(0, mix) as i64
    }
}

impl World {
    pub(crate) fn has_contact(&self, owner: i64, other: i64) -> bool {
        self.user(owner).book.contacts.contains_key(&other)
    }

    /// Whether each has the other one as a contact.
    pub(crate) fn are_mutual(&self, one: i64, other: i64) -> bool {
        self.has_contact(one, other) && self.has_contact(other, one)
    }

    /// Looks a phone up for `viewer`. Of accounts that look up many, people have seen that the
    /// answer is nobody from some time on, whoever it is:
    /// <https://github.com/tdlib/td/issues/3579>,
    /// <https://github.com/LonamiWebs/Telethon/issues/1034>.
    pub(crate) fn look_up_phone(&mut self, viewer: i64, phone: &str) -> Option<i64> {
        let most = self.logins.limits.phones_before_silence;
        let user = self.user_mut(viewer);
        user.looked_up = user.looked_up.saturating_add(1);
        let heard = most == 0 || user.looked_up <= most;
        self.found_by_phone(viewer, phone).filter(|_| heard)
    }

    /// Who has a phone, as far as `viewer` may know: who hides it is found by their contacts only.
    fn found_by_phone(&self, viewer: i64, phone: &str) -> Option<i64> {
        let id = *self.phones.get(&normal_phone(phone)?)?;
        let hidden = self.user(id).privacy.hide_phone;
        let open = id == viewer || !hidden || self.has_contact(id, viewer);
        open.then_some(id)
    }

    /// Puts who has a phone into an address book; `None` if that is nobody, or somebody hidden.
    pub(crate) fn import_contact(
        &mut self,
        owner: i64,
        phone: &str,
        first_name: String,
        last_name: String,
    ) -> Option<i64> {
        let Some(id) = self.look_up_phone(owner, phone) else {
            self.save_phone(owner, phone);
            return None;
        };
        let phone = normal_phone(phone)?;
        self.user_mut(owner).book.unmatched.remove(&phone);
        let shares_phone = false;
        self.put_contact(owner, id, first_name, last_name, phone, shares_phone);
        Some(id)
    }

    /// Keeps a phone that led to nobody, or was not looked up; what is no phone is not kept.
    pub(crate) fn save_phone(&mut self, owner: i64, phone: &str) {
        let unmatched = &mut self.user_mut(owner).book.unmatched;
        if unmatched.len() < UNMATCHED_MAX {
            unmatched.extend(normal_phone(phone));
        }
    }

    /// Puts somebody into an address book, or under another name. A phone that is known stays
    /// known, and what was shared stays shared.
    pub(crate) fn put_contact(
        &mut self,
        owner: i64,
        id: i64,
        first_name: String,
        last_name: String,
        phone: String,
        shares_phone: bool,
    ) {
        let added = unix_seconds();
        let new = Contact { first_name, last_name, phone, shares_phone, added };
        let contacts = &mut self.user_mut(owner).book.contacts;
        match contacts.get_mut(&id) {
            Some(known) => {
                let shares_phone = known.shares_phone || new.shares_phone;
                let given = !new.phone.is_empty();
                let phone = if given { new.phone } else { std::mem::take(&mut known.phone) };
                *known = Contact { phone, shares_phone, added: known.added, ..new };
            }
            None => drop(contacts.insert(id, new)),
        }
    }

    /// Takes somebody out of an address book; what was shared with them is not any more.
    pub(crate) fn drop_contact(&mut self, owner: i64, id: i64) -> bool {
        self.user_mut(owner).book.contacts.remove(&id).is_some()
    }

    /// Takes everybody who has one of these phones out of an address book.
    pub(crate) fn drop_phones(&mut self, owner: i64, phones: &[String]) {
        for phone in phones.iter().filter_map(|phone| normal_phone(phone)) {
            let id = self.phones.get(&phone).copied();
            let book = &mut self.user_mut(owner).book;
            book.unmatched.remove(&phone);
            if let Some(id) = id {
                book.contacts.remove(&id);
            }
        }
    }

    /// The phone of `id` as `viewer` sees it: one's own, one that was imported, or one that is
    /// shared with them.
    pub(crate) fn phone_shown(&self, viewer: i64, id: i64) -> Option<String> {
        let user = self.user(id);
        if user.is_bot() || user.phone.is_empty() {
            return None;
        }
        let shared = || user.book.contacts.get(&viewer).is_some_and(|them| them.shares_phone);
        let contact = || self.user(viewer).book.contacts.get(&id);
        let known = || contact().is_some_and(|contact| contact.phone == user.phone);
        (viewer == id || shared() || known()).then(|| user.phone.trim_start_matches('+').to_owned())
    }
}
