//! Tests of the store as a whole. What they share: sample records, and a store that can be opened
//! again on either engine.

mod bench;
mod conformance;
mod crash;
mod damage;
mod directory;
mod erase;
mod examined;
mod fixtures;
pub(crate) mod gated;
mod model;
mod monitor_index;
mod safety_copy;
mod sample_rows;
mod spool;
pub(crate) mod standing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::protocol::accounts::record::{
    AccountRecord, Credentials, Me, PoolMember, SessionRecord,
};
use crate::protocol::bridge::job::{JobRecord, JobWork};
use crate::protocol::bridge::outbox::{OutboxEntry, Route};
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{
    ChatKey, ChatRef, ChatSpelling, ChatTarget, MarkedId, PeerRecord,
};
use crate::protocol::telegram::updates::{UpdateState, UpdateStateDelta};
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
use crate::protocol::values::secret::AuthKey;

use super::engines::disk::{self, DiskEngine, SafetyCopy};
use super::engines::{Engine, MemoryDisk, WriteBatch, collect};
use super::format::encoding::{self, CursorRecord};
use super::format::layout::{self, kind};
use super::integrity::{DurablePosition, Witness};
use super::journal::Pacing;
use super::journal::segment::{self, Head};
use super::keys::{Keyring, MasterKey, RootKey, Seal};
use super::*;

pub(in crate::store) use sample_rows::{expect_sealed_rows, login, sealed_rows};

/// Longest a test waits for what it expects.
const PATIENCE: Duration = Duration::from_secs(20);

/// A rhythm that meets many checkpoints in a short test.
pub(in crate::store) fn hurried() -> Pacing {
    let zero = Duration::ZERO;
    Pacing { spacing_min: zero, spacing_max: zero, checkpoint_every: Duration::from_millis(1) }
}

pub(in crate::store) fn event(number: u64, bytes: usize) -> OutboxEntry {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(bytes.max(8), b'x');
    OutboxEntry {
        route: Route::Event,
        kind: "incoming_telegram_message".into(),
        message_id: Uuid::from_u128(u128::from(number)),
        timestamp: number,
        said_at: None,
        owner: None,
        body,
    }
}

/// The number an [`event`] was made with.
pub(in crate::store) fn number_of(entry: &OutboxEntry) -> u64 {
    u64::from_be_bytes(entry.body[..8].try_into().unwrap())
}

pub(in crate::store) fn chat(number: i64) -> ChatRef {
    let id = MarkedId::channel(number + 1);
    ChatRef { spelling: ChatSpelling::Number(id.0), target: ChatTarget::Marked(id) }
}

pub(in crate::store) fn monitor(number: i64) -> MonitorRecord {
    let member = PoolMember { session: SessionId("s1".into()), account: AuthKeyId(1) };
    MonitorRecord {
        owner: None,
        chat: chat(number),
        ordered: vec![member.clone()],
        pool: vec![member],
        phase: MonitorPhase::Running,
        started_at: UnixMillis(17),
        started_steady: None,
        owed_from: None,
        marked_id: None,
        migrated_from: None,
        title: Some("Title".into()),
        names: Vec::new(),
        start_pts: None,
        exhausted: None,
    }
}

pub(in crate::store) fn account(id: u64) -> AccountRecord {
    let me = Me { user_id: 5, is_bot: false, username: None, first_name: Some("A".into()) };
    AccountRecord {
        id: AuthKeyId(id),
        me: Some(me),
        fault: None,
        frozen: None,
        flood_waits: vec![],
        created_at: UnixMillis(3),
    }
}

pub(in crate::store) fn cursor(last_id: i32) -> Cursor {
    Cursor::starting_after(last_id, 1, None)
}

pub(in crate::store) fn moved(pts: i32) -> UpdateStateDelta {
    UpdateStateDelta { common: Some((pts, pts, 0)), ..UpdateStateDelta::default() }
}
