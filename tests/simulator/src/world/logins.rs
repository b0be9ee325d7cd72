//! Login codes: sent to phones, asked for in vain, used up. Time is a parameter.
//!
//! A code belongs to the phone, to the auth key that asked for it, and to the hash that the answer
//! carried; only the newest code of a phone counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::Rng;

use super::World;
use super::limits::Limits;
use crate::error::RpcError;

/// Wrong codes a sent one survives, one less.
const MAX_WRONG: u32 = 3;
/// Within this time codes to one phone are counted.
const CODES_WINDOW: Duration = Duration::from_secs(600);
/// Phones are swept when so many are remembered.
const SWEEP_AT: usize = 50_000;

/// How a code travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the other devices of the account.
    App,
    Sms,
    Call,
}

impl Way {
    /// How it travels when it is asked for again.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::App => Some(Self::Sms),
            Self::Sms => Some(Self::Call),
            Self::Call => None,
        }
    }

    /// After how many seconds that may be, of the `wait` that there is for SMS. What went to the
    /// app may follow by SMS at once: clients offer it as a button, and the answers of the real
    /// server have been seen with a `timeout` for SMS only.
    fn timeout(self, wait: u32) -> Option<u32> {
        (self == Self::Sms).then_some(wait)
    }
}

/// The last code that was sent to a phone.
struct Code {
    code: String,
    hash: String,
    key_id: i64,
    way: Way,
    /// When it was made.
    sent: Instant,
    /// When it went out last.
    went_out: Instant,
    wrong: u32,
    spent: bool,
}

/// What the answer to a request for a code tells.
pub(crate) struct SentCode {
    pub(crate) hash: String,
    pub(crate) way: Way,
    /// After how many seconds it may be sent by the next way, if that is to be waited for.
    pub(crate) timeout: Option<u32>,
}

/// All logins under way.
#[derive(Default)]
pub(crate) struct Logins {
    codes: HashMap<String, Code>,
    /// When codes were asked for, by phone, oldest first.
    asked: HashMap<String, Vec<Instant>>,
    pub(crate) limits: Limits,
}

impl Logins {
    /// The code that was last sent to a phone, whatever became of it.
    pub(crate) fn last_code(&self, phone: &str) -> Option<&str> {
        self.codes.get(phone).map(|code| code.code.as_str())
    }

    /// What belongs to each code in `auth.signIn`.
    pub(crate) fn hashes(&self) -> Vec<String> {
        self.codes.values().map(|code| code.hash.clone()).collect()
    }

    /// Notes that a code is asked for, unless there were too many.
    pub(super) fn ask(&mut self, phone: &str, now: Instant) -> Result<(), RpcError> {
        let recent = |asked: &Instant| now.duration_since(*asked) < CODES_WINDOW;
        if self.asked.len() >= SWEEP_AT {
            self.asked.retain(|_, times| times.iter().any(recent));
        }
        let times = self.asked.entry(phone.to_owned()).or_default();
        times.retain(recent);
        let limit = self.limits.codes_per_phone as usize;
        if limit > 0 && times.len() >= limit {
            let over = times[times.len() - limit] + CODES_WINDOW;
            let seconds = over.duration_since(now).as_secs_f64().ceil();
            return Err(RpcError::named(format!("FLOOD_WAIT_{seconds}")));
        }
        times.push(now);
        Ok(())
    }

    /// The code a client means, if it may still be used.
    fn live(
        &mut self,
        phone: &str,
        hash: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<&mut Code, RpcError> {
        let lifetime = Duration::from_secs(u64::from(self.limits.code_seconds));
        let code = self.codes.get_mut(phone).filter(|code| {
            let fresh = now.duration_since(code.sent) < lifetime;
            fresh && !code.spent && code.hash == hash && code.key_id == key_id
        });
        code.ok_or_else(|| "PHONE_CODE_EXPIRED".into())
    }

    /// Uses a code up. The last wrong guess that is allowed uses it up, too.
    pub(crate) fn redeem(
        &mut self,
        phone: &str,
        hash: &str,
        guess: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<(), RpcError> {
        let code = self.live(phone, hash, key_id, now)?;
        if code.code == guess {
            code.spent = true;
            return Ok(());
        }
        code.wrong += 1;
        code.spent = code.wrong >= MAX_WRONG;
        Err("PHONE_CODE_INVALID".into())
    }

    /// Sends the same code once more by the next way. Telegram does not document what it answers
    /// to who comes before the `timeout`; official clients wait for it.
    pub(crate) fn resend(
        &mut self,
        phone: &str,
        hash: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<SentCode, RpcError> {
        let wait = self.limits.resend_seconds;
        let code = self.live(phone, hash, key_id, now)?;
        let next = code.way.next().ok_or("SEND_CODE_UNAVAILABLE")?;
        let timeout = code.way.timeout(wait).unwrap_or(0);
        let ready = code.went_out + Duration::from_secs(u64::from(timeout));
        if let Some(left) = ready.checked_duration_since(now).filter(|left| !left.is_zero()) {
            let seconds = left.as_secs_f64().ceil();
            return Err(RpcError::named(format!("FLOOD_WAIT_{seconds}")));
        }
        (code.way, code.went_out) = (next, now);
        Ok(SentCode { hash: code.hash.clone(), way: next, timeout: next.timeout(wait) })
    }

    pub(crate) fn cancel(
        &mut self,
        phone: &str,
        hash: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<(), RpcError> {
        self.live(phone, hash, key_id, now)?.spent = true;
        Ok(())
    }
}

impl World {
    /// Sends a code of five digits to a phone.
    pub(crate) fn send_code(
        &mut self,
        phone: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<SentCode, RpcError> {
        self.logins.ask(phone, now)?;
        let code = format!("{:05}", self.rng.random_range(0..100_000));
        let hash = self.random_text(18);
        let user = self.phones.get(phone).copied();
        let way = if user.is_some_and(|user| self.live_keys(user).next().is_some()) {
            Way::App
        } else {
            Way::Sms
        };
        let timeout = way.timeout(self.logins.limits.resend_seconds);
        let sent = SentCode { hash: hash.clone(), way, timeout };
        let (wrong, spent) = (0, false);
        let code = Code { code, hash, key_id, way, sent: now, went_out: now, wrong, spent };
        self.logins.codes.insert(phone.to_owned(), code);
        Ok(sent)
    }
}

/// A phone number as accounts have it: a plus and digits. `None` if that is none.
pub(crate) fn normal_phone(phone: &str) -> Option<String> {
    let phone = phone.trim();
    let phone = phone.strip_prefix('+').unwrap_or(phone);
    let digits: String = phone.chars().filter(|char| !" -().".contains(*char)).collect();
    let plausible = (7..=15).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit());
    plausible.then(|| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::dcs::{Dcs, HOME_DC};
    use crate::world::users::NewUser;
    use std::net::{Ipv4Addr, SocketAddrV4};

    const PHONE: &str = "+79990001122";

    fn world() -> World {
        World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]))
    }

    fn sent(world: &mut World, now: Instant) -> (String, String) {
        let Ok(sent) = world.send_code(PHONE, 7, now) else { panic!("the code is sent") };
        (sent.hash, world.logins.last_code(PHONE).unwrap().to_owned())
    }

    #[test]
    fn a_code_serves_once_its_own_key_while_it_is_fresh() {
        let (mut world, now) = (world(), Instant::now());
        let (hash, code) = sent(&mut world, now);
        assert!(code.len() == 5 && code.chars().all(|char| char.is_ascii_digit()));
        let logins = &mut world.logins;
        let expired = Err("PHONE_CODE_EXPIRED".into());
        assert_eq!(logins.redeem(PHONE, &hash, &code, 8, now), expired);
        assert_eq!(logins.redeem(PHONE, "another", &code, 7, now), expired);
        let late = now + Duration::from_secs(300);
        assert_eq!(logins.redeem(PHONE, &hash, &code, 7, late), expired);
        assert_eq!(logins.redeem(PHONE, &hash, &code, 7, now), Ok(()));
        assert_eq!(logins.redeem(PHONE, &hash, &code, 7, now), expired);
        assert_eq!(logins.last_code(PHONE), Some(code.as_str()));
    }

    #[test]
    fn the_third_wrong_guess_uses_a_code_up() {
        let (mut world, now) = (world(), Instant::now());
        let (hash, code) = sent(&mut world, now);
        for _ in 0..MAX_WRONG {
            let wrong = world.logins.redeem(PHONE, &hash, "nonsense", 7, now);
            assert_eq!(wrong, Err("PHONE_CODE_INVALID".into()));
        }
        let late = world.logins.redeem(PHONE, &hash, &code, 7, now);
        assert_eq!(late, Err("PHONE_CODE_EXPIRED".into()));
    }

    #[test]
    fn too_many_codes_for_a_phone_must_be_waited_for() {
        let (mut world, now) = (world(), Instant::now());
        for second in 0..5 {
            sent(&mut world, now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(10);
        let refused = world.send_code(PHONE, 7, later).err().unwrap();
        assert_eq!(refused, RpcError::named("FLOOD_WAIT_590"));
        sent(&mut world, now + CODES_WINDOW);
        world.logins.limits.codes_per_phone = 0;
        (0..20).for_each(|_| drop(sent(&mut world, later)));
    }

    #[test]
    fn a_code_comes_again_by_other_ways_until_there_is_none() {
        let (mut world, now) = (world(), Instant::now());
        let (hash, code) = sent(&mut world, now);
        let early = world.logins.resend(PHONE, &hash, 7, now + Duration::from_secs(59));
        assert_eq!(early.err(), Some("FLOOD_WAIT_1".into()));
        let now = now + Duration::from_secs(60);
        let again = world.logins.resend(PHONE, &hash, 7, now).ok().unwrap();
        assert_eq!((again.way, &again.hash, again.timeout), (Way::Call, &hash, None));
        let third = world.logins.resend(PHONE, &hash, 7, now).err().unwrap();
        assert_eq!(third, "SEND_CODE_UNAVAILABLE".into());
        assert_eq!(world.logins.last_code(PHONE), Some(code.as_str()));
        world.logins.cancel(PHONE, &hash, 7, now).unwrap();
        assert!(world.logins.cancel(PHONE, &hash, 7, now).is_err());
    }

    #[test]
    fn what_went_to_the_app_comes_by_message_at_once_and_by_call_after_a_while() {
        let (mut world, now) = (world(), Instant::now());
        let phone = Some(PHONE.to_owned());
        let user = world.add_user(NewUser { phone, ..NewUser::default() }).unwrap();
        world.issue_key(Some(user), HOME_DC);
        let Ok(first) = world.send_code(PHONE, 7, now) else { panic!("the code is sent") };
        assert_eq!((first.way, first.timeout), (Way::App, None));
        let second = world.logins.resend(PHONE, &first.hash, 7, now).ok().unwrap();
        assert_eq!((second.way, second.timeout), (Way::Sms, Some(60)));
        let early = world.logins.resend(PHONE, &first.hash, 7, now).err();
        assert_eq!(early, Some("FLOOD_WAIT_60".into()));
        world.logins.limits.resend_seconds = 0;
        let third = world.logins.resend(PHONE, &first.hash, 7, now).ok().unwrap();
        assert_eq!((third.way, third.timeout), (Way::Call, None));
    }

    #[test]
    fn phones_are_read_however_they_are_written() {
        for written in ["+7 (999) 000-11-22", "79990001122", " 7.999.0001122 "] {
            assert_eq!(normal_phone(written).as_deref(), Some(PHONE), "{written}");
        }
        for nonsense in ["", "+", "123456", "call me", "+7999000112x", "1234567890123456", "7+999"]
        {
            assert_eq!(normal_phone(nonsense), None, "{nonsense}");
        }
    }
}
