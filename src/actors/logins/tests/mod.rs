//! Logins in a whole tree, on a Telegram in memory and in virtual time: each step, and what comes late, is lost, or is
//! given up. What is asked each time: does an account come of it, and is no session left at Telegram that nobody has.

mod interrupted;
mod pictures;
mod recovery;
mod steps;

use crate::actors::root::Root;
use crate::actors::services::LoginService;
use crate::actors::tests::{TestEnvironment, soon, user};
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::users::owner::{Caller, LoginId};
use crate::protocol::values::secret::SecretText;

const PHONE: &str = "+14155550132";

/// A tree, and Ann, who has a phone.
struct Fixture {
    environment: TestEnvironment,
    root: Option<Root>,
    ann: Caller,
}

fn secret(text: &str) -> SecretText {
    SecretText::new(text.into())
}

impl Fixture {
    async fn new(has_password: bool) -> Self {
        let environment = TestEnvironment::new();
        environment.telegram.phone(PHONE, 7, has_password);
        let root = Some(environment.tree().await);
        Self { environment, root, ann: user("ann") }
    }

    fn logins(&self) -> std::sync::Arc<dyn LoginService> {
        self.root.as_ref().unwrap().services().logins
    }

    async fn by_sms(&self) -> Result<LoginInfo, Refusal> {
        self.logins().by_sms(&self.ann, secret(PHONE)).await
    }

    async fn code(&self, id: LoginId, code: &str) -> Result<LoginInfo, Refusal> {
        self.logins().code(&self.ann, id, secret(code)).await
    }

    async fn password(&self, id: LoginId, password: &str) -> Result<LoginInfo, Refusal> {
        self.logins().password(&self.ann, id, secret(password)).await
    }

    async fn get(&self, id: LoginId) -> LoginInfo {
        self.logins().get(&self.ann, id).await.unwrap()
    }

    /// The daemon is restarted.
    async fn restart(&mut self) {
        let root = self.root.take().unwrap();
        self.environment.stop(root).await;
        assert_eq!(self.environment.telegram.connections(), 0);
        self.root = Some(self.environment.tree().await);
        soon().await;
    }

    fn count(&self, method: &'static str) -> usize {
        self.environment.telegram.count(method)
    }

    /// One account is connected, once, with the only session that there is.
    async fn expect_connected(&self) {
        soon().await;
        let telegram = &self.environment.telegram;
        assert_eq!((telegram.sessions(), telegram.connections(), telegram.doubled()), (1, 1, 0));
        self.environment.store.commit(Vec::new()).await.unwrap();
        let kept = self.environment.store.load().unwrap();
        assert_eq!(kept.owned.len(), 1);
        assert_eq!(telegram.who_has(kept.owned[0].key), Some(kept.owned[0].telegram_id));
    }

    /// Nothing is left of it: no session at Telegram, no connection, no record here.
    async fn expect_nothing_left(&self) {
        let telegram = &self.environment.telegram;
        assert_eq!((telegram.sessions(), telegram.connections(), telegram.doubled()), (0, 0, 0));
        self.environment.store.commit(Vec::new()).await.unwrap();
        let kept = self.environment.store.load().unwrap();
        assert!(kept.owned.is_empty() && kept.logins.is_empty(), "{:?}", kept.logins.len());
    }
}
