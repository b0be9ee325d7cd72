//! The HTTP edge as strangers meet it.

mod crowds;
mod requests;
