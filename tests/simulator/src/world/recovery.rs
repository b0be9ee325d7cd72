//! Recovery of a forgotten password by a code that goes to the account's recovery mail. Time is a
//! parameter.
//!
//! Sources: <https://core.telegram.org/method/auth.requestPasswordRecovery>,
//! <https://core.telegram.org/method/auth.checkRecoveryPassword>,
//! <https://core.telegram.org/method/auth.recoverPassword>; `CODE_INVALID` for a wrong code is what
//! official clients expect, though those pages do not list it.

use std::time::{Duration, Instant};

use rand::Rng;

use super::World;
use super::passwords::Password;
use crate::error::RpcError;

/// Wrong codes a mailed one survives, one less. Telegram does not document its number.
const MAX_WRONG: u32 = 3;

/// The last code that went to an account's recovery mail.
pub(crate) struct MailedCode {
    pub(crate) address: String,
    pub(crate) code: String,
    sent: Instant,
    wrong: u32,
    spent: bool,
}

impl World {
    /// Mails a code of six digits; answers what the owner is shown of the address.
    pub(crate) fn request_recovery(
        &mut self,
        owner: i64,
        now: Instant,
    ) -> Result<String, RpcError> {
        let password = self.user(owner).password.as_ref().ok_or("PASSWORD_EMPTY")?;
        let address = password.recovery_email.clone().ok_or("PASSWORD_RECOVERY_NA")?;
        self.logins.ask(&format!("recovery of {owner}"), now)?;
        let pattern = masked(&address);
        let code = format!("{:06}", self.rng.random_range(0..1_000_000));
        let mailed = MailedCode { address, code, sent: now, wrong: 0, spent: false };
        self.user_mut(owner).mailed = Some(mailed);
        Ok(pattern)
    }

    /// Whether a code is the right one; that does not use it up. The last wrong guess that is
    /// allowed does.
    pub(crate) fn check_recovery(
        &mut self,
        owner: i64,
        guess: &str,
        now: Instant,
    ) -> Result<(), RpcError> {
        if guess.is_empty() {
            return Err("CODE_EMPTY".into());
        }
        let lifetime = Duration::from_secs(u64::from(self.logins.limits.code_seconds));
        let user = self.user_mut(owner);
        if user.password.is_none() {
            return Err("PASSWORD_EMPTY".into());
        }
        let live =
            |mailed: &&mut MailedCode| !mailed.spent && now.duration_since(mailed.sent) < lifetime;
        let mailed = user.mailed.as_mut().filter(live).ok_or("PASSWORD_RECOVERY_EXPIRED")?;
        if mailed.code == guess {
            return Ok(());
        }
        mailed.wrong += 1;
        mailed.spent = mailed.wrong >= MAX_WRONG;
        Err("CODE_INVALID".into())
    }

    /// Uses a code up: the password is another one from now on, or there is none. The recovery
    /// mail stays with a new one.
    pub(crate) fn recover(
        &mut self,
        owner: i64,
        guess: &str,
        new: Option<Password>,
        now: Instant,
    ) -> Result<(), RpcError> {
        self.check_recovery(owner, guess, now)?;
        let user = self.user_mut(owner);
        if let Some(mailed) = &mut user.mailed {
            mailed.spent = true;
        }
        let old = user.password.take();
        let recovery_email = old.and_then(|password| password.recovery_email);
        user.password = new.map(|new| Password { recovery_email, ..new });
        Ok(())
    }
}

/// What is shown of an address to who knows it: `j***n@example.org`.
fn masked(address: &str) -> String {
    let (name, domain) = address.split_once('@').unwrap_or((address, ""));
    let (first, last) = (name.chars().next(), name.chars().last());
    let shown = |end: Option<char>| end.map(String::from).unwrap_or_default();
    format!("{}***{}@{domain}", shown(first), shown(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::srp::Verifier;
    use crate::world::dcs::Dcs;
    use crate::world::users::NewUser;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn password(recovery_email: Option<&str>) -> Password {
        let verifier = Verifier::from_hash(vec![1; 48], vec![2; 16], &[5; 256]).unwrap();
        Password {
            recovery_email: recovery_email.map(str::to_owned),
            ..Password::new(verifier, None)
        }
    }

    fn world(password: Option<Password>) -> (World, i64) {
        let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
        let user = world.add_user(NewUser { password, ..NewUser::default() }).unwrap();
        (world, user)
    }

    fn code_of(world: &World, user: i64) -> String {
        world.user(user).mailed.as_ref().unwrap().code.clone()
    }

    #[test]
    fn a_mailed_code_takes_the_password_away_once() {
        let (mut world, user) = world(Some(password(Some("john@example.org"))));
        let now = Instant::now();
        let unsent = world.check_recovery(user, "123456", now);
        assert_eq!(unsent, Err("PASSWORD_RECOVERY_EXPIRED".into()));
        assert_eq!(world.request_recovery(user, now), Ok("j***n@example.org".to_owned()));
        let code = code_of(&world, user);
        assert_eq!(world.check_recovery(user, "", now), Err("CODE_EMPTY".into()));
        assert_eq!(world.check_recovery(user, "nonsense", now), Err("CODE_INVALID".into()));
        assert_eq!(world.check_recovery(user, &code, now), Ok(()));
        let late = now + Duration::from_secs(300);
        let expired = Err("PASSWORD_RECOVERY_EXPIRED".into());
        assert_eq!(world.recover(user, &code, None, late), expired);
        assert_eq!(world.recover(user, &code, Some(password(None)), now), Ok(()));
        let kept = world.user(user).password.as_ref().unwrap();
        assert_eq!(kept.recovery_email.as_deref(), Some("john@example.org"));
        assert_eq!(world.recover(user, &code, None, now), expired);
        world.request_recovery(user, now).unwrap();
        let code = code_of(&world, user);
        assert_eq!(world.recover(user, &code, None, now), Ok(()));
        assert_eq!(world.request_recovery(user, now), Err("PASSWORD_EMPTY".into()));
    }

    #[test]
    fn guesses_and_mails_have_an_end_and_without_an_address_there_are_none() {
        let (mut world, user) = world(Some(password(Some("j@example.org"))));
        let now = Instant::now();
        world.request_recovery(user, now).unwrap();
        let code = code_of(&world, user);
        for _ in 0..MAX_WRONG {
            assert_eq!(world.check_recovery(user, "0", now), Err("CODE_INVALID".into()));
        }
        let late = world.check_recovery(user, &code, now);
        assert_eq!(late, Err("PASSWORD_RECOVERY_EXPIRED".into()));
        for _ in 1..5 {
            world.request_recovery(user, now).unwrap();
        }
        assert_eq!(world.request_recovery(user, now), Err("FLOOD_WAIT_600".into()));
        world.user_mut(user).password = Some(password(None));
        assert_eq!(world.request_recovery(user, now), Err("PASSWORD_RECOVERY_NA".into()));
    }
}
