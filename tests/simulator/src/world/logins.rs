//! Login codes: sent to phones, asked for in vain, used up. Time is a parameter.
//!
//! A code belongs to the phone, to the auth key that asked for it, and to the hash that the answer
//! carried; only the newest code of a phone counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::World;
use crate::error::RpcError;

/// Wrong codes a sent one survives, one less.
const MAX_WRONG: u32 = 3;
/// Within this time codes to one phone are counted.
const CODES_WINDOW: Duration = Duration::from_secs(600);
/// Phones are swept when so many are remembered.
const SWEEP_AT: usize = 50_000;

/// Limits that behave like Telegram's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Codes that may be asked for by `auth.sendCode` for one phone within ten minutes; the next
    /// one is answered `FLOOD_WAIT_x`. 0 is any number.
    pub codes_per_phone: u32,
    /// Wrong passwords an account takes within ten minutes; the next one, right or wrong, is
    /// answered `FLOOD_WAIT_x`. 0 is any number.
    pub wrong_passwords: u32,
    /// How long a code may be used, in seconds; also those that were sent already.
    pub code_seconds: u32,
    /// How long a token of a QR code may be scanned, in seconds; only those that come later.
    pub token_seconds: u32,
    /// Whether a key is given the same token until it ends, however often it asks.
    pub repeat_tokens: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            codes_per_phone: 5,
            wrong_passwords: 10,
            code_seconds: 300,
            token_seconds: 30,
            repeat_tokens: false,
        }
    }
}

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
}

/// The last code that was sent to a phone.
struct Code {
    code: String,
    hash: String,
    key_id: i64,
    way: Way,
    sent: Instant,
    wrong: u32,
    spent: bool,
}

/// What the answer to a request for a code tells.
pub(crate) struct SentCode {
    pub(crate) hash: String,
    pub(crate) way: Way,
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
    fn ask(&mut self, phone: &str, now: Instant) -> Result<(), RpcError> {
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

    /// Sends the same code once more by the next way.
    pub(crate) fn resend(
        &mut self,
        phone: &str,
        hash: &str,
        key_id: i64,
        now: Instant,
    ) -> Result<SentCode, RpcError> {
        let code = self.live(phone, hash, key_id, now)?;
        code.way = code.way.next().ok_or("SEND_CODE_UNAVAILABLE")?;
        Ok(SentCode { hash: code.hash.clone(), way: code.way })
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
        let sent = SentCode { hash: hash.clone(), way };
        let code = Code { code, hash, key_id, way, sent: now, wrong: 0, spent: false };
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
    use crate::world::dcs::Dcs;
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
        let again = world.logins.resend(PHONE, &hash, 7, now).ok().unwrap();
        assert_eq!((again.way, &again.hash), (Way::Call, &hash));
        let third = world.logins.resend(PHONE, &hash, 7, now).err().unwrap();
        assert_eq!(third, "SEND_CODE_UNAVAILABLE".into());
        assert_eq!(world.logins.last_code(PHONE), Some(code.as_str()));
        world.logins.cancel(PHONE, &hash, 7, now).unwrap();
        assert!(world.logins.cancel(PHONE, &hash, 7, now).is_err());
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
