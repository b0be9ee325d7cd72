//! What Telegram makes a login wait for. A wait is durable before anybody hears of it and before more is
//! done for whoever logs in: with the login, which goes on after a restart, and by itself, for another
//! login of the same phone number, bot or session.

use std::time::Duration;

use crate::actors::tree::actor::ActorRef;

use super::{LoginActor, LoginMsg, Stage};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::record::LoginFloodWait;
use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::telegram::pacing::WAIT_MARGIN_MS;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{CommitError, Op};

impl LoginActor {
    /// Keeps the wait that a failure tells of, if it does.
    pub(super) async fn keep_wait(&mut self, failure: &LoginFailure) -> Result<(), CommitError> {
        let LoginFailure::Wait { seconds, .. } = failure else { return Ok(()) };
        let at = self.context.now();
        let until = at.plus_ms(i64::from(*seconds) * 1_000 + WAIT_MARGIN_MS).max(self.not_before);
        self.not_before = until;
        // Of an erased user nothing is written any more; until then the erasing waits.
        let Ok(_busy) = self.context.erasing.enter(&self.who.user) else { return Ok(()) };
        let mut ops = Vec::new();
        // Should it not be read, the wait of whoever logs in is kept all the same.
        if let Ok(Some(mut record)) = self.read().await {
            record.not_before = Some(until);
            ops.push(Op::put_row(&record));
        }
        // Ending a session is nobody's login.
        if !matches!(self.stage, Stage::Leaving)
            && let Some(subject) = self.subject
        {
            self.context.login_flood_waits.impose(subject, until, at);
            let (user, id) = (self.who.user.clone(), self.id);
            ops.push(Op::put_row(&LoginFloodWait { user, id, subject, until }));
        }
        self.context.store.commit(ops).await
    }

    /// What it was told itself, unless that is over.
    pub(super) fn own_wait(&self) -> Option<UnixMillis> {
        Some(self.not_before).filter(|until| *until > self.context.now())
    }

    /// The refusal of what would be asked of Telegram during a wait.
    pub(super) fn must_wait(&self) -> Option<Refusal> {
        let at = self.context.now();
        let shared =
            self.subject.and_then(|subject| self.context.login_flood_waits.until(&subject, at));
        let until = self.own_wait().max(shared)?;
        let seconds = u64::try_from(until.0 - at.0).unwrap_or(0).div_ceil(1_000);
        let detail = format!("telegram asks to wait {seconds} s before another attempt");
        Some(Refusal::new(Code::TelegramWait, detail).after(seconds))
    }

    /// Has [`LoginMsg::Again`] come once the wait is over that an earlier life of the daemon was told.
    /// `false`: there is none.
    pub(super) fn waits_first(&self, myself: &ActorRef<LoginMsg>) -> bool {
        let Some(until) = self.own_wait() else { return false };
        let left = u64::try_from(until.0 - self.context.now().0).unwrap_or(0);
        myself.send_after(Duration::from_millis(left), || LoginMsg::Again);
        true
    }
}
