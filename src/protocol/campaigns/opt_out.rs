//! What a reply to a campaign's message means: whether somebody wants no more of it, whether a person should read it
//! first, whether they want to hear from us again. Whole phrases count, after normalising. Pure.

use super::digits::is_mark;
use super::respect::Covers;

/// Phrases of a default list that end everything.
const STOP: &[&str] = &[
    "stop",
    "stop it",
    "stop this",
    "stop all",
    "stopall",
    "unsubscribe",
    "unsubscribe me",
    "opt out",
    "optout",
    "cancel",
    "end",
    "quit",
    "remove me",
    "take me off",
    "take me off your list",
    "leave me alone",
    "no more",
    "go away",
    "spam",
    "стоп",
    "отписка",
    "отписаться",
    "отпишись",
    "отпишите",
    "отпишите меня",
    "отписать",
    "хватит",
    "прекратите",
    "прекрати",
    "отстаньте",
    "отстань",
    "удалите меня",
    "уберите меня",
    "уберите меня из рассылки",
    "отказ",
    "отказываюсь",
    "спам",
    "не беспокоить",
    "не беспокойте",
];
/// Phrases that end messages only.
const STOP_MESSAGES: &[&str] = &[
    "dont write",
    "dont write me",
    "dont write to me",
    "stop writing",
    "stop writing to me",
    "stop messaging me",
    "dont message me",
    "dont text me",
    "do not write to me",
    "do not message me",
    "no messages",
    "no more messages",
    "не пишите",
    "не пишите мне",
    "не пиши",
    "не пиши мне",
    "больше не пишите",
    "больше не пиши",
    "больше не пишите мне",
    "не пишите больше",
    "не пишите мне больше",
    "не надо писать",
    "не надо мне писать",
];
/// Phrases that end invitations to the group only.
const STOP_GROUP: &[&str] = &[
    "remove me from the group",
    "remove me from this group",
    "dont invite me",
    "do not invite me",
    "stop inviting me",
    "dont add me",
    "do not add me",
    "удалите меня из группы",
    "уберите меня из группы",
    "не приглашайте",
    "не приглашайте меня",
    "не добавляйте",
    "не добавляйте меня",
];
/// Phrases by which somebody who has refused wants to hear from us again.
const START: &[&str] = &[
    "start",
    "unstop",
    "subscribe",
    "subscribe me",
    "resume",
    "старт",
    "подписаться",
    "подпишите меня",
    "возобновить",
    "пишите снова",
    "можете писать",
];
/// Beginnings of words that make a reply doubtful when no phrase is whole.
const DOUBTFUL: &[&str] = &[
    "stop",
    "unsubscri",
    "spam",
    "remove",
    "report",
    "block",
    "harass",
    "стоп",
    "отпис",
    "отпиш",
    "спам",
    "хватит",
    "прекрат",
    "отстан",
    "жалоб",
    "пожалуюсь",
    "заблок",
    "удалит",
];
/// Words of politeness, which change nothing about a phrase.
const POLITE: &[&str] = &[
    "please",
    "pls",
    "plz",
    "thanks",
    "thank",
    "you",
    "now",
    "hi",
    "hello",
    "ok",
    "пожалуйста",
    "пож",
    "пжл",
    "спасибо",
    "уже",
    "здравствуйте",
    "привет",
    "прошу",
];
/// Sentences longer than this say more than a doubtful word in them, words.
const DOUBTFUL_WORDS_MAX: usize = 6;
/// Longest text that is read, characters: nobody opts out on page four.
const READ_CHARS_MAX: usize = 2_000;

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// They want no more of this.
    OptOut(Covers),
    /// They may: hold them until a person has read it.
    Doubtful,
    /// They want to hear from us again.
    OptIn,
    /// Nothing of the kind.
    Other,
}

/// The phrases that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrases(Vec<(String, Covers)>);

impl Default for Phrases {
    fn default() -> Self {
        Self::with([])
    }
}

impl Phrases {
    /// The default ones in English and Russian, and more that end everything.
    pub fn with<'a>(more: impl IntoIterator<Item = &'a str>) -> Self {
        let listed = |list: &[&str], covers| -> Vec<_> {
            list.iter().map(|phrase| (normalised(phrase), covers)).collect()
        };
        let mut phrases = listed(STOP, Covers::Everything);
        phrases.extend(listed(STOP_MESSAGES, Covers::Messages));
        phrases.extend(listed(STOP_GROUP, Covers::ThisGroup));
        let own = more.into_iter().map(normalised).filter(|phrase| !phrase.is_empty());
        phrases.extend(own.map(|phrase| (phrase, Covers::Everything)));
        Self(phrases)
    }

    /// What a reply means. Of several sentences the furthest-reaching counts.
    pub fn read(&self, text: &str) -> Reply {
        let text: String = text.chars().take(READ_CHARS_MAX).collect();
        let sentences: Vec<String> = sentences(&text).map(normalised).collect();
        let refusals = sentences.iter().filter_map(|sentence| self.covered(sentence));
        // Ordered by reach.
        match refusals.min() {
            Some(covers @ Covers::Everything) => return Reply::OptOut(covers),
            Some(covers) => {
                // Messages and the group at once are everything.
                let others = sentences.iter().filter_map(|sentence| self.covered(sentence));
                let is_all = others.into_iter().any(|other| other != covers);
                return Reply::OptOut(if is_all { Covers::Everything } else { covers });
            }
            None => {}
        }
        let is_doubtful = |sentence: &String| {
            let words: Vec<&str> = sentence.split(' ').collect();
            let begins = |word: &&str| DOUBTFUL.iter().any(|stem| word.starts_with(stem));
            words.len() <= DOUBTFUL_WORDS_MAX && words.iter().any(begins)
        };
        if sentences.iter().any(is_doubtful) {
            return Reply::Doubtful;
        }
        let is_start =
            |sentence: &String| START.iter().any(|phrase| without_polite(sentence) == *phrase);
        if sentences.iter().any(is_start) { Reply::OptIn } else { Reply::Other }
    }

    fn covered(&self, sentence: &str) -> Option<Covers> {
        let bare = without_polite(sentence);
        let found = self.0.iter().filter(|(phrase, _)| phrase == sentence || *phrase == bare);
        found.map(|(_, covers)| *covers).min()
    }
}

/// Sentences, and the parts of one between commas: each may be a whole phrase.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| {
        matches!(c, '.' | '!' | '?' | '…' | '\n' | '\r' | ';' | ',' | ':' | '(' | ')' | '—')
    };
    text.split(ends).filter(|part| !part.trim().is_empty())
}

/// Lower case, `ё` as `е`, no signs and no marks, single spaces.
fn normalised(text: &str) -> String {
    let kept = text.chars().filter(|c| !is_mark(*c) && !matches!(c, '\'' | '’' | '`'));
    let plain: String = kept
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ё' { 'е' } else { c })
        .map(|c| if c.is_alphanumeric() { c } else { ' ' })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn without_polite(sentence: &str) -> String {
    sentence.split(' ').filter(|word| !POLITE.contains(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_phrases_opt_out_and_parts_of_a_sentence_do_not() {
        let read = |text| Phrases::default().read(text);
        for text in [
            "stop",
            "STOP!!!",
            "Stop. Thank you",
            "Please stop",
            "stop, please",
            "s\u{200b}top",
            "Unsubscribe",
            "СТОП",
            "Стоп, спасибо",
            "Отпишите меня, пожалуйста",
            "Хватит уже",
            "Hello! Who are you? Remove me.",
            "🛑 stop 🛑",
        ] {
            assert_eq!(read(text), Reply::OptOut(Covers::Everything), "{text}");
        }
        for text in [
            "we have got to stop this bill",
            "When does the bus stop at the station near you",
            "Thanks!",
            "",
            "Привет, а сколько стоит?",
            "nonstop",
        ] {
            assert_eq!(read(text), Reply::Other, "{text}");
        }
        for text in ["don't stop", "is this spam?", "как отписаться от вас", "I will report you"]
        {
            assert_eq!(read(text), Reply::Doubtful, "{text}");
        }
    }

    #[test]
    fn messages_and_the_group_are_told_apart() {
        let read = |text| Phrases::default().read(text);
        assert_eq!(read("Don't write to me."), Reply::OptOut(Covers::Messages));
        assert_eq!(read("не пишите мне больше"), Reply::OptOut(Covers::Messages));
        assert_eq!(read("Больше не пишите!"), Reply::OptOut(Covers::Messages));
        assert_eq!(read("Удалите меня из группы"), Reply::OptOut(Covers::ThisGroup));
        assert_eq!(read("Don't add me. Don't write to me."), Reply::OptOut(Covers::Everything));
        assert_eq!(read("start"), Reply::OptIn);
        assert_eq!(read("start? stop"), Reply::OptOut(Covers::Everything));
    }

    #[test]
    fn own_phrases_count_too() {
        let phrases = Phrases::with(["Basta!", " "]);
        assert_eq!(phrases.read("basta"), Reply::OptOut(Covers::Everything));
        assert_eq!(Phrases::default().read("basta"), Reply::Other);
        assert_eq!(phrases.read("..."), Reply::Other);
    }

    proptest! {
        #[test]
        fn a_phrase_is_found_however_it_is_dressed(at in 0..STOP.len(), dots in "[ .!?\n]{0,6}", polite in 0..POLITE.len(), is_upper in any::<bool>()) {
            let phrase = if is_upper { STOP[at].to_uppercase() } else { STOP[at].to_owned() };
            let text = format!("{dots}{phrase}, {}{dots}", POLITE[polite]);
            prop_assert_eq!(Phrases::default().read(&text), Reply::OptOut(Covers::Everything));
        }

        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = Phrases::default().read(&text);
        }
    }
}
