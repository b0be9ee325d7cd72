//! The change feed: what is told to those who follow. Owns what a change says; never who is told, or in which form.
//! Changes of accounts, monitors, logins and campaigns come in; entries go out to the edges.

pub mod event;
