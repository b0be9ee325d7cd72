//! A forgotten two-factor password: a code goes to the account's recovery mail, and whoever hands it in is
//! let in. That takes the password away at Telegram, so it stands in the audit log before Telegram is told,
//! and once more with how it ended.

use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::calling::broken;

use super::steps::refuse;
use super::{LoginActor, LoginMsg, LoginReply, Stage};
use crate::failpoint;
use crate::protocol::values::secret::SecretText;
use crate::store::Op;

/// What it is called in the audit log that the mail was asked for.
pub(super) const REQUEST: &str = "login.recovery";
/// What it is called there that its code was handed in.
const RECOVER: &str = "login.recovery_code";
/// The outcome of the line before Telegram is told.
const BEGUN: &str = "begun";

impl LoginActor {
    /// Its user has forgotten the password.
    pub(super) fn request_recovery(&mut self, myself: &ActorRef<LoginMsg>, reply: LoginReply) {
        if self.is_resuming {
            return self.hold(LoginMsg::RequestRecovery { reply });
        }
        let Some(reply) = self.at_password(reply) else { return };
        let Some(mut link) = self.take_link(reply, REQUEST, false) else { return };
        self.step(myself, async move {
            failpoint::reach("login.recovery.before");
            let outcome = link.request_recovery().await;
            failpoint::reach("login.recovery.after");
            Ok((link, outcome))
        });
    }

    /// Its user hands in the code that was mailed. Whether one was asked for, Telegram knows better: the
    /// daemon may have ended before it heard of it.
    pub(super) async fn recover(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        code: SecretText,
        reply: LoginReply,
    ) {
        if self.is_resuming {
            return self.hold(LoginMsg::Recover { code, reply });
        }
        let Some(reply) = self.at_password(reply) else { return };
        let Some(mut link) = self.take_link(reply, RECOVER, true) else { return };
        let begun = vec![Op::Audit(self.audit_event(RECOVER, BEGUN))];
        if let Err(error) = self.context.store.commit(begun).await {
            (self.link, self.may_be_in) = (Some(link), false);
            return self.answer(Err(broken(&error)));
        }
        self.step(myself, async move {
            failpoint::reach("login.recover.before");
            let outcome = link.recover_password(&code).await;
            failpoint::reach("login.recover.after");
            Ok((link, outcome))
        });
    }

    /// Telegram let it in: if that was for a recovery code, the password is gone, whatever follows.
    pub(super) async fn note_recovery(&self) {
        if self.doing == RECOVER {
            let done = vec![Op::Audit(self.audit_event(RECOVER, "ok"))];
            let _ = self.context.store.submit(done, |_| {}).await;
        }
    }

    /// Who waits, if the password is awaited; otherwise they are told that it is not.
    fn at_password(&self, reply: LoginReply) -> Option<LoginReply> {
        if matches!(self.stage, Stage::PasswordRequired { .. }) {
            return Some(reply);
        }
        refuse(
            reply,
            "no password is asked for at this point of the login, so there is none to recover; its \
             state says what is",
        );
        None
    }
}
