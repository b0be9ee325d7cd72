//! Telegram, behind a port (`port.rs`): connect, call, follow updates, log in. The only code that names
//! grammers, which stands behind the port (`client.rs`) and is put together in `app`; unit tests put a fake
//! there. It performs single steps, each with a deadline; when to dial, retry, wait or give up is decided
//! by its callers. What comes in are plain requests and a [`ConnectionLease`]; what goes out are
//! outcomes, batches and failures in the daemon's own types.

mod batch;
#[cfg(test)]
mod bounds;
mod call;
mod chats;
mod client;
mod clock;
mod convert;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod freeze;
mod full_chat;
mod group_rights;
mod history;
mod invite_links;
mod invites;
mod key_exchange;
mod lease;
mod link;
mod login;
mod markup;
mod metrics;
mod numbers;
mod outcome;
mod overflow;
mod peers;
mod people;
mod plain;
mod port;
mod pulse;
mod pump;
mod rest;
mod rights;
mod send;
mod setback;
#[cfg(test)]
mod sim;
mod sockets;
mod vault;

pub use batch::{Batch, ChatNotice, GapScope, NewMessage};
pub use call::Call;
pub use client::GrammersClient;
pub use clock::Clocks;
#[cfg(test)]
pub(crate) use fake::Unreachable;
pub use group_rights::{GroupRights, InviteObstacle};
pub use invites::Missing;
pub use key_exchange::{ExchangeError, Exchanged, ServerKey, ServerKeyError, exchange};
pub use lease::{ConnectionLease, HeldLease, WeakLease};
pub use link::DialOptions;
pub use login::{DialGate, DialRight, DialRightFor, LoginOptions};
pub use markup::{MarkupError, measure_markup};
pub use metrics::CallMetrics;
pub use outcome::{HistoryPage, Outcome};
pub use peers::{PEERS_MAX, PeerBook};
pub use people::{NewContact, PersonCard};
pub use port::{
    AccountCaller, Connected, DialFailure, Following, KeepKey, Kept, LoginConnection, LoginSetup,
    Performed, ServerClock, TelegramClient, TellFrozen, TellTrouble, TellWait, UnfollowedUpdates,
    UpdateStream, WaitLeft, WantsChannel,
};
pub use pulse::Pulse;
pub use rights::{ChatKind, ChatRights};
pub use send::SendMessage;
pub use sockets::Sockets;
pub use vault::Servers;
