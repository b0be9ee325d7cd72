//! What a member of the tree shows of itself. Plain data.

use super::restart::ChildKind;
use crate::protocol::values::ids::UnixMillis;

/// One member, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSnapshot {
    /// As the restart ledger calls it, e.g. `account/5c0ffee1234567890`.
    pub name: String,
    /// What it is.
    pub kind: ChildKind,
    /// How it is.
    pub state: MemberState,
    /// Since when it is so.
    pub since: UnixMillis,
    /// Messages that wait for it. Members that are no actors have none.
    pub mailbox: u64,
    /// The message that it handles, or handled last.
    pub last_message: Option<LastMessage>,
    /// How often it was started again in this life of the daemon.
    pub restarts: u32,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It runs.
    Running,
    /// It failed, and is started again after a pause.
    Restarting,
    /// It failed too often, and is left alone until somebody asks for it.
    Parked,
}

impl MemberState {
    /// Its name where people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Parked => "parked",
        }
    }
}

/// A message that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastMessage {
    /// The name of its kind.
    pub name: &'static str,
    /// When handling it began.
    pub at: UnixMillis,
    /// Whether it is being handled still.
    pub is_running: bool,
}
