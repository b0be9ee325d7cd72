//! Texts of campaigns: a template is parsed once, and filled for each person in one pass. Values are plain text:
//! neither a variable nor markup ever comes from one. Pure.

use std::fmt;

use super::digits::{is_blank, is_mark};
use crate::protocol::messages::message::{MARKED_BYTES_MAX, TEXT_UNITS_MAX};
use crate::protocol::messages::outgoing::ParseMode;

/// What a template may ask of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// Public name, without `@`.
    Username,
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// Phone number.
    Phone,
}

/// All variables.
pub const VARIABLES: [Variable; 4] =
    [Variable::Username, Variable::FirstName, Variable::LastName, Variable::Phone];

impl Variable {
    /// As templates write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Phone => "phone",
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a person for a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// Public name, without `@`.
    pub username: Option<&'a str>,
    /// First name.
    pub first_name: Option<&'a str>,
    /// Last name.
    pub last_name: Option<&'a str>,
    /// Phone number.
    pub phone: Option<&'a str>,
}

impl<'a> Values<'a> {
    /// The value of a variable. What shows nothing counts as missing.
    pub fn of(&self, variable: Variable) -> Option<&'a str> {
        let value = match variable {
            Variable::Username => self.username,
            Variable::FirstName => self.first_name,
            Variable::LastName => self.last_name,
            Variable::Phone => self.phone,
        };
        value.map(str::trim).filter(|value| !is_blank(value))
    }
}

/// A template that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    mode: Option<ParseMode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { variable: Variable, fallback: Option<String> },
}

/// Why a template was refused. Places are bytes from its begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing to be read.
    #[error("the text is empty")]
    Empty,
    /// More than a message holds, whatever the values are.
    #[error("the text is longer than {MARKED_BYTES_MAX} bytes")]
    TooLong,
    /// No such variable.
    #[error(
        "unknown variable {{{name}}} at byte {at}; there are username, first_name, last_name and phone"
    )]
    Unknown {
        /// What stands between the braces.
        name: String,
        /// Where.
        at: usize,
    },
    /// A brace without its partner; a brace that is meant is written twice.
    #[error("the brace at byte {0} has no partner; write it twice if it is meant as it is")]
    Unclosed(usize),
    /// A variable inside code, a tag or the target of a link, where a value could not be plain text.
    #[error("the variable at byte {0} stands inside code, a tag or the target of a link")]
    InMarkup(usize),
}

/// Why there is no text for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A value is missing and has no fallback: the target is skipped.
    #[error("{{{0}}} is missing and has no fallback")]
    Missing(Variable),
    /// With the values it is more than a message holds.
    #[error("the text has {0} utf-16 units; a message holds {TEXT_UNITS_MAX}")]
    TooLong(usize),
    /// With the values nothing is left.
    #[error("the text is empty")]
    Empty,
}

/// A text for one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// With the template's markup; what came from values is escaped.
    pub source: String,
    /// How it is marked up.
    pub mode: Option<ParseMode>,
    /// Whether there is a link in it: the smaller cap holds.
    pub has_link: bool,
}

/// Texts to people are not for logs.
impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").field("has_link", &self.has_link).finish_non_exhaustive()
    }
}

impl Template {
    /// Understands `{username}`, `{first_name|friend}`, and `{{` and `}}` for braces that are meant.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(text: &str, mode: Option<ParseMode>) -> Result<Self, TemplateError> {
        if text.len() > MARKED_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        if is_blank(text) {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(next) = text[at..].find(['{', '}']).map(|offset| at + offset) {
            literal.push_str(&text[at..next]);
            let rest = &text[next..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                at = next + 2;
                continue;
            }
            let end = rest.find('}').filter(|end| *end > 0).ok_or(TemplateError::Unclosed(next))?;
            let value = value_of(&rest[1..end], next)?;
            if is_inside_markup(&text[..next], mode) {
                return Err(TemplateError::InMarkup(next));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(value);
            at = next + end + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts, mode })
    }

    /// The variables it uses, and whether each has a fallback.
    pub fn variables(&self) -> impl Iterator<Item = (Variable, bool)> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { variable, fallback } => Some((*variable, fallback.is_some())),
            Part::Text(_) => None,
        })
    }

    /// Whether its own text holds a link, whoever it is for. Values can add one: see [`Rendered::has_link`].
    pub fn has_link(&self) -> bool {
        let own = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Value { fallback, .. } => fallback.as_deref().unwrap_or("name"),
        });
        has_link(&own.collect::<String>())
    }

    /// The same with a line below it.
    pub fn has_link_with(&self, line: Option<&str>) -> bool {
        self.has_link() || line.is_some_and(has_link)
    }

    /// The text for somebody.
    ///
    /// # Errors
    /// See [`RenderError`]. Units are counted with markup, so that a marked text near the limit may be refused
    /// although it would fit.
    pub fn render(&self, values: &Values<'_>) -> Result<Rendered, RenderError> {
        let (mut source, mut shown) = (String::new(), String::new());
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    source.push_str(text);
                    shown.push_str(text);
                }
                Part::Value { variable, fallback } => {
                    let value = values.of(*variable).or(fallback.as_deref());
                    let value = one_line(value.ok_or(RenderError::Missing(*variable))?);
                    escape(&value, self.mode, &mut source);
                    shown.push_str(&value);
                }
            }
        }
        let units = shown.encode_utf16().count();
        match (is_blank(&shown), units > TEXT_UNITS_MAX) {
            (true, _) => Err(RenderError::Empty),
            (_, true) => Err(RenderError::TooLong(units)),
            _ => Ok(Rendered { has_link: has_link(&shown), source, mode: self.mode }),
        }
    }
}

impl Rendered {
    /// The same with a line of plain text below it.
    ///
    /// # Errors
    /// [`RenderError::TooLong`] when it does not fit any more.
    pub fn with_line(self, line: &str) -> Result<Self, RenderError> {
        let Self { mut source, mode, has_link: had_link } = self;
        source.push_str("\n\n");
        escape(line, mode, &mut source);
        let units = source.encode_utf16().count();
        if units > TEXT_UNITS_MAX {
            return Err(RenderError::TooLong(units));
        }
        Ok(Self { source, mode, has_link: had_link || has_link(line) })
    }
}

fn value_of(inside: &str, at: usize) -> Result<Part, TemplateError> {
    let (name, fallback) = match inside.split_once('|') {
        Some((name, fallback)) => (name, Some(fallback.trim().to_owned())),
        None => (inside, None),
    };
    let known = VARIABLES.into_iter().find(|variable| variable.name() == name.trim());
    let unknown = || TemplateError::Unknown { name: name.trim().chars().take(64).collect(), at };
    Ok(Part::Value { variable: known.ok_or_else(unknown)?, fallback })
}

/// Whether a value put behind `before` would be read as something else than text.
fn is_inside_markup(before: &str, mode: Option<ParseMode>) -> bool {
    match mode {
        None => false,
        Some(ParseMode::Html) => before.rfind('<') > before.rfind('>'),
        Some(ParseMode::Markdown) => {
            let bare = without_escapes(before);
            // A backtick that never closes is text, but then it is not worth the doubt.
            let is_code = bare.matches('`').count() % 2 == 1;
            let target = bare.rfind("](").is_some_and(|open| !bare[open..].contains(')'));
            is_code || target
        }
    }
}

fn without_escapes(text: &str) -> String {
    let mut kept = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c == '\\' { characters.next().map_or((), drop) } else { kept.push(c) }
    }
    kept
}

/// A value takes no line of its own and turns no direction.
fn one_line(value: &str) -> String {
    let is_joiner =
        |c: char| matches!(c, '\u{200c}' | '\u{200d}' | '\u{300}'..='\u{36f}' | '\u{fe0f}');
    let seen = value.chars().filter(|c| is_joiner(*c) || !is_mark(*c));
    seen.map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
}

/// The same text, so that the mode's reader sees no markup in it.
fn escape(value: &str, mode: Option<ParseMode>, into: &mut String) {
    for c in value.chars() {
        match (mode, c) {
            (Some(ParseMode::Html), '<') => into.push_str("&lt;"),
            (Some(ParseMode::Html), '>') => into.push_str("&gt;"),
            (Some(ParseMode::Html), '&') => into.push_str("&amp;"),
            (Some(ParseMode::Html), '"') => into.push_str("&quot;"),
            (Some(ParseMode::Markdown), c) if c.is_ascii_punctuation() => into.extend(['\\', c]),
            (_, c) => into.push(c),
        }
    }
}

/// Endings that make two words with a dot between them a link in Telegram's apps, beside those of two letters.
const ENDINGS: &[&str] = &[
    "com",
    "net",
    "org",
    "info",
    "biz",
    "name",
    "pro",
    "xyz",
    "top",
    "site",
    "online",
    "shop",
    "store",
    "club",
    "app",
    "dev",
    "link",
    "live",
    "life",
    "world",
    "space",
    "website",
    "tech",
    "art",
    "blog",
    "news",
    "media",
    "agency",
    "digital",
    "cloud",
    "chat",
    "bot",
    "fun",
    "vip",
    "edu",
    "gov",
    "mobi",
    "tel",
    "asia",
    "moscow",
    "рф",
    "рус",
    "дети",
    "онлайн",
    "сайт",
    "орг",
    "ком",
    "москва",
    "бел",
    "укр",
];

/// Whether a text holds something that Telegram's apps make a link of, or a link of markup. Doubtful counts as
/// one: the smaller cap is the safe side.
pub fn has_link(text: &str) -> bool {
    let lower = text.to_lowercase();
    let has_markup = lower.contains("](") || lower.contains("href");
    has_markup || lower.contains("://") || lower.contains("tg:") || lower.contains("www.") || {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        lower.split(|c| !is_part(c)).any(is_host)
    }
}

fn is_host(word: &str) -> bool {
    let word = word.trim_matches(['.', '-', '_']);
    let labels: Vec<&str> = word.split('.').collect();
    let (Some(last), true) = (labels.last(), labels.len() > 1) else { return false };
    let is_ending = ENDINGS.contains(last)
        || last.starts_with("xn--")
        || (last.len() == 2 && last.bytes().all(|byte| byte.is_ascii_lowercase()));
    let is_address = labels.len() == 4 && labels.iter().all(|label| label.parse::<u8>().is_ok());
    (is_ending || is_address) && labels.iter().all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(template: &str, values: Values<'_>) -> Result<String, RenderError> {
        Template::parse(template, None).unwrap().render(&values).map(|text| text.source)
    }

    #[test]
    fn variables_are_filled_once_and_blank_counts_as_missing() {
        let ann = Values { first_name: Some("{phone}"), phone: Some("+1"), ..Values::default() };
        assert_eq!(render("Hi {first_name}, {{x}}", ann).as_deref(), Ok("Hi {phone}, {x}"));
        let nobody = Values { first_name: Some(" \u{200b}\u{3164}"), ..Values::default() };
        assert_eq!(render("Hi {first_name|friend}!", nobody).as_deref(), Ok("Hi friend!"));
        assert_eq!(render("Hi {first_name|}!", nobody).as_deref(), Ok("Hi !"));
        let missing = Err(RenderError::Missing(Variable::FirstName));
        assert_eq!(render("Hi {first_name}!", nobody), missing);
        assert_eq!(render("{first_name|}", nobody), Err(RenderError::Empty));
    }

    #[test]
    fn mistakes_in_a_template_are_named() {
        let parse = |text: &str| Template::parse(text, None).map(drop);
        let unknown = TemplateError::Unknown { name: "nick".into(), at: 3 };
        assert_eq!(parse("Hi {nick}"), Err(unknown));
        assert_eq!(parse("Hi {first_name"), Err(TemplateError::Unclosed(3)));
        assert_eq!(parse("Hi }"), Err(TemplateError::Unclosed(3)));
        assert_eq!(parse(" \n"), Err(TemplateError::Empty));
        assert_eq!(parse(&"x".repeat(MARKED_BYTES_MAX + 1)), Err(TemplateError::TooLong));
        for (text, mode) in [
            ("`{phone}`", ParseMode::Markdown),
            ("[a](http://x/{phone})", ParseMode::Markdown),
            ("<a href=\"{phone}\">a</a>", ParseMode::Html),
        ] {
            let refused = Template::parse(text, Some(mode));
            assert!(matches!(refused, Err(TemplateError::InMarkup(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn markup_never_comes_from_a_value() {
        let star = Values { first_name: Some("*x* <b>&\n_y_"), ..Values::default() };
        let in_mode = |mode| {
            let template = Template::parse("**{first_name}**", Some(mode)).unwrap();
            template.render(&star).unwrap().source
        };
        assert_eq!(in_mode(ParseMode::Markdown), r"**\*x\* \<b\>\& \_y\_**");
        assert_eq!(in_mode(ParseMode::Html), "***x* &lt;b&gt;&amp; _y_**");
        assert_eq!(render("{first_name}", star).as_deref(), Ok("*x* <b>& _y_"));
    }

    #[test]
    fn length_is_measured_with_the_values_in_utf_16_units() {
        let face = "😀".repeat(2_000);
        let long = Values { first_name: Some(&face), ..Values::default() };
        assert!(render(&format!("{}{{first_name}}", "x".repeat(96)), long).is_ok());
        let refused = render(&format!("{}{{first_name}}", "x".repeat(97)), long);
        assert_eq!(refused, Err(RenderError::TooLong(4_097)));
    }

    #[test]
    fn links_are_seen_wherever_they_come_from() {
        for text in [
            "see https://x.y",
            "t.me/durov",
            "Example.COM",
            "пример.рф",
            "[a](b)",
            "<a href=x>",
            "tg:resolve",
            "mail a@b.io",
            "10.0.0.1",
            "www.x",
            "(shop.ru)",
            "end.it",
        ] {
            assert!(has_link(text), "{text}");
        }
        for text in
            ["Hello there. How are you?", "Привет.Как дела", "3.14", "e.g. this", "...", "@durov"]
        {
            assert!(!has_link(text), "{text}");
        }
        let spam = Values { first_name: Some("buy.com"), ..Values::default() };
        let template = Template::parse("Hi {first_name}", None).unwrap();
        assert!(!template.has_link() && template.render(&spam).unwrap().has_link);
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_a_clear_error(text in any::<String>()) {
            match Template::parse(&text, None) {
                Ok(template) => drop(template.render(&Values::default())),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }

        #[test]
        fn a_value_appears_as_it_is_whatever_it_is(value in "[ -~а-я😀]{1,40}") {
            let values = Values { first_name: Some(&value), ..Values::default() };
            if values.of(Variable::FirstName).is_some() {
                let expected = format!("<{}>", value.trim());
                prop_assert_eq!(render("<{first_name}>", values), Ok(expected));
            }
        }
    }
}
