//! The simulated world: everything the server knows, behind one lock.
//!
//! It never touches a socket; what clients must hear is queued on their `Link`s. All of it is
//! synchronous and quick, so that one lock is enough.

pub(crate) mod blank;
pub(crate) mod books;
pub(crate) mod chats;
pub(crate) mod contacts;
pub(crate) mod dcs;
pub(crate) mod floods;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod inviting;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod logins;
pub(crate) mod membership;
pub(crate) mod messages;
pub(crate) mod passwords;
pub(crate) mod qr;
pub(crate) mod recovery;
mod requests;
pub(crate) mod rights;
pub(crate) mod updates;
mod upgrade;
pub(crate) mod users;
pub(crate) mod view;

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::books::Books;
use self::chats::{Channel, Group};
use self::dcs::Dcs;
use self::floods::Floods;
use self::ids::Peer;
use self::keys::KeyRecord;
use self::links::InviteLink;
use self::logins::Logins;
use self::qr::LoginTokens;
use self::users::User;
use crate::faults::Faults;
use crate::load::Population;
use crate::stats::Counters;
use crate::violations::Violations;

/// Everything the server knows.
pub(crate) struct World {
    pub(crate) dcs: Dcs,
    pub(crate) users: HashMap<i64, User>,
    pub(crate) phones: HashMap<String, i64>,
    pub(crate) channels: BTreeMap<i64, Channel>,
    pub(crate) groups: BTreeMap<i64, Group>,
    /// Lowercase usernames of users and channels.
    pub(crate) usernames: HashMap<String, Peer>,
    /// Invite links by their hashes.
    pub(crate) invites: HashMap<String, InviteLink>,
    pub(crate) keys: HashMap<i64, KeyRecord>,
    pub(crate) logins: Logins,
    pub(crate) login_tokens: LoginTokens,
    pub(crate) floods: Floods,
    pub(crate) books: Books,
    pub(crate) faults: Faults,
    pub(crate) violations: Violations,
    pub(crate) counters: Counters,
    pub(crate) population: Population,
    pub(crate) rng: StdRng,
    /// Messages of private chats and basic groups so far; all copies of one have its number.
    posts: u64,
    secret: u64,
}

impl World {
    pub(crate) fn new(seed: u64, dcs: Dcs) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let secret = rng.random();
        Self {
            dcs,
            users: HashMap::new(),
            phones: HashMap::new(),
            channels: BTreeMap::new(),
            groups: BTreeMap::new(),
            usernames: HashMap::new(),
            invites: HashMap::new(),
            keys: HashMap::new(),
            logins: Logins::default(),
            login_tokens: LoginTokens::default(),
            floods: Floods::default(),
            books: Books::default(),
            faults: Faults::default(),
            violations: Violations::default(),
            counters: Counters::default(),
            population: Population::default(),
            rng,
            posts: 0,
            secret,
        }
    }

    /// An account known to exist.
    pub(crate) fn user(&self, id: i64) -> &User {
        self.users.get(&id).expect("accounts are never removed, and callers resolved this one")
    }

    /// An account known to exist.
    pub(crate) fn user_mut(&mut self, id: i64) -> &mut User {
        self.users.get_mut(&id).expect("accounts are never removed, and callers resolved this one")
    }

    /// The number that proves to the server that `viewer` has met `peer`: another one for every
    /// account, so that a hash borrowed from another account is found out.
    pub(crate) fn access_hash(&self, viewer: i64, peer: Peer) -> i64 {
        self.secret_number(viewer as u64, 0xacce, peer.marked() as u64)
    }

    /// A number only this server can compute, never 0.
    fn secret_number(&self, a: u64, kind: u64, b: u64) -> i64 {
        let mixed = mix(mix(mix(self.secret ^ kind) ^ a) ^ b);
        mixed as i64 | 1
    }
}

/// The finalizer of SplitMix64: every bit of the input changes half of the output.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
