//! Campaigns: each an actor that does what its task says, one person at a time, inside all limits. Owns the targets of
//! its task and what becomes of them, and has accounts act through a [`platform`]; never speaks to a messenger itself,
//! and decides nothing: the rules are `protocol/campaigns`.
//!
//! Orders, edits and people come in from the services. An *allocator* of each user chooses, over all running tasks of
//! that user, which account does what for whom next, and tells the campaign. The campaign looks whether that person may
//! be contacted, and takes caps, target and person in the commit of the intent; then the account calls; what came of it
//! is durable before anything follows from it. Events, attempts and refusals go out as rows of the store and as changes
//! that users follow.
//!
//! | file | owns |
//! |---|---|
//! | `platform.rs`, `telegram.rs` | a messenger as campaigns reach it, and Telegram behind that |
//! | `context.rs` | what all campaigns share: settings, who is being contacted now, the refusals |
//! | `supervisor.rs` | which campaign has an actor; starts them when they are asked for, due, or running |
//! | `allocator.rs` | whose turn it is, of one user's tasks |
//! | `campaign.rs` and below | one task: orders, its people, acting, what came of it, settling |
//! | `replies.rs` | what people answer, and who wants no more of it |
//! | `book.rs` | the targets of one task, as the store has them and will |
//! | `outlook.rs`, `dry_run.rs` | what is ahead of a task: when it ends, who would be contacted by whom and who not |
//! | `recount.rs` | counts of targets that an older program did not keep |

pub(super) mod allocator;
pub(super) mod book;
pub(super) mod campaign;
pub(super) mod context;
pub(super) mod dry_run;
pub(super) mod outlook;
pub(super) mod platform;
pub(super) mod recount;
pub(super) mod replies;
pub(super) mod supervisor;
pub(super) mod telegram;
#[cfg(test)]
mod tests;
