//! The audit log: its events, and the chain that shows whether one was changed or removed. Owns the form of an entry and
//! the rule of the chain; never who is audited, and never a text or a recipient. Events come in from whoever did
//! something; entries with number and hash go out to the store, and what a chain proves to whoever verifies it.

pub mod log;
