//! Errors a call can be answered with, named as Telegram names them.

use std::borrow::Cow;

/// An `rpc_error`: Telegram's code and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) name: Cow<'static, str>,
}

/// Codes of names that are not plain 400s; a name matches by prefix.
/// Source: <https://core.telegram.org/api/errors> and the error lists of each method.
const CODES: &[(&str, i32)] = &[
    ("FLOOD_WAIT_", 420),
    ("FLOOD_PREMIUM_WAIT_", 420),
    ("SLOWMODE_WAIT_", 420),
    ("TAKEOUT_INIT_DELAY_", 420),
    // Has no number: nothing is to be waited for.
    ("FROZEN_METHOD_INVALID", 420),
    ("PHONE_MIGRATE_", 303),
    ("NETWORK_MIGRATE_", 303),
    ("USER_MIGRATE_", 303),
    ("FILE_MIGRATE_", 303),
    ("AUTH_KEY_DUPLICATED", 406),
    ("PHONE_NUMBER_INVALID", 406),
    ("PHONE_PASSWORD_FLOOD", 406),
    ("SEND_CODE_UNAVAILABLE", 406),
    ("AUTH_KEY_", 401),
    ("SESSION_REVOKED", 401),
    ("SESSION_EXPIRED", 401),
    ("SESSION_PASSWORD_NEEDED", 401),
    ("USER_DEACTIVATED", 401),
    ("CHAT_WRITE_FORBIDDEN", 403),
    ("CHAT_FORBIDDEN", 403),
    ("USER_PRIVACY_RESTRICTED", 403),
    ("USER_IS_BLOCKED", 403),
    ("PRIVACY_PREMIUM_REQUIRED", 403),
    ("USER_NOT_MUTUAL_CONTACT", 403),
    ("USER_CHANNELS_TOO_MUCH", 403),
    ("ALLOW_PAYMENT_REQUIRED", 403),
    ("RANDOM_ID_DUPLICATE", 500),
    ("RPC_CALL_FAIL", 500),
    ("RPC_MCGET_FAIL", 500),
    ("PERSISTENT_TIMESTAMP_OUTDATED", 500),
    ("INTERDC_", 500),
    ("Timedout", -503),
    ("Timeout", -503),
];

impl RpcError {
    /// The error of that name, with the code Telegram gives it.
    pub(crate) fn named(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        let code = CODES.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(400, |c| c.1);
        Self { code, name }
    }

    /// How many seconds a flood wait lasts, if this is one.
    pub(crate) fn wait_seconds(&self) -> Option<u64> {
        ["FLOOD_WAIT_", "FLOOD_PREMIUM_WAIT_"]
            .iter()
            .find_map(|prefix| self.name.strip_prefix(prefix))
            .and_then(|seconds| seconds.parse().ok())
    }
}

impl From<&'static str> for RpcError {
    fn from(name: &'static str) -> Self {
        Self::named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_codes_telegram_gives_them() {
        for (name, code) in [
            ("FLOOD_WAIT_30", 420),
            ("PEER_FLOOD", 400),
            ("FROZEN_METHOD_INVALID", 420),
            ("FROZEN_PARTICIPANT_MISSING", 400),
            ("AUTH_KEY_UNREGISTERED", 401),
            ("AUTH_KEY_DUPLICATED", 406),
            ("USER_DEACTIVATED_BAN", 401),
            ("CHANNEL_PRIVATE", 400),
            ("Timedout", -503),
        ] {
            assert_eq!(RpcError::named(name).code, code, "{name}");
        }
        assert_eq!(RpcError::named("FLOOD_WAIT_30").wait_seconds(), Some(30));
        assert_eq!(RpcError::named("SLOWMODE_WAIT_30").wait_seconds(), None);
    }
}
