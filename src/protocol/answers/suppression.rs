//! Who is never contacted, as those are told of it who may see it. Plain data.

use crate::protocol::campaigns::respect::{Covers, Source, Suppression, SuppressionId};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::values::ids::UnixMillis;

/// What came of putting somebody on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// The entry that refuses it.
    pub entry: Suppression,
    /// Whether it was not there before.
    pub is_new: bool,
    /// Whether it was made before under the same idempotency key.
    pub is_replayed: bool,
}

/// A refusal that holds for somebody who was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressionCheck {
    /// Its entry, where the asker may remove it.
    pub id: Option<SuppressionId>,
    /// On the asker's own list; else on the installation's.
    pub is_own: bool,
    /// What is refused.
    pub covers: Covers,
    /// Which group, for [`Covers::ThisGroup`].
    pub group: Option<MarkedId>,
    /// Where it comes from.
    pub source: Source,
    /// Since when.
    pub since: UnixMillis,
}
