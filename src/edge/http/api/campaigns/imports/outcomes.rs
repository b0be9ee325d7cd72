//! What came of the newest imports, for whoever did not get the answer: it took too long, or the connection broke, which
//! nobody here can be sure of. In memory and bounded, so it is gone with the process; what was added is durable and told
//! without it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::running::Outcome;
use super::shapes::{self, ImportView, ImportedPeople};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::import::{ImportId, ImportRecord};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::UserId;

/// Imports of which it is kept, those of all users: more than there are under way at once.
const KEPT_MAX: usize = 64;

/// The newest imports.
#[derive(Default)]
pub(in crate::edge::http::api) struct Outcomes(Mutex<VecDeque<Kept>>);

struct Kept {
    user: UserId,
    task: TaskId,
    id: ImportId,
    /// As it was when it began, or ended.
    view: ImportView,
    is_under_way: bool,
}

impl Outcomes {
    /// An import begins.
    pub(super) fn begin(&self, record: &ImportRecord) {
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            // No more are under way than few, so there is one that is over.
            let oldest = kept.iter().position(|one| !one.is_under_way).unwrap_or(0);
            kept.remove(oldest);
        }
        let view = ImportView { status: "running".to_owned(), ..shapes::import(record.clone()) };
        let (user, task, id) = (record.user.clone(), record.task, record.id);
        kept.push_back(Kept { user, task, id, view, is_under_way: true });
    }

    /// It is over.
    pub(super) fn end(&self, id: ImportId, outcome: &Result<Outcome, Refusal>) {
        let mut kept = self.kept();
        let Some(one) = kept.iter_mut().find(|one| one.id == id) else { return };
        one.is_under_way = false;
        match outcome {
            Ok(outcome) => {
                one.view = shapes::import(outcome.record.clone());
                one.view.result = Some(shapes::imported(outcome.clone()));
            }
            Err(refusal) => {
                one.view.status = "broken_off".to_owned();
                one.view.broke_off_because = Some(refusal.detail.clone());
            }
        }
    }

    /// Nothing is kept of this user any more; what is under way ends unheard.
    pub(in crate::edge::http::api) fn erase(&self, user: &UserId) {
        self.kept().retain(|one| one.user != *user);
    }

    /// What is known of an import of a task. `stored` is what is durable of it, and says what it has added by now.
    pub(super) fn look_up(
        &self,
        task: TaskId,
        id: ImportId,
        stored: Option<ImportRecord>,
    ) -> Option<ImportView> {
        let kept = self.kept();
        let known = kept.iter().find(|one| (one.task, one.id) == (task, id));
        let told = known.map(|known| known.view.clone());
        match (stored.map(shapes::import), told) {
            (Some(stored), Some(told)) if stored.status == "unfinished" => Some(ImportView {
                status: told.status,
                broke_off_because: told.broke_off_because,
                result: told.result,
                ..stored
            }),
            (Some(stored), told) => {
                let result: Option<ImportedPeople> = told.and_then(|told| told.result);
                Some(ImportView { result, ..stored })
            }
            (None, told) => told,
        }
    }

    /// Every change is whole before the lock is let go, so a poisoned one is as good as any.
    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::answers::refusal::Code;
    use crate::protocol::campaigns::import::ImportSource;
    use crate::protocol::values::ids::UnixMillis;

    const TASK: TaskId = TaskId(Uuid::from_u128(1));

    fn record(id: u128) -> ImportRecord {
        let names = (ImportId(Uuid::from_u128(id)), UserId::new("ann").unwrap(), TASK);
        ImportRecord::new(names, ImportSource::File, UnixMillis(1))
    }

    fn outcome(record: ImportRecord) -> Outcome {
        Outcome { record, is_trial: false, rejected: vec![], summary: None, notes: vec![] }
    }

    #[test]
    fn an_import_is_told_of_while_it_goes_on_and_afterwards() {
        let outcomes = Outcomes::default();
        let (mut one, two) = (record(1), record(2));
        outcomes.begin(&one);
        outcomes.begin(&two);
        let status = |id, stored| Some(outcomes.look_up(TASK, id, stored)?.status);
        assert_eq!(status(one.id, None).as_deref(), Some("running"));
        assert_eq!(status(one.id, Some(one.clone())).as_deref(), Some("running"));
        assert_eq!(outcomes.look_up(TaskId(Uuid::from_u128(9)), one.id, None), None);
        let refusal = Refusal::new(Code::Overloaded, "the service is away");
        outcomes.end(two.id, &Err(refusal));
        let told = outcomes.look_up(TASK, two.id, Some(two.clone())).unwrap();
        assert_eq!(told.status, "broken_off");
        assert_eq!(told.broke_off_because.as_deref(), Some("the service is away"));
        (one.accepted, one.finished_at) = (3, Some(UnixMillis(5)));
        outcomes.end(one.id, &Ok(outcome(one.clone())));
        let told = outcomes.look_up(TASK, one.id, Some(one.clone())).unwrap();
        assert_eq!((told.status.as_str(), told.result.unwrap().accepted), ("finished", 3));
        // After a restart there are the counts alone.
        let told = Outcomes::default().look_up(TASK, one.id, Some(one.clone())).unwrap();
        assert_eq!((told.status.as_str(), told.result), ("finished", None));
        assert_eq!(Outcomes::default().look_up(TASK, one.id, None), None);
    }

    #[test]
    fn nothing_is_kept_of_an_erased_user() {
        let outcomes = Outcomes::default();
        let names = (ImportId(Uuid::from_u128(3)), UserId::new("bob").unwrap(), TASK);
        let bobs = ImportRecord::new(names, ImportSource::File, UnixMillis(1));
        let (over, under_way) = (record(1), record(2));
        for one in [&bobs, &over, &under_way] {
            outcomes.begin(one);
        }
        outcomes.end(over.id, &Ok(outcome(over.clone())));
        outcomes.erase(&UserId::new("ann").unwrap());
        outcomes.end(under_way.id, &Ok(outcome(under_way.clone())));
        let left: Vec<ImportId> = outcomes.kept().iter().map(|one| one.id).collect();
        assert_eq!(left, [bobs.id]);
    }

    #[test]
    fn those_that_are_over_make_room_for_others() {
        let outcomes = Outcomes::default();
        outcomes.begin(&record(0));
        for id in 1..=KEPT_MAX as u128 + 5 {
            let one = record(id);
            outcomes.begin(&one);
            outcomes.end(one.id, &Ok(outcome(one.clone())));
        }
        assert_eq!(outcomes.kept().len(), KEPT_MAX);
        assert!(outcomes.look_up(TASK, record(0).id, None).is_some(), "it is under way");
        assert!(outcomes.look_up(TASK, record(1).id, None).is_none());
    }
}
