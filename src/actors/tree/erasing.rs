//! Whose data are being erased, and what is still under way for whom: nothing new begins for a user who is
//! being erased, and nothing is erased before what had begun is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::UserId;

/// How long erasing waits for what is under way: longer than any send or step of a login.
const QUIET_MAX: Duration = Duration::from_secs(25);

/// The users who are being erased, and the busy ones.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct Erasing(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    users: Mutex<Users>,
    ended: Notify,
}

/// Who sees to it that a user is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    /// A request.
    AtIt,
    /// Nobody just now: the store failed half-way. The next request, or the next start, goes on.
    Left,
}

#[derive(Debug, Default)]
struct Users {
    erased: HashMap<UserId, Hand>,
    busy: HashMap<UserId, usize>,
}

impl Shared {
    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something is under way for a user, as long as this lives.
#[derive(Debug)]
pub(in crate::actors) struct Busy {
    shared: Arc<Shared>,
    user: UserId,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut users = self.shared.users();
        if let Some(count) = users.busy.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.busy.remove(&self.user);
            }
        }
        drop(users);
        self.shared.ended.notify_waiters();
    }
}

/// A user is being erased, as long as this lives, and longer when something went before it ended.
#[derive(Debug)]
pub(in crate::actors) struct ErasingGuard {
    shared: Arc<Shared>,
    user: UserId,
    /// The store has a mark of it, so there is no way back.
    is_marked: bool,
}

impl Drop for ErasingGuard {
    fn drop(&mut self) {
        let mut users = self.shared.users();
        match self.is_marked {
            true => drop(users.erased.insert(self.user.clone(), Hand::Left)),
            false => drop(users.erased.remove(&self.user)),
        }
    }
}

impl Erasing {
    /// Begins something for `user`.
    ///
    /// # Errors
    /// `CONFLICT` while the user is being erased.
    pub(in crate::actors) fn enter(&self, user: &UserId) -> Result<Busy, Refusal> {
        let mut users = self.0.users();
        if users.erased.contains_key(user) {
            let detail = "everything of this user is being erased; begin anew when that is over";
            return Err(Refusal::new(Code::Conflict, detail).after(5));
        }
        *users.busy.entry(user.clone()).or_default() += 1;
        Ok(Busy { shared: Arc::clone(&self.0), user: user.clone() })
    }

    /// Begins erasing `user`: nothing new begins from here on.
    ///
    /// # Errors
    /// `CONFLICT` when somebody else is at it.
    pub(in crate::actors) fn begin(&self, user: &UserId) -> Result<ErasingGuard, Refusal> {
        let before = self.0.users().erased.insert(user.clone(), Hand::AtIt);
        if before == Some(Hand::AtIt) {
            let detail = "this user is being erased by another request";
            return Err(Refusal::new(Code::Conflict, detail).after(5));
        }
        let is_marked = before == Some(Hand::Left);
        Ok(ErasingGuard { shared: Arc::clone(&self.0), user: user.clone(), is_marked })
    }
}

impl ErasingGuard {
    /// Whose it is.
    pub(in crate::actors) fn user(&self) -> &UserId {
        &self.user
    }

    /// From here on it has to come to its end.
    pub(in crate::actors) fn marked(&mut self) {
        self.is_marked = true;
    }

    /// Nothing is left of the user.
    pub(in crate::actors) fn over(mut self) {
        self.is_marked = false;
    }

    /// Waits until nothing is under way for the user any more.
    ///
    /// # Errors
    /// `OVERLOADED` when that takes too long; nothing was erased then.
    pub(in crate::actors) async fn quiet(&self) -> Result<(), Refusal> {
        let quiet = async {
            loop {
                let ended = self.shared.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if !self.shared.users().busy.contains_key(&self.user) {
                    return;
                }
                ended.await;
            }
        };
        timeout(QUIET_MAX, quiet).await.map_err(|_| {
            let detail = "a message or a login of this user does not come to its end; ask again";
            Refusal::new(Code::Overloaded, detail).after(5)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn erasing_waits_for_what_had_begun_and_lets_nothing_begin() {
        let erasing = Erasing::default();
        let (one, two) = (UserId::new("one").unwrap(), UserId::new("two").unwrap());
        let busy = erasing.enter(&one).unwrap();
        let erasure = erasing.begin(&one).unwrap();
        assert_eq!(erasing.begin(&one).unwrap_err().code, Code::Conflict);
        assert_eq!(erasing.enter(&one).unwrap_err().code, Code::Conflict);
        let _other = erasing.enter(&two).unwrap();
        let waiting = tokio::spawn(async move { erasure.quiet().await.map(|()| erasure) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "something is under way");
        drop(busy);
        let erasure = waiting.await.unwrap().unwrap();
        drop(erasure);
        assert!(erasing.enter(&one).is_ok(), "it was given up before anything went");
    }

    #[tokio::test]
    async fn a_user_of_whom_something_went_does_not_come_back_before_the_rest_has_gone() {
        let erasing = Erasing::default();
        let one = UserId::new("one").unwrap();
        let mut erasure = erasing.begin(&one).unwrap();
        erasure.marked();
        drop(erasure);
        assert_eq!(erasing.enter(&one).unwrap_err().code, Code::Conflict);
        let again = erasing.begin(&one).unwrap();
        assert_eq!(erasing.begin(&one).unwrap_err().code, Code::Conflict, "one at a time");
        drop(again);
        assert_eq!(erasing.enter(&one).unwrap_err().code, Code::Conflict, "it failed again");
        erasing.begin(&one).unwrap().over();
        assert!(erasing.enter(&one).is_ok(), "it is over");
    }
}
