//! Telegram through grammers: dial, call, follow updates, translate. The only code that names
//! grammers. It performs single steps, each with a deadline; when to dial, retry, wait or give
//! up is decided by its callers.

mod chats;
mod convert;
mod errand;
mod error;
mod history;
mod link;
mod overflow;
mod peers;
mod pump;
mod vault;

pub use errand::{Errand, Finding, HistoryPage};
pub use link::{Caller, Connection, DialOptions, Link, RawUpdates, Slot};
pub use peers::{PEERS_MAX, PeerBook};
pub use pump::{Batch, ChatNotice, GapScope, NewMessage, TellWait, UpdatePump};
pub use vault::Servers;
