//! Whom a message is for: the spellings of `to`. Pure.

use crate::protocol::telegram::chat::{ChatError, ChatRef, ChatSpelling, ChatTarget};
use crate::protocol::values::secret::SecretText;

/// Fewest and most digits of a phone number (E.164 allows 15).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// A chat, a person, a bot or oneself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account's own saved messages.
    Me,
    /// By marked id, public username or invite link; usernames may be a person's or a bot's.
    Chat(ChatTarget),
    /// By phone number, digits only.
    Phone(SecretText),
}

/// Why a target was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a phone number although it begins like one.
    #[error("the phone number must have 5 to 15 digits after its +")]
    BadPhone,
    /// Nothing known.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

impl Target {
    /// Understands `me`, `+79991234512`, and whatever names a chat.
    ///
    /// # Errors
    /// See [`TargetError`]; a phone number is never quoted.
    pub fn parse(spelling: ChatSpelling) -> Result<Self, TargetError> {
        if let ChatSpelling::Text(text) = &spelling {
            let text = text.trim();
            if text.eq_ignore_ascii_case("me") {
                return Ok(Self::Me);
            }
            if let Some(number) = text.strip_prefix('+') {
                return parse_phone(number);
            }
        }
        Ok(Self::Chat(ChatRef::parse(spelling)?.target))
    }
}

fn parse_phone(number: &str) -> Result<Target, TargetError> {
    let digits: String =
        number.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let is_fit =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && PHONE_DIGITS.contains(&digits.len());
    is_fit.then(|| Target::Phone(SecretText::new(digits))).ok_or(TargetError::BadPhone)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::telegram::chat::MarkedId;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(ChatSpelling::Text(text.into()))
    }

    #[test]
    fn every_spelling_finds_its_kind() {
        let phone = Ok(Target::Phone(SecretText::new("79991234512".into())));
        for text in ["+79991234512", " +7 (999) 123-45-12 "] {
            assert_eq!(parse(text), phone, "{text}");
        }
        assert_eq!(parse("Me"), Ok(Target::Me));
        let number = Target::Chat(ChatTarget::Marked(MarkedId(42)));
        assert_eq!(parse("42"), Ok(number.clone()));
        assert_eq!(Target::parse(ChatSpelling::Number(42)), Ok(number));
        let name = Target::Chat(ChatTarget::Username("some_bot".into()));
        assert_eq!(parse("@Some_Bot"), Ok(name.clone()));
        assert_eq!(parse("t.me/some_bot"), Ok(name));
        for text in ["+", "+7999x", "+1234567890123456", "+१२३४५६"] {
            assert_eq!(parse(text), Err(TargetError::BadPhone), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_a_clear_error(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
