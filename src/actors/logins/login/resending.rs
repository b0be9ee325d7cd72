//! A code that did not come is sent once more, in the way that Telegram offers next. Telegram is not asked
//! before its own time has come, nor when it has said that nothing is left.

use crate::actors::tree::actor::ActorRef;

use super::steps::refuse;
use super::{LoginActor, LoginMsg, LoginReply, Stage};
use crate::failpoint;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::delivery::NoResend;
use crate::protocol::logins::steps::LoginFailure;

/// What it is called in the audit log.
const RESEND: &str = "login.resend";

impl LoginActor {
    pub(super) fn resend(&mut self, myself: &ActorRef<LoginMsg>, reply: LoginReply) {
        if self.is_resuming {
            return self.hold(LoginMsg::Resend { reply });
        }
        let Stage::CodeSent { ticket, delivery } = &self.stage else {
            return refuse(
                reply,
                "no code is awaited at this point of the login, so none is sent once more; its state \
                 says what is",
            );
        };
        let may = delivery.as_ref().map_or(Ok(()), |sent| sent.may_resend(self.context.now()));
        if let Err(no) = may {
            let _ = reply.send(Err(not_now(no)));
            return;
        }
        let ticket = ticket.clone();
        let Some(mut link) = self.take_link(reply, RESEND, false) else { return };
        self.step(myself, async move {
            failpoint::reach("login.resend.before");
            let outcome = link.resend_code(&ticket).await;
            failpoint::reach("login.resend.after");
            Ok((link, outcome))
        });
    }
}

fn not_now(no: NoResend) -> Refusal {
    match no {
        NoResend::NothingLeft => Refusal::new(Code::Conflict, LoginFailure::NoOtherWay.to_string()),
        NoResend::TooEarly { via, seconds } => {
            let detail = format!(
                "the code may still arrive; telegram offers to send it once more ({}) in {seconds} s",
                via.name()
            );
            Refusal::new(Code::Conflict, detail).after(seconds)
        }
    }
}
