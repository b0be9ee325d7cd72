//! A Telegram that nobody reaches.

use async_trait::async_trait;

use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::telegram::failure::Failure;
use crate::telegram::lease::ConnectionLease;
use crate::telegram::port::{Connected, DialFailure, LoginConnection, LoginSetup, TelegramClient};

/// There is no way to any datacenter.
pub(crate) struct Unreachable;

fn no_way() -> Failure {
    Failure::transient("connection to telegram failed (network unreachable)")
}

#[async_trait]
impl TelegramClient for Unreachable {
    async fn connect(
        &self,
        _: &Credentials,
        _: i32,
        _: ConnectionLease,
    ) -> Result<Connected, DialFailure> {
        Err(DialFailure { failure: no_way(), is_answered: false })
    }

    async fn begin_login(&self, _: LoginSetup) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        Err(no_way().into())
    }

    async fn resume_login(
        &self,
        _: LoginSetup,
        _: &Credentials,
        _: ConnectionLease,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        Err(no_way().into())
    }

    fn check_datacenter(&self, _: i32) -> Result<(), LoginFailure> {
        Ok(())
    }
}
