//! The edges: parse, authorise, hand over, map errors.

pub mod amqp;
pub mod http;
pub mod import;
pub mod parsing;
pub mod report;
pub mod webhook;
