//! What tells and tidies beside the work: the change feed for those who follow, and retention.

pub(super) mod feed;
pub(super) mod retention;
