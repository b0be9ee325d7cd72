//! Session strings of other libraries: Telethon's `StringSession` and Pyrogram's.
//!
//! Telethon: `1` and URL-safe base64 of `dc_id:u8, ip:4|16 bytes, port:u16 BE, auth_key:256`.
//! Pyrogram: URL-safe base64 without padding of one of three layouts (big endian):
//! `dc_id:u8, test:bool, auth_key:256, user_id:u32|u64, is_bot:bool`, and since version 2
//! `dc_id:u8, api_id:u32, test:bool, auth_key:256, user_id:u64, is_bot:bool`.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};

/// Longest text that is looked at; the longest known form has 368 characters.
const TEXT_MAX: usize = 1024;
/// Highest datacenter id. Telegram has five; servers of one's own may have more.
const DC_MAX: u8 = 127;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a session string holds. The address inside is never trusted and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionString {
    /// Home datacenter.
    pub dc_id: i32,
    /// The authorization key.
    pub auth_key: AuthKey,
    /// Application id, in Pyrogram's newer form.
    pub api_id: Option<i32>,
}

/// Why a session string was refused. The text itself is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionStringError {
    /// Nothing there.
    #[error("the session string is empty; send a Telethon StringSession or a Pyrogram one")]
    Empty,
    /// Far too long.
    #[error("the session string is longer than any known form; was something else pasted?")]
    TooLong,
    /// Not base64.
    #[error("the session string is not URL-safe base64; was it cut or changed on its way?")]
    NotBase64,
    /// Decodes to a length that no form has.
    #[error(
        "the session string holds {0} bytes, which no known form has \
         (Telethon: 263 or 275, Pyrogram: 263, 267 or 271); was it cut?"
    )]
    BadLength(usize),
    /// An impossible datacenter.
    #[error("the session string names datacenter {0}; Telegram's are 1 to 5")]
    BadDatacenter(u8),
    /// All bytes of the key are the same.
    #[error("the session string holds no authorization key; was it exported before logging in?")]
    NoKey,
    /// A session of Telegram's test servers.
    #[error("the session string belongs to Telegram's test servers, which are not supported")]
    TestServer,
}

impl SessionString {
    /// Understands a session string of either library.
    pub fn parse(text: &str) -> Result<Self, SessionStringError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SessionStringError::Empty);
        }
        if text.len() > TEXT_MAX {
            return Err(SessionStringError::TooLong);
        }
        // A Pyrogram string begins with the datacenter's high bits, which are never those of `1`.
        match text.strip_prefix('1') {
            Some(rest) => parse_telethon(&decode(rest)?),
            None => parse_pyrogram(&decode(text)?),
        }
    }

    /// Writes Telethon's form with the address it asks for.
    ///
    /// # Errors
    /// [`SessionStringError::BadDatacenter`] when the id does not fit the form.
    pub fn to_telethon(&self, address: SocketAddr) -> Result<String, SessionStringError> {
        let dc_id =
            u8::try_from(self.dc_id).map_err(|_| SessionStringError::BadDatacenter(u8::MAX))?;
        let mut bytes = Zeroizing::new(vec![check_dc(dc_id)?]);
        match address.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.extend(address.port().to_be_bytes());
        bytes.extend(self.auth_key.expose());
        Ok(format!("1{}", BASE64.encode(bytes.as_slice())))
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, SessionStringError> {
    BASE64.decode(text).map(Zeroizing::new).map_err(|_| SessionStringError::NotBase64)
}

fn parse_telethon(bytes: &[u8]) -> Result<SessionString, SessionStringError> {
    let key_at = match bytes.len() {
        263 => 1 + 4 + 2,
        275 => 1 + 16 + 2,
        other => return Err(SessionStringError::BadLength(other)),
    };
    assemble(bytes[0], &bytes[key_at..], None, false)
}

fn parse_pyrogram(bytes: &[u8]) -> Result<SessionString, SessionStringError> {
    match bytes.len() {
        263 | 267 => assemble(bytes[0], &bytes[2..], None, bytes[1] != 0),
        271 => {
            let api_id = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            let api_id = i32::try_from(api_id).ok().filter(|id| *id != 0);
            assemble(bytes[0], &bytes[6..], api_id, bytes[5] != 0)
        }
        other => Err(SessionStringError::BadLength(other)),
    }
}

fn assemble(
    dc_id: u8,
    from_key: &[u8],
    api_id: Option<i32>,
    is_test: bool,
) -> Result<SessionString, SessionStringError> {
    let dc_id = i32::from(check_dc(dc_id)?);
    if is_test {
        return Err(SessionStringError::TestServer);
    }
    let mut key = Zeroizing::new([0u8; AUTH_KEY_LEN]);
    key.copy_from_slice(&from_key[..AUTH_KEY_LEN]);
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(SessionStringError::NoKey);
    }
    Ok(SessionString { dc_id, auth_key: AuthKey::new(*key), api_id })
}

fn check_dc(dc_id: u8) -> Result<u8, SessionStringError> {
    match dc_id {
        1..=DC_MAX => Ok(dc_id),
        other => Err(SessionStringError::BadDatacenter(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> [u8; AUTH_KEY_LEN] {
        std::array::from_fn(|index| index as u8)
    }

    fn pyrogram(head: &[u8], tail: &[u8]) -> String {
        let bytes = [head, &key(), tail].concat();
        BASE64.encode(bytes).trim_end_matches('=').to_owned()
    }

    #[test]
    fn every_published_form_is_understood() {
        let forms = [
            (pyrogram(&[2, 0], &[0; 5]), None),
            (pyrogram(&[2, 0], &[0; 9]), None),
            (pyrogram(&[2, 0, 0, 0x30, 0x39, 0], &[0; 9]), Some(12345)),
        ];
        for (text, api_id) in forms {
            let session = SessionString::parse(&text).unwrap();
            assert_eq!((session.dc_id, session.api_id), (2, api_id));
            assert_eq!(session.auth_key.expose(), &key());
        }
    }

    #[test]
    fn each_fault_is_named() {
        use SessionStringError as E;
        let parse = |text: &str| SessionString::parse(text).unwrap_err();
        assert_eq!(parse("  "), E::Empty);
        assert_eq!(parse(&"A".repeat(2000)), E::TooLong);
        assert_eq!(parse("1####"), E::NotBase64);
        assert_eq!(parse("1AAAA"), E::BadLength(3));
        assert_eq!(parse(&pyrogram(&[0, 0], &[0; 5])), E::BadDatacenter(0));
        assert_eq!(parse(&pyrogram(&[2, 1], &[0; 5])), E::TestServer);
        assert_eq!(parse(&BASE64.encode([2; 263])), E::TestServer);
        let empty = [&[2u8, 0][..], &[0; AUTH_KEY_LEN], &[0; 5]].concat();
        assert_eq!(parse(&BASE64.encode(empty)), E::NoKey);
    }

    proptest! {
        #[test]
        fn any_text_is_a_session_or_a_clear_error(text in any::<String>()) {
            let _ = SessionString::parse(&text);
        }

        #[test]
        fn any_bytes_are_a_session_or_a_clear_error(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                prop::sample::select(vec![263usize, 267, 271, 275])
                    .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
            ],
            telethon in any::<bool>(),
        ) {
            let text = format!("{}{}", if telethon { "1" } else { "" }, BASE64.encode(&bytes));
            let _ = SessionString::parse(&text);
        }

        #[test]
        fn telethons_form_survives_the_round_trip(
            dc_id in 1..=5i32,
            seed in any::<u8>(),
            v6 in any::<bool>(),
            padded in any::<bool>(),
        ) {
            let mut bytes = key();
            bytes[0] = seed;
            let session = SessionString { dc_id, auth_key: AuthKey::new(bytes), api_id: None };
            let ip = if v6 { "::1".parse().unwrap() } else { IpAddr::from([127, 0, 0, 1]) };
            let mut text = session.to_telethon(SocketAddr::new(ip, 443)).unwrap();
            if !padded {
                text = text.trim_end_matches('=').to_owned();
            }
            prop_assert_eq!(SessionString::parse(&text).unwrap(), session);
        }
    }
}
