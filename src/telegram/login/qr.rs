//! Logging in by a QR code (<https://core.telegram.org/api/qr-login>): a token is shown, a phone
//! scans it, the server tells us so, and the token is exchanged for the account.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammers_client::session::updates::UpdatesLike;
use grammers_client::tl::enums::{Update, Updates, auth::LoginToken as Answer};
use grammers_client::tl::functions;
use tokio::time::timeout;

use super::{HOPS_MAX, LoginLink};
use crate::protocol::logins::steps::{LoginFailure, LoginToken, Step};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::secret::SecretText;

impl LoginLink {
    /// Asks for a token, or, once it was scanned, for the account: leads to [`Step::Token`] until
    /// then, and to [`Step::SignedIn`] or [`Step::PasswordNeeded`] afterwards. May move the login to
    /// another datacenter.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    pub(in crate::telegram) async fn export_token(&mut self) -> Result<Step, LoginFailure> {
        let request = functions::auth::ExportLoginToken {
            api_id: self.options.dial.api_id,
            api_hash: self.options.api_hash.expose().to_owned(),
            except_ids: Vec::new(),
        };
        let mut answer = self.call(&request).await;
        for _ in 0..HOPS_MAX {
            let moved = match answer {
                Ok(Answer::MigrateTo(moved)) => moved,
                answer => return self.scanned(answer).await,
            };
            self.move_to(moved.dc_id).await?;
            answer = self.call(&functions::auth::ImportLoginToken { token: moved.token }).await;
        }
        self.scanned(answer).await
    }

    async fn scanned(
        &mut self,
        answer: Result<Answer, LoginFailure>,
    ) -> Result<Step, LoginFailure> {
        match answer {
            Ok(Answer::Token(token)) => {
                // How long it is good for is told by a date of the server's.
                self.caller.learn_time().await;
                let url = format!("tg://login?token={}", URL_SAFE_NO_PAD.encode(token.token));
                let expires_at = i64::from(token.expires);
                Ok(Step::Token(LoginToken { url: SecretText::new(url), expires_at }))
            }
            Ok(Answer::Success(success)) => {
                self.signed_in_or_password(Ok(success.authorization)).await
            }
            Ok(Answer::MigrateTo(moved)) => {
                Err(LoginFailure::Other(Failure::Migrate { dc_id: moved.dc_id }))
            }
            Err(failure) => self.signed_in_or_password(Err(failure)).await,
        }
    }

    /// Waits until the server says that the token was scanned, for `limit` at the most; answers
    /// whether it did. Nothing that comes meanwhile is lost if the future is dropped.
    ///
    /// # Errors
    /// [`LoginFailure::Other`] when the connection ended: whether it was scanned is then told by
    /// [`LoginLink::export_token`], which connects anew.
    pub(in crate::telegram) async fn wait_for_scan(
        &mut self,
        limit: Duration,
    ) -> Result<bool, LoginFailure> {
        let told = async {
            while let Some(news) = self.updates.recv().await {
                match news {
                    UpdatesLike::Updates(updates) if tells_of_scan(&updates) => return Ok(true),
                    UpdatesLike::ConnectionClosed => {
                        self.is_connected = false;
                        break;
                    }
                    _ => {}
                }
            }
            Err(Failure::transient("the connection ended").into())
        };
        timeout(limit, told).await.unwrap_or(Ok(false))
    }
}

fn tells_of_scan(updates: &Updates) -> bool {
    let is_scan = |update: &Update| matches!(update, Update::LoginToken);
    match updates {
        Updates::UpdateShort(short) => is_scan(&short.update),
        Updates::Updates(all) => all.updates.iter().any(is_scan),
        Updates::Combined(all) => all.updates.iter().any(is_scan),
        _ => false,
    }
}
