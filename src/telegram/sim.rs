//! What tests of this folder need to talk to the simulator in their own process.

use std::sync::Arc;

use telewarden_simulator::{Account, NewAccount, Options, Simulator};

use super::clock::Clocks;
use super::key_exchange::ServerKey;
use super::lease::ConnectionLease;
use super::link::{DialOptions, Link};
use super::login::LoginOptions;
use super::metrics::CallMetrics;
use super::vault::Servers;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::telegram::session_string::SessionString;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;

/// The datacenter that the simulator is.
pub(super) const HOME_DC: i32 = 2;

/// One with a key that is made once for all tests.
pub(super) async fn simulator() -> Simulator {
    simulator_of(&[]).await
}

/// The same with further datacenters.
pub(super) async fn simulator_of(further: &[i32]) -> Simulator {
    let anywhere = Options::default().listen;
    let dcs = further.iter().map(|dc| (*dc, anywhere)).collect();
    Simulator::start(Options { seed: Some(7), dcs, ..Options::default() }).await.unwrap()
}

/// An account that is logged in.
pub(super) async fn account(sim: &Simulator, new: NewAccount) -> Account {
    sim.add_account(new).await.unwrap()
}

pub(super) fn dial_options(sim: &Simulator) -> DialOptions {
    let address = |dc| sim.dc_addr(dc).unwrap_or(sim.listen_addr()).into();
    let own = (1..=5).map(|dc| (dc, address(dc))).collect();
    DialOptions {
        servers: Servers::new(own),
        api_id: 1,
        metrics: CallMetrics::default(),
        clocks: Clocks::new(crate::clock::Clock::system()),
        sockets: Default::default(),
    }
}

pub(super) fn login_options(sim: &Simulator) -> LoginOptions {
    LoginOptions {
        dial: dial_options(sim),
        api_hash: SecretText::new("0123456789abcdef".into()),
        server_key: Some(Arc::new(ServerKey::from_pem(&sim.public_key_pem()).unwrap())),
        gate: Default::default(),
    }
}

pub(super) fn credentials(session_string: &str) -> Credentials {
    let SessionString { dc_id, auth_key, .. } = SessionString::parse(session_string).unwrap();
    Credentials { account: AuthKeyId::of(&auth_key), dc_id, auth_key }
}

/// The account's connection.
pub(super) async fn link(sim: &Simulator, account: &Account) -> Link {
    let credentials = credentials(account.session_string.as_deref().unwrap());
    Link::dial(&dial_options(sim), &credentials, ConnectionLease::new()).await.unwrap()
}
