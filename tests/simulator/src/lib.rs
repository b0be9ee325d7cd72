//! A loopback Telegram datacenter for tests, demo and benchmarks.
//!
//! It speaks real MTProto 2.0 over real TCP to unchanged clients, keeps a world of accounts, chats
//! and messages that behaves as Telegram's does, fails on demand, and counts what a client must
//! never do. It shares no code with the daemon: two readings of the wire, so that a shared mistake
//! cannot hide.
//!
//! Start one with [`Simulator::start`], or run the `telewarden-simulator` program and talk to its
//! control API; both can do the same things. See the crate's README for that API.

mod api;
mod api_campaigns;
mod api_logins;
mod clock;
mod control;
mod entities;
mod error;
mod faults;
mod flood_waits;
mod hostile;
mod load;
mod rpc;
mod server;
mod shapes;
mod shapes_campaigns;
mod simulator;
mod stats;
mod violations;
mod wire;
mod world;

pub use crate::entities::StoredEntity;
pub use crate::faults::{FaultKind, FaultSpec};
pub use crate::load::{Load, LoadChat, LoadRun, LoadSpec};
pub use crate::shapes::{
    Account, AccountInfo, ApiError, Chat, ChatKind, ChatMember, ChatRules, MailedCode,
    MemberRights, NewAccount, NewChat, NewPassword, Secrets, StoredMessage,
};
pub use crate::shapes_campaigns::{ContactEntry, LinkInfo, NewContact, NewLink};
pub use crate::simulator::{Options, Simulator, StartError};
pub use crate::stats::Stats;
pub use crate::world::books::{Contacted, ContactedKind};
pub use crate::world::limits::Limits;
pub use crate::world::users::Privacy;
