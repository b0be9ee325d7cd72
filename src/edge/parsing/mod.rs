//! The parsing service: lists of people that it has gathered, fetched page by page. Owns the HTTP client for it, what its
//! pages may look like, and how often one is asked for again. Never shows its address, which may hold a password, never
//! goes to another host, and keeps nobody.
//!
//! The name of a list comes in; people come out page by page ([`Listing::next`]), as files of JSON are read
//! (`edge/import`). Its address is the operator's, so private addresses are called.
//!
//! | file | owns |
//! |---|---|
//! | `client.rs` | one request, its limits, and the repetitions of it |
//! | `paging.rs` | what a page says of the next, and which is asked for |

mod client;
mod paging;
#[cfg(test)]
mod tests;

pub use client::{Listed, Listing, ParsingClient, ParsingClientError, ParsingProblem};
