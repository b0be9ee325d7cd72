//! Messages that users send.

mod sends;
