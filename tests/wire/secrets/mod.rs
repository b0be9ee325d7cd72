//! What may be seen, and by whom: secrets by nobody, rows of others by nobody but admins, and nothing at
//! all that the API's document does not tell. The real daemon, its store on disk and its log.

mod client;
mod house;
mod isolation;
mod known;
mod redaction;
mod schemathesis;
mod stolen;
