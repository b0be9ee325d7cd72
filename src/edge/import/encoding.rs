//! From bytes to text: a mark of byte order where there is one, UTF-16 of both orders, UTF-8, and else Windows-1251,
//! which is what spreadsheet programs write in Russian. One pass to find out which, one to read; neither holds more
//! than a block.

use std::io::{self, Read, Seek};

use encoding_rs::{
    CoderResult, Decoder, Encoding as Charset, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1251,
};

use super::sniff::fill;

/// Bytes that are read at a time.
const BLOCK_BYTES: usize = 32 * 1024;

/// How a file's text is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    charset: &'static Charset,
    /// Bytes of the mark of byte order.
    mark: usize,
    /// UTF-8 with a few bytes that are none.
    pub(super) is_damaged: bool,
}

impl Encoding {
    /// As people and the Encoding Standard name it.
    pub(super) fn name(self) -> &'static str {
        self.charset.name()
    }

    /// Reads the whole file once, and leaves it at the beginning.
    pub(super) fn detect<R: Read + Seek>(reader: &mut R) -> io::Result<Self> {
        reader.rewind()?;
        let mut block = vec![0; BLOCK_BYTES];
        let filled = fill(reader, &mut block)?;
        let found = match Self::marked(&block[..filled]) {
            Some(found) => found,
            None => Self::guessed(reader, &mut block, filled)?,
        };
        reader.rewind()?;
        Ok(found)
    }

    fn marked(head: &[u8]) -> Option<Self> {
        let (charset, mark) = Charset::for_bom(head)?;
        Some(Self { charset, mark, is_damaged: false })
    }

    fn guessed<R: Read>(reader: &mut R, block: &mut [u8], filled: usize) -> io::Result<Self> {
        if looks_like_utf16(&block[..filled]) {
            let is_big = zeros(&block[..filled], 0) > zeros(&block[..filled], 1);
            let charset = if is_big { UTF_16BE } else { UTF_16LE };
            return Ok(Self { charset, mark: 0, is_damaged: false });
        }
        let mut counts = Utf8Counts::default();
        let mut filled = filled;
        loop {
            let carried = counts.take(&block[..filled]);
            if filled < block.len() {
                counts.wrong += u64::from(carried > 0);
                break;
            }
            block.copy_within(filled - carried.., 0);
            filled = carried + fill(reader, &mut block[carried..])?;
        }
        // A text in UTF-8 may have been cut in the middle of a character; one in Windows-1251 has hardly any
        // sequence that is UTF-8 by chance.
        let is_utf8 = counts.wrong == 0 || counts.right > counts.wrong.saturating_mul(20);
        let charset = if is_utf8 { UTF_8 } else { WINDOWS_1251 };
        Ok(Self { charset, mark: 0, is_damaged: is_utf8 && counts.wrong > 0 })
    }
}

/// Characters beyond ASCII that are UTF-8, and places that are not.
#[derive(Default)]
struct Utf8Counts {
    right: u64,
    wrong: u64,
}

impl Utf8Counts {
    /// Answers how many bytes at the end are the beginning of a character.
    fn take(&mut self, mut bytes: &[u8]) -> usize {
        loop {
            let (good, wrong) = match std::str::from_utf8(bytes) {
                Ok(text) => (text, None),
                Err(error) => {
                    let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("");
                    (good, Some(error.error_len()))
                }
            };
            if !good.is_ascii() {
                self.right += good.chars().filter(|c| !c.is_ascii()).count() as u64;
            }
            bytes = &bytes[good.len()..];
            match wrong {
                None => return 0,
                Some(None) => return bytes.len(),
                Some(Some(length)) => {
                    self.wrong += 1;
                    bytes = &bytes[length..];
                }
            }
        }
    }
}

/// Whether every other byte is mostly zero, as in phone numbers and separators in UTF-16, or a mark says so.
pub(super) fn looks_like_utf16(head: &[u8]) -> bool {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return true;
    }
    let half = head.len() / 2;
    let (even, odd) = (zeros(head, 0), zeros(head, 1));
    half > 1 && (even.max(odd) * 5 > half) && even.min(odd) * 20 < even.max(odd) + 20
}

fn zeros(head: &[u8], from: usize) -> usize {
    head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count()
}

/// A file as UTF-8. What cannot be decoded becomes U+FFFD.
pub(super) struct Text<R> {
    reader: R,
    decoder: Decoder,
    block: Box<[u8]>,
    /// Part of the block that is not decoded yet.
    left: std::ops::Range<usize>,
    is_done: bool,
}

impl<R: Read> Text<R> {
    /// From the beginning of the file.
    pub(super) fn new(mut reader: R, encoding: Encoding) -> io::Result<Self> {
        let mut mark = [0; 4];
        fill(&mut reader, &mut mark[..encoding.mark])?;
        Ok(Self {
            reader,
            decoder: encoding.charset.new_decoder_without_bom_handling(),
            block: vec![0; BLOCK_BYTES].into_boxed_slice(),
            left: 0..0,
            is_done: false,
        })
    }

    /// Appends the next piece, and answers whether there was one. A piece is at most 96 KiB.
    pub(super) fn append_to(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        let before = text.len();
        while text.len() == before && !self.is_done {
            if self.left.is_empty() {
                self.left = 0..fill(&mut self.reader, &mut self.block)?;
            }
            self.is_done = self.left.end < self.block.len();
            // The most that any of the charsets grows by.
            let room = self.decoder.max_utf8_buffer_length(self.left.len()).unwrap_or(0);
            text.resize(before + room, 0);
            let source = &self.block[self.left.clone()];
            let (result, read, written, _) =
                self.decoder.decode_to_utf8(source, &mut text[before..], self.is_done);
            debug_assert_eq!(result, CoderResult::InputEmpty, "there is room for all of it");
            self.left.start += read;
            text.truncate(before + written);
        }
        Ok(text.len() > before)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (&'static str, String) {
        let mut reader = Cursor::new(bytes);
        let encoding = Encoding::detect(&mut reader).unwrap();
        let mut text = Text::new(reader, encoding).unwrap();
        let mut all = Vec::new();
        while text.append_to(&mut all).unwrap() {}
        (encoding.name(), String::from_utf8(all).unwrap())
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    const TABLE: &str = "Имя;Телефон;username\r\nАнна;+79991234567;@anna\r\n";

    #[test]
    fn encodings_that_people_have_are_told_apart() {
        let marked = |mark: &str| format!("{mark}{TABLE}");
        let cyrillic = WINDOWS_1251.encode(TABLE).0.into_owned();
        for (bytes, name) in [
            (TABLE.as_bytes().to_vec(), "UTF-8"),
            (marked("\u{feff}").into_bytes(), "UTF-8"),
            (utf16(TABLE, u16::to_le_bytes), "UTF-16LE"),
            (utf16(TABLE, u16::to_be_bytes), "UTF-16BE"),
            (utf16(&marked("\u{feff}"), u16::to_le_bytes), "UTF-16LE"),
            (utf16(&marked("\u{feff}"), u16::to_be_bytes), "UTF-16BE"),
            (cyrillic, "windows-1251"),
        ] {
            assert_eq!(read(&bytes), (name, TABLE.to_owned()));
        }
    }

    #[test]
    fn one_wrong_byte_makes_no_other_encoding() {
        let mut bytes = TABLE.repeat(20).into_bytes();
        bytes.push(0xd0);
        let (name, text) = read(&bytes);
        assert_eq!(name, "UTF-8");
        assert!(text.ends_with('\u{fffd}') && text.starts_with(TABLE));
    }

    #[test]
    fn a_character_across_blocks_stays_one() {
        for shift in 0..4 {
            let text = format!("{}{}", "a".repeat(shift), "ж€😀".repeat(20_000));
            assert_eq!(read(text.as_bytes()), ("UTF-8", text.clone()));
            let wide = utf16(&format!("\u{feff}{text}"), u16::to_be_bytes);
            assert_eq!(read(&wide), ("UTF-16BE", text));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_text(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
            read(&bytes);
        }

        #[test]
        fn utf8_stays_what_it_is(text in "[^\u{0}\u{feff}]{0,200}") {
            prop_assert_eq!(read(text.as_bytes()).1, text);
        }
    }
}
