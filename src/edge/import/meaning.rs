//! What a header says, in English or Russian and however it is written.

use crate::protocol::campaigns::identity::Hint;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// Whatever names the person: username, phone, id or link.
    Identifier,
    /// Public name.
    Username,
    /// Phone number.
    Phone,
    /// Telegram's id.
    UserId,
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// The time zone they are in.
    Zone,
    /// Anything else: kept in `data` under its header.
    Data,
}

impl Meaning {
    /// The contract's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::Username => "username",
            Self::Phone => "phone",
            Self::UserId => "user_id",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Zone => "zone",
            Self::Data => "data",
        }
    }

    /// Whether it names a person.
    pub(super) fn names_people(self) -> bool {
        self.hint().is_some()
    }

    /// How its values are read, where they name a person.
    pub(super) fn hint(self) -> Option<Hint> {
        match self {
            Self::Identifier => Some(Hint::Any),
            Self::Username => Some(Hint::Username),
            Self::Phone => Some(Hint::Phone),
            Self::UserId => Some(Hint::Id),
            Self::FirstName | Self::LastName | Self::Zone | Self::Data => None,
        }
    }

    /// By a header or a key. Case, spaces, punctuation and the dots of `ё` do not count.
    pub(super) fn of(header: &str) -> Self {
        if header.len() > 256 {
            return Self::Data;
        }
        let letters = header.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric());
        let key: String = letters.map(|c| if c == 'ё' { 'е' } else { c }).collect();
        HEADERS
            .iter()
            .find(|(_, names)| names.contains(&&*key))
            .map_or(Self::Data, |(found, _)| *found)
    }
}

const HEADERS: &[(Meaning, &[&str])] = &[
    (
        Meaning::Identifier,
        &[
            "identifier",
            "target",
            "recipient",
            "contact",
            "telegram",
            "tg",
            "telegramaccount",
            "tgaccount",
            "telegramcontact",
            "telegramlink",
            "tglink",
            "link",
            "user",
            "account",
            "profile",
            "member",
            "идентификатор",
            "получатель",
            "адресат",
            "контакт",
            "контакты",
            "телеграм",
            "телеграмм",
            "тг",
            "тгаккаунт",
            "телеграмаккаунт",
            "ссылкателеграм",
            "ссылкателеграмм",
            "ссылкатг",
            "ссылканателеграм",
            "ссылка",
            "ссылканапрофиль",
            "профиль",
            "пользователь",
            "аккаунт",
            "участник",
        ],
    ),
    (
        Meaning::Username,
        &[
            "username",
            "usernames",
            "login",
            "handle",
            "nick",
            "nickname",
            "screenname",
            "tgusername",
            "telegramusername",
            "usernametelegram",
            "usernametg",
            "telegramhandle",
            "tghandle",
            "telegramlogin",
            "telegramnick",
            "юзернейм",
            "юзернэйм",
            "имяпользователя",
            "логин",
            "ник",
            "никнейм",
            "никтелеграм",
            "никтг",
            "никвтелеграм",
            "логинтелеграм",
            "логинвтелеграм",
            "логинтг",
            "юзернеймтелеграм",
            "юзернеймтг",
            "telegramюзернейм",
            "telegramник",
        ],
    ),
    (
        Meaning::Phone,
        &[
            "phone",
            "phones",
            "phonenumber",
            "phoneno",
            "phone1",
            "mobile",
            "mobilephone",
            "mobilenumber",
            "cell",
            "cellphone",
            "tel",
            "telephone",
            "telephonenumber",
            "msisdn",
            "contactphone",
            "contactnumber",
            "workphone",
            "homephone",
            "whatsapp",
            "tgphone",
            "telegramphone",
            "телефон",
            "телефоны",
            "телефона",
            "телефон1",
            "номер",
            "номертелефона",
            "телефонныйномер",
            "тел",
            "мобильный",
            "мобильныйтелефон",
            "мобильныйномер",
            "номермобильного",
            "моб",
            "мобтел",
            "сотовый",
            "сотовыйтелефон",
            "контактныйтелефон",
            "контактныйномер",
            "рабочийтелефон",
            "телефонклиента",
            "телефонтелеграм",
            "ватсап",
        ],
    ),
    (
        Meaning::UserId,
        &[
            "id",
            "userid",
            "uid",
            "telegramid",
            "tgid",
            "telegramuserid",
            "tguserid",
            "idtelegram",
            "idtg",
            "peerid",
            "accountid",
            "profileid",
            "memberid",
            "ид",
            "айди",
            "idпользователя",
            "идпользователя",
            "айдипользователя",
            "телеграмид",
            "телеграмайди",
            "тгид",
            "тгайди",
            "telegramид",
            "idтелеграм",
            "idтг",
            "idвтелеграм",
            "айдителеграм",
            "идентификаторпользователя",
        ],
    ),
    (
        Meaning::FirstName,
        &[
            "firstname",
            "first",
            "name",
            "fname",
            "givenname",
            "forename",
            "contactname",
            "clientname",
            "имя",
            "имяклиента",
            "имяконтакта",
            "имяподписчика",
        ],
    ),
    (
        Meaning::LastName,
        &[
            "lastname",
            "last",
            "surname",
            "lname",
            "familyname",
            "secondname",
            "фамилия",
            "фамилияклиента",
        ],
    ),
    (
        Meaning::Zone,
        &[
            "timezone",
            "tz",
            "timezonename",
            "timezoneid",
            "tzname",
            "usertimezone",
            "ianatimezone",
            "часовойпояс",
            "часоваязона",
            "временнаязона",
            "таймзона",
            "таймзон",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter_and_no_header_means_two_things() {
        for (header, meaning) in [
            ("First_Name", Meaning::FirstName),
            ("  телефон: ", Meaning::Phone),
            ("№ телефона", Meaning::Phone),
            ("Номер телефона", Meaning::Phone),
            ("Имя пользователя", Meaning::Username),
            ("USER-ID", Meaning::UserId),
            ("Time Zone", Meaning::Zone),
            ("time_zone", Meaning::Zone),
            ("TZ", Meaning::Zone),
            ("Часовой пояс", Meaning::Zone),
            ("", Meaning::Data),
            ("E-mail", Meaning::Data),
        ] {
            assert_eq!(Meaning::of(header), meaning, "{header}");
        }
        let mut all: Vec<&str> =
            HEADERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for (meaning, names) in HEADERS {
            assert!(names.iter().all(|name| Meaning::of(name) == *meaning), "{meaning:?}");
        }
    }
}
