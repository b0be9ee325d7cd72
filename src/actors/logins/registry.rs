//! The login registry: what each login last said of itself. Answers of the API read it without asking anybody; a
//! login that has ended is told of for a while. Every lookup takes the scope of the one who asks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::accounts::owned::PreviousSession;
use crate::protocol::logins::delivery::CodeDelivery;
use crate::protocol::logins::steps::LoginState;
use crate::protocol::users::owner::{AccountId, LoginId, Scope, UserId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// How long a login that has ended is told of, milliseconds.
const ENDED_SHOWN_MS: i64 = 10 * 60 * 1_000;

/// What a login says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) struct LoginView {
    pub(in crate::actors) state: LoginState,
    /// When it is given up.
    pub(in crate::actors) expires_at: UnixMillis,
    /// What became of it.
    pub(in crate::actors) account: Option<AccountId>,
    /// How the code went out.
    pub(in crate::actors) code: Option<CodeDelivery>,
    /// What is shown of the address to which a code for a forgotten password went.
    pub(in crate::actors) email_pattern: Option<String>,
    /// The password's hint.
    pub(in crate::actors) hint: Option<String>,
    /// The link to be scanned, and until when.
    pub(in crate::actors) token: Option<(SecretText, UnixMillis)>,
    /// Why it failed: code and text.
    pub(in crate::actors) error: Option<(String, String)>,
    /// What becomes of the session that the account had before.
    pub(in crate::actors) previous: Option<PreviousSession>,
}

impl LoginView {
    /// One of which nothing more is told.
    pub(in crate::actors) fn new(state: LoginState, expires_at: UnixMillis) -> Self {
        let (account, code, email_pattern, hint) = (None, None, None, None);
        let (token, error, previous) = (None, None, None);
        Self { state, expires_at, account, code, email_pattern, hint, token, error, previous }
    }
}

/// The login registry.
#[derive(Debug, Default)]
pub(in crate::actors) struct LoginRegistry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logins: BTreeMap<(UserId, LoginId), LoginView>,
    /// For admins, who name a login without its owner.
    owners: HashMap<LoginId, UserId>,
    /// Those that came to nothing and end their sessions at Telegram: their users wait for nothing.
    leaving: HashSet<LoginId>,
}

impl LoginRegistry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose login `id` is and where it stands, if it exists in `scope`.
    pub(in crate::actors) fn get(&self, scope: &Scope, id: LoginId) -> Option<(UserId, LoginView)> {
        let state = self.state();
        let owner = match scope {
            Scope::Only(user) => user.clone(),
            Scope::Everybody => state.owners.get(&id)?.clone(),
        };
        let view = state.logins.get(&(owner.clone(), id))?.clone();
        Some((owner, view))
    }

    /// A login's new view. Those that ended long ago go.
    pub(in crate::actors) fn put(
        &self,
        user: &UserId,
        id: LoginId,
        view: LoginView,
        now: UnixMillis,
    ) {
        let mut state = self.state();
        let state = &mut *state;
        state.logins.retain(|_, known| known.expires_at.plus_ms(ENDED_SHOWN_MS) > now);
        let logins = &state.logins;
        state.owners.retain(|id, owner| logins.contains_key(&(owner.clone(), *id)));
        state.owners.insert(id, user.clone());
        state.logins.insert((user.clone(), id), view);
    }

    /// A login only has its session to end from here on.
    pub(in crate::actors) fn leaves(&self, id: LoginId) {
        self.state().leaving.insert(id);
    }

    /// Whether it only has its session to end.
    pub(in crate::actors) fn is_leaving(&self, id: LoginId) -> bool {
        self.state().leaving.contains(&id)
    }

    /// A login's actor is gone.
    pub(in crate::actors) fn left(&self, id: LoginId) {
        self.state().leaving.remove(&id);
    }

    /// The login was given up by its user.
    pub(in crate::actors) fn remove(&self, user: &UserId, id: LoginId) {
        let mut state = self.state();
        state.owners.remove(&id);
        state.logins.remove(&(user.clone(), id));
    }

    /// The login's actor crashed and is not started again.
    pub(in crate::actors) fn crashed(&self, user: &UserId, id: LoginId) {
        if let Some(view) = self.state().logins.get_mut(&(user.clone(), id)) {
            let text = "something failed inside; the log says what. Begin the login anew";
            view.state = LoginState::Failed;
            view.error = Some(("INTERNAL".into(), text.into()));
        }
    }

    /// Logins of `user` that are not over.
    pub(in crate::actors) fn open(&self, user: &UserId) -> Vec<LoginId> {
        let state = self.state();
        let own = state.logins.iter().filter(|((owner, _), _)| owner == user);
        own.filter(|(_, view)| !view.state.is_over()).map(|((_, id), _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn view(state: LoginState, expires_at: i64) -> LoginView {
        LoginView::new(state, UnixMillis(expires_at))
    }

    #[test]
    fn a_login_exists_for_its_user_and_for_admins_and_not_for_ever() {
        let login_registry = LoginRegistry::default();
        let (one, two) = (UserId::new("one").unwrap(), UserId::new("two").unwrap());
        let id = LoginId(Uuid::from_u128(1));
        login_registry.put(&one, id, view(LoginState::CodeSent, 100), UnixMillis(0));
        assert!(login_registry.get(&Scope::Only(one.clone()), id).is_some());
        assert!(login_registry.get(&Scope::Only(two.clone()), id).is_none());
        assert_eq!(login_registry.get(&Scope::Everybody, id).unwrap().0, one);
        assert_eq!((login_registry.open(&one).len(), login_registry.open(&two).len()), (1, 0));
        login_registry.remove(&two, id);
        assert_eq!(login_registry.open(&one), [id]);
        let later = UnixMillis(200 + ENDED_SHOWN_MS);
        login_registry.put(
            &two,
            LoginId(Uuid::from_u128(2)),
            view(LoginState::Failed, later.0),
            later,
        );
        assert!(login_registry.get(&Scope::Everybody, id).is_none());
        assert_eq!(login_registry.open(&two), []);
    }
}
