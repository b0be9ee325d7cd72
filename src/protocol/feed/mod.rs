//! The change feed: what is told to those who follow. Owns what a change says; never who is told, or in which form.

pub mod event;
