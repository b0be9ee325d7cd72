//! Pages of lists: which one is asked for, and what one holds.

/// Longest cursor, in bytes.
pub const CURSOR_MAX: usize = 1024;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Where it begins, as the page before named it; `None`: at the beginning.
    pub cursor: Option<String>,
    /// Rows at most.
    pub limit: usize,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { cursor: None, limit: 50 }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one. Always one that [`is_cursor`] accepts.
    pub next_cursor: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }
}

/// Whether a text can be a cursor: 1 to [`CURSOR_MAX`] visible ASCII characters, so that it can stand in an
/// address. What it says is nobody's business but the one's who made it.
pub fn is_cursor(text: &str) -> bool {
    (1..=CURSOR_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
