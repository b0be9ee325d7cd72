//! A login as its user is told of it. Plain data.

use super::account::AccountInfo;
use crate::protocol::accounts::owned::PreviousSession;
use crate::protocol::logins::delivery::CodeDelivery;
use crate::protocol::logins::steps::LoginState;
use crate::protocol::users::owner::LoginId;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// What is told of a login. Its link is a secret: whoever has it may have somebody scan it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoginInfo {
    /// Its id.
    pub id: LoginId,
    /// Where it stands.
    pub state: LoginState,
    /// When it is given up.
    pub expires_at: UnixMillis,
    /// The account, once it is connected.
    pub account: Option<AccountInfo>,
    /// What becomes of the session that the account had before.
    pub previous_session: Option<PreviousSession>,
    /// How the code went out, while one is awaited.
    pub code: Option<CodeDelivery>,
    /// The hint that belongs to the password.
    pub hint: Option<String>,
    /// What is shown of the address to which a code for a forgotten password went.
    pub email_pattern: Option<String>,
    /// The link to be scanned, and until when.
    pub link: Option<(SecretText, UnixMillis)>,
    /// Why it cannot go on: code and text.
    pub error: Option<(String, String)>,
}
