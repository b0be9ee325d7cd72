//! Imports on a tree: who is added and who was there, who refuses, what is undone, and what a check tells.

use uuid::Uuid;

use super::*;
use crate::actors::Wanted as Order;
use crate::actors::campaigns::book::NewTarget;
use crate::protocol::answers::campaign::CampaignInfo;
use crate::protocol::campaigns::identity::{Country, Hint, Identifier};
use crate::protocol::campaigns::import::{ImportId, ImportRecord, ImportSource};
use crate::protocol::campaigns::respect::{Covers, List, ListTag, Source, SuppressionKey};
use crate::protocol::campaigns::target::{Details, TargetStatus};
use crate::protocol::campaigns::task::{TaskId, TaskRequest, TaskType};
use crate::store::AuditLogQuery;

fn person(name: &str) -> ImportedPerson {
    let identifier = Identifier::parse(name, Hint::Any, None).unwrap();
    ImportedPerson { target: NewTarget { identifier, details: None }, user_id: None }
}

fn people(range: std::ops::Range<u32>) -> Vec<ImportedPerson> {
    range.map(|number| person(&format!("@person_{number:04}"))).collect()
}

fn order(task: TaskId) -> ImportOrder {
    ImportOrder { task: Some(task), source: ImportSource::File, is_trial: false }
}

#[test]
fn somebody_has_each_name_that_their_line_has() {
    let name = |text: &str| Identifier::parse(text, Hint::Any, None).unwrap();
    let details = Details {
        // Not who the line names first: either may have refused.
        username: Some("durov".into()),
        phone: Some("8 999 123-45-67".into()),
        first_name: Some("Pavel".into()),
        ..Details::default()
    };
    let target = NewTarget { identifier: name("@pavel"), details: Some(details) };
    let person = ImportedPerson { target, user_id: Some(7) };
    let mut expected = vec![name("@pavel"), name("@durov"), name("7"), name("+79991234567")];
    expected.sort_unstable();
    assert_eq!(person.names(Country::named("RU")), expected);
    expected.retain(|name| !matches!(name, Identifier::Phone(_)));
    assert_eq!(person.names(None), expected, "a number without its country names nobody");
}

impl Harness {
    async fn draft(&self, who: &Caller) -> CampaignInfo {
        let request = TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: "May".to_owned(),
            message_template: Some("Hi".to_owned()),
            audience_basis: "they asked".to_owned(),
            ..TaskRequest::default()
        };
        self.services.campaigns.create(who, request, None).await.unwrap().0
    }

    async fn import(
        &self,
        who: &Caller,
        order: ImportOrder,
        pieces: Vec<Vec<ImportedPerson>>,
    ) -> Result<ImportRecord, Refusal> {
        let imports = &self.services.imports;
        let mut import = imports.begin(who, order).await?;
        for piece in pieces {
            imports.add(who, &mut import, piece).await?;
        }
        imports.finish(who, &mut import, 2).await?;
        Ok(import.record)
    }

    async fn names(&self, who: &Caller, task: TaskId) -> Vec<String> {
        let (mut names, mut page) = (Vec::new(), PageQuery { cursor: None, limit: 1_000 });
        loop {
            let query = TargetQuery { status: None, text: None, page };
            let found = self.services.campaigns.targets(who, task, query).await.unwrap();
            names.extend(found.items.iter().map(|target| target.identifier.to_string()));
            match found.next_cursor {
                Some(cursor) => page = PageQuery { cursor: Some(cursor), limit: 1_000 },
                None => return names,
            }
        }
    }

    async fn refuse(&self, owner: &str, name: &str, covers: Covers) {
        let key = self.store.installation_key_or([7; 32]).await.unwrap();
        let identifier = Identifier::parse(name, Hint::Any, None).unwrap();
        let refusal = crate::protocol::campaigns::respect::Refusal {
            key: SuppressionKey::of(key.expose(), &identifier),
            list: ListTag::of(key.expose(), &List::User(user(owner))),
            covers,
            group: None,
            source: Source::Manual,
            is_doubtful: false,
            since: now(),
            entry: None,
        };
        self.store.commit(vec![Op::put_shared(&refusal)]).await.unwrap();
    }
}

#[tokio::test]
async fn an_import_adds_each_once_and_undoing_it_takes_only_its_own() {
    let harness = Harness::with(&[], Vec::new()).await;
    let who = caller("one");
    let task = harness.draft(&who).await.task.id;
    let by_hand = vec![person("@by_hand_1").target, person("@person_0003").target];
    harness.services.campaigns.add_targets(&who, task, by_hand).await.unwrap();
    let pieces = vec![people(0..40), people(30..60)];
    let first = harness.import(&who, order(task), pieces.clone()).await.unwrap();
    assert_eq!((first.accepted, first.duplicates, first.rejected), (59, 11, 2));
    let again = harness.import(&who, order(task), pieces).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (0, 70), "the same adds nobody twice");
    let more = vec![person("@by_hand_2").target];
    harness.services.campaigns.add_targets(&who, task, more).await.unwrap();
    let second = harness.import(&who, order(task), vec![people(50..80)]).await.unwrap();
    assert_eq!((second.accepted, second.duplicates), (20, 10));

    let page = |cursor, limit| PageQuery { cursor, limit };
    let imports = &harness.services.imports;
    let listed = imports.list(&who, task, page(None, 1)).await.unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&second), "the newest first");
    let rest = imports.list(&who, task, page(listed.next_cursor, 9)).await.unwrap();
    assert_eq!(rest.items, std::slice::from_ref(&first), "what added nobody is not kept");

    let undone = imports.undo(&who, task, first.id).await.unwrap();
    assert_eq!((undone.removed, undone.kept), (59, 0));
    let mut expected =
        vec!["@by_hand_1".to_owned(), "@person_0003".to_owned(), "@by_hand_2".to_owned()];
    expected.extend((60..80).map(|number| format!("@person_{number:04}")));
    assert_eq!(harness.names(&who, task).await, expected);
    let undone = imports.undo(&who, task, first.id).await.unwrap();
    assert_eq!((undone.removed, undone.kept), (0, 0), "once more changes nothing");
    let listed = imports.list(&who, task, page(None, 9)).await.unwrap().items;
    assert!(listed[0].undone_at.is_none() && listed[1].undone_at.is_some());
    // They may be imported once more.
    let back = harness.import(&who, order(task), vec![people(0..5)]).await.unwrap();
    assert_eq!((back.accepted, back.duplicates), (4, 1));

    let query = AuditLogQuery { limit: 100, ..AuditLogQuery::default() };
    let entries = harness.store.audit_log(&query).unwrap().entries;
    let count = |action: &str| entries.iter().filter(|entry| entry.link.action == action).count();
    assert_eq!((count("campaign.import"), count("campaign.import.undo")), (3, 2));
    drop(harness.root);
}

#[tokio::test]
async fn whoever_something_was_done_about_stays_when_an_import_is_undone() {
    let harness = Harness::with(&[], Vec::new()).await;
    let who = caller("one");
    let task = harness.draft(&who).await.task.id;
    let import = harness.import(&who, order(task), vec![people(0..20)]).await.unwrap();
    let query =
        TargetQuery { status: None, text: None, page: PageQuery { cursor: None, limit: 20 } };
    let all = harness.services.campaigns.targets(&who, task, query.clone()).await.unwrap().items;
    let some = vec![all[3].id, all[19].id];
    let skip = crate::actors::BulkAction::Skip(some.clone());
    harness.services.campaigns.bulk_targets(&who, task, skip).await.unwrap();
    let undone = harness.services.imports.undo(&who, task, import.id).await.unwrap();
    assert_eq!((undone.removed, undone.kept), (18, 2));
    let left = harness.services.campaigns.targets(&who, task, query).await.unwrap().items;
    assert_eq!(left.iter().map(|target| target.id).collect::<Vec<_>>(), some);
    assert!(left.iter().all(|target| target.status == TargetStatus::Skipped));
    let info = harness.services.campaigns.get(&who, task).await.unwrap();
    assert_eq!(info.statistics.total(), 2);
    drop(harness.root);
}

#[tokio::test]
async fn who_refuses_is_counted_under_each_of_their_names_and_added_all_the_same() {
    let harness = Harness::with(&[], Vec::new()).await;
    let who = caller("one");
    let task = harness.draft(&who).await.task.id;
    harness.refuse("one", "@person_0001", Covers::Everything).await;
    harness.refuse("one", "4242", Covers::Messages).await;
    harness.refuse("one", "+79991234567", Covers::Everything).await;
    // What these refuse is not what the task does, or not to this user.
    harness.refuse("one", "@person_0004", Covers::Invitations).await;
    harness.refuse("two", "@person_0005", Covers::Everything).await;
    let mut list = people(0..10);
    list[2].user_id = Some(4242);
    let phone = Details { phone: Some("+79991234567".into()), ..Details::default() };
    list[3].target.details = Some(phone);
    let import = harness.import(&who, order(task), vec![list.clone()]).await.unwrap();
    assert_eq!((import.accepted, import.suppressed), (10, 3));
    let trial = ImportOrder { is_trial: true, ..order(task) };
    let checked = harness.import(&who, trial, vec![list.clone()]).await.unwrap();
    assert_eq!((checked.accepted, checked.duplicates, checked.suppressed), (0, 10, 3));
    // Without a task whatever is refused counts.
    let trial = ImportOrder { task: None, ..trial };
    let checked = harness.import(&who, trial, vec![list]).await.unwrap();
    assert_eq!((checked.accepted, checked.suppressed), (10, 4));
    drop(harness.root);
}

#[tokio::test]
async fn a_check_tells_what_an_import_would_do_and_does_not_do_it() {
    let harness = Harness::with(&[], Vec::new()).await;
    let who = caller("one");
    let task = harness.draft(&who).await.task.id;
    harness.import(&who, order(task), vec![people(0..700)]).await.unwrap();
    let trial = ImportOrder { is_trial: true, ..order(task) };
    let pieces = || vec![people(600..1_000), people(900..1_100)];
    let checked = harness.import(&who, trial, pieces()).await.unwrap();
    let told = |import: &ImportRecord| (import.accepted, import.duplicates, import.beyond);
    assert_eq!(told(&checked), (300, 200, 100), "there is room for 1,000");
    assert_eq!(harness.names(&who, task).await.len(), 700);
    let done = harness.import(&who, order(task), pieces()).await.unwrap();
    assert_eq!(told(&done), told(&checked));
    assert_eq!(harness.names(&who, task).await.len(), 1_000);
    let listed = harness.services.imports.list(&who, task, PageQuery::default()).await.unwrap();
    assert_eq!(listed.items.len(), 2, "a check is not kept");
    drop(harness.root);
}

#[tokio::test]
async fn nothing_is_imported_into_what_is_anothers_or_under_way_and_one_at_a_time() {
    let harness = Harness::with(&[], Vec::new()).await;
    let (one, two) = (caller("one"), caller("two"));
    let task = harness.draft(&one).await.task.id;
    let import = harness.import(&one, order(task), vec![people(0..3)]).await.unwrap();
    let imports = &harness.services.imports;
    let code = |refusal: Refusal| refusal.code;
    for is_trial in [true, false] {
        let order = ImportOrder { is_trial, ..order(task) };
        assert_eq!(imports.begin(&two, order).await.map(drop).map_err(code), Err(Code::NotFound));
    }
    assert_eq!(imports.undo(&two, task, import.id).await.unwrap_err().code, Code::NotFound);
    let page = PageQuery::default();
    assert_eq!(imports.list(&two, task, page).await.unwrap_err().code, Code::NotFound);
    let never = ImportId(Uuid::from_u128(9));
    assert_eq!(imports.undo(&one, task, never).await.unwrap_err().code, Code::NotFound);
    // An admin may.
    assert_eq!(imports.undo(&admin(), task, import.id).await.unwrap().removed, 3);
    harness.services.campaigns.order(&one, task, Order::Cancel).await.unwrap();
    assert_eq!(imports.begin(&one, order(task)).await.map(drop).map_err(code), Err(Code::Conflict));

    let permit = imports.admit(&one).unwrap();
    assert_eq!(imports.admit(&one).unwrap_err().code, Code::RateLimited);
    let others: Vec<_> =
        (0..7).map(|nth| imports.admit(&caller(&format!("user-{nth}"))).unwrap()).collect();
    let refused = imports.admit(&two).unwrap_err();
    assert_eq!((refused.code, refused.retry_after), (Code::Overloaded, Some(5)));
    drop((permit, others));
    assert!(imports.admit(&two).is_ok());
    drop(harness.root);
}
