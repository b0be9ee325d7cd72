//! What can be wrong with a configuration, in words that help. Never holds a secret's content.

use std::fmt;
use std::path::PathBuf;

use crate::protocol::values::printable::Printable;

/// Problems that are told one by one. A file that is something else altogether has more.
pub(super) const PROBLEMS_SHOWN_MAX: usize = 50;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file (counted from 1), or the file as a whole.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Settings that do not go together, wherever they come from.
    Settings(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Settings(names) => f.write_str(names),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what is expected instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file may be anybody's text: names of keys, and words of the parser about them.
        write!(f, "{}", Printable(format_args!("{}: {}", self.place, self.what)))
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the configuration: {}", list(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let shown = many.iter().take(PROBLEMS_SHOWN_MAX);
            let mut text = shown.fold(format!("{} problems", many.len()), |text, problem| {
                text + "\n  - " + &problem.to_string()
            });
            if many.len() > PROBLEMS_SHOWN_MAX {
                text += &format!("\n  - and {} more", many.len() - PROBLEMS_SHOWN_MAX);
            }
            text
        }
    }
}

/// The one of `known` that is nearest to `word` by edit distance.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known.min_by_key(|candidate| distance(word, candidate))
}

/// The one of `known` that at most `mistakes` edits turn `word` into.
pub(super) fn nearest_within<T>(
    word: &str,
    mistakes: usize,
    known: impl Iterator<Item = (String, T)>,
) -> Option<T> {
    let candidates = known.map(|(candidate, item)| (distance(word, &candidate), item));
    let (edits, item) = candidates.min_by_key(|(edits, _)| *edits)?;
    (edits <= mistakes).then_some(item)
}

/// Levenshtein's distance: insertions, deletions and replacements that turn `left` into `right`.
/// Only the first 100 characters count, which bounds the work for any input.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
