//! A forgotten two-factor password (<https://core.telegram.org/api/srp#password-recovery>): a code goes to
//! the address that its owner once gave, and who hands it in is let in.

use grammers_client::tl::{enums, functions};

use super::{LoginLink, check_input, signed_in};
use crate::protocol::logins::steps::{LoginFailure, Step};
use crate::protocol::values::secret::SecretText;

impl LoginLink {
    /// Has Telegram mail a code to the account's recovery address. Leads to [`Step::RecoverySent`].
    ///
    /// # Errors
    /// [`LoginFailure::NoRecoveryMail`]; see the others there.
    pub(in crate::telegram) async fn request_recovery(&mut self) -> Result<Step, LoginFailure> {
        let enums::auth::PasswordRecovery::Recovery(sent) =
            self.call(&functions::auth::RequestPasswordRecovery {}).await?;
        Ok(Step::RecoverySent { email_pattern: sent.email_pattern })
    }

    /// Gives the code that was mailed, and no new password: Telegram takes the old one away. Leads to
    /// [`Step::SignedIn`].
    ///
    /// # Errors
    /// [`LoginFailure::CodeInvalid`], [`LoginFailure::RecoveryExpired`]; see the others there.
    pub(in crate::telegram) async fn recover_password(
        &mut self,
        code: &SecretText,
    ) -> Result<Step, LoginFailure> {
        check_input(code, LoginFailure::CodeInvalid)?;
        let code = code.expose().to_owned();
        let request = functions::auth::RecoverPassword { code, new_settings: None };
        signed_in(self.call(&request).await?)
    }
}
