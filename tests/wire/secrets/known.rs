//! Secrets that a test knows, and the forms in which they could be told.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Longest piece that is looked for, in bytes: enough to mean it, short enough to find parts.
const PIECE: usize = 24;
/// Shorter texts could stand anywhere by chance, so they count only where they stand alone.
const SHORT: usize = 8;

/// Secrets.
pub(super) struct Known {
    needles: Vec<Needle>,
    /// Which of them begin with these two bytes: a text is walked through once, not once for each.
    by_start: Vec<Vec<usize>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { needles: Vec::new(), by_start: vec![Vec::new(); 1 << 16] }
    }
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
            self.add(what, text.as_bytes().to_vec(), true);
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
                self.add(what, form, false);
            }
        }
    }

    fn add(&mut self, what: &str, form: Vec<u8>, alone: bool) {
        let start = start_of(&form);
        let known = |number: &usize| self.needles[*number].form == form;
        if !self.by_start[start].iter().any(known) {
            self.by_start[start].push(self.needles.len());
            self.needles.push(Needle { what: what.to_owned(), form, alone });
        }
    }

    /// Which of them stand in `text`.
    pub(super) fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let mut found = BTreeSet::new();
        for (at, pair) in text.windows(2).enumerate() {
            for number in &self.by_start[start_of(pair)] {
                if self.needles[*number].is_at(text, at) {
                    found.insert(self.needles[*number].what.as_str());
                }
            }
        }
        found.into_iter().collect()
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
    fn is_at(&self, text: &[u8], at: usize) -> bool {
        // The last three are how an address, a fraction of a second and an id go on.
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b":.-".contains(byte);
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let after = text.get(at + self.form.len());
        let stands_alone = !before.is_some_and(is_part) && !after.is_some_and(is_part);
        text[at..].starts_with(&self.form) && (stands_alone || !self.alone)
    }
}

fn start_of(text: &[u8]) -> usize {
    usize::from(text[0]) << 8 | usize::from(text[1])
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
    assert_eq!(known.found_in(b"{\"code\":\"48213\",\"x\":\"swordfish!\"}"), ["code", "word"]);
    assert!(known.found_in(b"127.0.0.1:48213 2.48213 148213 48213-1 sword fish").is_empty());
}
