//! Telegram's waits by who logs in. A login that ends, or that is begun anew, must not ask again before a
//! wait is over that an earlier one was told (<https://core.telegram.org/api/errors#420-flood>). Owns
//! which logins count as the same one's; each login stores what it is told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::login::LoginMethod;
use crate::protocol::logins::record::LoginFloodWait;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

/// The waits that are not over. Nobody without one takes room.
#[derive(Debug, Default)]
pub(in crate::actors) struct LoginFloodWaits(Mutex<HashMap<Fingerprint, UnixMillis>>);

impl LoginFloodWaits {
    fn all(&self) -> MutexGuard<'_, HashMap<Fingerprint, UnixMillis>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a wait; a longer one stays.
    pub(in crate::actors) fn impose(
        &self,
        subject: Fingerprint,
        until: UnixMillis,
        now: UnixMillis,
    ) {
        let mut all = self.all();
        all.retain(|_, until| *until > now);
        if until > now {
            let known = all.entry(subject).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// When `subject` may be asked for again, if that is not now.
    pub(in crate::actors) fn until(
        &self,
        subject: &Fingerprint,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        self.all().get(subject).copied().filter(|until| *until > now)
    }

    /// Has the waits of an earlier life of the daemon hold.
    pub(in crate::actors) fn recall(&self, known: Vec<LoginFloodWait>, now: UnixMillis) {
        known.into_iter().for_each(|wait| self.impose(wait.subject, wait.until, now));
    }
}

/// Whom a wait belongs to that is told to a login by `method`: a phone number, bot or session, whoever asks
/// for it. Of a picture nothing is known but who wanted it. `None`: the login's record says.
pub(in crate::actors) fn subject_of(method: &LoginMethod, user: &UserId) -> Option<Fingerprint> {
    Some(match method {
        LoginMethod::Sms(phone) => {
            let digits: Vec<u8> = phone.expose().bytes().filter(u8::is_ascii_digit).collect();
            Fingerprint::of([&b"phone"[..], &digits])
        }
        LoginMethod::Qr => Fingerprint::of([&b"picture"[..], user.as_str().as_bytes()]),
        LoginMethod::Bot(token) => {
            let id = token.expose().trim().split(':').next().unwrap_or_default();
            Fingerprint::of([&b"bot"[..], id.as_bytes()])
        }
        LoginMethod::Session { credentials, .. } => {
            Fingerprint::of([&b"session"[..], &credentials.account.0.to_be_bytes()])
        }
        LoginMethod::Interrupted(record) => return record.subject,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::SecretText;

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn phone(text: &str) -> Fingerprint {
        subject_of(&LoginMethod::Sms(SecretText::new(text.into())), &ann()).unwrap()
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written_and_whoever_asks() {
        assert_eq!(phone("+1 (415) 555-0132"), phone("14155550132"));
        assert_ne!(phone("14155550132"), phone("14155550133"));
        let bob = UserId::new("bob").unwrap();
        let of = |method: LoginMethod, user: &UserId| subject_of(&method, user).unwrap();
        let bot = |token: &str| LoginMethod::Bot(SecretText::new(token.into()));
        assert_eq!(of(bot("7:one"), &ann()), of(bot(" 7:two"), &bob));
        assert_ne!(of(bot("14155550132:x"), &ann()), phone("14155550132"));
        assert_ne!(
            of(LoginMethod::Qr, &ann()),
            of(LoginMethod::Qr, &bob),
            "one user holds up no other"
        );
    }

    #[test]
    fn a_wait_holds_until_it_is_over_and_a_shorter_one_does_not_end_it() {
        let (waits, subject) = (LoginFloodWaits::default(), phone("1"));
        waits.impose(subject, UnixMillis(100), UnixMillis(0));
        waits.impose(subject, UnixMillis(60), UnixMillis(0));
        assert_eq!(waits.until(&subject, UnixMillis(99)), Some(UnixMillis(100)));
        assert_eq!(waits.until(&phone("2"), UnixMillis(0)), None);
        assert_eq!(waits.until(&subject, UnixMillis(100)), None);
        waits.impose(phone("2"), UnixMillis(300), UnixMillis(200));
        assert_eq!(waits.all().len(), 1, "what is over takes no room");
    }
}
