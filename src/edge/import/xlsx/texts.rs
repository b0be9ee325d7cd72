//! A workbook's table of shared texts, which cells name by number and which therefore has to be in memory: packed,
//! without an allocation for each. A million phones and a million usernames take 30 MiB so; as a `Vec<String>`, with which
//! `calamine` has them, 91 (`tests/size.rs`).

use super::super::problem::FileProblem;

/// Bytes of a block. Texts lie within one.
const BLOCK_BYTES: usize = 256 * 1024;
/// Of so many texts, the place of the first is kept; the others are found by their lengths.
const STRIDE: usize = 8;
/// Places in a piece of the index, which grows without being copied.
const PIECE_PLACES: usize = 16 * 1024;
/// A length of a byte; longer ones follow in two bytes.
const LONG: u8 = u8::MAX;

/// The texts, by number.
#[derive(Debug, Default)]
pub(super) struct Texts {
    blocks: Vec<Vec<u8>>,
    places: Vec<Vec<u32>>,
    count: usize,
    bytes_max: usize,
}

impl Texts {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Appends a text of at most 65,535 bytes.
    ///
    /// # Errors
    /// When there are more than may be in memory.
    pub(super) fn push(&mut self, text: &str) -> Result<(), FileProblem> {
        let length = u16::try_from(text.len()).map_err(|_| FileProblem::TooManyTexts)?;
        let needed = text.len() + 3;
        if self.blocks.last().is_none_or(|block| block.len() + needed > BLOCK_BYTES) {
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        }
        let number = self.blocks.len() - 1;
        if self.count.is_multiple_of(STRIDE) {
            let at = number * BLOCK_BYTES + self.blocks[number].len();
            self.index(u32::try_from(at).map_err(|_| FileProblem::TooManyTexts)?);
        }
        if self.blocks.len() * BLOCK_BYTES + self.places.len() * PIECE_PLACES * 4 > self.bytes_max {
            return Err(FileProblem::TooManyTexts);
        }
        let block = &mut self.blocks[number];
        match u8::try_from(length) {
            Ok(short) if short != LONG => block.push(short),
            _ => {
                block.push(LONG);
                block.extend_from_slice(&length.to_le_bytes());
            }
        }
        block.extend_from_slice(text.as_bytes());
        self.count += 1;
        Ok(())
    }

    fn index(&mut self, place: u32) {
        if self.places.last().is_none_or(|piece| piece.len() == PIECE_PLACES) {
            self.places.push(Vec::with_capacity(PIECE_PLACES));
        }
        if let Some(piece) = self.places.last_mut() {
            piece.push(place);
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&str> {
        if number >= self.count {
            return None;
        }
        let first = number / STRIDE;
        let place = *self.places.get(first / PIECE_PLACES)?.get(first % PIECE_PLACES)? as usize;
        let (mut block, mut at) = (place / BLOCK_BYTES, place % BLOCK_BYTES);
        let mut left = number % STRIDE;
        loop {
            if at == self.blocks.get(block)?.len() {
                (block, at) = (block + 1, 0);
                continue;
            }
            let bytes = &self.blocks[block];
            let (start, length) = match bytes[at] {
                LONG => (at + 3, usize::from(u16::from_le_bytes([bytes[at + 1], bytes[at + 2]]))),
                short => (at + 1, usize::from(short)),
            };
            if left == 0 {
                return std::str::from_utf8(&bytes[start..start + length]).ok();
            }
            (left, at) = (left - 1, start + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_all_lengths_come_back_by_number() {
        let mut texts = Texts::new(64 * 1024 * 1024);
        let all: Vec<String> =
            (0..5_000_usize).map(|at| "ж".repeat(at * 7 % 600) + &at.to_string()).collect();
        all.iter().for_each(|text| texts.push(text).unwrap());
        for (at, text) in all.iter().enumerate() {
            assert_eq!(texts.get(at), Some(text.as_str()), "{at}");
        }
        assert_eq!(texts.get(all.len()), None);
        assert_eq!(Texts::new(0).get(0), None);
    }

    #[test]
    fn more_than_the_memory_allows_is_refused() {
        let mut texts = Texts::new(1024 * 1024);
        let result =
            (0..1_000_000).try_for_each(|at: u32| texts.push(&format!("text number {at}")));
        assert!(matches!(result, Err(FileProblem::TooManyTexts)));
        assert!(texts.count > 10_000);
    }

    proptest! {
        #[test]
        fn any_texts_come_back(all in prop::collection::vec(".{0,300}", 0..40)) {
            let mut texts = Texts::new(1024 * 1024);
            for text in &all {
                texts.push(text).unwrap();
            }
            for (at, text) in all.iter().enumerate() {
                prop_assert_eq!(texts.get(at), Some(text.as_str()));
            }
        }
    }
}
