//! Files that people have, and files that nobody should send.

mod book;
mod hostile;
mod json;
mod size;
mod tables;
mod workbooks;

pub(in crate::edge) use hostile::bomb;

use std::io::Cursor;

use super::{FileProblem, Item, Limits, Options, Rejected, Row, Summary, open};
use crate::protocol::campaigns::identity::Country;

/// All that a file gives.
#[derive(Debug)]
struct Read {
    rows: Vec<Row>,
    rejected: Vec<Rejected>,
    summary: Summary,
}

impl Read {
    /// Line and identifier of each row.
    fn people(&self) -> Vec<(u64, String)> {
        self.rows.iter().map(|row| (row.line, row.identifier.to_string())).collect()
    }

    fn refusals(&self) -> Vec<(u64, &str)> {
        self.rejected.iter().map(|row| (row.line, row.value.as_str())).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.summary.notes().iter().map(ToString::to_string).collect()
    }

    fn columns(&self) -> Vec<(&'static str, &str)> {
        self.summary.columns.iter().map(|(name, header)| (*name, header.as_str())).collect()
    }
}

fn read_within(bytes: &[u8], name_hint: Option<&str>, limits: Limits) -> Result<Read, FileProblem> {
    let options =
        Options { name_hint, country: Country::named("RU"), ignores_zones: false, limits };
    let mut rows = open(Cursor::new(bytes), options)?;
    let (mut people, mut rejected) = (Vec::new(), Vec::new());
    for item in rows.by_ref() {
        match item? {
            Item::Row(row) => people.push(*row),
            Item::Rejected(row) => rejected.push(row),
        }
    }
    let summary = rows.summary().clone();
    assert_eq!(summary.rows, summary.accepted + summary.rejected, "the counts add up");
    assert_eq!(summary.accepted, people.len() as u64);
    Ok(Read { rows: people, rejected, summary })
}

fn read(bytes: impl AsRef<[u8]>) -> Read {
    read_within(bytes.as_ref(), None, Limits::default()).expect("a file that is read")
}

fn problem(bytes: impl AsRef<[u8]>) -> FileProblem {
    read_within(bytes.as_ref(), None, Limits::default())
        .map(|read| read.summary)
        .expect_err("a file that is refused")
}

fn people(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(line, who)| (*line, (*who).to_owned())).collect()
}
