//! Ids of events as users see them. Inside they are counted over the whole daemon, which would tell a user
//! how much the others do: so they are sealed on their way out and opened when somebody resumes with one.
//! Owns the keys of that, which live as long as the process, as what can be resumed does.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::chance;
use crate::protocol::users::owner::UserId;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Ids are filled up to a multiple of this, so that the count of their digits tells nothing.
const BLOCK: usize = 64;
/// Stands for an id that was not made here, or for another user: no change has it.
const NO_ID: &str = "?";

/// Seals and opens ids.
pub(super) struct EventIds {
    cipher: Aes256Gcm,
    nonces: Hmac<Sha256>,
}

impl EventIds {
    /// With new keys.
    pub(super) fn new() -> Self {
        let key = chance::secret::<KEY_BYTES>();
        let nonces = chance::secret::<KEY_BYTES>();
        let nonces = Hmac::new_from_slice(nonces.as_slice());
        Self {
            cipher: Aes256Gcm::new(&(*key).into()),
            nonces: nonces.expect("a key of an HMAC has any length"),
        }
    }

    /// The id as `user` sees it: the same each time, and of use to nobody else.
    pub(super) fn seal(&self, user: &UserId, id: &str) -> String {
        let mut plain = id.as_bytes().to_vec();
        plain.resize(id.len().next_multiple_of(BLOCK), 0);
        let nonce = self.nonce(user, &plain);
        let payload = Payload { msg: &plain, aad: user.as_str().as_bytes() };
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.expect("a text of this length can be sealed");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What [`EventIds::seal`] sealed for this user; else an id that no change has.
    pub(super) fn open(&self, user: &UserId, text: &str) -> String {
        self.opened(user, text).unwrap_or_else(|| NO_ID.to_owned())
    }

    fn opened(&self, user: &UserId, text: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: user.as_str().as_bytes() };
        let plain = self.cipher.decrypt(&Nonce::from(*nonce), payload).ok()?;
        let id = String::from_utf8(plain).ok()?;
        Some(id.trim_end_matches('\0').to_owned())
    }

    /// Made from what is sealed, as in RFC 8452: two texts share one as rarely as they share a hash.
    fn nonce(&self, user: &UserId, plain: &[u8]) -> [u8; NONCE_BYTES] {
        let mut mac = self.nonces.clone();
        let user = user.as_str().as_bytes();
        mac.update(&user.len().to_be_bytes());
        mac.update(user);
        mac.update(plain);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_BYTES]);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn an_id_tells_neither_how_many_there_were_nor_which_comes_next() {
        let ids = EventIds::new();
        let run = "01a1fe8db81f7040b8ff6aca64a915c9";
        let sealed = |number: u64| ids.seal(&user("alice"), &format!("{run}-{number}"));
        let (few, next, many) = (sealed(9), sealed(10), sealed(u64::MAX));
        assert_eq!((few.len(), next.len()), (many.len(), many.len()));
        assert!(few != next && !few.contains(run) && few[..8] != next[..8]);
        assert_eq!(few, sealed(9), "it is the same each time");
        assert!(
            few.len() < 160 && few.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
    }

    #[test]
    fn an_id_is_of_use_to_its_user_and_in_this_run_only() {
        let ids = EventIds::new();
        let sealed = ids.seal(&user("alice"), "run-7");
        assert_eq!(ids.open(&user("alice"), &sealed), "run-7");
        assert_eq!(ids.open(&user("bob"), &sealed), NO_ID);
        assert_eq!(EventIds::new().open(&user("alice"), &sealed), NO_ID);
        for bad in ["", "run-7", "?", &sealed[1..], &format!("{sealed}A")] {
            assert_eq!(ids.open(&user("alice"), bad), NO_ID, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back(id in "[0-9a-f]{0,40}-[0-9]{1,20}", name in "[a-z]{1,20}") {
            let ids = EventIds::new();
            let sealed = ids.seal(&user(&name), &id);
            prop_assert_eq!(ids.open(&user(&name), &sealed), id);
        }

        #[test]
        fn anything_can_be_tried(text in "\\PC{0,200}") {
            prop_assert_eq!(EventIds::new().open(&user("u"), &text), NO_ID);
        }
    }
}
