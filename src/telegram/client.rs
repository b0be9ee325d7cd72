//! Telegram through grammers, behind the port. Owns what every connection needs; hands each step to the parts
//! that perform it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::batch::Batch;
use super::call::Call;
use super::clock::Clocks;
use super::lease::ConnectionLease;
use super::link::{Connection, DialOptions, Link, RawCaller, RawUpdates};
use super::login::{LoginLink, LoginOptions};
use super::peers::PeerBook;
use super::port::{
    AccountCaller, Connected, DialFailure, Following, KeepKey, LoginConnection, LoginSetup,
    Performed, ServerClock, TelegramClient, UnfollowedUpdates, UpdateStream,
};
use super::pump::UpdatePump;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::steps::{CodeTicket, LoginFailure, SignedIn, Step};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::server_time::SteadyMillis;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// Telegram, or servers of one's own, through grammers.
#[derive(Debug)]
pub struct GrammersClient {
    options: LoginOptions,
}

impl GrammersClient {
    /// One that connects and logs in as `options` say.
    pub fn new(options: LoginOptions) -> Self {
        Self { options }
    }

    fn options_for(&self, setup: LoginSetup) -> LoginOptions {
        let LoginSetup { api_id, gate } = setup;
        let options = self.options.clone().behind(gate);
        match api_id {
            Some(api_id) => options.with_api_id(api_id),
            None => options,
        }
    }
}

#[async_trait]
impl TelegramClient for GrammersClient {
    async fn connect(
        &self,
        credentials: &Credentials,
        api_id: i32,
        lease: ConnectionLease,
    ) -> Result<Connected, DialFailure> {
        let options = DialOptions { api_id, ..self.options.dial.clone() };
        let link = Link::dial(&options, credentials, lease).await?;
        let me = link.me.clone();
        let (caller, updates, connection) = link.into_parts();
        let pulse = Arc::clone(caller.pulse());
        let updates = Box::new(Unfollowed { caller: caller.clone(), updates, connection });
        Ok(Connected { me, caller: Arc::new(caller), pulse, updates })
    }

    async fn begin_login(
        &self,
        setup: LoginSetup,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        let options = self.options_for(setup);
        let link = LoginLink::open(&options, options.dial.servers.first_dc()).await?;
        Ok(Box::new(link))
    }

    async fn resume_login(
        &self,
        setup: LoginSetup,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        let link = LoginLink::resume(&self.options_for(setup), credentials, lease).await?;
        Ok(Box::new(link))
    }

    fn check_datacenter(&self, dc_id: i32) -> Result<(), LoginFailure> {
        self.options.dial.servers.check(dc_id).map(drop)
    }
}

#[async_trait]
impl AccountCaller for RawCaller {
    async fn run(
        &self,
        call: &Call,
        peers: &Mutex<PeerBook>,
        is_bot: bool,
    ) -> Result<Performed, Failure> {
        call.run(self, peers, is_bot).await
    }
}

struct Unfollowed {
    caller: RawCaller,
    updates: RawUpdates,
    connection: Connection,
}

impl UnfollowedUpdates for Unfollowed {
    fn follow(self: Box<Self>, following: Following) -> Box<dyn UpdateStream> {
        let Self { caller, updates, connection } = *self;
        let pump = UpdatePump::new(caller, updates, following);
        Box::new(Followed { pump, _connection: connection })
    }
}

/// In this order: the sockets are closed last.
struct Followed {
    pump: UpdatePump,
    _connection: Connection,
}

#[async_trait]
impl UpdateStream for Followed {
    async fn next(&mut self) -> Result<Batch, Failure> {
        self.pump.next().await
    }
}

#[async_trait]
impl LoginConnection for LoginLink {
    fn keep_keys_by(&mut self, keep: KeepKey) {
        Self::keep_keys_by(self, keep);
    }

    fn credentials(&self) -> Option<Credentials> {
        Self::credentials(self)
    }

    fn lease(&self) -> ConnectionLease {
        Self::lease(self)
    }

    async fn close(self: Box<Self>) {
        Self::close(*self).await;
    }

    async fn send_code(&mut self, phone: &SecretText) -> Result<Step, LoginFailure> {
        Self::send_code(self, phone).await
    }

    async fn resend_code(&mut self, ticket: &CodeTicket) -> Result<Step, LoginFailure> {
        Self::resend_code(self, ticket).await
    }

    async fn sign_in(
        &mut self,
        ticket: &CodeTicket,
        code: &SecretText,
    ) -> Result<Step, LoginFailure> {
        Self::sign_in(self, ticket, code).await
    }

    async fn check_password(&mut self, password: &SecretText) -> Result<Step, LoginFailure> {
        Self::check_password(self, password).await
    }

    async fn request_recovery(&mut self) -> Result<Step, LoginFailure> {
        Self::request_recovery(self).await
    }

    async fn recover_password(&mut self, code: &SecretText) -> Result<Step, LoginFailure> {
        Self::recover_password(self, code).await
    }

    async fn awaited_password(&mut self) -> Result<Step, LoginFailure> {
        Self::awaited_password(self).await
    }

    async fn bot_sign_in(&mut self, token: &SecretText) -> Result<Step, LoginFailure> {
        Self::bot_sign_in(self, token).await
    }

    async fn export_token(&mut self) -> Result<Step, LoginFailure> {
        Self::export_token(self).await
    }

    async fn wait_for_scan(&mut self, limit: Duration) -> Result<bool, LoginFailure> {
        Self::wait_for_scan(self, limit).await
    }

    async fn who(&mut self) -> Result<SignedIn, LoginFailure> {
        Self::who(self).await
    }

    async fn log_out(&mut self) -> Result<(), LoginFailure> {
        Self::log_out(self).await
    }
}

impl ServerClock for Clocks {
    fn telegrams_now(&self) -> Option<UnixMillis> {
        Self::telegrams_now(self)
    }

    fn telegrams_now_roughly(&self) -> Option<UnixMillis> {
        Self::telegrams_now_roughly(self)
    }

    fn telegrams_moment(
        &self,
        wall: UnixMillis,
        steady: Option<SteadyMillis>,
    ) -> Option<UnixMillis> {
        Self::telegrams_moment(self, wall, steady)
    }
}
