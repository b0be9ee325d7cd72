//! The wall clock, for whoever notes when something was. Owns nothing. Whatever decides is given the
//! time instead of looking here, so that it can be tested.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::ids::UnixMillis;

/// The time by the system's clock. A clock before 1970 reads as 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
