//! Campaigns: invitations and direct messages from users' own accounts, inside the platform's limits, once for each
//! person. Owns every decision about them: who is meant, what they are sent, who may be contacted when, which account
//! acts next, what follows what Telegram says, how a crash is settled, when a campaign will end. Never does IO, reads a
//! clock or draws a random number: moments, random ids and the installation's key are arguments.
//!
//! Records and answers come in from the store and from accounts; statuses, verdicts and the next action go out. There
//! are two timelines. **Wall** moments are for people: schedules, quiet hours, what is shown. **Steady** ones
//! ([`caps::CapClock`]) are for caps, pauses, waits, breakers and recontact windows, so that setting a clock opens none
//! of them.
//!
//! | file | decides |
//! |---|---|
//! | `identity.rs`, `digits.rs` | who is meant: the one normaliser of identifiers |
//! | `task.rs`, `settings.rs`, `run.rs` | what a campaign is, which order leads where, what may be edited when, how it fares |
//! | `target.rs`, `block.rs`, `attempt.rs` | what becomes of one person, the counts that add up, how many are kept, the log |
//! | `import.rs` | what an import has made, so that it can be undone |
//! | `links.rs` | which invite links it has sent, and who came by them |
//! | `text.rs` | what they are sent |
//! | `zone.rs`, `schedule.rs`, `quiet.rs` | when a campaign starts, and when nobody is contacted |
//! | `respect.rs`, `opt_out.rs`, `fitness.rs` | who is never contacted, what a reply means, and whether somebody may be contacted now |
//! | `caps.rs`, `pace.rs`, `account.rs` | how much, how fast, and whether an account may act now |
//! | `waiting.rs`, `choose.rs` | which account does what for whom next |
//! | `answers.rs`, `settle.rs` | what follows an answer, and an answer that never came |
//! | `forecast.rs`, `rehearsal.rs` | when it will end, and who comes first |
//! | `tally.rs` | how many came to which outcome, and through which account |
//! | `creation.rs` | what was made under which idempotency key |

pub mod account;
pub mod answers;
pub mod attempt;
pub mod block;
pub mod caps;
pub mod choose;
pub mod creation;
mod digits;
pub mod fitness;
pub mod forecast;
pub mod identity;
pub mod import;
pub mod links;
pub mod opt_out;
pub mod pace;
pub mod quiet;
pub mod rehearsal;
pub mod respect;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod settle;
pub mod tally;
pub mod target;
pub mod task;
pub mod text;
pub mod waiting;
pub mod zone;

#[cfg(test)]
mod tests;
