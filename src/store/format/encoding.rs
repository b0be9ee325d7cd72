//! How records look as bytes: a version byte, then JSON for what is written seldom and may grow
//! fields, postcard for what is written often. Owns the encodings; never does IO.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::protocol::accounts::record::Credentials;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};

use crate::store::contract::StoreError;

/// The record version that is written.
const VERSION: u8 = 1;

/// Strips the version byte, refusing versions of newer programs.
pub(in crate::store) fn strip_version<'a>(
    record: &'static str,
    bytes: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((&found, _)) if found > VERSION => Err(StoreError::NewerRecord { record, found }),
        _ => Err(StoreError::Damaged { record, detail: "it has no version" }),
    }
}

/// Encodes a seldom written record.
pub(in crate::store) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value)
        .expect("plain data with text keys, written to memory, always encodes");
    bytes
}

/// The record of fields that are JSON already. Wiped on drop, for what is to be sealed.
pub(in crate::store) fn versioned(json: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&[VERSION][..], json].concat())
}

/// Decodes a seldom written record.
pub(in crate::store) fn from_json<T: DeserializeOwned>(
    record: &'static str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    let json = strip_version(record, bytes)?;
    let damaged = |_| StoreError::Damaged { record, detail: "its fields cannot be read" };
    serde_json::from_slice(json).map_err(damaged)
}

/// Encodes an often written record.
pub(in crate::store) fn to_compact<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION])
        .expect("plain data of known length, written to memory, always encodes")
}

/// Decodes an often written record.
pub(in crate::store) fn from_compact<T: DeserializeOwned>(
    record: &'static str,
    bytes: &[u8],
) -> Result<T, StoreError> {
    let compact = strip_version(record, bytes)?;
    let damaged = |_| StoreError::Damaged { record, detail: "its fields cannot be read" };
    postcard::from_bytes(compact).map_err(damaged)
}

/// A single number.
pub(in crate::store) fn to_number(number: u64) -> Vec<u8> {
    to_compact(&number)
}

/// A cursor as its own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct CursorRecord {
    /// Every event appended before this sequence number was taken into account: cursors in
    /// segments that start below it are older.
    pub(in crate::store) stamp: u64,
    /// The cursor.
    pub(in crate::store) cursor: Cursor,
}

/// The plain form of credentials: datacenter (4 bytes, big-endian), then the key. Wiped on drop.
pub(in crate::store) fn credentials_to_plain(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(5 + AUTH_KEY_LEN));
    plain.push(VERSION);
    plain.extend_from_slice(&credentials.dc_id.to_be_bytes());
    plain.extend_from_slice(credentials.auth_key.expose());
    plain
}

/// The credentials of `account` from their plain form.
pub(in crate::store) fn credentials_from_plain(
    account: AuthKeyId,
    plain: &[u8],
) -> Result<Credentials, StoreError> {
    const RECORD: &str = "credentials";
    let damaged = || StoreError::Damaged { record: RECORD, detail: "its length is wrong" };
    let plain = strip_version(RECORD, plain)?;
    let (dc_id, key) = plain.split_first_chunk::<4>().ok_or_else(damaged)?;
    let key = <&[u8; AUTH_KEY_LEN]>::try_from(key).map_err(|_| damaged())?;
    let auth_key = AuthKey::new(*key);
    Ok(Credentials { account, dc_id: i32::from_be_bytes(*dc_id), auth_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_newer_program_are_refused_not_misread() {
        for bytes in [&[2, 1, 1][..], &[255]] {
            let refused = from_compact::<CursorRecord>("cursor", bytes);
            assert!(matches!(refused, Err(StoreError::NewerRecord { record: "cursor", .. })));
        }
        let refused = from_json::<u64>("job", b"\x02{}");
        assert!(matches!(refused, Err(StoreError::NewerRecord { found: 2, .. })));
    }

    #[test]
    fn damaged_records_are_an_error_and_never_quoted() {
        for bytes in [&b""[..], b"\x00", b"\x01", b"\x01{secret"] {
            let error = from_json::<Vec<u64>>("job", bytes).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { record: "job", .. }));
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn credentials_survive_their_plain_form() {
        let credentials = Credentials {
            account: AuthKeyId(5),
            dc_id: 2,
            auth_key: AuthKey::new(std::array::from_fn(|at| at as u8)),
        };
        let plain = credentials_to_plain(&credentials);
        assert_eq!(credentials_from_plain(AuthKeyId(5), &plain).unwrap(), credentials);
        assert!(credentials_from_plain(AuthKeyId(5), &plain[..200]).is_err());
    }
}
