use crate::buffer::Buffer;
use amq_protocol::frame::parsing::traits::Input;

/// Name of the one header that stands in the place of those that were not read: its value, a
/// `LongLongInt`, is how many bytes they have.
pub const SKIPPED_HEADERS: &str = "lapin-skipped-headers";

/// Largest content header frame that is read as it is, bytes. Values take up to a hundred times as
/// much in memory as on the wire.
const READ_MAX: usize = 256 * 1024;

/// What stands before the table of headers in a frame, in order: type, channel and size of the frame;
/// class, weight, size of the body and flags.
const FIXED: usize = 7 + 14;
/// ... and then, where the flags say so, content type and content encoding, and the table's length.
const NEEDED: usize = FIXED + 2 * 256 + 4;
const HEADER_FRAME: u8 = 2;
const FRAME_END: usize = 1;

/// A content header frame larger than is read, of which the table of headers is passed over as it
/// comes. RabbitMQ sends what a publisher with larger frames gave it, whatever was negotiated here.
pub(crate) struct LargeHeader {
    /// The frame up to the table.
    start: Vec<u8>,
    /// The table's size.
    size: usize,
    /// How much of it is still to come.
    left: usize,
    /// What follows it, with the frame's end.
    tail: usize,
}

impl LargeHeader {
    /// Whether the buffer begins with such a frame; what was understood of it is consumed. A frame that
    /// makes no sense is left for whoever reads frames.
    pub(crate) fn begin(buffer: &mut Buffer) -> Option<Self> {
        if buffer.available_data() < NEEDED {
            return None;
        }
        let bytes: Vec<u8> = buffer.parsing_context().iter_elements().take(NEEDED).collect();
        let frame = number(&bytes[3..7]);
        if bytes[0] != HEADER_FRAME || frame <= READ_MAX {
            return None;
        }
        let flags = bytes[FIXED - 2];
        let mut table = FIXED;
        for flag in [0x80, 0x40] {
            if flags & flag != 0 {
                table += 1 + usize::from(bytes[table]);
            }
        }
        let size = number(&bytes[table..table + 4]);
        let tail = (7 + frame).checked_sub(table + 4 + size)? + FRAME_END;
        if flags & 0x20 == 0 || tail > READ_MAX {
            return None;
        }
        buffer.consume(table + 4);
        let start = bytes[..table].to_vec();
        Some(Self { start, size, left: size, tail })
    }

    /// Goes on; gives out the frame with [`SKIPPED_HEADERS`] in its table once all has come.
    pub(crate) fn read(&mut self, buffer: &mut Buffer) -> Option<Vec<u8>> {
        self.left -= buffer.consume(self.left);
        if self.left > 0 || buffer.available_data() < self.tail {
            return None;
        }
        let tail: Vec<u8> = buffer.parsing_context().iter_elements().take(self.tail).collect();
        buffer.consume(self.tail);
        let name = SKIPPED_HEADERS.as_bytes();
        let size = (self.size as u64).to_be_bytes();
        let entry = [&[name.len() as u8][..], name, b"l", &size].concat();
        let length = (entry.len() as u32).to_be_bytes();
        let mut frame = [&self.start[..], &length, &entry, &tail].concat();
        let payload = (frame.len() - 7 - FRAME_END) as u32;
        frame[3..7].copy_from_slice(&payload.to_be_bytes());
        Some(frame)
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
