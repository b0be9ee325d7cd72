//! Keys of the store: when they are due to be renewed. Owns that rule; never a key. The age of a key and the number of
//! failures come in; a wait goes out.

pub mod rotation;
