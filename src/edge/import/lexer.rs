//! JSON's tokens (RFC 8259), one by one from a stream of text. Numbers stay as they are spelled. What is nested is
//! skipped with a stack of its own, so that its depth costs neither this program's stack nor, beyond the limit, time.

use std::io::Read;

use super::encoding::Text;
use super::limits::Limits;
use super::problem::FileProblem;

/// What a value begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Object,
    List,
    Text,
    Number,
    /// `true`, `false`, `null`.
    Word,
}

/// A list or an object that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    List,
}

/// Reads tokens.
pub(super) struct Lexer<R> {
    text: Text<R>,
    window: Vec<u8>,
    at: usize,
    line: u64,
    was_cr: bool,
    depth_max: usize,
    /// The text that is being read, kept for its room.
    bytes: Vec<u8>,
}

impl<R: Read> Lexer<R> {
    pub(super) fn new(text: Text<R>, limits: &Limits) -> Self {
        Self {
            text,
            window: Vec::new(),
            at: 0,
            line: 1,
            was_cr: false,
            depth_max: limits.json_depth,
            bytes: Vec::new(),
        }
    }

    /// Physical line of the next byte, counted from one.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn broken(&self, reason: &'static str) -> FileProblem {
        FileProblem::BrokenJson { line: self.line, reason }
    }

    /// The next byte, which stays where it is.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, FileProblem> {
        if self.at == self.window.len() {
            self.window.clear();
            self.at = 0;
            self.text.append_to(&mut self.window)?;
        }
        Ok(self.window.get(self.at).copied())
    }

    pub(super) fn next(&mut self) -> Result<Option<u8>, FileProblem> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.at += 1;
            self.line += u64::from(byte == b'\r' || (byte == b'\n' && !self.was_cr));
            self.was_cr = byte == b'\r';
        }
        Ok(byte)
    }

    /// The next byte behind white space.
    pub(super) fn peek_token(&mut self) -> Result<Option<u8>, FileProblem> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.next()?,
                other => return Ok(other),
            };
        }
    }

    /// Takes a byte if it comes next behind white space.
    pub(super) fn take(&mut self, wanted: u8) -> Result<bool, FileProblem> {
        let is_next = self.peek_token()? == Some(wanted);
        if is_next {
            self.next()?;
        }
        Ok(is_next)
    }

    pub(super) fn expect(&mut self, wanted: u8, reason: &'static str) -> Result<(), FileProblem> {
        if self.take(wanted)? { Ok(()) } else { Err(self.broken(reason)) }
    }

    /// What the next value is.
    pub(super) fn start(&mut self) -> Result<Start, FileProblem> {
        match self.peek_token()? {
            Some(b'{') => Ok(Start::Object),
            Some(b'[') => Ok(Start::List),
            Some(b'"') => Ok(Start::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Start::Number),
            Some(b't' | b'f' | b'n') => Ok(Start::Word),
            Some(_) => Err(self.broken("a value was expected")),
            None => Err(self.broken("it ends in the middle")),
        }
    }

    /// Reads a text into `out`, as far as it has at most `most` bytes; answers whether that was all of it.
    pub(super) fn text(&mut self, out: &mut String, most: usize) -> Result<bool, FileProblem> {
        self.expect(b'"', "a text was expected")?;
        self.bytes.clear();
        let kept_max = most.saturating_add(4);
        let mut is_whole = true;
        loop {
            self.plain_run();
            match self.next()? {
                Some(b'"') => break,
                Some(b'\\') => {
                    let mut buffer = [0; 4];
                    let escaped = self.escape()?;
                    self.bytes.extend_from_slice(escaped.encode_utf8(&mut buffer).as_bytes());
                }
                Some(0..=0x1f) => {
                    return Err(self.broken("a text holds a line break or a control character"));
                }
                Some(byte) => self.bytes.push(byte),
                None => return Err(self.broken("a text is not closed")),
            }
            if self.bytes.len() > kept_max {
                is_whole = false;
                self.bytes.truncate(kept_max);
            }
        }
        let text = String::from_utf8_lossy(&self.bytes);
        is_whole &= text.len() <= most;
        out.push_str(&text[..text.floor_char_boundary(most)]);
        Ok(is_whole)
    }

    /// Takes what needs no care: most of any text.
    fn plain_run(&mut self) {
        let rest = &self.window[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        let run = &rest[..end.unwrap_or(rest.len())];
        if !run.is_empty() {
            self.bytes.extend_from_slice(run);
            self.at += run.len();
            self.was_cr = false;
        }
    }

    fn escape(&mut self) -> Result<char, FileProblem> {
        Ok(match self.next()? {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.broken("a text has an unknown escape")),
        })
    }

    /// `\u0416`, or two for one character. Halves of pairs stand for nothing and become U+FFFD.
    fn unicode(&mut self) -> Result<char, FileProblem> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if self.peek()? != Some(b'\\') {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        self.next()?;
        if self.peek()? != Some(b'u') {
            // A half, and then an escape of its own, which the half swallows.
            return self.escape().map(|_| char::REPLACEMENT_CHARACTER);
        }
        self.next()?;
        let second = self.hex()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
        let pair = low.and_then(|low| char::from_u32(0x10000 + ((first - 0xd800) << 10) + low));
        Ok(pair.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, FileProblem> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next()?.and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.broken("a text has an unknown escape"))?;
        }
        Ok(code)
    }

    /// Reads a number as it is spelled; answers whether it has at most `most` bytes, which is what is kept of it.
    pub(super) fn number(&mut self, out: &mut String, most: usize) -> Result<bool, FileProblem> {
        let start = out.len();
        let mut kept = 0;
        let mut keep = |byte: u8, out: &mut String| {
            if kept < most {
                out.push(char::from(byte));
            }
            kept += 1;
        };
        if self.peek()? == Some(b'-') {
            self.next()?;
            keep(b'-', out);
        }
        let is_zero = self.peek()? == Some(b'0');
        let whole = self.digits(out, &mut keep)?;
        if whole == 0 || (is_zero && whole > 1) {
            return Err(self.broken("a number is misspelled"));
        }
        if self.peek()? == Some(b'.') {
            self.next()?;
            keep(b'.', out);
            if self.digits(out, &mut keep)? == 0 {
                return Err(self.broken("a number is misspelled"));
            }
        }
        if let Some(exponent @ (b'e' | b'E')) = self.peek()? {
            self.next()?;
            keep(exponent, out);
            if let Some(sign @ (b'+' | b'-')) = self.peek()? {
                self.next()?;
                keep(sign, out);
            }
            if self.digits(out, &mut keep)? == 0 {
                return Err(self.broken("a number is misspelled"));
            }
        }
        debug_assert!(out.len() - start <= most, "not more is kept than asked for");
        Ok(kept <= most)
    }

    fn digits(
        &mut self,
        out: &mut String,
        keep: &mut impl FnMut(u8, &mut String),
    ) -> Result<usize, FileProblem> {
        let mut count = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek()? {
            self.next()?;
            keep(digit, out);
            count += 1;
        }
        Ok(count)
    }

    /// Reads `true`, `false` or `null`; `null` is `None`.
    pub(super) fn word(&mut self) -> Result<Option<bool>, FileProblem> {
        let (rest, value): (&[u8], _) = match self.next()? {
            Some(b't') => (b"rue", Some(true)),
            Some(b'f') => (b"alse", Some(false)),
            _ => (b"ull", None),
        };
        for wanted in rest {
            if self.next()? != Some(*wanted) {
                return Err(self.broken("a value was expected"));
            }
        }
        Ok(value)
    }

    /// At a list: whether its first element is an object. Skips the list if not.
    pub(super) fn begins_list_of_objects(&mut self) -> Result<bool, FileProblem> {
        self.next()?;
        if self.peek_token()? == Some(b'{') {
            return Ok(true);
        }
        if self.take(b']')? {
            return Ok(false);
        }
        loop {
            self.skip()?;
            if self.take(b']')? {
                return Ok(false);
            }
            self.expect(b',', "a comma or the list's end was expected")?;
        }
    }

    /// Skips a value with all that is in it.
    pub(super) fn skip(&mut self) -> Result<(), FileProblem> {
        let mut open: Vec<Open> = Vec::new();
        let mut nothing = String::new();
        loop {
            match self.start()? {
                Start::Object => {
                    self.next()?;
                    if !self.take(b'}')? {
                        self.descend(&mut open, Open::Object)?;
                        self.skip_key()?;
                        continue;
                    }
                }
                Start::List => {
                    self.next()?;
                    if !self.take(b']')? {
                        self.descend(&mut open, Open::List)?;
                        continue;
                    }
                }
                Start::Text => drop(self.text(&mut nothing, 0)?),
                Start::Number => drop(self.number(&mut nothing, 0)?),
                Start::Word => drop(self.word()?),
            }
            if self.ascend(&mut open)? {
                return Ok(());
            }
        }
    }

    fn descend(&self, open: &mut Vec<Open>, what: Open) -> Result<(), FileProblem> {
        if open.len() >= self.depth_max {
            return Err(FileProblem::TooDeep { limit: self.depth_max });
        }
        open.push(what);
        Ok(())
    }

    /// Closes what ends here; answers whether everything is closed.
    fn ascend(&mut self, open: &mut Vec<Open>) -> Result<bool, FileProblem> {
        while let Some(inner) = open.last() {
            match (inner, self.peek_token()?) {
                (Open::Object, Some(b',')) => {
                    self.next()?;
                    self.skip_key()?;
                    return Ok(false);
                }
                (Open::List, Some(b',')) => {
                    self.next()?;
                    return Ok(false);
                }
                (Open::Object, Some(b'}')) | (Open::List, Some(b']')) => {
                    self.next()?;
                    open.pop();
                }
                (_, None) => return Err(self.broken("it ends in the middle")),
                _ => return Err(self.broken("a comma or an end was expected")),
            }
        }
        Ok(true)
    }

    fn skip_key(&mut self) -> Result<(), FileProblem> {
        self.peek_token()?;
        self.text(&mut String::new(), 0)?;
        self.expect(b':', "a colon was expected")
    }

    /// Skips to the next line.
    pub(super) fn skip_line(&mut self) -> Result<(), FileProblem> {
        while let Some(byte) = self.next()? {
            if byte == b'\n' {
                break;
            }
        }
        Ok(())
    }
}
