//! What no client should have to read: bytes that cost whoever takes them at their word its stack or
//! its memory, and objects of a layer that is not there yet.
//!
//! Written by hand, byte by byte: the types that they are of would not survive it either.

use std::sync::atomic::{AtomicBool, Ordering};

use grammers_tl_types::{Identifiable, Serializable, types as t};

use crate::faults::Hostility;
use crate::wire::envelope::{MSG_CONTAINER, compress};

const VECTOR: u32 = 0x1cb5_c415;

/// How deep blocks of a page lie in each other: too deep for the stack of a thread.
const DEPTH: usize = 1_500;
/// How deep containers lie in each other, at 24 bytes each.
const CONTAINERS: usize = 20_000;
/// What a packed update unpacks to: noughts, of which less than a hundredth is left when they are packed.
const NOUGHTS: usize = 160 << 20;
/// Updates of four bytes each in one packet of a mebibyte.
const CROWD: usize = 250_000;
/// `messageMediaUnsupported`, an attachment that nobody here sends on purpose. What goes out has [`NEWER`] in its place.
const STAND_IN: u32 = 0x9f84_f49e;
/// A constructor of no layer so far.
const NEWER: u32 = 0x7e57_ab1e;

/// `updateShort` with a web page whose page's blocks lie in each other.
fn deep_updates() -> Vec<u8> {
    let mut body = Vec::new();
    t::UpdateShort::CONSTRUCTOR_ID.serialize(&mut body);
    t::UpdateWebPage::CONSTRUCTOR_ID.serialize(&mut body);
    t::WebPage::CONSTRUCTOR_ID.serialize(&mut body);
    // Flags: there is a page.
    (1_u32 << 10).serialize(&mut body);
    1_i64.serialize(&mut body);
    "https://example.com/".to_owned().serialize(&mut body);
    "example.com".to_owned().serialize(&mut body);
    0_i32.serialize(&mut body);
    t::Page::CONSTRUCTOR_ID.serialize(&mut body);
    0_u32.serialize(&mut body);
    "https://example.com/".to_owned().serialize(&mut body);
    vector(1, &mut body);
    for _ in 0..DEPTH {
        t::PageBlockDetails::CONSTRUCTOR_ID.serialize(&mut body);
        0_u32.serialize(&mut body);
        vector(1, &mut body);
    }
    // `pageBlockUnsupported`, then the title of each block, `textEmpty`, from the inside out.
    0x1356_7e8a_u32.serialize(&mut body);
    (0..DEPTH).for_each(|_| 0xdc3d_824f_u32.serialize(&mut body));
    // No photos, no documents; the update's numbers, the packet's date.
    vector(0, &mut body);
    vector(0, &mut body);
    (0..3).for_each(|_| 0_i32.serialize(&mut body));
    body
}

/// A packed object of less than a megabyte that unpacks to 160 MiB.
fn packed_noughts() -> Vec<u8> {
    let packed = compress(&vec![0; NOUGHTS]);
    assert!(packed.len() < 1 << 20, "it would be refused for its own size");
    packed
}

/// Containers that hold one another, each with one message.
fn nested_containers() -> Vec<u8> {
    let mut body = Vec::new();
    for depth in 0..CONTAINERS {
        MSG_CONTAINER.serialize(&mut body);
        1_i32.serialize(&mut body);
        // Id, number, length of the message within.
        1_i64.serialize(&mut body);
        0_i32.serialize(&mut body);
        let left = CONTAINERS - depth - 1;
        (24 * left as i32 + 8).serialize(&mut body);
    }
    MSG_CONTAINER.serialize(&mut body);
    0_i32.serialize(&mut body);
    body
}

/// A packet of a mebibyte, packed to a few kilobytes, of updates that become hundreds of bytes of
/// memory each.
fn crowded_updates() -> Vec<u8> {
    let mut body = Vec::new();
    t::Updates::CONSTRUCTOR_ID.serialize(&mut body);
    vector(CROWD as i32, &mut body);
    // `updateConfig`.
    (0..CROWD).for_each(|_| 0xa229_dd06_u32.serialize(&mut body));
    vector(0, &mut body);
    vector(0, &mut body);
    (0..2).for_each(|_| 0_i32.serialize(&mut body));
    compress(&body)
}

impl Hostility {
    /// A message's body.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Deep => deep_updates(),
            Self::Packed => packed_noughts(),
            Self::Nested => nested_containers(),
            Self::Crowded => crowded_updates(),
        }
    }
}

fn vector(count: i32, body: &mut Vec<u8>) {
    VECTOR.serialize(body);
    count.serialize(body);
}

/// Whether anything is ever to be estranged.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// From now on what stands for something unknown is looked for in all that goes out.
pub(crate) fn begin() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Puts what no client knows in the place of what stands for it.
pub(crate) fn estrange(body: &mut [u8]) {
    if !IN_USE.load(Ordering::Relaxed) {
        return;
    }
    for word in body.chunks_exact_mut(4) {
        if word == STAND_IN.to_le_bytes() {
            word.copy_from_slice(&NEWER.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use grammers_tl_types::deserialize::Error;
    use grammers_tl_types::{Deserializable, enums};

    use super::*;

    #[test]
    fn what_is_hostile_is_well_formed_but_for_its_size() {
        let deep = enums::Updates::from_bytes(&deep_updates());
        assert_eq!(deep.err(), Some(Error::TooDeep));
        assert!(packed_noughts().len() < 1_000_000);
        assert!(crowded_updates().len() < 50_000);
        assert_eq!(nested_containers().len(), 24 * CONTAINERS + 8);
    }

    #[test]
    fn an_estranged_attachment_is_of_no_layer() {
        begin();
        let mut body = enums::MessageMedia::Unsupported.to_bytes();
        assert_eq!(body, STAND_IN.to_le_bytes());
        estrange(&mut body);
        let read = enums::MessageMedia::from_bytes(&body);
        assert_eq!(read.err(), Some(Error::UnexpectedConstructor { id: NEWER }));
    }
}
