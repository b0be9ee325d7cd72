//! The fields of a line of text, for people. Whatever strangers wrote into them stays on the line.

use std::fmt::{self, Write};

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

use crate::protocol::values::printable::Escaping;

/// The longest text of all fields of one event or span, in bytes before it is escaped.
const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// The usual form of fields, on one line, of printable characters only.
pub(super) struct OneLine {
    usual: DefaultFields,
}

impl OneLine {
    pub(super) fn new() -> Self {
        Self { usual: DefaultFields::new() }
    }
}

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        // Without colours of its own: what begins with an escape here was written by somebody else.
        let mut cut = Cut { writer: Escaping(&mut writer), left: FIELDS_BYTES_MAX, is_cut: false };
        self.usual.format_fields(Writer::new(&mut cut), fields)
    }
}

/// Passes on the beginning of what is written.
struct Cut<W> {
    writer: W,
    left: usize,
    is_cut: bool,
}

impl<W: Write> Write for Cut<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left {
            self.left -= text.len();
            return self.writer.write_str(text);
        }
        let part = &text[..text.floor_char_boundary(self.left)];
        self.left = 0;
        self.writer.write_str(part)?;
        if std::mem::replace(&mut self.is_cut, true) {
            return Ok(());
        }
        self.writer.write_char('…')
    }
}
