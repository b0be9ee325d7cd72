//! Messages that are sent: the one way on which a message leaves. Intent and daily count are durable before the
//! call, the outcome before anybody is told.

pub(super) mod sender;
#[cfg(test)]
mod tests;
