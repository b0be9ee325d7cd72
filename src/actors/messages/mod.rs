//! Messages that are sent: the one way on which a message leaves. Intent and daily count are durable before the
//! call, the outcome before anybody is told; of what `deliver` sends for a campaign, the campaign sees to both. Owns what is
//! under way; never decides who may be written to. Messages of users and campaigns come in; calls go to accounts, and
//! answers back to who asked.

pub(super) mod sender;
#[cfg(test)]
mod tests;
