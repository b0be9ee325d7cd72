use proptest::prelude::*;

use super::*;
use crate::protocol::messages::message::Entity;
use crate::telegram::convert::entity as translated;

fn read(text: &str, mode: ParseMode) -> (String, Vec<(String, i32, i32)>) {
    let (text, entities) = parse(text, mode).unwrap();
    let short = |entity: MessageEntity| {
        let Entity { kind, offset, length, url, language, .. } = translated(entity);
        let extra = url.or(language).map(|extra| format!(" {extra}")).unwrap_or_default();
        (format!("{kind}{extra}"), offset, length)
    };
    (text, entities.into_iter().map(short).collect())
}

fn check(mode: ParseMode, source: &str, text: &str, entities: &[(&str, i32, i32)]) {
    let expected: Vec<_> = entities
        .iter()
        .map(|(kind, offset, length)| ((*kind).to_owned(), *offset, *length))
        .collect();
    assert_eq!(read(source, mode), (text.to_owned(), expected), "{source}");
}

#[test]
fn markdown_is_that_of_telegrams_apps() {
    let check = |source, text, entities: &[_]| check(ParseMode::Markdown, source, text, entities);
    check("a\nb\n\n1. c", "a\nb\n\n1. c", &[]);
    check("**a** __b__", "a b", &[("bold", 0, 1), ("italic", 2, 1)]);
    check("~~a~~||b||", "ab", &[("strike", 0, 1), ("spoiler", 1, 1)]);
    check("**a __b__**", "a b", &[("bold", 0, 3), ("italic", 2, 1)]);
    check("😀**é**", "😀é", &[("bold", 2, 1)]);
    check("`**a**`", "**a**", &[("code", 0, 5)]);
    check("```rust\nlet a;\n```", "let a;", &[("pre rust", 0, 6)]);
    check("```a b```", "a b", &[("pre", 0, 3)]);
    check("[**a**](http://x/)", "a", &[("text_url http://x/", 0, 1), ("bold", 0, 1)]);
    check(r"\*\*a\*\* \\ \a", r"**a** \ \a", &[]);
    for literal in ["2 ** 3", "a__b", "`", "```", "[a]", "[a](", "[a](b c)", "****", "snake_case*"]
    {
        check(literal, literal, &[]);
    }
    check("**a __b** c__", "a __b c__", &[("bold", 0, 5)]);
}

#[test]
fn html_is_that_of_the_bot_api() {
    let check = |source, text, entities: &[_]| check(ParseMode::Html, source, text, entities);
    check("<b>a</b>\n<EM>b</em>", "a\nb", &[("bold", 0, 1), ("italic", 2, 1)]);
    check("<b>a<u>b</u></b>", "ab", &[("bold", 0, 2), ("underline", 1, 1)]);
    check("&lt;b&gt; &amp;amp; &#128512; &#x41; &bogus; & &;", "<b> &amp; 😀 A &bogus; & &;", &[]);
    check("<a href=\"http://x/?a=1&amp;b\">a</a>", "a", &[("text_url http://x/?a=1&b", 0, 1)]);
    check("<a>a</a><b></b>", "a", &[]);
    check("<span class='tg-spoiler'>a</span>", "a", &[("spoiler", 0, 1)]);
    check("<pre><code class=language-c>a</code></pre>", "a", &[("pre c", 0, 1)]);
    check("<pre>a <code>b</code></pre>", "a b", &[("pre", 0, 3), ("code", 2, 1)]);
    check("<blockquote expandable>a</blockquote>", "a", &[("blockquote", 0, 1)]);
    for (source, error) in [
        ("a < b", MarkupError::OpenTag(2)),
        ("é<x>", MarkupError::UnknownTag(2)),
        ("<span>a</span>", MarkupError::UnknownTag(0)),
        ("<b>a</i>", MarkupError::WrongEnd(4)),
        ("a</b>", MarkupError::WrongEnd(1)),
        ("<b><i>a</i>", MarkupError::Unclosed(1)),
    ] {
        assert_eq!(parse(source, ParseMode::Html), Err(error), "{source}");
    }
}

#[test]
fn telegrams_count_is_in_utf16_units() {
    assert_eq!(measure_markup("<b>😀</b>", ParseMode::Html), Ok((2, 1)));
    let full = format!("{}**bold**", "x".repeat(4_092));
    assert_eq!(measure_markup(&full, ParseMode::Markdown), Ok((4_096, 1)));
    let long = "a".repeat(SOURCE_MAX + 1);
    assert_eq!(measure_markup(&long, ParseMode::Markdown), Err(MarkupError::TooLong));
}

/// Markers, and what surrounds them.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "**",
        "__",
        "~~",
        "||",
        "`",
        "```",
        "[",
        "](",
        ")",
        "\\",
        "\n",
        "a",
        "é",
        "😀",
        " ",
        "<",
        ">",
        "<b>",
        "</b>",
        "<pre>",
        "<code class=\"language-a\">",
        "</code>",
        "</pre>",
        "<a href='",
        "'>",
        "&",
        ";",
        "&lt;",
        "&#x110000;",
        "&#0;",
        "=",
        "\"",
        "tg://user?id=x",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

proptest! {
    /// No text panics, and no entity lies outside of its text or is empty.
    #[test]
    fn hostile_texts_are_understood_or_refused(source in hostile()) {
        for mode in [ParseMode::Markdown, ParseMode::Html] {
            let Ok((text, entities)) = parse(&source, mode) else { continue };
            let length = text.encode_utf16().count() as i32;
            let mut last = 0;
            for entity in entities {
                prop_assert!(entity.offset() >= last && entity.length() > 0);
                prop_assert!(entity.offset() + entity.length() <= length);
                last = entity.offset();
            }
        }
    }

    #[test]
    fn what_is_escaped_is_taken_literally(text in any::<String>()) {
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        prop_assert_eq!(parse(&html, ParseMode::Html), Ok((text.clone(), Vec::new())));
        let mut markdown = String::new();
        for character in text.chars() {
            if character.is_ascii_punctuation() {
                markdown.push('\\');
            }
            markdown.push(character);
        }
        prop_assert_eq!(parse(&markdown, ParseMode::Markdown), Ok((text, Vec::new())));
    }
}

/// Once it took the square of the length, which was half a minute here.
#[test]
fn a_text_that_opens_much_and_closes_nothing_is_read_at_once() {
    let begun = tokio::time::Instant::now();
    for piece in ["[", "*[", "[`", "[**__~~||", "||~~__**[`a", "<b>", "&"] {
        let text = piece.repeat(SOURCE_MAX / piece.len() - 1);
        for text in [text.clone(), text.clone() + "](", text + "**"] {
            let _ = parse(&text, ParseMode::Markdown);
            let _ = parse(&text, ParseMode::Html);
        }
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
