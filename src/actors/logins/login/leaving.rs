//! A login that came to nothing although Telegram let it in, or may have: the session that was made here
//! is ended there, too, so that nobody's account keeps a session that nobody knows of. That it has to be
//! is durable before it is tried, so that the next life of the daemon tries on. Never ends a session that
//! an account has, or one that was made elsewhere.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::tree::actor::ActorRef;
use crate::tasks;

use super::steps::lease_of;
use super::{LoginActor, LoginMsg, LoginView, Stage, credentials_of};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{Op, StoreError};

/// For how long ending a session is tried, milliseconds: longer than any outage lasts.
const LEAVING_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// How long it is tried at least in each life of the daemon.
const LEAVING_MIN_MS: i64 = 60 * 60 * 1_000;
/// What it is called in the audit log.
const LEAVE: &str = "login.leave";

impl LoginActor {
    /// Ends the login and, after it, its session. Its user is told at once.
    pub(super) async fn leave(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        credentials: Credentials,
        view: LoginView,
    ) {
        // What it was told to wait for was another step.
        self.not_before = UnixMillis(0);
        self.note_leaving(self.record_of(&credentials)).await;
        // The connection that it has, or had until now, is closed first.
        let lease = match &self.stage {
            Stage::Finishing(finishing) => Some(finishing.lease.clone()),
            _ => self.link.as_ref().map(|link| link.lease()),
        };
        lease.into_iter().for_each(|lease| self.share_lease(credentials.account, lease));
        self.begin_leaving(myself, view).await;
    }

    async fn note_leaving(&self, mut record: LoginRecord) {
        (record.is_leaving, record.stage) = (true, LoginStage::WaitingScan);
        if let Err(error) = self.context.store.commit(vec![Op::put_row(&record)]).await {
            tracing::error!(%error, login = %self.id, "a session that is to be ended could not be noted");
        }
    }

    /// Its user is told that it is over; its session is ended, with whatever key the store has of it.
    pub(super) async fn begin_leaving(&mut self, myself: &ActorRef<LoginMsg>, view: LoginView) {
        self.link = None;
        self.tell(view);
        self.refuse_held();
        let now = self.context.now();
        self.expires_at = left_by(now, now);
        myself.send_after(until(self.expires_at, now), || LoginMsg::Deadline);
        self.go_on_leaving(myself).await;
    }

    /// The same after a restart of the daemon.
    pub(super) async fn go_on_leaving(&mut self, myself: &ActorRef<LoginMsg>) {
        (self.stage, self.failures, self.may_be_in) = (Stage::Leaving, 0, false);
        self.context.login_registry.leaves(self.id);
        // Erasing the user need not wait for this: the note goes, and what is under way ends.
        self.busy = None;
        if !self.waits_first(myself) {
            self.log_out(myself).await;
        }
    }

    pub(super) async fn log_out(&mut self, myself: &ActorRef<LoginMsg>) {
        let kept = match self.read().await {
            Ok(kept) => kept,
            // The note stands as long as nobody knows that it does not.
            Err(error) => return self.try_later(myself, &unread(&error)).await,
        };
        let Some((record, credentials)) = kept.and_then(|kept| {
            let credentials = credentials_of(&kept)?;
            Some((kept, credentials))
        }) else {
            return myself.stop(None);
        };
        if !record.is_leaving {
            // It could not be read when the login was given up.
            self.note_leaving(record).await;
        }
        let (telegram, fleet) = (Arc::clone(&self.context.telegram), self.fleet.clone());
        let setup = self.context.accounts.login_setup(None);
        let leave = async move {
            let (lease, me) = lease_of(&fleet, credentials.account).await;
            if me.is_some() {
                // An account has it.
                return Ok(());
            }
            let mut link = telegram.resume_login(setup, &credentials, lease).await?;
            let outcome = link.log_out().await;
            link.close().await;
            outcome
        };
        let target = myself.clone();
        self.task = Some(tasks::owned(async move {
            let outcome = tasks::owned(leave).await;
            let panicked =
                |_| Err(Failure::transient("the telegram library failed (panic)").into());
            let _ = target.cast(LoginMsg::Left(outcome.unwrap_or_else(panicked)));
        }));
    }

    pub(super) async fn left(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        outcome: Result<(), LoginFailure>,
    ) {
        self.task = None;
        match outcome {
            Err(failure) if !failure.is_final() => {
                let (login, error) = (self.id, &failure);
                tracing::info!(%login, %error, "a session could not be ended yet");
                self.try_later(myself, &failure).await;
            }
            Ok(()) | Err(_) => self.forget_session(myself, "ok").await,
        }
    }

    /// The time for ending the session is over.
    pub(super) async fn leave_be(&mut self, myself: &ActorRef<LoginMsg>) {
        let now = self.context.now();
        // The deadline of the login itself comes by, too.
        if now.plus_ms(1_000) < self.expires_at {
            return;
        }
        // It is tried once more after a wait that Telegram named.
        if now < self.not_before {
            self.expires_at = self.not_before.plus_ms(LEAVING_MIN_MS);
            myself.send_after(until(self.expires_at, now), || LoginMsg::Deadline);
            return;
        }
        let (login, user) = (self.id, &self.who.user);
        tracing::warn!(%login, %user, "a session that nobody uses could not be ended at telegram; its \
            person finds it among the active sessions in an official app");
        self.forget_session(myself, self.left_with.unwrap_or("TG_UNAVAILABLE")).await;
    }

    pub(super) async fn forget_session(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        outcome: &'static str,
    ) {
        // With an erased user the note went, and nothing names the user any more.
        let Ok(_busy) = self.context.erasing.enter(&self.who.user) else {
            return myself.stop(None);
        };
        match self.read().await {
            Ok(Some(_)) => {}
            Ok(None) => return myself.stop(None),
            Err(error) => {
                self.left_with = Some(outcome);
                return self.try_later(myself, &unread(&error)).await;
            }
        }
        let forget = Op::delete_row::<LoginRecord>(&self.who.user, self.id);
        let ops = vec![forget, Op::Audit(self.audit_event(LEAVE, outcome))];
        // Should the store fail, the next life of the daemon does it once more.
        let _ = self.context.store.commit(ops).await;
        myself.stop(None);
    }
}

/// When ending the session of a login that was begun then is given up, for somebody who goes on with it now.
pub(super) fn left_by(begun: UnixMillis, now: UnixMillis) -> UnixMillis {
    begun.plus_ms(LEAVING_MAX_MS).max(now.plus_ms(LEAVING_MIN_MS))
}

fn until(at: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0))
}

/// The disk did not answer: what is kept of the login is unknown, not gone.
pub(super) fn unread(error: &StoreError) -> LoginFailure {
    Failure::transient(format!("the login cannot be read: {error}")).into()
}
