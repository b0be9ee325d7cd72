//! The page that explains the codes of refusals, from the table in `docs/errors.md`, which is compiled in:
//! what stands there and what a running daemon shows cannot differ. Owns reading that table and the little
//! of Markdown that its cells use.

use std::fmt::Write as _;

use crate::protocol::answers::refusal::Code;

const DOCUMENT: &str = include_str!("../../../../docs/errors.md");

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
    content=\"width=device-width\"><title>telewarden: codes of refusals</title><style>:root{\
    color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;\
    padding:0 1rem}section{border-top:1px solid #8886;padding:.2rem .6rem}section:target{background:\
    #fc05}h2{font-size:1.1rem;margin:.6rem 0 0}h2 a{text-decoration:none}small{font-weight:normal}p{\
    margin:.2rem 0}dt{font-weight:600}dd{margin:0 0 .4rem 1rem}code{overflow-wrap:anywhere}</style>\
    <h1>Codes of refusals</h1><p>Every refusal is a problem document (RFC 9457) with one of these \
    codes. See also <a href=\"/docs/\">the API</a>.</p>";

/// What the document says of a code, as Markdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Advice {
    name: &'static str,
    status: &'static str,
    cause: &'static str,
    cure: &'static str,
}

/// The page: a section for each code, under its name.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for code in Code::ALL {
        let (name, status, title) = (code.name(), code.status(), code.title());
        let advice = all().find(|advice| advice.name == name);
        // Writing to a text cannot fail.
        let _ = write!(
            page,
            "<section id=\"{name}\"><h2><a href=\"#{name}\"><code>{name}</code></a> \
             <small>{status}</small></h2><p>{title}</p>"
        );
        if let Some(Advice { cause, cure, .. }) = advice {
            let (cause, cure) = (markup(cause), markup(cure));
            let _ = write!(page, "<dl><dt>Usual cause<dd>{cause}<dt>Cure<dd>{cure}</dl>");
        }
        page.push_str("</section>");
    }
    page.push_str("</html>");
    page
}

/// The rows of the document's table.
fn all() -> impl Iterator<Item = Advice> {
    DOCUMENT.lines().filter_map(|line| {
        let row = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let (name, rest) = row.split_once("` | ")?;
        let (status, rest) = rest.split_once(" | ")?;
        let (cause, cure) = rest.split_once(" | ")?;
        Some(Advice { name, status, cause, cure })
    })
}

/// Text in which `` `code` `` and `[links](…)` are marked; of a link, which leads to a file that is not
/// here, the words stay.
fn markup(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 64);
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            html.push_str("<code>");
            escape(part, &mut html);
            html.push_str("</code>");
        } else {
            escape(&without_targets(part), &mut html);
        }
    }
    html
}

fn without_targets(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").filter(|(words, _)| !words.contains(['[', ']']));
        let link = link.and_then(|(words, after)| Some((words, after.split_once(')')?.1)));
        plain.push_str(before);
        let Some((words, behind)) = link else {
            plain.push('[');
            rest = after;
            continue;
        };
        plain.push_str(words);
        rest = behind;
    }
    plain.push_str(rest);
    plain
}

fn escape(text: &str, html: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            letter => html.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_section_with_cause_and_cure() {
        let page = page();
        for code in Code::ALL {
            let name = code.name();
            let advice: Vec<_> = all().filter(|advice| advice.name == name).collect();
            assert_eq!(advice.len(), 1, "docs/errors.md says it once: {name}");
            assert_eq!(advice[0].status, code.status().to_string(), "{name}");
            assert!(advice[0].cause.len() > 10 && advice[0].cure.len() > 10, "{name}");
            let (_, section) = page.split_once(&format!("<section id=\"{name}\">")).expect(name);
            let (section, _) = section.split_once("</section>").expect(name);
            assert!(section.contains(code.title()), "{name}");
            for said in [advice[0].cause, advice[0].cure] {
                assert!(section.contains(&markup(said)), "{name}: {said}");
            }
        }
        assert_eq!(all().count(), Code::ALL.len(), "no other code is explained");
    }

    #[test]
    fn the_little_of_markdown_is_understood_and_nothing_is_markup_by_itself() {
        for (text, html) in [
            ("plain", "plain"),
            ("see `a<b>` & \"c\"", "see <code>a&lt;b&gt;</code> &amp; &quot;c&quot;"),
            ("[the bridge](bridge.md), then", "the bridge, then"),
            ("a [b", "a [b"),
            ("[x] (y) [z](w)", "[x] (y) z"),
        ] {
            assert_eq!(markup(text), html, "{text}");
        }
        assert!(!page().contains('`') && !page().contains("]("));
    }
}
