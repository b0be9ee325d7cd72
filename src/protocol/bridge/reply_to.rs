//! Names that a `reply_to` must not have: publishing to them would end the connection.
//!
//! RabbitMQ's direct reply-to writes `amq.rabbitmq.reply-to.<channel>.<key>` into the commands of
//! whoever waits so (<https://www.rabbitmq.com/docs/direct-reply-to>): `channel` is the base64 of an
//! Erlang process id in the external term format, `key` is opaque. The broker decodes such a routing
//! key without looking whether it can (`rabbit_direct_reply_to`, 3.10), and ends the connection with
//! 541 (INTERNAL_ERROR) where it cannot. So a name with that prefix has to be of that form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What the names of direct reply-to begin with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";
/// First byte of a term (<https://www.erlang.org/doc/apps/erts/erl_ext_dist>).
const TERM: u8 = 131;
/// A process id whose creation has four bytes, and the older one whose creation has one.
const NEW_PID: u8 = 88;
const PID: u8 = 103;
/// Atoms, which name the node: Latin-1 and UTF-8 with two bytes of length, UTF-8 with one.
const ATOM: u8 = 100;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;
/// Most characters in an atom.
const ATOM_MAX: usize = 255;
/// Id and serial of a process, before its creation.
const ID_AND_SERIAL: usize = 4 + 4;

/// Whether a reply can be published to `name` without the broker failing over the name itself.
pub fn is_usable(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_none_or(is_direct)
}

/// Whether it is what RabbitMQ writes behind the prefix.
fn is_direct(suffix: &str) -> bool {
    let Some((channel, key)) = suffix.split_once('.') else { return false };
    let is_key = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    !key.is_empty()
        && key.bytes().all(is_key)
        && STANDARD.decode(channel).is_ok_and(|term| is_process(&term))
}

/// Whether the bytes are a process id of a node `name@host`, and nothing else.
fn is_process(term: &[u8]) -> bool {
    let [TERM, kind @ (NEW_PID | PID), atom, rest @ ..] = term else { return false };
    let split = match *atom {
        ATOM | ATOM_UTF8 => {
            rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length), rest))
        }
        SMALL_ATOM_UTF8 => rest.split_first().map(|(length, rest)| (u16::from(*length), rest)),
        _ => None,
    };
    let Some((node, numbers)) =
        split.and_then(|(length, rest)| rest.split_at_checked(usize::from(length)))
    else {
        return false;
    };
    let creation = if *kind == NEW_PID { 4 } else { 1 };
    is_node(node) && numbers.len() == ID_AND_SERIAL + creation
}

fn is_node(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let is_short = name.chars().count() <= ATOM_MAX;
    is_short
        && matches!(name.split_once('@'), Some((node, host)) if !node.is_empty() && !host.is_empty())
}

/// A command's `reply_to` and `correlation_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// Queue that takes the outcome.
    pub queue: String,
    /// Echoed back.
    pub correlation_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RabbitMQ 3.10 wrote it into a command.
    const WRITTEN: &str = "amq.rabbitmq.reply-to.g1h2AA9yZXBseUAxMjU1Mjg4NTIAAALMAAAAAGsMMC8=.gItMY5lGmkOEkefokOBu4A==";

    fn named(term: &[u8]) -> String {
        format!("{PREFIX}{}.gz3qH9YxTqWqN2r8bM8mHg==", STANDARD.encode(term))
    }

    /// A process id whose node is written with that atom.
    fn process(kind: u8, atom: &[u8], node: &str, numbers: usize) -> Vec<u8> {
        [&[TERM, kind][..], atom, node.as_bytes(), &vec![0; numbers]].concat()
    }

    #[test]
    fn what_brokers_write_is_usable() {
        assert!(is_usable(WRITTEN));
        let node = "reply@58028083";
        for term in [
            process(NEW_PID, &[ATOM_UTF8, 0, 14], node, 12),
            process(NEW_PID, &[SMALL_ATOM_UTF8, 14], node, 12),
            process(PID, &[ATOM_UTF8, 0, 14], node, 9),
            // Before 3.10 with the node's own name, as Erlang up to 25 writes it.
            process(NEW_PID, &[ATOM, 0, 13], "rabbit@host-1", 12),
            process(PID, &[ATOM, 0, 13], "rabbit@host-1", 9),
        ] {
            assert!(is_usable(&named(&term)), "{term:?}");
        }
    }

    #[test]
    fn other_names_are_usable_whatever_they_say() {
        for name in
            ["answers", "amq.rabbitmq.reply-to", "amq.gen-x", "", "x.amq.rabbitmq.reply-to.y"]
        {
            assert!(is_usable(name), "{name}");
        }
    }

    #[test]
    fn what_does_not_decode_is_not_usable() {
        let whole = process(NEW_PID, &[ATOM_UTF8, 0, 14], "reply@58028083", 12);
        for suffix in ["", "x", "x.y", "x.y.z", ".", "..", "AAAA.y", "\u{e4}.y", "x.\u{301}y"] {
            assert!(!is_usable(&format!("{PREFIX}{suffix}")), "{suffix}");
        }
        let channel = STANDARD.encode(&whole);
        for suffix in [
            format!("{channel}."),
            channel.clone(),
            format!("{channel}.a.b"),
            format!(".{channel}.a"),
        ] {
            assert!(!is_usable(&format!("{PREFIX}{suffix}")), "{suffix}");
        }
        for term in [
            process(NEW_PID, &[ATOM_UTF8, 0, 14], "reply@58028083", 13),
            process(NEW_PID, &[ATOM_UTF8, 0, 14], "reply@58028083", 9),
            process(NEW_PID, &[ATOM_UTF8, 0, 200], "reply@58028083", 12),
            process(NEW_PID, &[ATOM_UTF8, 0, 5], "reply", 12),
            process(NEW_PID, &[101, 0, 14], "reply@58028083", 12),
            process(90, &[ATOM_UTF8, 0, 14], "reply@58028083", 12),
            // A list, and a function that would have to be called.
            vec![TERM, 106],
            vec![TERM, 113, 100],
        ] {
            assert!(!is_usable(&named(&term)), "{term:?}");
        }
        for length in 0..whole.len() {
            assert!(!is_usable(&named(&whole[..length])), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(term in prop::collection::vec(any::<u8>(), 0..60), suffix in any::<String>()) {
            is_usable(&format!("{PREFIX}{suffix}"));
            is_usable(&named(&term));
        }
    }
}
