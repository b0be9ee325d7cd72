//! What tells and tidies beside the work: the change feed for those who follow, and retention. Owns when each looks; never
//! holds up what it tells of. What changed and what is due come in; entries for followers and deletions go out.

pub(super) mod feed;
pub(super) mod retention;
