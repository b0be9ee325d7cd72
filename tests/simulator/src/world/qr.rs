//! Login tokens, which QR codes show: made for a key, accepted by an account. Time is a parameter.
//! Source: <https://core.telegram.org/api/qr-login>.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use grammers_tl_types::{Serializable, enums, types};
use rand::Rng;

use super::World;
use crate::clock::unix_seconds;
use crate::error::RpcError;
use crate::faults::Manner;

/// How long an expired token is still told from one that never was.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Size of a token in bytes.
const SIZE: usize = 32;

/// One token.
pub(crate) struct LoginToken {
    key_id: i64,
    expires: Instant,
    /// The same in Unix seconds.
    pub(crate) expires_at: i32,
    /// Accounts that must not accept it.
    except: Vec<i64>,
    pub(crate) accepted_by: Option<i64>,
}

/// All tokens that are remembered.
#[derive(Default)]
pub(crate) struct LoginTokens(HashMap<Vec<u8>, LoginToken>);

impl LoginTokens {
    /// All that are remembered.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        self.0.keys().cloned().collect()
    }

    /// The token of a key that somebody accepted, and who.
    pub(crate) fn accepted(&self, key_id: i64) -> Option<(Vec<u8>, i64)> {
        self.0.iter().find_map(|(bytes, token)| {
            let user = token.accepted_by.filter(|_| token.key_id == key_id)?;
            Some((bytes.clone(), user))
        })
    }

    /// The token of a key that nobody accepted yet and that has not ended, and when it will.
    fn standing(&self, key_id: i64, now: Instant) -> Option<(Vec<u8>, i32)> {
        self.0.iter().find_map(|(bytes, token)| {
            let stands =
                token.key_id == key_id && token.accepted_by.is_none() && now < token.expires;
            stands.then(|| (bytes.clone(), token.expires_at))
        })
    }

    /// A token that may be waited for or was accepted.
    pub(crate) fn find(&self, bytes: &[u8], now: Instant) -> Result<&LoginToken, RpcError> {
        let token = self.0.get(bytes).ok_or("AUTH_TOKEN_INVALID")?;
        let over = token.accepted_by.is_none() && token.expires <= now;
        if over { Err("AUTH_TOKEN_EXPIRED".into()) } else { Ok(token) }
    }

    /// Who accepted a token, if anybody did.
    pub(crate) fn accepted_by(&self, bytes: &[u8]) -> Option<i64> {
        self.0.get(bytes)?.accepted_by
    }

    pub(crate) fn spend(&mut self, bytes: &[u8]) {
        self.0.remove(bytes);
    }

    /// A key that is logged in waits for nobody.
    pub(crate) fn forget(&mut self, key_id: i64) {
        self.0.retain(|_, token| token.key_id != key_id);
    }
}

impl World {
    /// Makes a token for a key.
    pub(crate) fn make_token(
        &mut self,
        key_id: i64,
        except: Vec<i64>,
        now: Instant,
    ) -> types::auth::LoginToken {
        if self.logins.limits.repeat_tokens
            && let Some((token, expires)) = self.login_tokens.standing(key_id, now)
        {
            return types::auth::LoginToken { expires, token };
        }
        let mut bytes = vec![0; SIZE];
        self.rng.fill(&mut bytes[..]);
        let seconds = self.logins.limits.token_seconds;
        let lifetime = Duration::from_secs(u64::from(seconds));
        let tokens = &mut self.login_tokens.0;
        tokens.retain(|_, token| now < token.expires + REMEMBERED);
        let expires_at = unix_seconds().saturating_add_unsigned(seconds);
        let (expires, accepted_by) = (now + lifetime, None);
        let token = LoginToken { key_id, expires, expires_at, except, accepted_by };
        tokens.insert(bytes.clone(), token);
        types::auth::LoginToken { expires: expires_at, token: bytes }
    }

    /// Lets `user` accept a token, and tells the connection that waits.
    pub(crate) fn accept_token(
        &mut self,
        bytes: &[u8],
        user: i64,
        now: Instant,
    ) -> Result<(), RpcError> {
        if self.login_tokens.find(bytes, now)?.accepted_by.is_some() {
            return Err("AUTH_TOKEN_ALREADY_ACCEPTED".into());
        }
        let token = self.login_tokens.0.get_mut(bytes).ok_or("AUTH_TOKEN_INVALID")?;
        if token.except.contains(&user) {
            return Err("AUTH_TOKEN_EXCEPTION".into());
        }
        token.accepted_by = Some(user);
        let key_id = token.key_id;
        let manner = self.faults.update(user);
        if let Some(link) = self.keys.get(&key_id).and_then(|record| record.link.as_ref())
            && manner != Manner::Never
        {
            let update = enums::Update::LoginToken;
            let update = types::UpdateShort { update, date: unix_seconds() };
            self.counters.updates_sent +=
                link.push(enums::Updates::from(update).to_bytes(), manner);
        } else {
            self.counters.updates_withheld += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::dcs::Dcs;
    use std::net::{Ipv4Addr, SocketAddrV4};

    #[test]
    fn a_key_may_be_given_the_same_token_until_it_ends() {
        let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
        world.logins.limits.repeat_tokens = true;
        let now = Instant::now();
        let token = world.make_token(7, vec![], now).token;
        let soon = now + Duration::from_secs(29);
        assert_eq!(world.make_token(7, vec![], soon).token, token);
        assert_ne!(world.make_token(8, vec![], soon).token, token, "another key has another one");
        assert_ne!(world.make_token(7, vec![], now + Duration::from_secs(30)).token, token);
    }

    #[test]
    fn a_token_is_accepted_once_in_time_and_not_by_those_excepted() {
        let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
        let now = Instant::now();
        let token = world.make_token(7, vec![5], now).token;
        let late = now + Duration::from_secs(30);
        let refused = |world: &mut World, bytes: &[u8], user, now| {
            world.accept_token(bytes, user, now).unwrap_err().name
        };
        assert_eq!(refused(&mut world, b"none", 1, now), "AUTH_TOKEN_INVALID");
        assert_eq!(refused(&mut world, &token, 5, now), "AUTH_TOKEN_EXCEPTION");
        assert_eq!(refused(&mut world, &token, 1, late), "AUTH_TOKEN_EXPIRED");
        assert_eq!(world.login_tokens.accepted(7), None);
        world.accept_token(&token, 1, now).unwrap();
        assert_eq!(refused(&mut world, &token, 2, now), "AUTH_TOKEN_ALREADY_ACCEPTED");
        assert_eq!(world.login_tokens.accepted(7), Some((token.clone(), 1)));
        // Who accepted it in time need not hurry.
        assert!(world.login_tokens.find(&token, late).is_ok());
        world.login_tokens.forget(7);
        assert_eq!(refused(&mut world, &token, 1, now), "AUTH_TOKEN_INVALID");
    }
}
