//! How a login code goes out, and whether it may be sent once more
//! (<https://core.telegram.org/api/auth#code-types>). Plain data, kept with the login, and pure rules.

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// How a code is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeVia {
    /// A message of Telegram's in the person's other sessions.
    App,
    /// SMS.
    Sms,
    /// A voice says it.
    Call,
    /// It is part of the number that calls.
    CallerNumber,
    /// E-mail.
    Email,
    /// The Fragment platform, for anonymous numbers.
    Fragment,
    /// Something newer than this program.
    #[serde(other)]
    Other,
}

impl CodeVia {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Sms => "sms",
            Self::Call => "call",
            Self::CallerNumber => "caller_number",
            Self::Email => "email",
            Self::Fragment => "fragment",
            Self::Other => "other",
        }
    }
}

/// How the newest code of a login went out, and how it can be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeDelivery {
    /// How it went out.
    pub via: CodeVia,
    /// Its number of characters, where it is known.
    pub length: Option<u32>,
    /// What comes when it is asked for once more; `None`: Telegram offers nothing.
    pub next: Option<NextDelivery>,
}

/// The way that Telegram offers next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NextDelivery {
    /// How the code goes out then.
    pub via: CodeVia,
    /// Seconds that Telegram makes whoever asks wait after the code before; 0 when it names none.
    pub after_seconds: u32,
    /// When they are over, by our clock.
    pub at: UnixMillis,
}

/// Why a code is not sent once more now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoResend {
    /// Telegram offers no further way.
    NothingLeft,
    /// The one before may still arrive.
    TooEarly {
        /// The way that is next.
        via: CodeVia,
        /// Seconds left, at least 1.
        seconds: u64,
    },
}

impl CodeDelivery {
    /// Whether the code may be asked for once more at `now`.
    ///
    /// # Errors
    /// [`NoResend`]: Telegram need not be asked.
    pub fn may_resend(&self, now: UnixMillis) -> Result<(), NoResend> {
        let next = self.next.ok_or(NoResend::NothingLeft)?;
        match u64::try_from(next.at.0.saturating_sub(now.0)) {
            // Never longer than Telegram said, should our clock have been set back.
            Ok(left) if left > 0 => {
                let seconds = left.div_ceil(1_000).min(u64::from(next.after_seconds).max(1));
                Err(NoResend::TooEarly { via: next.via, seconds })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(next: Option<(CodeVia, u32)>, now: i64) -> CodeDelivery {
        let next = next.map(|(via, after_seconds)| {
            let at = UnixMillis(now).plus_ms(i64::from(after_seconds) * 1_000);
            NextDelivery { via, after_seconds, at }
        });
        CodeDelivery { via: CodeVia::App, length: Some(5), next }
    }

    #[test]
    fn a_code_is_sent_once_more_when_its_time_has_come_and_there_is_a_way() {
        let nothing = delivery(None, 0).may_resend(UnixMillis(i64::MAX));
        assert_eq!(nothing, Err(NoResend::NothingLeft));
        assert_eq!(delivery(Some((CodeVia::Sms, 0)), 9_000).may_resend(UnixMillis(9_000)), Ok(()));
        let call = delivery(Some((CodeVia::Call, 60)), 9_000);
        let early = |seconds| Err(NoResend::TooEarly { via: CodeVia::Call, seconds });
        assert_eq!(call.may_resend(UnixMillis(9_000)), early(60));
        assert_eq!(call.may_resend(UnixMillis(68_001)), early(1));
        assert_eq!(call.may_resend(UnixMillis(69_000)), Ok(()));
        assert_eq!(call.may_resend(UnixMillis(-9_000_000)), early(60), "a clock that was set back");
    }

    #[test]
    fn ways_are_kept_by_their_names_and_a_newer_one_is_read() {
        use CodeVia::{App, Call, CallerNumber, Email, Fragment, Other, Sms};
        for via in [App, Sms, Call, CallerNumber, Email, Fragment, Other] {
            assert_eq!(serde_json::to_value(via).unwrap(), via.name());
        }
        let newer: CodeVia = serde_json::from_value("pigeon".into()).unwrap();
        assert_eq!(newer, CodeVia::Other);
    }
}
