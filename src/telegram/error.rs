//! The one place where the library's errors become failure classes.

use std::io::ErrorKind;

use grammers_client::InvocationError;
use grammers_client::sender::ReadError;
use grammers_mtproto::mtp::DeserializeError;
use grammers_mtproto::transport;

use crate::protocol::telegram::failure::{Failure, WaitScope};

/// Pause after the transport says that too many connections were made (429), seconds. Telegram
/// does not name a number there.
const TOO_MANY_CONNECTIONS_SECONDS: u32 = 30;

/// What is said of an answer that no server of Telegram gives.
pub(super) const NO_MTPROTO: &str = "what answers at telegram's address does not speak MTProto; a proxy \
     or another program may stand in between: check the network, and telegram.servers if it is set";

/// What is said when there is no connection, or none any more.
pub(super) fn unconnected(kind: ErrorKind) -> String {
    format!(
        "the connection to telegram failed ({kind}); check that this machine can reach telegram's \
         servers, or those of telegram.servers if it is set"
    )
}

/// Sorts an error of the library. Texts of I/O errors are ours or the system's, never the peer's.
pub(super) fn classify(error: &InvocationError) -> Failure {
    match error {
        InvocationError::Rpc(rpc) => Failure::from_rpc(rpc.code, &rpc.name, rpc.value),
        InvocationError::Io(error) => Failure::transient(unconnected(error.kind())),
        InvocationError::Deserialize(error) => unreadable(error),
        InvocationError::Transport(error) => classify_transport(error),
        InvocationError::Dropped(_) => Failure::transient("the connection ended"),
        InvocationError::InvalidDc => Failure::Rejected { code: "DC_UNKNOWN".into() },
        InvocationError::Session(_) | InvocationError::Authentication(_) => {
            Failure::transient("the server does not know the authorization key (404)")
        }
    }
}

/// Says what it is that cannot be read.
fn unreadable(error: &DeserializeError) -> Failure {
    Failure::unreadable(match error {
        DeserializeError::UnexpectedConstructor { id } => format!(
            "telegram sent something that this version cannot read (constructor {id:08x}); look for \
             a newer telewarden if this stays"
        ),
        DeserializeError::BeyondBounds(bound) => {
            format!("telegram sent something beyond what is read ({bound})")
        }
        DeserializeError::Forbidden(what) => format!("telegram sent what it may not ({what})"),
        DeserializeError::DecompressionFailed => {
            "telegram sent something that cannot be unpacked".into()
        }
        DeserializeError::MessageBufferTooSmall => "telegram sent something cut short".into(),
        DeserializeError::BadAuthKey { .. }
        | DeserializeError::BadMessageId { .. }
        | DeserializeError::NegativeMessageLength { .. }
        | DeserializeError::TooLongMessageLength { .. }
        | DeserializeError::DecryptionError(_) => {
            "telegram sent something that is no message for this connection".into()
        }
    })
}

/// Why a connection ended over which something went on until it did.
pub(super) fn classify_end(end: Option<&ReadError>) -> Failure {
    match end {
        None => Failure::transient("the connection ended"),
        Some(ReadError::Io(_)) => Failure::transient("the server closed the connection"),
        Some(ReadError::Transport(error)) => classify_transport(error),
        Some(ReadError::Deserialize(error)) => unreadable(error),
    }
}

/// Whether the server said that it does not know the key. With a key at hand the library starts
/// a key exchange in one case only: after the transport error 404. So a failed exchange, or our
/// refusal to let a fresh key replace the stored one, says the same.
pub(super) fn is_key_unknown(error: &InvocationError) -> bool {
    match error {
        InvocationError::Session(_) | InvocationError::Authentication(_) => true,
        InvocationError::Transport(transport::Error::BadStatus { status }) => *status == 404,
        _ => false,
    }
}

fn classify_transport(error: &transport::Error) -> Failure {
    match error {
        transport::Error::BadStatus { status: 429 } => Failure::Wait {
            code: "TRANSPORT_FLOOD".into(),
            seconds: TOO_MANY_CONNECTIONS_SECONDS,
            scope: WaitScope::MethodClass,
        },
        transport::Error::BadStatus { status: 404 } => {
            Failure::transient("the server does not know the authorization key (404)")
        }
        transport::Error::BadStatus { status } => {
            Failure::transient(format!("the server refuses the connection ({status})"))
        }
        transport::Error::MissingBytes
        | transport::Error::BadLen { .. }
        | transport::Error::BadSeq { .. }
        | transport::Error::BadCrc { .. } => Failure::transient(NO_MTPROTO),
    }
}

#[cfg(test)]
mod tests {
    use grammers_client::tl;

    use super::*;

    fn said(error_code: i32, error_message: &str) -> Failure {
        let error_message = error_message.to_owned();
        let error = tl::types::RpcError { error_code, error_message };
        classify(&InvocationError::Rpc(error.into()))
    }

    #[test]
    fn a_number_in_a_name_does_not_hide_the_name() {
        let paid = Failure::TargetRefused { code: "ALLOW_PAYMENT_REQUIRED".into() };
        assert_eq!(said(403, "ALLOW_PAYMENT_REQUIRED_50"), paid);
        let Failure::Wait { code, seconds, .. } = said(420, "FLOOD_WAIT_31") else {
            panic!("that is a wait");
        };
        assert_eq!((code.as_str(), seconds), ("FLOOD_WAIT", 31));
        let bot = Failure::TargetRefused { code: "BOT_GROUPS_BLOCKED".into() };
        assert_eq!(said(400, "BOT_GROUPS_BLOCKED"), bot);
    }
}
