//! Telegram through grammers: dial, call, follow updates, translate. The only code that names
//! grammers. It performs single steps, each with a deadline; when to dial, retry, wait or give
//! up is decided by its callers.

mod batch;
#[cfg(test)]
mod bounds;
mod call;
mod chats;
mod clock;
mod convert;
mod error;
mod freeze;
mod history;
mod key_exchange;
mod lease;
mod link;
mod login;
mod markup;
mod metrics;
mod numbers;
mod overflow;
mod peers;
mod plain;
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
pub use call::{Call, HistoryPage, Outcome};
pub use clock::Clocks;
pub use key_exchange::{ExchangeError, Exchanged, ServerKey, ServerKeyError, exchange};
pub use lease::{ConnectionLease, HeldLease, WeakLease};
pub use link::{Caller, Connection, DialFailure, DialOptions, Link, RawUpdates};
pub use login::{DialGate, DialRight, DialRightFor, KeepKey, Kept, LoginLink, LoginOptions};
pub use markup::{MarkupError, measure_markup};
pub use metrics::CallMetrics;
pub use peers::{PEERS_MAX, PeerBook};
pub use pulse::Pulse;
pub use pump::{PumpParts, TellFrozen, TellTrouble, TellWait, UpdatePump, WaitLeft, WantsChannel};
pub use rights::{ChatKind, ChatRights};
pub use send::SendMessage;
pub use sockets::Sockets;
pub use vault::Servers;
