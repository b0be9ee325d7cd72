//! The edges: from a wire's shapes to the core's requests and back. Each parses, authorises, hands over and maps errors; none
//! decides what the core has to. Bytes of clients, brokers, files and endpoints come in; requests go to the services, and
//! answers back in the wire's form.

pub mod amqp;
pub mod http;
pub mod import;
pub mod parsing;
pub mod report;
pub mod webhook;
