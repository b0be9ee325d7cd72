//! The supervision tree, one actor a file. Actors perform; what to do is decided in `protocol`.
//!
//! ```text
//! root ── bridge ── publisher, consumer
//!      ├─ fleet ── account/<auth key> ── link
//!      ├─ monitors ── monitor/<owner, chat>
//!      ├─ logins ── login/<id>
//!      ├─ webhooks ── dispatcher, endpoint/<id>
//!      └─ jobs
//! ```

mod account;
mod api;
mod asking;
mod backlog;
mod board;
mod bridge;
mod calling;
mod caps;
mod caretaker;
mod changes;
mod context;
mod delivery;
mod desk;
mod dials;
mod directory;
mod erasing;
mod errands;
mod fleet;
mod herald;
mod jobs;
mod joins;
mod ledger;
mod link;
mod lobby;
mod login;
mod login_waits;
mod logins;
mod meters;
mod monitor;
mod monitors;
mod opening;
mod orders;
mod rekeying;
mod root;
mod supervision;
mod turns;
mod waits;
mod watch;
mod webhooks;

pub use api::Api;
pub use backlog::BacklogGate;
pub use board::{AccountView, Board, Troubled};
pub use bridge::BridgeStatus;
pub use context::{Context, Settings};
pub use directory::Directory;
pub use meters::Meters;
pub use orders::Orders;
pub use root::{BridgeParts, Part, Root, RootError};
pub(crate) use supervision::{said_by, watched_task, watched_thread};
pub use webhooks::WebhookSettings;
