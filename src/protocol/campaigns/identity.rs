//! The normaliser of identifiers: who a line of an import, a field of the API or an entry of a suppression list
//! means. One for all of them, so that two spellings of one person are one person. Pure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digits::{is_mark, plain};
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, ChatTarget};

/// Fewest and most digits of a phone number with its country code. E.164 allows 15 and names no least; no
/// country's are shorter than seven.
pub const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longest text that is looked at, bytes: a link with all its trimmings is shorter.
pub const TEXT_BYTES_MAX: usize = 256;

/// A person as somebody named them, in the one form that names are compared in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identifier {
    /// Telegram's id.
    Id(i64),
    /// A public name, lower case, without `@`.
    Username(Box<str>),
    /// A phone number: the digits of E.164 as one number, country code first.
    Phone(u64),
}

/// What a text is said to be: a column of an import has one meaning, a field of the API any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Whatever it looks like.
    Any,
    /// A phone number, perhaps without its country.
    Phone,
    /// A public name.
    Username,
    /// Telegram's id.
    Id,
}

/// Where phone numbers without a country code are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166 name of two letters.
    pub name: &'static str,
    /// Country code.
    pub code: &'static str,
    /// What is dialled before a number within the country.
    pub trunk: &'static str,
    /// Digits of a number behind country code and trunk prefix.
    pub digits: (usize, usize),
}

/// Countries that may be the default one (ITU-T E.164 and the national numbering plans filed with the ITU).
const COUNTRIES: &[Country] = &[
    country("RU", "7", "8", (10, 10)),
    country("KZ", "7", "8", (10, 10)),
    country("BY", "375", "80", (9, 9)),
    country("UA", "380", "0", (9, 9)),
    country("UZ", "998", "", (9, 9)),
    country("KG", "996", "0", (9, 9)),
    country("TJ", "992", "", (9, 9)),
    country("AM", "374", "0", (8, 8)),
    country("AZ", "994", "0", (9, 9)),
    country("GE", "995", "0", (9, 9)),
    country("MD", "373", "0", (8, 8)),
    country("US", "1", "1", (10, 10)),
    country("CA", "1", "1", (10, 10)),
    country("GB", "44", "0", (9, 10)),
    country("DE", "49", "0", (6, 11)),
    country("FR", "33", "0", (9, 9)),
    country("ES", "34", "", (9, 9)),
    country("IT", "39", "", (6, 11)),
    country("PL", "48", "", (9, 9)),
    country("TR", "90", "0", (10, 10)),
    country("IL", "972", "0", (8, 9)),
    country("IN", "91", "0", (10, 10)),
    country("AE", "971", "0", (8, 9)),
    country("BR", "55", "0", (10, 11)),
];

const fn country(
    name: &'static str,
    code: &'static str,
    trunk: &'static str,
    digits: (usize, usize),
) -> Country {
    Country { name, code, trunk, digits }
}

impl Country {
    /// By its ISO 3166 name of two letters, in any case.
    pub fn named(name: &str) -> Option<Self> {
        COUNTRIES.iter().find(|known| known.name.eq_ignore_ascii_case(name)).copied()
    }
}

/// Why a text is no identifier. The text itself is not in it: it may be somebody's phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Far longer than any identifier.
    #[error("it is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// A phone number with an extension: whoever answers there is not one person.
    #[error("a phone number with an extension names no person at telegram")]
    Extension,
    /// `7.99912E+10`: a spreadsheet has thrown digits away.
    #[error("the number is in scientific notation and has lost digits; format the column as text")]
    LostDigits,
    /// A number with a fraction.
    #[error("it is a number with a fraction")]
    Fraction,
    /// No phone number of any country, or not enough of one.
    #[error("a phone number has 7 to 15 digits with its country code")]
    BadPhone,
    /// A national number, and no default country.
    #[error("the phone number has no country code; write it with + or set a default country")]
    NoCountry,
    /// Ids of people are positive and fit into 63 bits.
    #[error("it is no id of a person")]
    BadId,
    /// A name that Telegram does not give.
    #[error("telegram has no such usernames (4 to 32 of a-z, 0-9 and single _, a letter first)")]
    BadUsername,
    /// Letters that look like Latin ones and are none.
    #[error("it holds letters of another alphabet that look like latin ones")]
    LookAlike,
    /// A link or an id of a group, a channel, a set of stickers.
    #[error("it names no person")]
    NotAPerson,
    /// None of the three.
    #[error("it is neither @username, nor a user id, nor +phone")]
    Unrecognised,
}

impl Identifier {
    /// Understands whatever people write. `country` is where phone numbers without a country code are from.
    ///
    /// # Errors
    /// See [`IdentifierError`].
    pub fn parse(
        text: &str,
        hint: Hint,
        country: Option<Country>,
    ) -> Result<Self, IdentifierError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(IdentifierError::TooLong);
        }
        let text: String = text.chars().filter(|c| !is_mark(*c)).map(plain).collect();
        // What spreadsheets put before a number that is to stay text.
        let text = text.trim().trim_start_matches('\'').trim();
        if text.is_empty() {
            return Err(IdentifierError::Empty);
        }
        if let Some(linked) = linked_number(text) {
            return linked;
        }
        match hint {
            Hint::Phone => phone(text, country),
            Hint::Id => id(text),
            Hint::Username => username(text),
            Hint::Any => anything(text, country),
        }
    }

    /// A JSON number, which has no fraction and no lost digits.
    ///
    /// # Errors
    /// When it is no id of a person.
    pub fn of_number(number: i64) -> Result<Self, IdentifierError> {
        if number > 0 { Ok(Self::Id(number)) } else { Err(IdentifierError::BadId) }
    }

    /// Reads what [`fmt::Display`] has written, and nothing else.
    fn canonical(text: &str) -> Option<Self> {
        let (known, rest) = match text.as_bytes().first()? {
            b'@' => (Self::Username(text[1..].into()), None),
            b'+' => (Self::Phone(text[1..].parse().ok()?), Some(&text[1..])),
            _ => (Self::Id(text.parse().ok()?), None),
        };
        let is_phone = rest.is_none_or(|digits| PHONE_DIGITS.contains(&digits.len()));
        (is_phone && known.to_string() == text).then_some(known)
    }

    /// Bytes that it holds outside of itself.
    pub fn heap_bytes(&self) -> usize {
        if let Self::Username(name) = self { name.len() } else { 0 }
    }
}

/// The form that is stored and shown: `@name`, `+79991234567`, `123`.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Username(name) => write!(f, "@{name}"),
            Self::Phone(digits) => write!(f, "+{digits}"),
        }
    }
}

/// For logs: a phone number shows its last two digits.
impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(digits) => write!(f, "+…{:02}", digits % 100),
            other => fmt::Display::fmt(other, f),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::canonical(&text).ok_or_else(|| serde::de::Error::custom("not an identifier"))
    }
}

/// Links that lead to a person by number.
fn linked_number(text: &str) -> Option<Result<Identifier, IdentifierError>> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_start_matches("www.");
    let value = |prefixes: &[&str]| {
        let rest = prefixes.iter().find_map(|prefix| bare.strip_prefix(prefix))?;
        let end = rest.find(['&', '#', '?', '/']).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    if let Some(digits) = value(&["tg://user?id=", "tg:user?id="]) {
        return Some(id(&digits));
    }
    let to_phone = value(&["tg://resolve?phone=", "tg:resolve?phone="]).or_else(|| {
        let plus = value(&["t.me/+", "telegram.me/+", "telegram.dog/+"])?;
        // Else it is the hash of an invite.
        plus.bytes().all(|byte| byte.is_ascii_digit()).then_some(plus)
    })?;
    Some(phone(&format!("+{}", to_phone.trim_start_matches('+')), None))
}

fn anything(text: &str, country: Option<Country>) -> Result<Identifier, IdentifierError> {
    if text.starts_with('@') {
        return username(text);
    }
    if text.starts_with('+') || text.to_ascii_lowercase().starts_with("tel:") {
        return phone(text, country);
    }
    let looks_like_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '(');
    if !looks_like_number {
        return if text.starts_with('-') { id(text) } else { username(text) };
    }
    let number = whole_number(text)?;
    match &number {
        // Bare digits are an id, except where they can only be a number dialled within the country.
        Some(digits) => match country.filter(|country| is_dialled(digits, *country)) {
            Some(country) => phone(digits, Some(country)),
            None => id(digits),
        },
        None => phone(text, country),
    }
}

/// Whether digits begin with the country's trunk prefix (or `00`) and are as long as a number behind it.
fn is_dialled(digits: &str, country: Country) -> bool {
    if digits.starts_with("00") {
        return PHONE_DIGITS.contains(&(digits.len() - 2));
    }
    // In North America a number with its trunk prefix looks like any id.
    let has_trunk = !country.trunk.is_empty() && country.trunk != country.code;
    has_trunk && national(digits, country).is_some_and(|rest| rest.len() < digits.len())
}

/// The digits of a number without its trunk prefix.
fn national(digits: &str, country: Country) -> Option<&str> {
    let fits = |rest: &&str| (country.digits.0..=country.digits.1).contains(&rest.len());
    let behind = digits.strip_prefix(country.trunk).filter(|_| !country.trunk.is_empty());
    behind.filter(fits).or_else(|| Some(digits).filter(fits))
}

/// The digits of a number as spreadsheets write it: `7.9991234567E+10`, `79991234567.0`, `79991234567`. `None`
/// when it is not written as one number.
fn whole_number(text: &str) -> Result<Option<String>, IdentifierError> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()),
        None => (text, Some(0)),
    };
    let mantissa = mantissa.replace(',', ".");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !whole.is_empty() && all_digits(whole) && all_digits(fraction);
    let (true, Some(exponent)) = (is_number, exponent) else { return Ok(None) };
    let is_plain = !text.contains(['e', 'E']);
    if is_plain {
        let has_fraction = fraction.bytes().any(|digit| digit != b'0');
        return match (has_fraction, mantissa.contains('.') && fraction.len() > 2) {
            (false, false) => Ok(Some(whole.to_owned())),
            // `999.123.45`-like spellings have more than one dot and are no numbers; this one has a fraction.
            (true, _) if fraction.len() != 3 => Err(IdentifierError::Fraction),
            _ => Ok(None),
        };
    }
    let places = usize::try_from(exponent).ok().filter(|places| *places <= 30);
    let Some(places) = places else { return Err(IdentifierError::LostDigits) };
    let significant = fraction.trim_end_matches('0');
    if significant.len() > places {
        return Err(IdentifierError::Fraction);
    }
    // Zeros that nobody wrote stand for digits that were thrown away.
    if fraction.len() < places {
        return Err(IdentifierError::LostDigits);
    }
    Ok(Some(format!("{whole}{}", &fraction[..places])))
}

fn id(text: &str) -> Result<Identifier, IdentifierError> {
    if text.starts_with('-') {
        return Err(IdentifierError::NotAPerson);
    }
    let digits = whole_number(text)?.ok_or(IdentifierError::BadId)?;
    let number = digits.parse::<i64>().map_err(|_| IdentifierError::BadId)?;
    Identifier::of_number(number)
}

fn username(text: &str) -> Result<Identifier, IdentifierError> {
    if !text.is_ascii() {
        let is_letter = text.chars().any(|c| !c.is_ascii() && c.is_alphabetic());
        return Err(if is_letter {
            IdentifierError::LookAlike
        } else {
            IdentifierError::Unrecognised
        });
    }
    let text =
        text.strip_prefix('@').map_or(text, |rest| if rest.starts_with('@') { text } else { rest });
    let is_link = text.contains(['/', ':', '.']);
    if !is_link && text.contains(char::is_whitespace) {
        return Err(IdentifierError::Unrecognised);
    }
    match ChatRef::parse(ChatSpelling::Text(text.to_owned())).map(|chat| chat.target) {
        Ok(ChatTarget::Username(name)) if is_username(&name) => {
            Ok(Identifier::Username(name.into_boxed_str()))
        }
        Ok(ChatTarget::Username(_)) => Err(IdentifierError::BadUsername),
        Ok(ChatTarget::Marked(id)) if id.0 > 0 => Ok(Identifier::Id(id.0)),
        Ok(ChatTarget::Marked(_) | ChatTarget::Invite(_)) => Err(IdentifierError::NotAPerson),
        Err(_) if is_link => Err(IdentifierError::NotAPerson),
        Err(_) => Err(IdentifierError::BadUsername),
    }
}

/// What Telegram's own clients ask of a name beyond its letters and length.
fn is_username(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('_')
        && !name.contains("__")
}

fn phone(text: &str, country: Option<Country>) -> Result<Identifier, IdentifierError> {
    let lower = text.to_lowercase();
    let lower = lower.strip_prefix("tel:").unwrap_or(&lower).trim();
    if has_extension(lower) {
        return Err(IdentifierError::Extension);
    }
    let number = whole_number(lower.strip_prefix('+').unwrap_or(lower));
    let spelled = match number {
        Ok(Some(digits)) if lower.starts_with('+') => format!("+{digits}"),
        Ok(Some(digits)) => digits,
        Ok(None) => lower.to_owned(),
        Err(error @ IdentifierError::LostDigits) => return Err(error),
        // `8.9991234567` is a spelling of a number, and not a fraction.
        Err(_) => lower.to_owned(),
    };
    // The zero of `+44 (0) 20` is for callers within the country.
    let spelled = if spelled.starts_with('+') { spelled.replace("(0)", "") } else { spelled };
    let (is_international, rest) = match spelled.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, spelled.as_str()),
    };
    let is_filler = |c: char| c.is_whitespace() || matches!(c, '-' | '(' | ')' | '.' | '/');
    let digits: String = rest.chars().filter(|c| !is_filler(*c)).collect();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(IdentifierError::BadPhone);
    }
    match (is_international, digits.strip_prefix("00"), country) {
        (true, _, _) => e164(&digits),
        (false, Some(rest), _) => e164(rest),
        (false, None, Some(country)) => domestic(&digits, country),
        (false, None, None) => Err(IdentifierError::NoCountry),
    }
}

/// A number without a plus, in a country: with its country code, or as it is dialled there.
fn domestic(digits: &str, country: Country) -> Result<Identifier, IdentifierError> {
    if let Some(rest) = national(digits, country) {
        return e164(&format!("{}{rest}", country.code));
    }
    e164(digits)
}

fn has_extension(lower: &str) -> bool {
    const WORDS: &[&str] = &["ext", "доб", "вн", "#", ";", "x", "х", "*", ","];
    let tail = lower.find(|c: char| c.is_ascii_digit()).map_or("", |first| &lower[first..]);
    let at = WORDS.iter().filter_map(|word| tail.find(word)).min();
    // `7,99E+10` is one number in a country that writes commas.
    let is_number = whole_number(lower.trim_start_matches('+')) != Ok(None);
    !is_number && at.is_some_and(|at| tail[at..].bytes().any(|byte| byte.is_ascii_digit()))
}

/// Checks what is known of every country, and of the two codes whose numbers all have one length.
fn e164(digits: &str) -> Result<Identifier, IdentifierError> {
    let is_fit = PHONE_DIGITS.contains(&digits.len()) && !digits.starts_with('0');
    let has_length = !digits.starts_with(['7', '1']) || digits.len() == 11;
    match digits.parse() {
        Ok(number) if is_fit && has_length => Ok(Identifier::Phone(number)),
        _ => Err(IdentifierError::BadPhone),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_russia(text: &str) -> Result<String, IdentifierError> {
        Identifier::parse(text, Hint::Any, Country::named("ru")).map(|known| known.to_string())
    }

    #[test]
    fn spellings_of_one_person_are_one_identifier() {
        for text in [
            "+7 (999) 123-45-67",
            "8 999 123 45 67",
            "8(999)1234567",
            "89991234567",
            "007 999 123-45-67",
            "tel:+7-999-123-45-67",
            "'+79991234567",
            "\u{202a}+7\u{a0}999\u{2011}123\u{2013}45\u{2013}67\u{202c}",
            "＋７９９９１２３４５６７",
            "+٧٩٩٩١٢٣٤٥٦٧",
            "https://t.me/+79991234567",
            "tg://resolve?phone=79991234567",
            "(999) 123-45-67",
        ] {
            assert_eq!(in_russia(text).as_deref(), Ok("+79991234567"), "{text}");
        }
        for text in [
            "@Durov",
            "durov",
            "https://t.me/durov?start=1",
            "t.me/Durov/",
            "tg://resolve?domain=durov",
            " @durov\u{200b}",
        ] {
            assert_eq!(in_russia(text).as_deref(), Ok("@durov"), "{text}");
        }
        for text in [
            "123456789",
            "123456789.0",
            "1.23456789E+8",
            "1,23456789e8",
            "tg://user?id=123456789",
            "١٢٣٤٥٦٧٨٩",
        ] {
            assert_eq!(in_russia(text).as_deref(), Ok("123456789"), "{text}");
        }
    }

    #[test]
    fn a_column_of_phones_takes_what_spreadsheets_make_of_them() {
        let read = |text, country| {
            let found = Identifier::parse(text, Hint::Phone, Country::named(country));
            found.map(|known| known.to_string())
        };
        for text in
            ["79991234567", "7.9991234567E+10", "79991234567.0", "9991234567", "8.999.123.45.67"]
        {
            assert_eq!(read(text, "RU").as_deref(), Ok("+79991234567"), "{text}");
        }
        assert_eq!(read("020 7946 0018", "GB").as_deref(), Ok("+442079460018"));
        assert_eq!(read("+44 (0) 20 7946 0018", "").as_deref(), Ok("+442079460018"));
        assert_eq!(read("8029 123-45-67", "BY").as_deref(), Ok("+375291234567"));
        assert_eq!(read("(415) 555-2671", "US").as_deref(), Ok("+14155552671"));
        assert_eq!(read("9991234567", ""), Err(IdentifierError::NoCountry));
        assert_eq!(read("7.99912E+10", "RU"), Err(IdentifierError::LostDigits));
        assert_eq!(read("7,99912E+10", "RU"), Err(IdentifierError::LostDigits));
    }

    #[test]
    fn what_names_nobody_is_refused_with_its_reason() {
        use IdentifierError as E;
        for (text, error) in [
            ("", E::Empty),
            ("\u{200b} \u{feff}", E::Empty),
            ("+7 999 123-45-67 ext. 12", E::Extension),
            ("+7 999 123-45-67 доб 12", E::Extension),
            ("8 999 123-45-67x3", E::Extension),
            ("+79991234567;ext=4", E::Extension),
            ("+7 999 123", E::BadPhone),
            ("+0123456789", E::BadPhone),
            ("+7999123456789", E::BadPhone),
            ("7.99912E+10", E::LostDigits),
            ("12.5", E::Fraction),
            ("-1001234567890", E::NotAPerson),
            ("0", E::BadId),
            ("99999999999999999999", E::BadId),
            ("@durоv", E::LookAlike),
            ("@ｄurov", E::LookAlike),
            ("@abc", E::BadUsername),
            ("@_durov", E::BadUsername),
            ("@durov_", E::BadUsername),
            ("@du__rov", E::BadUsername),
            ("@@durov", E::BadUsername),
            ("t.me/+AbCdEf", E::NotAPerson),
            ("t.me/addstickers/Cats", E::NotAPerson),
            ("https://example.org/durov", E::NotAPerson),
            ("Ivan Petrov", E::Unrecognised),
        ] {
            assert_eq!(in_russia(text), Err(error), "{text:?}");
        }
        assert_eq!(in_russia(&"9".repeat(300)), Err(E::TooLong));
    }

    #[test]
    fn ids_beyond_what_a_float_holds_stay_exact() {
        let wide = (1_i64 << 53) + 1;
        assert_eq!(in_russia(&wide.to_string()), Ok(wide.to_string()));
        assert_eq!(Identifier::of_number(wide), Ok(Identifier::Id(wide)));
        assert_eq!(Identifier::of_number(-5), Err(IdentifierError::BadId));
    }

    #[test]
    fn stored_identifiers_read_back_and_logs_hide_phones() {
        for text in ["@durov", "+79991234567", "89991234567"] {
            let json = format!("{text:?}");
            let read: Identifier = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        assert!(serde_json::from_str::<Identifier>("\"+07\"").is_err());
        assert_eq!(format!("{:?}", Identifier::Phone(79_991_234_567)), "+…67");
    }

    /// Pieces of which identifiers and their mistakes are made.
    fn spelled() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "+",
            "7",
            "8",
            "999",
            "1234567",
            "00",
            " ",
            "-",
            "(",
            ")",
            ".",
            ",",
            "E+",
            "e",
            "@",
            "durov",
            "t.me/",
            "tg://",
            "resolve?phone=",
            "user?id=",
            "x",
            "ext",
            "\u{200e}",
            "٣",
            "о",
            "_",
            "https://",
            "0",
            "'",
        ]);
        prop_oneof![
            any::<String>(),
            prop::collection::vec(pieces, 0..10).prop_map(|pieces| pieces.concat()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn any_text_is_an_identifier_or_a_clear_error(
            text in spelled(),
            hint in prop::sample::select(vec![Hint::Any, Hint::Phone, Hint::Username, Hint::Id]),
            country in prop::sample::select(vec!["", "RU", "BY", "GB", "US", "IT"]),
        ) {
            let country = Country::named(country);
            match Identifier::parse(&text, hint, country) {
                Err(error) => prop_assert!(!error.to_string().is_empty()),
                Ok(known) => {
                    // Normalising is idempotent, and what is stored reads back.
                    let shown = known.to_string();
                    prop_assert_eq!(Identifier::parse(&shown, Hint::Any, None), Ok(known.clone()));
                    prop_assert_eq!(Identifier::canonical(&shown), Some(known.clone()));
                    if !matches!(known, Identifier::Id(_)) {
                        prop_assert_eq!(Identifier::parse(&shown, Hint::Any, country), Ok(known));
                    }
                }
            }
        }

        #[test]
        fn marks_and_fillers_change_nothing(digits in 1_000_000_000_u64..9_999_999_999, at in 0..10_usize) {
            let plain = format!("+7{digits}");
            let mut dressed = plain.clone();
            dressed.insert_str(1 + at, "\u{200f}\u{a0}-");
            prop_assert_eq!(in_russia(&dressed), in_russia(&plain));
            prop_assert_eq!(in_russia(&format!("8{digits}")), in_russia(&plain));
        }
    }
}
