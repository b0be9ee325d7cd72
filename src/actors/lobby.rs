//! The lobby: what each login last said of itself. Answers of the API read it without asking anybody; a
//! login that has ended is told of for a while. Every lookup takes the scope of the one who asks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::estate::Previous;
use crate::protocol::ids::UnixMillis;
use crate::protocol::login::LoginState;
use crate::protocol::owner::{AccountId, LoginId, Scope, UserId};
use crate::protocol::secret::SecretText;

/// How long a login that has ended is told of, milliseconds.
const ENDED_SHOWN_MS: i64 = 10 * 60 * 1_000;

/// What a login says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoginView {
    pub(super) state: LoginState,
    /// When it is given up.
    pub(super) expires_at: UnixMillis,
    /// What became of it.
    pub(super) account: Option<AccountId>,
    /// The password's hint.
    pub(super) hint: Option<String>,
    /// The link to be scanned, and until when.
    pub(super) token: Option<(SecretText, UnixMillis)>,
    /// Why it failed: code and text.
    pub(super) error: Option<(String, String)>,
    /// What becomes of the session that the account had before.
    pub(super) previous: Option<Previous>,
}

/// The lobby.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<Guests>);

#[derive(Debug, Default)]
struct Guests {
    logins: BTreeMap<(UserId, LoginId), LoginView>,
    /// For admins, who name a login without its owner.
    owners: HashMap<LoginId, UserId>,
    /// Those that came to nothing and end their sessions at Telegram: their users wait for nothing.
    leaving: HashSet<LoginId>,
}

impl Lobby {
    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose login `id` is and where it stands, if it exists in `scope`.
    pub(super) fn get(&self, scope: &Scope, id: LoginId) -> Option<(UserId, LoginView)> {
        let guests = self.guests();
        let owner = match scope {
            Scope::Only(user) => user.clone(),
            Scope::Everybody => guests.owners.get(&id)?.clone(),
        };
        let view = guests.logins.get(&(owner.clone(), id))?.clone();
        Some((owner, view))
    }

    /// A login's new view. Those that ended long ago go.
    pub(super) fn put(&self, user: &UserId, id: LoginId, view: LoginView, now: UnixMillis) {
        let mut guests = self.guests();
        let guests = &mut *guests;
        guests.logins.retain(|_, known| known.expires_at.plus_ms(ENDED_SHOWN_MS) > now);
        let logins = &guests.logins;
        guests.owners.retain(|id, owner| logins.contains_key(&(owner.clone(), *id)));
        guests.owners.insert(id, user.clone());
        guests.logins.insert((user.clone(), id), view);
    }

    /// A login only has its session to end from here on.
    pub(super) fn leaves(&self, id: LoginId) {
        self.guests().leaving.insert(id);
    }

    /// Whether it only has its session to end.
    pub(super) fn is_leaving(&self, id: LoginId) -> bool {
        self.guests().leaving.contains(&id)
    }

    /// A login's actor is gone.
    pub(super) fn left(&self, id: LoginId) {
        self.guests().leaving.remove(&id);
    }

    /// The login was given up by its user.
    pub(super) fn remove(&self, user: &UserId, id: LoginId) {
        let mut guests = self.guests();
        guests.owners.remove(&id);
        guests.logins.remove(&(user.clone(), id));
    }

    /// The login's actor crashed and is not started again.
    pub(super) fn crashed(&self, user: &UserId, id: LoginId) {
        if let Some(view) = self.guests().logins.get_mut(&(user.clone(), id)) {
            let text = "something failed inside; the log says what. Begin the login anew";
            view.state = LoginState::Failed;
            view.error = Some(("INTERNAL".into(), text.into()));
        }
    }

    /// Logins of `user` that are not over.
    pub(super) fn open(&self, user: &UserId) -> Vec<LoginId> {
        let guests = self.guests();
        let own = guests.logins.iter().filter(|((owner, _), _)| owner == user);
        own.filter(|(_, view)| !view.state.is_over()).map(|((_, id), _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn view(state: LoginState, expires_at: i64) -> LoginView {
        let expires_at = UnixMillis(expires_at);
        let (account, hint, token, error, previous) = (None, None, None, None, None);
        LoginView { state, expires_at, account, hint, token, error, previous }
    }

    #[test]
    fn a_login_exists_for_its_user_and_for_admins_and_not_for_ever() {
        let lobby = Lobby::default();
        let (one, two) = (UserId::new("one").unwrap(), UserId::new("two").unwrap());
        let id = LoginId(Uuid::from_u128(1));
        lobby.put(&one, id, view(LoginState::CodeSent, 100), UnixMillis(0));
        assert!(lobby.get(&Scope::Only(one.clone()), id).is_some());
        assert!(lobby.get(&Scope::Only(two.clone()), id).is_none());
        assert_eq!(lobby.get(&Scope::Everybody, id).unwrap().0, one);
        assert_eq!((lobby.open(&one).len(), lobby.open(&two).len()), (1, 0));
        lobby.remove(&two, id);
        assert_eq!(lobby.open(&one), [id]);
        let later = UnixMillis(200 + ENDED_SHOWN_MS);
        lobby.put(&two, LoginId(Uuid::from_u128(2)), view(LoginState::Failed, later.0), later);
        assert!(lobby.get(&Scope::Everybody, id).is_none());
        assert_eq!(lobby.open(&two), []);
    }
}
