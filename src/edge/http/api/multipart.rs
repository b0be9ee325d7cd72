//! Bodies in parts (`multipart/form-data`, RFC 7578), read as they come: of a part of any length a few pieces are in
//! memory. Owns the form of such bodies and their bounds; what the parts mean is their reader's. Written here because
//! libraries read ahead whatever the caller has sent.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _};

/// Longest boundary, bytes (RFC 2046 section 5.1.1).
const BOUNDARY_MAX: usize = 70;
/// Longest head of a part, bytes.
const HEAD_MAX: usize = 4 * 1024;
/// Parts of a body, at most.
const PARTS_MAX: usize = 8;
/// What stands before the first part is nothing, or a line break.
const PREAMBLE_MAX: usize = 1024;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartsProblem {
    /// Something else.
    #[error("the body is no multipart/form-data")]
    OtherType,
    /// Without a boundary nobody knows where a part ends.
    #[error("the Content-Type of the body has no boundary, or one that cannot be")]
    NoBoundary,
    /// It does not hold to the form.
    #[error("the body is not well-formed: {0}")]
    Broken(&'static str),
    /// It ends before its last boundary.
    #[error("the body broke off before its end")]
    BrokenOff,
    /// More bytes than are taken.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
}

/// What is known of a part before its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// The field's name.
    pub(super) name: String,
    /// The file's name, where it is one.
    pub(super) file_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Preamble,
    /// Behind a boundary.
    Boundary,
    Content,
    End,
}

/// A body in parts.
pub(super) struct Parts<S> {
    body: S,
    /// What came and was not handed out.
    buffer: Vec<u8>,
    delimiter: Vec<u8>,
    place: Place,
    parts: usize,
    taken: u64,
    max: u64,
}

impl<S, E> Parts<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    /// A body of at most `max` bytes.
    ///
    /// # Errors
    /// When its type is another.
    pub(super) fn new(content_type: &str, body: S, max: u64) -> Result<Self, PartsProblem> {
        let delimiter = [b"\r\n--", boundary(content_type)?.as_bytes()].concat();
        // The first boundary has no line break before it.
        let buffer = b"\r\n".to_vec();
        Ok(Self { body, buffer, delimiter, place: Place::Preamble, parts: 0, taken: 0, max })
    }

    /// The next part; what is left of the one before is passed over. `None` is the end.
    ///
    /// # Errors
    /// When the body cannot be read any further.
    pub(super) async fn next(&mut self) -> Result<Option<PartHead>, PartsProblem> {
        let mut before = 0;
        while self.place == Place::Preamble {
            before += self.content().await?.map_or(0, |piece| piece.len());
            if before > PREAMBLE_MAX {
                return Err(PartsProblem::Broken("it does not begin with its boundary"));
            }
        }
        while self.place == Place::Content {
            self.content().await?;
        }
        if self.place == Place::End || self.is_last().await? {
            self.place = Place::End;
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(PartsProblem::Broken("it has too many parts"));
        }
        let head = self.head().await?;
        self.place = Place::Content;
        Ok(Some(head))
    }

    /// The next piece of the part's content; `None` is its end.
    ///
    /// # Errors
    /// When the body cannot be read any further.
    pub(super) async fn piece(&mut self) -> Result<Option<Vec<u8>>, PartsProblem> {
        match self.place {
            Place::Content => self.content().await,
            _ => Ok(None),
        }
    }

    /// A short content whole; `None` when it is longer than `max` bytes.
    ///
    /// # Errors
    /// When the body cannot be read any further.
    pub(super) async fn short(&mut self, max: usize) -> Result<Option<Vec<u8>>, PartsProblem> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > max {
                return Ok(None);
            }
            whole.extend(piece);
        }
        Ok(Some(whole))
    }

    async fn content(&mut self) -> Result<Option<Vec<u8>>, PartsProblem> {
        loop {
            if let Some(at) = position(&self.buffer, &self.delimiter) {
                if at > 0 {
                    return Ok(Some(self.buffer.drain(..at).collect()));
                }
                self.buffer.drain(..self.delimiter.len());
                self.place = Place::Boundary;
                return Ok(None);
            }
            // The end of what is there may be the beginning of a boundary.
            let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if certain > 0 {
                return Ok(Some(self.buffer.drain(..certain).collect()));
            }
            self.read().await?;
        }
    }

    /// Whether the boundary that was met is the last, whose line has two hyphens more.
    async fn is_last(&mut self) -> Result<bool, PartsProblem> {
        loop {
            let blank = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            self.buffer.drain(..blank);
            match self.buffer.as_slice() {
                [b'-', b'-', ..] => return Ok(true),
                [b'\r', b'\n', ..] => return Ok(false),
                [] | [b'-' | b'\r'] => self.read().await?,
                _ => return Err(PartsProblem::Broken("a line begins with its boundary")),
            }
        }
    }

    /// The head of a part, with the line break before it.
    async fn head(&mut self) -> Result<PartHead, PartsProblem> {
        let end = loop {
            match position(&self.buffer, b"\r\n\r\n") {
                Some(end) => break end,
                None if self.buffer.len() > HEAD_MAX => break HEAD_MAX + 1,
                None => self.read().await?,
            }
        };
        if end > HEAD_MAX {
            return Err(PartsProblem::Broken("the head of a part is too long"));
        }
        let head = head_of(&String::from_utf8_lossy(&self.buffer[..end]));
        self.buffer.drain(..end + 4);
        head
    }

    async fn read(&mut self) -> Result<(), PartsProblem> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.taken += bytes.len() as u64;
                if self.taken > self.max {
                    return Err(PartsProblem::TooLarge(self.max));
                }
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(_)) | None => Err(PartsProblem::BrokenOff),
        }
    }
}

/// Where `wanted` begins in `bytes`.
fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn boundary(content_type: &str) -> Result<String, PartsProblem> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(PartsProblem::OtherType);
    }
    let found = parameter(parameters, "boundary").ok_or(PartsProblem::NoBoundary)?;
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let is_one = (1..=BOUNDARY_MAX).contains(&found.len()) && found.bytes().all(is_fit);
    if is_one && !found.ends_with(' ') { Ok(found) } else { Err(PartsProblem::NoBoundary) }
}

fn head_of(text: &str) -> Result<PartHead, PartsProblem> {
    let mut found = None;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let broken = PartsProblem::Broken("a line in the head of a part has no colon");
        let (name, value) = line.split_once(':').ok_or(broken)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
                let is_form = kind.trim().eq_ignore_ascii_case("form-data");
                let name = parameter(parameters, "name").filter(|_| is_form && found.is_none());
                let broken = PartsProblem::Broken("a part has no name, or two");
                let file_name = parameter(parameters, "filename");
                found = Some(PartHead { name: name.ok_or(broken)?, file_name });
            }
            "content-transfer-encoding" => {
                let coding = value.trim().to_ascii_lowercase();
                if !["7bit", "8bit", "binary"].contains(&coding.as_str()) {
                    return Err(PartsProblem::Broken("a part has a Content-Transfer-Encoding"));
                }
            }
            _ => {}
        }
    }
    found.ok_or(PartsProblem::Broken("a part has no Content-Disposition"))
}

/// A parameter of a header, quoted or not.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_start_matches([';', ' ', '\t']).trim_end();
        let (value, left) = value_of(after.trim_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left;
    }
    None
}

/// A value and what follows it. Browsers write a quote within quotes as `%22`, others as `\"`.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), rest);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            '"' if !is_escaped => return (value, &quoted[at + 1..]),
            '\\' if !is_escaped => is_escaped = true,
            // A path of Windows keeps its backslashes.
            _ => {
                if is_escaped && letter != '"' && letter != '\\' {
                    value.push('\\');
                }
                is_escaped = false;
                value.push(letter);
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"a b\"";

    type Read = Vec<(PartHead, Vec<u8>)>;

    /// Reads a body that comes in pieces of so many bytes.
    fn read(kind: &str, body: &[u8], piece: usize, max: u64) -> Result<Read, PartsProblem> {
        let pieces: Vec<_> = body
            .chunks(piece.max(1))
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut parts = Parts::new(kind, stream::iter(pieces), max)?;
        let mut found = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            while let Some(head) = parts.next().await? {
                let mut content = Vec::new();
                while let Some(piece) = parts.piece().await? {
                    assert!(!piece.is_empty(), "a piece is never empty");
                    content.extend(piece);
                }
                assert!(parts.buffer.len() <= piece + parts.delimiter.len() + HEAD_MAX);
                found.push((head, content));
            }
            Ok(found)
        })
    }

    fn form(boundary: &str, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (head, content) in parts {
            body.extend(format!("--{boundary}\r\n{head}\r\n\r\n").bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        body
    }

    fn named(name: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"")
    }

    #[test]
    fn heads_are_read_as_browsers_and_programs_write_them() {
        for (head, name, file_name) in [
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"a.csv\"",
                "file",
                Some("a.csv"),
            ),
            (
                "content-disposition:form-data;name=file;filename=a.csv\r\nX-Y: z",
                "file",
                Some("a.csv"),
            ),
            (
                "Content-Type: text/csv\r\nContent-Disposition: form-data; filename=\"\"; name=\"x\"",
                "x",
                Some(""),
            ),
            ("Content-Disposition: form-data; name=\"a\\\"b;c=d\"", "a\"b;c=d", None),
            (
                "Content-Disposition: form-data; name=\"f\"; filename=\"C:\\dir\\б.csv\"",
                "f",
                Some("C:\\dir\\б.csv"),
            ),
            (
                "Content-Transfer-Encoding: 8bit\r\nContent-Disposition: form-data; name=f",
                "f",
                None,
            ),
        ] {
            let body = form("a b", &[(head, b"x")]);
            let expected = PartHead { name: name.into(), file_name: file_name.map(str::to_owned) };
            assert_eq!(read(TYPE, &body, 7, 10_000), Ok(vec![(expected, b"x".to_vec())]), "{head}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_told_and_never_guessed() {
        use PartsProblem as P;
        let whole = form("a b", &[(&named("x"), b"content")]);
        assert_eq!(read("application/json", &whole, 9, 999).unwrap_err(), P::OtherType);
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=\"a\r\nb\"",
            &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        ] {
            assert_eq!(read(kind, &whole, 9, 999).unwrap_err(), P::NoBoundary, "{kind}");
        }
        for cut in [0, 3, 20, whole.len() - 5, whole.len() - 12] {
            assert_eq!(read(TYPE, &whole[..cut], 9, 999).unwrap_err(), P::BrokenOff, "{cut}");
        }
        assert_eq!(read(TYPE, &whole, 9, 30).unwrap_err(), P::TooLarge(30));
        let other = form("other", &[(&named("x"), &[b'x'; 5_000])]);
        let wrong = read(TYPE, &other, 999, 99_999).unwrap_err();
        assert_eq!(wrong, P::Broken("it does not begin with its boundary"));
        for (head, content) in [
            ("", &b"x"[..]),
            ("Content-Disposition: attachment; name=x", b"x"),
            ("Content-Disposition: form-data", b"x"),
            ("nothing", b"x"),
            ("Content-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=f", b"x"),
            (&format!("{}\r\nX: {}", named("x"), "y".repeat(HEAD_MAX)), b"x"),
            (&named("x"), b"\r\n--a bc"),
        ] {
            let body = form("a b", &[(head, content)]);
            let told = read(TYPE, &body, 11, 99_999).unwrap_err();
            assert!(matches!(told, P::Broken(_)), "{head}: {told:?}");
        }
        let name = named("x");
        let many: Vec<(&str, &[u8])> = vec![(&name, b""); PARTS_MAX + 1];
        assert!(matches!(read(TYPE, &form("a b", &many), 50, 99_999), Err(P::Broken(_))));
    }

    proptest! {
        #[test]
        fn contents_come_out_as_they_went_in_however_the_body_is_cut(
            contents in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'a'), any::<u8>()], 0..300),
                0..4,
            ),
            piece in 1_usize..64,
        ) {
            let names: Vec<String> = (0..contents.len()).map(|at| named(&format!("f{at}"))).collect();
            let parts: Vec<(&str, &[u8])> =
                names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
            // A boundary that no content has.
            let found = read("multipart/form-data; boundary=+unlikely:1", &form("+unlikely:1", &parts), piece, 99_999);
            let found = found.unwrap();
            prop_assert_eq!(found.len(), contents.len());
            for (at, ((head, read), given)) in found.iter().zip(&contents).enumerate() {
                prop_assert_eq!(&head.name, &format!("f{at}"));
                prop_assert_eq!(read, given);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'a'), Just(b' '), Just(b'b'), any::<u8>()], 0..400), piece in 1_usize..40) {
            let _ = read(TYPE, &body, piece, 300);
        }
    }
}
