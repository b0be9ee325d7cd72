//! What Telegram's links lead to (<https://core.telegram.org/api/links>): of its many kinds only few name
//! a chat. Whatever is not known to name one does not. Pure.

/// Paths of `t.me` that are no public names, and what they lead to. They also are no subdomains. Single
/// letters are too short for a name.
const RESERVED: &[(&str, &str)] = &[
    ("addemoji", "a set of emoji"),
    ("addlist", "a shared folder"),
    ("addstickers", "a set of stickers"),
    ("addstyle", "a style"),
    ("addtheme", "a theme"),
    ("auction", "an auction"),
    ("auth", "a login"),
    ("bg", "a background"),
    ("boost", "a boost"),
    ("call", "a call"),
    ("confirmphone", "the confirmation of a phone number"),
    ("contact", "a contact"),
    ("giftcode", "a gift"),
    ("invoice", "an invoice"),
    ("iv", "a page"),
    ("joinchat", "nothing without the hash of an invite"),
    ("login", "a login"),
    ("m", "a prepared message"),
    ("msg", "a text to share"),
    ("nft", "a gift"),
    ("passport", "a passport"),
    ("proxy", "a proxy"),
    ("setlanguage", "a language"),
    ("share", "a text to share"),
    ("socks", "a proxy"),
    ("web", "an app"),
];

/// Hosts of `t.me` links.
const HOSTS: &[&str] = &["t.me", "telegram.me", "telegram.dog"];

/// What a link names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TelegramLink<'a> {
    /// A chat, person or bot by its public name, as it was written.
    Name(&'a str),
    /// A chat by the hash of an invite.
    Invite(&'a str),
    /// A channel or supergroup by its bare id, as it was written.
    Channel(&'a str),
    /// No chat but this.
    Other(&'static str),
}

/// Reads a `t.me` or `tg:` link; `None` when it is neither.
pub(super) fn read(text: &str) -> Option<TelegramLink<'_>> {
    let text = &text[..text.find('#').unwrap_or(text.len())];
    if let Some(rest) = strip_prefix(text, "tg:") {
        return Some(read_tg(rest.strip_prefix("//").unwrap_or(rest)));
    }
    let rest = ["https://", "http://"].iter().find_map(|scheme| strip_prefix(text, scheme));
    let rest = rest.unwrap_or(text);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    let host = strip_prefix(host, "www.").unwrap_or(host);
    if HOSTS.iter().any(|known| host.eq_ignore_ascii_case(known)) {
        // A bare host is no link.
        return rest.starts_with('/').then(|| read_path(path_of(rest)));
    }
    let name = HOSTS.iter().find_map(|known| strip_suffix(host, known)?.strip_suffix('.'))?;
    Some(reserved(name).map_or(TelegramLink::Name(name), TelegramLink::Other))
}

/// The path of a link behind its host, without its query and the slashes at both ends.
fn path_of(rest: &str) -> &str {
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    rest[..rest.find('?').unwrap_or(rest.len())].trim_end_matches('/')
}

fn read_path(path: &str) -> TelegramLink<'_> {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    if let Some(hash) = first.strip_prefix('+') {
        return plus(hash);
    }
    if first.starts_with('$') {
        return TelegramLink::Other("an invoice");
    }
    match (first.to_ascii_lowercase().as_str(), second) {
        ("joinchat", Some(hash)) => TelegramLink::Invite(hash),
        ("c", Some(bare)) => TelegramLink::Channel(bare),
        // The preview of a public channel in a browser.
        ("s", Some(name)) => reserved(name).map_or(TelegramLink::Name(name), TelegramLink::Other),
        (lower, _) => reserved(lower).map_or(TelegramLink::Name(first), TelegramLink::Other),
    }
}

/// After a plus stands an invite, or, if it is all digits, somebody's phone number.
fn plus(hash: &str) -> TelegramLink<'_> {
    let is_phone = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_digit());
    if is_phone {
        TelegramLink::Other("somebody's phone number")
    } else {
        TelegramLink::Invite(hash)
    }
}

fn read_tg(rest: &str) -> TelegramLink<'_> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let value = |wanted: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == wanted).map(|(_, value)| value)
    };
    match path.as_str() {
        "resolve" => match (value("domain"), value("phone")) {
            (Some(name), None) => {
                reserved(name).map_or(TelegramLink::Name(name), TelegramLink::Other)
            }
            (_, Some(_)) => TelegramLink::Other("somebody's phone number"),
            (None, None) => TelegramLink::Other("nobody"),
        },
        "join" => value("invite")
            .map_or(TelegramLink::Other("no chat without an invite"), TelegramLink::Invite),
        "privatepost" => {
            value("channel").map_or(TelegramLink::Other("no chat"), TelegramLink::Channel)
        }
        _ => TelegramLink::Other("something in an app"),
    }
}

fn reserved(name: &str) -> Option<&'static str> {
    let known = RESERVED.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, what)| *what)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let start = text.len().checked_sub(suffix.len())?;
    let tail = text.get(start..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &text[..start])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the kinds of Telegram's list.
    #[test]
    fn links_that_name_a_chat_are_told_from_those_that_do_not() {
        let name = TelegramLink::Name("durov_chat");
        for text in [
            // Public username links, with what may follow the name.
            "t.me/durov_chat",
            "https://t.me/durov_chat",
            "HTTPS://T.ME/durov_chat/",
            "http://www.t.me/durov_chat?start=x",
            "telegram.me/durov_chat#frag/ment?x",
            "telegram.dog/durov_chat?direct",
            "t.me/durov_chat?boost",
            "t.me/durov_chat?videochat=hash",
            "t.me/durov_chat?startgroup=x&admin=post_messages",
            "t.me/durov_chat?game=x",
            "t.me/durov_chat?text=hi",
            "t.me/durov_chat/appname?startapp=x",
            // Messages, topics, stories, albums.
            "t.me/durov_chat/12?single",
            "t.me/durov_chat/12/34?comment=1&t=2",
            "t.me/durov_chat/s/3",
            "t.me/durov_chat/a/3",
            "t.me/durov_chat/c/3",
            "t.me/s/durov_chat/",
            // The name in the host.
            "durov_chat.t.me",
            "https://durov_chat.t.me/12?single",
            "https://durov_chat.telegram.me",
            "tg:resolve?domain=durov_chat",
            "tg://resolve?domain=durov_chat&post=12&single",
            "TG://resolve/?post=1&domain=durov_chat",
        ] {
            assert_eq!(read(text), Some(name.clone()), "{text}");
        }
        for text in [
            "t.me/+AbC-_1",
            "https://t.me/joinchat/AbC-_1",
            "t.me/JoinChat/AbC-_1/?x",
            "tg://join?invite=AbC-_1",
            "tg:join?invite=AbC-_1#x",
        ] {
            assert_eq!(read(text), Some(TelegramLink::Invite("AbC-_1")), "{text}");
        }
        for text in [
            "t.me/c/1234567890",
            "t.me/c/1234567890/77/5",
            "tg://privatepost?post=7&channel=1234567890",
        ] {
            assert_eq!(read(text), Some(TelegramLink::Channel("1234567890")), "{text}");
        }
        assert_eq!(read("t.me/joinchat/79991234567"), Some(TelegramLink::Invite("79991234567")));
    }

    #[test]
    fn every_other_kind_of_telegrams_list_names_no_chat() {
        for text in [
            "t.me/addlist/AbC",
            "t.me/addstickers/AbC",
            "t.me/addemoji/AbC",
            "t.me/addtheme/AbC",
            "t.me/addstyle/AbC",
            "t.me/auction/AbC",
            "t.me/auth/AbC",
            "t.me/bg/AbC?mode=blur",
            "t.me/boost/durov",
            "t.me/boost?c=1234567890",
            "t.me/call/AbC",
            "t.me/confirmphone?phone=1&hash=2",
            "t.me/contact/AbC:1",
            "t.me/giftcode/AbC",
            "t.me/invoice/AbC",
            "t.me/$AbC",
            "t.me/iv?url=x&rhash=y",
            "t.me/joinchat",
            "t.me/joinchat/?x",
            "t.me/login/1",
            "t.me/LOGIN/1",
            "t.me/m/AbC",
            "t.me/msg?url=x",
            "t.me/nft/AbC-1",
            "t.me/proxy?server=x&port=1&secret=y",
            "t.me/setlanguage/en",
            "t.me/share?url=x",
            "t.me/share/url?url=x",
            "t.me/socks?server=x",
            "t.me/web",
            "t.me/+79991234567",
            "https://t.me/+79991234567?text=x",
            "addlist.t.me/AbC",
            "tg://resolve?phone=79991234567",
            "tg://resolve?phone=79991234567&domain=durov_chat",
            "tg://resolve?domain=login",
            "tg://resolve",
            "tg://join",
            "tg://login?token=x",
            "tg://addlist?slug=AbC",
            "tg://user?id=42",
            "tg://openmessage?user_id=42",
            "tg://settings",
            "tg:",
        ] {
            assert!(matches!(read(text), Some(TelegramLink::Other(_))), "{text}: {:?}", read(text));
        }
        for text in
            ["", "durov_chat", "@durov_chat", "t.me", "t.me?x", "example.org/t.me/x", "xt.me/a"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        /// Nothing that may follow the name, and no case of letters, makes a reserved path a name.
        #[test]
        fn a_reserved_path_never_names_a_chat(
            at in 0..RESERVED.len(), upper in any::<u32>(), rest in "(/[a-zA-Z0-9_+-]{0,12}){0,3}",
            query in "(\\?[a-z=&]{0,10})?", host in 0..HOSTS.len(), scheme in "(https?://)?(www\\.)?",
        ) {
            let cased = |(index, byte): (usize, char)| match upper >> (index % 32) & 1 {
                1 => byte.to_ascii_uppercase(),
                _ => byte,
            };
            let word: String = RESERVED[at].0.chars().enumerate().map(cased).collect();
            let text = format!("{scheme}{}/{word}{rest}{query}", HOSTS[host]);
            let link = read(&text);
            let is_invite = matches!(link, Some(TelegramLink::Invite(_)));
            prop_assert!(matches!(link, Some(TelegramLink::Other(_))) || (is_invite && RESERVED[at].0 == "joinchat"));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,60}", host in 0..HOSTS.len()) {
            let _ = read(&text);
            let _ = read(&format!("{}/{text}", HOSTS[host]));
            let _ = read(&format!("tg:{text}"));
        }
    }
}
