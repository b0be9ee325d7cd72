//! Secrets that a test knows, and the forms in which they could be told.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Longest piece that is looked for, in bytes: enough to mean it, short enough to find parts.
const PIECE: usize = 24;
/// Shorter texts could stand anywhere by chance, so they count only where they stand alone.
const SHORT: usize = 8;

/// Secrets.
#[derive(Default)]
pub(super) struct Known {
    needles: Vec<Needle>,
}

struct Needle {
    what: String,
    form: Vec<u8>,
    alone: bool,
}

impl Known {
    /// A text, as it is and in every form of its bytes.
    pub(super) fn text(&mut self, what: &str, text: &str) {
        if text.len() < SHORT {
            let (what, form) = (what.to_owned(), text.as_bytes().to_vec());
            self.needles.push(Needle { what, form, alone: true });
        } else {
            self.bytes(what, text.as_bytes());
        }
    }

    /// Bytes: raw, hexadecimal, base64 at any alignment, or as a list of numbers.
    pub(super) fn bytes(&mut self, what: &str, bytes: &[u8]) {
        assert!(bytes.len() >= SHORT, "{what} is too short to be looked for");
        let starts = match bytes.len() {
            0..=PIECE => vec![0],
            length => vec![0, (length - PIECE) / 2, length - PIECE],
        };
        for start in starts {
            let piece = &bytes[start..bytes.len().min(start + PIECE)];
            for form in forms(piece) {
                self.needles.push(Needle { what: what.to_owned(), form, alone: false });
            }
        }
    }

    /// Which of them stand in `text`.
    pub(super) fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let found = self.needles.iter().filter(|needle| needle.is_in(text));
        let mut found: Vec<&str> = found.map(|needle| needle.what.as_str()).collect();
        found.dedup();
        found
    }

    /// What is found in files below `folder` but for those named `except`, as `file: secret`.
    pub(super) fn found_below(&self, folder: &Path, except: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder is read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                found.extend(self.found_below(&path, except));
            } else if !except.contains(&name.as_str()) {
                // A file of the database may go while it is looked at.
                let bytes = std::fs::read(&path).unwrap_or_default();
                let here = self.found_in(&bytes).into_iter();
                found.extend(here.map(|what| format!("{}: {what}", path.display())));
            }
        }
        found
    }
}

impl Needle {
    fn is_in(&self, text: &[u8]) -> bool {
        let mut from = 0;
        while let Some(at) = position(&text[from..], &self.form) {
            let (start, end) = (from + at, from + at + self.form.len());
            // The last two are how an address and a fraction of a second go on.
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b":.-".contains(byte);
            let before = start.checked_sub(1).and_then(|at| text.get(at));
            if !self.alone || !(before.is_some_and(is_part) || text.get(end).is_some_and(is_part)) {
                return true;
            }
            from = start + 1;
        }
        false
    }
}

fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + text[from..].iter().position(|byte| *byte == first)?;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn forms(piece: &[u8]) -> Vec<Vec<u8>> {
    let mut hex = String::new();
    for byte in piece {
        let _ = write!(hex, "{byte:02x}");
    }
    let numbers: Vec<String> = piece.iter().map(u8::to_string).collect();
    let mut forms = vec![
        piece.to_vec(),
        hex.to_ascii_uppercase().into_bytes(),
        hex.into_bytes(),
        numbers.join(",").into_bytes(),
        numbers.join(", ").into_bytes(),
    ];
    for from in 0..3 {
        let rest = piece.get(from..).unwrap_or_default();
        let whole = &rest[..rest.len() / 3 * 3];
        if whole.len() >= 6 {
            forms.extend(
                [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)].map(Into::into),
            );
        }
    }
    forms
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut known = Known::default();
    let key: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(151)).collect();
    known.bytes("key", &key);
    known.text("word", "swordfish!");
    known.text("code", "48213");
    for shift in 0..3 {
        let held = [&b"xyz"[..shift], &key[..], b"!"].concat();
        for text in [STANDARD_NO_PAD.encode(&held), URL_SAFE_NO_PAD.encode(&held)] {
            assert_eq!(known.found_in(text.as_bytes()), ["key"], "at {shift}");
        }
    }
    assert_eq!(known.found_in(format!("{key:?}").as_bytes()), ["key"]);
    assert_eq!(known.found_in(serde_json::to_string(&key).unwrap().as_bytes()), ["key"]);
    assert_eq!(known.found_in(&key), ["key"]);
    assert_eq!(known.found_in(b"{\"code\":\"48213\",\"x\":\"swordfish!\"}"), ["word", "code"]);
    assert!(known.found_in(b"127.0.0.1:48213 2.48213 148213 48213-1 sword fish").is_empty());
}
