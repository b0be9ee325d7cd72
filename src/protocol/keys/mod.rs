//! Keys of the store: when they are due to be renewed.

pub mod rotation;
