//! What the library sees as a session: one datacenter table and one authorization key that it can
//! use but never replace.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Mutex, MutexGuard, PoisonError};

use grammers_session::types::{DcOption, PeerId, PeerInfo, UpdateState, UpdatesState};
use grammers_session::{BoxFuture, Session, SessionData};

use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::AuthKey;

/// Where the datacenters are: Telegram's own, or a table of one's own. What a session string or a
/// server says about addresses is never trusted.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    own: BTreeMap<i32, SocketAddr>,
}

impl Servers {
    /// A table of one's own; empty means Telegram's.
    pub fn new(own: BTreeMap<i32, SocketAddr>) -> Self {
        Self { own }
    }

    /// Whether the servers are not Telegram's.
    pub fn are_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether datacenter `dc_id` is reached over IPv6.
    pub(super) fn is_ipv6(&self, dc_id: i32) -> bool {
        self.own.get(&dc_id).is_some_and(SocketAddr::is_ipv6)
    }

    /// Where a login begins; Telegram sends it on to where the account belongs.
    pub fn first_dc(&self) -> i32 {
        const FIRST: i32 = 2;
        match self.own.contains_key(&FIRST) {
            true => FIRST,
            false => self.own.keys().next().copied().unwrap_or(FIRST),
        }
    }

    /// Where datacenter `dc_id` is reached, if there is such a one.
    ///
    /// # Errors
    /// [`LoginFailure::NoDatacenter`].
    pub(super) fn check(&self, dc_id: i32) -> Result<SocketAddr, LoginFailure> {
        let is_own = self.are_own();
        self.address(dc_id).ok_or(LoginFailure::NoDatacenter { dc_id, is_own })
    }

    /// Where datacenter `dc_id` is reached.
    pub(super) fn address(&self, dc_id: i32) -> Option<SocketAddr> {
        let own = self.own.get(&dc_id).copied();
        own.or_else(|| self.options().get(&dc_id).map(|option| option.ipv4.into()))
    }

    fn options(&self) -> HashMap<i32, DcOption> {
        if self.own.is_empty() {
            return SessionData::default().dc_options;
        }
        self.own.iter().map(|(id, address)| (*id, own_option(*id, *address))).collect()
    }
}

fn own_option(id: i32, address: SocketAddr) -> DcOption {
    let (ipv4, ipv6) = match address {
        SocketAddr::V4(v4) => (v4, SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
        SocketAddr::V6(v6) => (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), v6),
    };
    DcOption { id, ipv4, ipv6, auth_key: None }
}

/// Why the vault refuses the library.
#[derive(Debug, thiserror::Error)]
#[error("a fresh authorization key may not replace the stored one")]
pub(super) struct KeyReplaced;

/// The library's view of one account's session, in memory only.
///
/// The library answers a transport error 404 by making a new key and storing it over the old one,
/// which would end the session for good; the vault refuses that. Peers and update states are kept
/// elsewhere, because we follow updates ourselves.
pub(super) struct Vault {
    home_dc: i32,
    options: Mutex<HashMap<i32, DcOption>>,
}

impl Vault {
    pub(super) fn new(servers: &Servers, credentials: &Credentials) -> Self {
        let mut options = servers.options();
        if let Some(home) = options.get_mut(&credentials.dc_id) {
            home.auth_key = Some(*credentials.auth_key.expose());
        }
        Self { home_dc: credentials.dc_id, options: Mutex::new(options) }
    }

    /// Without a key at datacenter `home_dc`: the library makes one, once.
    pub(super) fn fresh(servers: &Servers, home_dc: i32) -> Self {
        Self { home_dc, options: Mutex::new(servers.options()) }
    }

    /// The home datacenter's key, once there is one.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        let auth_key = AuthKey::new(self.options().get(&self.home_dc)?.auth_key?);
        Some(Credentials { account: AuthKeyId::of(&auth_key), dc_id: self.home_dc, auth_key })
    }

    fn options(&self) -> MutexGuard<'_, HashMap<i32, DcOption>> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session for Vault {
    type Error = KeyReplaced;

    fn home_dc_id(&self) -> Result<i32, KeyReplaced> {
        Ok(self.home_dc)
    }

    fn set_home_dc_id(&self, _dc_id: i32) -> BoxFuture<'_, Result<(), KeyReplaced>> {
        Box::pin(async { Ok(()) })
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, KeyReplaced> {
        Ok(self.options().get(&dc_id).cloned())
    }

    fn set_dc_option(&self, option: &DcOption) -> BoxFuture<'_, Result<(), KeyReplaced>> {
        let mut options = self.options();
        let result = match options.get_mut(&option.id) {
            Some(known) if known.auth_key.is_some() && option.auth_key != known.auth_key => {
                Err(KeyReplaced)
            }
            Some(known) => {
                known.auth_key = option.auth_key;
                Ok(())
            }
            None => Ok(()),
        };
        Box::pin(async { result })
    }

    fn peer(&self, _peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, KeyReplaced>> {
        Box::pin(async { Ok(None) })
    }

    fn cache_peer(&self, _peer: PeerInfo) -> BoxFuture<'_, Result<(), KeyReplaced>> {
        Box::pin(async { Ok(()) })
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, KeyReplaced>> {
        Box::pin(async { Ok(UpdatesState::default()) })
    }

    fn set_update_state(&self, _state: UpdateState) -> BoxFuture<'_, Result<(), KeyReplaced>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::AUTH_KEY_LEN;

    fn vault() -> Vault {
        let auth_key = AuthKey::new([7; AUTH_KEY_LEN]);
        let servers = Servers::new([(2, SocketAddr::from(([127, 0, 0, 1], 4430)))].into());
        let account = AuthKeyId::of(&auth_key);
        Vault::new(&servers, &Credentials { account, dc_id: 2, auth_key })
    }

    #[tokio::test]
    async fn a_stored_key_is_never_replaced() {
        let vault = vault();
        let mut option = vault.dc_option(2).unwrap().unwrap();
        assert!(vault.set_dc_option(&option).await.is_ok());
        option.auth_key = Some([8; AUTH_KEY_LEN]);
        assert!(vault.set_dc_option(&option).await.is_err());
        option.auth_key = None;
        assert!(vault.set_dc_option(&option).await.is_err());
        assert_eq!(vault.dc_option(2).unwrap().unwrap().auth_key, Some([7; AUTH_KEY_LEN]));
    }

    #[tokio::test]
    async fn a_key_is_taken_once_where_there_is_none() {
        let servers = Servers::new([(2, SocketAddr::from(([127, 0, 0, 1], 4430)))].into());
        let vault = Vault::fresh(&servers, 2);
        assert_eq!(vault.credentials(), None);
        let mut option = vault.dc_option(2).unwrap().unwrap();
        vault.set_dc_option(&option).await.unwrap();
        option.auth_key = Some([8; AUTH_KEY_LEN]);
        vault.set_dc_option(&option).await.unwrap();
        let credentials = vault.credentials().unwrap();
        assert_eq!((credentials.dc_id, credentials.auth_key.expose()), (2, &[8; AUTH_KEY_LEN]));
        option.auth_key = Some([9; AUTH_KEY_LEN]);
        assert!(vault.set_dc_option(&option).await.is_err());
    }

    #[tokio::test]
    async fn addresses_come_from_the_table_whatever_a_server_says() {
        let vault = vault();
        let mut option = vault.dc_option(2).unwrap().unwrap();
        option.ipv4 = "10.0.0.1:443".parse().unwrap();
        vault.set_dc_option(&option).await.unwrap();
        assert_eq!(vault.dc_option(2).unwrap().unwrap().ipv4.to_string(), "127.0.0.1:4430");
        assert!(vault.dc_option(4).unwrap().is_none());
    }
}
