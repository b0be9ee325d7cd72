//! What is answered when something is refused, and what is kept of a request that takes long. The only room here
//! that knows all the others' failures; nothing of the others knows it.

pub mod erasure;
pub mod refusal;
