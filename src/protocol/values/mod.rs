//! Values that every other room is made of: identifiers, moments, secrets, networks, fingerprints, text that is
//! safe to show, JSON that says everything once, pages of lists. Owns their forms and bounds; never what they are for.

pub mod fingerprint;
pub mod ids;
pub mod json;
pub mod network;
pub mod page;
pub mod printable;
pub mod secret;
pub mod time;
