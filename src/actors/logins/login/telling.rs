//! What a login says of itself: to whoever looks, to whoever follows, and to the caller who waits.

use super::{LoginActor, LoginAnswer, Stage};
use crate::actors::logins::registry::LoginView;
use crate::actors::tree::changes::Subject;
use crate::protocol::logins::steps::LoginState;
use crate::protocol::values::ids::UnixMillis;

impl LoginActor {
    pub(super) fn view(&self, state: LoginState) -> LoginView {
        let token = match &self.stage {
            Stage::WaitingScan(token) if state == LoginState::WaitingScan => {
                let until = UnixMillis(token.expires_at.saturating_mul(1_000));
                Some((token.url.clone(), until))
            }
            _ => None,
        };
        let code = match &self.stage {
            Stage::CodeSent { delivery, .. } if !state.is_over() => *delivery,
            _ => None,
        };
        let (hint, email_pattern) = match &self.stage {
            Stage::PasswordRequired { hint, email_pattern } if !state.is_over() => {
                (hint.clone(), email_pattern.clone())
            }
            _ => (None, None),
        };
        let expires_at = self.expires_at;
        LoginView { code, hint, email_pattern, token, ..LoginView::new(state, expires_at) }
    }

    pub(super) fn show(&self, state: LoginState) -> LoginView {
        let view = self.view(state);
        self.tell(view.clone());
        view
    }

    pub(super) fn tell(&self, view: LoginView) {
        self.context.login_registry.put(&self.who.user, self.id, view, self.context.now());
        self.context.status.changed(Subject::Login(self.who.user.clone(), self.id));
    }

    pub(super) fn answer(&mut self, answer: LoginAnswer) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(answer);
        }
    }
}
