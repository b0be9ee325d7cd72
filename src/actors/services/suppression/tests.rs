//! Lists of who is never contacted, in a whole tree: entries, lifting, and campaigns that see them.

use std::time::Duration;

use super::*;
use crate::actors::root::Root;
use crate::actors::services::AuditQuery;
use crate::actors::tests::{TestEnvironment, pass, soon, user};
use crate::actors::{NewTarget, Wanted};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::identity::Hint;
use crate::protocol::campaigns::target::{Reason, TargetStatus};
use crate::protocol::campaigns::task::{TaskId, TaskRequest, TaskType};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::telegram::fake::Somebody;

use SuppressionList::{Installation, Own};

struct Fixture {
    environment: TestEnvironment,
    root: Root,
    account: OwnedAccount,
}

impl Fixture {
    async fn new() -> Self {
        let environment = TestEnvironment::new();
        let credentials = environment.telegram.person(1, 7);
        let account = environment.own(&credentials, "ann").await;
        let root = environment.tree().await;
        soon().await;
        Self { environment, root, account }
    }

    fn lists(&self) -> Arc<dyn SuppressionService> {
        self.root.services().suppression
    }

    async fn add(&self, who: &Caller, list: SuppressionList, name: &str) -> (Suppression, bool) {
        let added = self.lists().add(who, list, everything(name), None).await.unwrap();
        assert!(!added.is_replayed);
        // Ids of one millisecond are in no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
        (added.entry, added.is_new)
    }

    /// All entries of a list by pages of two, as they are named.
    async fn names(&self, who: &Caller, list: SuppressionList) -> Vec<Option<String>> {
        self.entries(who, list, None).await.into_iter().map(|entry| name_of(&entry)).collect()
    }

    async fn entries(
        &self,
        who: &Caller,
        list: SuppressionList,
        source: Option<Source>,
    ) -> Vec<Suppression> {
        let (mut entries, mut cursor) = (Vec::new(), None);
        loop {
            let page = PageQuery { cursor, limit: 2 };
            let page =
                self.lists().list(who, SuppressionQuery { list, source, page }).await.unwrap();
            assert!(page.items.len() <= 2);
            entries.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return entries;
            }
        }
    }

    async fn check(&self, who: &Caller, name: &str) -> Vec<SuppressionCheck> {
        self.lists().check(who, named(name)).await.unwrap()
    }

    async fn targets_of_audit(&self, who: &Caller, action: &str) -> Vec<String> {
        let query = AuditQuery { action: Some(action.into()), ..AuditQuery::default() };
        let page = self.root.services().audit.list(who, query).await.unwrap();
        page.items.into_iter().filter_map(|entry| entry.persons.target).collect()
    }

    /// A campaign of Ann's for these people, which runs.
    async fn run(&self, names: &[&str]) -> TaskId {
        let campaigns = self.root.services().campaigns;
        let request = TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: "test".into(),
            message_template: Some("Hi".into()),
            account_ids: vec![self.account.id],
            audience_basis: "they asked for it".into(),
            ..TaskRequest::default()
        };
        let id = campaigns.create(&user("ann"), request, None).await.unwrap().0.task.id;
        let people = names.iter().map(|name| NewTarget { identifier: named(name), details: None });
        campaigns.add_targets(&user("ann"), id, people.collect()).await.unwrap();
        campaigns.order(&user("ann"), id, Wanted::Start).await.unwrap();
        id
    }

    async fn outcomes(&self, task: TaskId) -> Vec<(TargetStatus, Option<Reason>)> {
        let campaigns = self.root.services().campaigns;
        let targets = campaigns.targets(&user("ann"), task, Default::default()).await.unwrap();
        targets.items.into_iter().map(|target| (target.status, target.reason)).collect()
    }
}

fn named(text: &str) -> Identifier {
    Identifier::parse(text, Hint::Any, None).unwrap()
}

fn name_of(entry: &Suppression) -> Option<String> {
    entry.identifier.as_ref().map(ToString::to_string)
}

fn everything(name: &str) -> NewSuppression {
    NewSuppression { identifier: named(name), covers: Covers::Everything, is_erased: false }
}

fn admin() -> Caller {
    Caller { role: Role::Admin, ..user("the-admin") }
}

fn key(key: &str, body: &str) -> Option<CreationKey> {
    Some(CreationKey { key: key.into(), body: Fingerprint::of([body.as_bytes()]) })
}

#[tokio::test(start_paused = true)]
async fn lists_are_paged_newest_first_and_each_is_its_users_own() {
    let fixture = Fixture::new().await;
    let (ann, bob) = (user("ann"), user("bob"));
    for name in ["@first", "@second", "@third", "@fourth", "@fifth"] {
        assert!(fixture.add(&ann, Own, name).await.1);
    }
    fixture.add(&bob, Own, "@first").await;
    let some =
        |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
    let newest_first = some(&["@fifth", "@fourth", "@third", "@second", "@first"]);
    assert_eq!(fixture.names(&ann, Own).await, newest_first);
    assert_eq!(fixture.names(&bob, Own).await, some(&["@first"]));
    let (there, is_new) = fixture.add(&ann, Own, "@Third").await;
    assert_eq!((name_of(&there).unwrap(), is_new), ("@third".into(), false));
    assert_eq!(fixture.names(&ann, Own).await.len(), 5, "whoever is on it comes once");
    // The installation's is for admins, and holds for everybody.
    let refused = fixture.lists().add(&ann, Installation, everything("@sixth"), None).await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
    let (entry, _) = fixture.add(&admin(), Installation, "@sixth").await;
    assert_eq!(fixture.names(&admin(), Installation).await, some(&["@sixth"]));
    let checked = fixture.check(&ann, "@sixth").await;
    assert_eq!((checked.len(), checked[0].is_own, checked[0].id), (1, false, None));
    assert_eq!(fixture.check(&admin(), "@sixth").await[0].id, Some(entry.id));
    assert_eq!(fixture.check(&ann, "@nobody_there").await, []);
    assert_eq!(fixture.check(&admin(), "@first").await, [], "lists of others are not told of");
    let removed = fixture.lists().remove(&bob, Own, there.id, "why not".into()).await;
    assert_eq!(removed.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_lifted_for_a_reason_only_and_the_audit_log_has_it() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    let (entry, _) = fixture.add(&ann, Own, "@first").await;
    for reason in ["", "  "] {
        let refused = fixture.lists().remove(&ann, Own, entry.id, reason.into()).await.unwrap_err();
        assert_eq!(&*refused.errors[0].field, "reason");
    }
    assert_eq!(fixture.check(&ann, "@first").await.len(), 1);
    fixture.lists().remove(&ann, Own, entry.id, " they called ".into()).await.unwrap();
    assert_eq!(
        (fixture.check(&ann, "@first").await, fixture.names(&ann, Own).await),
        (vec![], vec![])
    );
    let again =
        fixture.lists().remove(&ann, Own, entry.id, "they called".into()).await.unwrap_err();
    assert_eq!(again.code, Code::NotFound);
    let told = fixture.targets_of_audit(&ann, "suppression.remove").await;
    assert_eq!(told, [format!("{}: they called", entry.id.0)]);
    let told = fixture.targets_of_audit(&ann, "suppression.add").await;
    assert_eq!(told, [entry.id.0.to_string()], "nobody is named");
    let (_, is_new) = fixture.add(&ann, Own, "@first").await;
    assert!(is_new);
}

#[tokio::test(start_paused = true)]
async fn of_who_asked_to_be_erased_nothing_is_shown_and_the_refusal_stands() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    let erased = |name| NewSuppression { is_erased: true, ..everything(name) };
    let (entry, _) = fixture.add(&ann, Own, "@first").await;
    let added = fixture.lists().add(&ann, Own, erased("@first"), None).await.unwrap();
    assert_eq!((added.entry.id, added.is_new), (entry.id, false));
    assert_eq!((added.entry.identifier, added.entry.source), (None, Source::Erased));
    fixture.lists().add(&ann, Own, erased("@second"), None).await.unwrap();
    assert_eq!(fixture.names(&ann, Own).await, [None, None]);
    for name in ["@first", "@second"] {
        let checked = fixture.check(&ann, name).await;
        assert_eq!((checked.len(), checked[0].source), (1, Source::Erased));
    }
    assert_eq!(fixture.entries(&ann, Own, Some(Source::Manual)).await, []);
    assert_eq!(fixture.entries(&ann, Own, Some(Source::Erased)).await.len(), 2);
    // By its id it can be removed all the same.
    fixture.lists().remove(&ann, Own, entry.id, "they came back".into()).await.unwrap();
    assert_eq!(fixture.check(&ann, "@first").await, []);
}

#[tokio::test(start_paused = true)]
async fn no_entry_of_who_asked_to_be_erased_keeps_a_name_or_is_exported() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    let store = &fixture.environment.store;
    let key = store.read(Reader::installation_key).await.unwrap().expect("it was drawn");
    let entry = |number, is_doubtful| Suppression {
        id: SuppressionId(uuid::Uuid::from_u128(number)),
        key: SuppressionKey::of(key.expose(), &named("@first")),
        list: List::User(ann.user.clone()),
        covers: Covers::Everything,
        group: None,
        source: Source::StopReply,
        is_doubtful,
        since: crate::protocol::values::ids::UnixMillis(1),
        identifier: Some(named("@first")),
    };
    // What they answered to campaigns: "is this spam?", and "stop".
    for entry in [entry(1, true), entry(2, false)] {
        store.commit(Op::refuse(&entry, key.expose()).into()).await.unwrap();
    }
    // One of a build that left those from before.
    let older = Suppression { key: SuppressionKey([9; 32]), ..entry(3, true) };
    store.commit(vec![Op::put_suppression(&older)]).await.unwrap();
    let erased = NewSuppression { is_erased: true, ..everything("@first") };
    fixture.lists().add(&ann, Own, erased, None).await.unwrap();
    let (list, ids) = (List::User(ann.user.clone()), [1, 2].map(uuid::Uuid::from_u128));
    let read = move |store: &Reader| store.suppressions(&list, None, 9);
    let kept = store.read(read).await.unwrap();
    let of_theirs = kept.iter().filter(|entry| ids.contains(&entry.id.0));
    let of_theirs: Vec<_> = of_theirs.map(|entry| (entry.id.0, &entry.identifier)).collect();
    assert_eq!(of_theirs, [(ids[1], &None)]);
    let names = |archive: crate::actors::services::UserArchive| {
        let told = archive.suppression.iter().map(|entry| format!("{:?}", entry.identifier));
        told.collect::<Vec<_>>().join(",").into_bytes()
    };
    let user_data = fixture.root.services().user_data;
    let archive = user_data.export(&ann, ann.user.clone(), Box::new(names)).await.unwrap();
    assert_eq!(String::from_utf8(archive).unwrap(), "None");
}

#[tokio::test(start_paused = true)]
async fn what_covers_less_is_an_entry_of_its_own_and_what_covers_all_answers_for_it() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    let messages = NewSuppression { covers: Covers::Messages, ..everything("@first") };
    let narrow = fixture.lists().add(&ann, Own, messages.clone(), None).await.unwrap();
    let (whole, is_new) = fixture.add(&ann, Own, "@first").await;
    assert!(narrow.is_new && is_new);
    let again = fixture.lists().add(&ann, Own, messages, None).await.unwrap();
    assert!(!again.is_new && [narrow.entry.id, whole.id].contains(&again.entry.id));
    assert_eq!(fixture.check(&ann, "@first").await.len(), 2);
    fixture.lists().remove(&ann, Own, whole.id, "too much".into()).await.unwrap();
    assert_eq!(fixture.check(&ann, "@first").await[0].covers, Covers::Messages);
}

#[tokio::test(start_paused = true)]
async fn an_import_counts_each_once_and_the_same_under_its_key() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    fixture.add(&ann, Own, "@first").await;
    let names = ["@first", "@second", "+79991234567", "777", "@second"];
    let import = |key| {
        let lists = fixture.lists();
        async move {
            let identifiers = names.iter().map(|name| named(name)).collect();
            lists.import(&user("ann"), Own, identifiers, key).await.unwrap()
        }
    };
    let first = import(key("k", "a")).await;
    assert_eq!((first.accepted, first.duplicates, first.is_replayed), (3, 2, false));
    let again = import(key("k", "a")).await;
    assert_eq!((again.accepted, again.duplicates, again.is_replayed), (3, 2, true));
    let other = import(None).await;
    assert_eq!((other.accepted, other.duplicates), (0, 5));
    assert_eq!(fixture.entries(&ann, Own, Some(Source::Import)).await.len(), 3);
    assert_eq!(fixture.names(&ann, Own).await.len(), 4);
    assert_eq!(fixture.targets_of_audit(&ann, "suppression.import").await, ["3 entries"]);
    // One that was removed since is not made again by a repetition.
    let one = fixture.lists().add(&ann, Own, everything("@last"), key("one", "b")).await.unwrap();
    let again = fixture.lists().add(&ann, Own, everything("@last"), key("one", "b")).await.unwrap();
    assert_eq!((again.entry.id, again.is_replayed), (one.entry.id, true));
    fixture.lists().remove(&ann, Own, one.entry.id, "by mistake".into()).await.unwrap();
    let gone = fixture.lists().add(&ann, Own, everything("@last"), key("one", "b")).await;
    assert_eq!(gone.unwrap_err().code, Code::Conflict);
    assert_eq!(fixture.check(&ann, "@last").await, []);
}

#[tokio::test(start_paused = true)]
async fn refusals_outlive_the_daemon_and_the_newest_entry_tells_of_one() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    let (entry, _) = fixture.add(&ann, Own, "@first").await;
    // A campaign writes another entry of the same refusal, as it does without looking.
    let installation_key = *fixture
        .environment
        .store
        .read(Reader::installation_key)
        .await
        .unwrap()
        .expect("it was drawn")
        .expose();
    let newer = Suppression {
        id: SuppressionId(uuid::Uuid::max()),
        source: Source::StopReply,
        ..entry.clone()
    };
    fixture.environment.store.commit(Op::refuse(&newer, &installation_key).into()).await.unwrap();
    let Fixture { environment, root, account } = fixture;
    environment.stop(root).await;
    let root = environment.tree().await;
    let fixture = Fixture { environment, root, account };
    assert_eq!(fixture.entries(&ann, Own, None).await, std::slice::from_ref(&newer));
    assert_eq!(fixture.check(&ann, "@first").await[0].source, Source::StopReply);
    let old = fixture.lists().remove(&ann, Own, entry.id, "an old one".into()).await.unwrap_err();
    assert_eq!(old.code, Code::NotFound);
    fixture.lists().remove(&ann, Own, newer.id, "they wrote".into()).await.unwrap();
    assert_eq!(
        (fixture.check(&ann, "@first").await, fixture.names(&ann, Own).await),
        (vec![], vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_runs_passes_over_whoever_is_put_on_a_list() {
    let fixture = Fixture::new().await;
    let ann = user("ann");
    for (id, name) in [(101, "first"), (102, "second"), (103, "third"), (104, "fourth")] {
        let somebody = Somebody { username: Some(name.into()), ..Somebody::default() };
        fixture.environment.telegram.somebody(id, somebody);
    }
    fixture.add(&ann, Own, "@first").await;
    fixture.add(&admin(), Installation, "@second").await;
    let task = fixture.run(&["@first", "@second", "@third", "@fourth"]).await;
    // One of the two is written to; the other waits for the pause between two actions, and is put on the list meanwhile.
    let mut waited = 0;
    while fixture.environment.telegram.contacted().is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        waited += 1;
        assert!(waited < 600, "nobody was written to: {:?}", fixture.outcomes(task).await);
    }
    let reached = fixture.environment.telegram.contacted();
    assert_eq!(reached.len(), 1);
    let other = if reached[0].person == 103 { "@fourth" } else { "@third" };
    fixture.add(&ann, Own, other).await;
    pass(3_600).await;
    let outcomes = fixture.outcomes(task).await;
    let suppressed = (TargetStatus::Skipped, Some(Reason::Suppressed));
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == suppressed).count(),
        3,
        "{outcomes:?}"
    );
    assert_eq!(fixture.environment.telegram.contacted().len(), 1);
}
