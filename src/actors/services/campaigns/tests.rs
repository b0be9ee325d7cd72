//! Campaigns in a whole tree, on a Telegram in memory: making them once, listing them in order, the same for many.

use uuid::Uuid;

use super::*;
use crate::actors::root::Root;
use crate::actors::services::{AuditQuery, Services};
use crate::actors::tests::{TestEnvironment, soon, user};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::Code;
use crate::protocol::audit::log::Entry;
use crate::protocol::campaigns::caps::{OwnCap, OwnCaps};
use crate::protocol::campaigns::creation::{CreationRecord, Made};
use crate::protocol::campaigns::identity::{Hint, Identifier};
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::Details;
use crate::protocol::campaigns::task::TaskType;
use crate::protocol::users::owner::Role;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::store::Op;

/// A tree, and Ann, who has an account.
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

    /// The daemon ends and begins anew.
    async fn again(self) -> Self {
        let Self { environment, root, account } = self;
        environment.stop(root).await;
        let root = environment.tree().await;
        Self { environment, root, account }
    }

    fn services(&self) -> Services {
        self.root.services()
    }

    fn request(&self, title: &str) -> TaskRequest {
        TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: title.into(),
            message_template: Some("Hi {first_name|friend}".into()),
            account_ids: vec![self.account.id],
            audience_basis: "they asked for it".into(),
            ..TaskRequest::default()
        }
    }

    async fn make(&self, request: TaskRequest) -> TaskId {
        let made = self.services().campaigns.create(&user("ann"), request, None).await;
        // Ids of one millisecond are in no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
        made.unwrap().0.task.id
    }

    async fn draft(&self, title: &str) -> TaskId {
        self.make(self.request(title)).await
    }

    /// Titles of all tasks, by pages of two.
    async fn titles(&self, query: CampaignQuery) -> Vec<String> {
        let (mut titles, mut cursor) = (Vec::new(), None);
        loop {
            let page = PageQuery { cursor, limit: 2 };
            let query = CampaignQuery { page, ..query.clone() };
            let page = self.services().campaigns.list(&user("ann"), query).await.unwrap();
            assert!(page.items.len() <= 2);
            titles.extend(page.items.into_iter().map(|info| info.task.title));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return titles;
            }
        }
    }

    async fn audited(&self, action: &str) -> usize {
        let query = AuditQuery { action: Some(action.into()), ..AuditQuery::default() };
        self.services().audit.list(&user("ann"), query).await.unwrap().items.len()
    }
}

fn key(key: &str, body: &str) -> Option<CreationKey> {
    Some(CreationKey { key: key.into(), body: Fingerprint::of([body.as_bytes()]) })
}

fn person(name: &str) -> NewTarget {
    NewTarget { identifier: Identifier::parse(name, Hint::Any, None).unwrap(), details: None }
}

fn sorted(by: TaskOrder, is_descending: bool) -> CampaignQuery {
    CampaignQuery { sort: TaskSort { by, is_descending }, ..CampaignQuery::default() }
}

#[tokio::test(start_paused = true)]
async fn under_one_key_a_task_is_made_once_also_at_once_and_in_the_next_life() {
    let fixture = Fixture::new().await;
    let make = |title: &str, key| {
        let (campaigns, request) = (fixture.services().campaigns, fixture.request(title));
        async move { campaigns.create(&user("ann"), request, key).await }
    };
    let (one, other) = tokio::join!(make("may", key("k", "may")), make("may", key("k", "may")));
    let ((one, is_first), (other, is_second)) = (one.unwrap(), other.unwrap());
    assert_eq!(one.task.id, other.task.id);
    assert!(is_first != is_second, "one of them made it");
    let refused = make("june", key("k", "june")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "the key stands for another task");
    assert_eq!(make("may", None).await.unwrap().0.task.title, "may");
    let fixture = fixture.again().await;
    let campaigns = fixture.services().campaigns;
    let again = campaigns.create(&user("ann"), fixture.request("may"), key("k", "may")).await;
    let (again, is_replayed) = again.unwrap();
    assert_eq!((again.task.id, is_replayed), (one.task.id, true));
    assert_eq!(fixture.titles(CampaignQuery::default()).await.len(), 2);
    // What was deleted is not made again by a repetition.
    campaigns.delete(&user("ann"), one.task.id).await.unwrap();
    let gone = campaigns.create(&user("ann"), fixture.request("may"), key("k", "may")).await;
    assert_eq!(gone.unwrap_err().code, Code::Conflict);
    assert_eq!(fixture.audited("campaign.create").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_made_once_and_one_that_was_cut_off_is_gone_on_with() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("may").await);
    let people = (0..40).map(|number| person(&format!("@person{number}"))).collect();
    campaigns.add_targets(&ann, id, people).await.unwrap();
    let (copy, is_replayed) = campaigns.duplicate(&ann, id, key("k", "")).await.unwrap();
    assert_eq!((copy.statistics.total(), is_replayed), (40, false));
    let (again, is_replayed) = campaigns.duplicate(&ann, id, key("k", "")).await.unwrap();
    assert_eq!((again.task.id, is_replayed), (copy.task.id, true));
    // As a crash leaves it that came after a few people.
    let record =
        key("cut", "").unwrap().record(&ann.user, &format!("copy/{id}"), crate::clock::now());
    let half = fixture.draft("half").await;
    campaigns.add_targets(&ann, half, vec![person("@person0"), person("@person1")]).await.unwrap();
    let begun = CreationRecord { made: Some(Made::Task(half)), ..record };
    fixture.environment.store.commit(vec![Op::put_row(&begun)]).await.unwrap();
    let (whole, is_replayed) = campaigns.duplicate(&ann, id, key("cut", "")).await.unwrap();
    assert_eq!((whole.task.id, whole.statistics.total(), is_replayed), (half, 40, false));
}

#[tokio::test(start_paused = true)]
async fn under_one_key_people_are_counted_as_they_were_the_first_time() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("may").await);
    let add = |names: &[&str], key| {
        let people = names.iter().map(|name| person(name)).collect();
        let (campaigns, ann) = (fixture.services().campaigns, ann.clone());
        async move { campaigns.add_targets_under(&ann, id, people, key).await.unwrap() }
    };
    let (first, is_replayed) = add(&["@first", "@second", "@first"], key("k", "a")).await;
    assert_eq!((first.accepted, first.duplicates, is_replayed), (2, 1, false));
    assert_eq!(add(&["@first", "@second", "@first"], key("k", "a")).await, (first, true));
    let (none, is_replayed) = add(&["@first"], key("other", "a")).await;
    assert_eq!((none.accepted, none.duplicates, is_replayed), (0, 1, false));
    assert_eq!(add(&["@first"], key("other", "a")).await, (none, true));
    let fixture = fixture.again().await;
    let people = ["@first", "@second", "@first"].map(person).to_vec();
    let again =
        fixture.services().campaigns.add_targets_under(&ann, id, people, key("k", "a")).await;
    assert_eq!(again.unwrap(), (first, true));
    drop(campaigns);
}

#[tokio::test(start_paused = true)]
async fn one_person_is_added_or_found_wherever_they_are_in_the_list() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("may").await);
    let people = (0..40).map(|number| person(&format!("@person{number}"))).collect();
    campaigns.add_targets(&ann, id, people).await.unwrap();
    let details = Details { first_name: Some("Vera".into()), ..Details::default() };
    let vera = NewTarget { details: Some(details), ..person("@vera_x") };
    let added = campaigns.add_target(&ann, id, vera.clone(), key("k", "vera")).await.unwrap();
    assert_eq!((added.target.id, added.is_new, added.is_replayed), (TargetId(40), true, false));
    let again = campaigns.add_target(&ann, id, vera, key("k", "vera")).await.unwrap();
    assert_eq!((again.target.id, again.is_new, again.is_replayed), (TargetId(40), true, true));
    for (name, at) in [("@person0", 0), ("@Person37", 37)] {
        let found = campaigns.add_target(&ann, id, person(name), None).await.unwrap();
        assert_eq!((found.target.id, found.is_new), (TargetId(at), false));
    }
    let theirs = campaigns.add_target(&user("bob"), id, person("@bobs_friend"), None).await;
    assert_eq!(theirs.unwrap_err().code, Code::NotFound);
    // Looking for a text goes on where a page has ended, and finds by names and by digits.
    let found = async |text: &str| {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = PageQuery { cursor, limit: 3 };
            let query = TargetQuery { status: None, text: Some(text.into()), page };
            let page = campaigns.targets(&ann, id, query).await.unwrap();
            found.extend(page.items.into_iter().map(|target| target.id.0));
            (cursor, pages) = (page.next_cursor, pages + 1);
            if cursor.is_none() {
                return (found, pages);
            }
        }
    };
    assert_eq!(found("VERA ").await, (vec![40], 3));
    assert_eq!(found("person3").await.0, [3, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
    campaigns.add_target(&ann, id, person("+7 999 123-45-67"), None).await.unwrap();
    assert_eq!(found("999 123-45").await.0, [41]);
    assert_eq!(found("nobody at all").await.0, [] as [u32; 0]);
}

#[tokio::test(start_paused = true)]
async fn tasks_are_sorted_each_way_and_no_page_loses_one() {
    let fixture = Fixture::new().await;
    let at = |moment| Some(Schedule::parse(moment, None).unwrap());
    let (later, soon) = (at("2030-05-01T10:00:00Z"), at("2029-05-01T10:00:00Z"));
    for (title, priority, schedule) in [
        ("beta", Priority::Low, None),
        ("Alpha", Priority::High, later),
        ("delta", Priority::Normal, soon),
        ("charlie", Priority::High, None),
    ] {
        fixture.make(TaskRequest { priority, schedule, ..fixture.request(title) }).await;
    }
    for (by, expected) in [
        (TaskOrder::Created, ["beta", "Alpha", "delta", "charlie"]),
        (TaskOrder::Title, ["Alpha", "beta", "charlie", "delta"]),
        (TaskOrder::Priority, ["Alpha", "charlie", "delta", "beta"]),
        (TaskOrder::Status, ["beta", "Alpha", "delta", "charlie"]),
    ] {
        assert_eq!(fixture.titles(sorted(by, false)).await, expected, "{by:?}");
        let mut backwards = expected;
        backwards.reverse();
        assert_eq!(fixture.titles(sorted(by, true)).await, backwards, "{by:?}");
    }
    // Those without a schedule are last in either order.
    let scheduled = fixture.titles(sorted(TaskOrder::Scheduled, false)).await;
    assert_eq!(scheduled, ["delta", "Alpha", "beta", "charlie"]);
    let scheduled = fixture.titles(sorted(TaskOrder::Scheduled, true)).await;
    assert_eq!(scheduled, ["Alpha", "delta", "charlie", "beta"]);
    let high = CampaignQuery { priority: Some(Priority::High), ..CampaignQuery::default() };
    assert_eq!(fixture.titles(high).await, ["charlie", "Alpha"]);
    // A filter that passes many over goes on, page by page.
    for number in 0..8 {
        fixture.draft(&format!("more {number}")).await;
    }
    let named = CampaignQuery { text: Some("BETA".into()), ..CampaignQuery::default() };
    assert_eq!(fixture.titles(named).await, ["beta"]);
    // By what is in the tasks only few are sorted.
    let by_title = sorted(TaskOrder::Title, false);
    let refused = fixture.services().campaigns.list(&user("ann"), by_title).await.unwrap_err();
    assert_eq!((refused.code, &*refused.errors[0].field), (Code::Validation, "sort"));
    let cursor = Some("0-0.zz".to_owned());
    let page = PageQuery { cursor, limit: 2 };
    let query = CampaignQuery { page, ..CampaignQuery::default() };
    let refused = fixture.services().campaigns.list(&user("ann"), query).await.unwrap_err();
    assert_eq!(&*refused.errors[0].field, "cursor");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_with_many_is_told_of_each_and_one_that_fails_stops_no_other() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let ann = user("ann");
    let ids =
        [fixture.draft("one").await, fixture.draft("two").await, fixture.draft("three").await];
    let nobodys = TaskId(Uuid::from_u128(5));
    let all = vec![ids[0], nobodys, ids[1]];
    let told = |outcomes: Vec<TaskOutcome>| -> Vec<Option<Code>> {
        outcomes.into_iter().map(|(_, outcome)| outcome.err().map(|refusal| refusal.code)).collect()
    };
    let high = TaskAction::SetPriority(Priority::High);
    let outcomes = campaigns.bulk(&ann, high, all.clone()).await;
    assert_eq!(told(outcomes), [None, Some(Code::NotFound), None]);
    for (id, priority) in [(ids[0], Priority::High), (ids[2], Priority::Normal)] {
        assert_eq!(campaigns.get(&ann, id).await.unwrap().task.priority, priority);
    }
    let outcomes = campaigns.bulk(&user("bob"), TaskAction::Delete, all.clone()).await;
    assert_eq!(told(outcomes), [Some(Code::NotFound); 3], "what is another's does not exist");
    let outcomes = campaigns.bulk(&ann, TaskAction::Order(Wanted::Pause), all.clone()).await;
    let refused = Some(Code::Conflict);
    assert_eq!(told(outcomes), [refused, Some(Code::NotFound), refused], "drafts do not run");
    campaigns.order(&ann, ids[2], Wanted::Cancel).await.unwrap();
    let outcomes = campaigns.bulk(&ann, TaskAction::Order(Wanted::Cancel), ids.to_vec()).await;
    assert_eq!(told(outcomes), [None; 3]);
    let outcomes = campaigns.bulk(&ann, TaskAction::Delete, all).await;
    assert_eq!(told(outcomes), [None, Some(Code::NotFound), None]);
    assert_eq!(fixture.titles(CampaignQuery::default()).await, ["three"]);
}

#[tokio::test(start_paused = true)]
async fn a_priority_changes_nothing_else_also_where_an_admin_has_raised_caps() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("one").await);
    let invite = Some(OwnCap { per_day: Some(60), per_hour: None });
    let caps = OwnCaps { invite, ..OwnCaps::default() };
    let settings = Settings { caps: Some(caps), ..Settings::default() };
    let request = TaskRequest { settings, ..fixture.request("one") };
    let edit = |request| Edit { request, revision: None, confirms_basis: true };
    let by_ann = campaigns.edit(&ann, id, edit(request.clone())).await.unwrap_err();
    assert_eq!(by_ann.code, Code::Validation);
    let admin = Caller { role: Role::Admin, ..user("the-admin") };
    campaigns.edit(&admin, id, edit(request)).await.unwrap();
    let low = TaskAction::SetPriority(Priority::Low);
    let outcomes = campaigns.bulk(&ann, low, vec![id]).await;
    assert_eq!(outcomes, [(id, Ok(()))]);
    let task = campaigns.get(&ann, id).await.unwrap().task;
    assert_eq!((task.priority, task.settings.caps), (Priority::Low, Some(caps)));
}

#[tokio::test(start_paused = true)]
async fn how_people_agreed_is_in_the_audit_log_until_the_user_is_erased() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("one").await);
    let edit = |audience_basis: &str| {
        let request =
            TaskRequest { audience_basis: audience_basis.into(), ..fixture.request("one") };
        Edit { request, revision: None, confirms_basis: true }
    };
    campaigns.edit(&ann, id, edit("they came to our stand")).await.unwrap();
    campaigns.add_targets(&ann, id, vec![person("@somebody")]).await.unwrap();
    campaigns.order(&ann, id, Wanted::Start).await.unwrap();
    campaigns.order(&ann, id, Wanted::Pause).await.unwrap();
    let (copy, _) = campaigns.duplicate(&ann, id, None).await.unwrap();
    campaigns.edit(&ann, copy.task.id, edit("they are members")).await.unwrap();
    let told = |action: &'static str| {
        let query = AuditQuery { action: Some(action.into()), ..AuditQuery::default() };
        let audit = fixture.services().audit;
        async move {
            let entries = audit.list(&user("ann"), query).await.unwrap().items;
            let text = |entry: Entry| entry.persons.details.map(|told| told.as_str().to_owned());
            entries.into_iter().map(text).collect::<Vec<_>>()
        }
    };
    let (stand, members) =
        (Some("they came to our stand".to_owned()), Some("they are members".to_owned()));
    assert_eq!(told("campaign.create").await, [Some("they asked for it".to_owned())]);
    assert_eq!(told("campaign.edit").await, [members.clone(), stand.clone()]);
    assert_eq!(told("campaign.start").await, std::slice::from_ref(&stand));
    assert_eq!(told("campaign.duplicate").await, [stand]);
    assert_eq!(told("campaign.basis.confirm").await, [members]);
    assert_eq!(told("campaign.pause").await, [None]);
    let admin = Caller { role: Role::Admin, ..user("the-admin") };
    fixture.services().user_data.erase(&admin, ann.user.clone()).await.unwrap();
    let all = AuditQuery { page: PageQuery { cursor: None, limit: 100 }, ..AuditQuery::default() };
    let entries = fixture.services().audit.list(&admin, all).await.unwrap().items;
    let is_told = |entry: &Entry| entry.link.action == "campaign.create";
    assert!(entries.iter().any(is_told));
    assert!(entries.iter().all(|entry| entry.persons.details.is_none()));
}

#[tokio::test(start_paused = true)]
async fn who_ignores_the_recontact_window_is_in_the_audit_log() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let ann = user("ann");
    let (on, off) = ("campaign.ignore_recontact.on", "campaign.ignore_recontact.off");
    let settings = Settings { ignore_recontact: true, ..Settings::default() };
    let ignoring = TaskRequest { settings, ..fixture.request("one") };
    let id = fixture.make(ignoring.clone()).await;
    fixture.draft("two").await;
    assert_eq!((fixture.audited(on).await, fixture.audited(off).await), (1, 0));
    let edit = |request| Edit { request, revision: None, confirms_basis: true };
    campaigns.edit(&ann, id, edit(ignoring.clone())).await.unwrap();
    assert_eq!(fixture.audited(on).await, 1, "nothing was chosen anew");
    campaigns.edit(&ann, id, edit(fixture.request("one"))).await.unwrap();
    campaigns.edit(&ann, id, edit(ignoring)).await.unwrap();
    assert_eq!((fixture.audited(on).await, fixture.audited(off).await), (2, 1));
    // A copy does not choose it by itself.
    let (copy, _) = campaigns.duplicate(&ann, id, None).await.unwrap();
    assert!(!copy.task.settings.ignore_recontact);
    assert_eq!(fixture.audited(on).await, 2);
}

#[tokio::test(start_paused = true)]
async fn health_tells_what_stands_where_and_what_holds_it() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let ann = user("ann");
    let (one, _) = (fixture.draft("one").await, fixture.draft("two").await);
    campaigns.add_targets(&ann, one, vec![person("@somebody")]).await.unwrap();
    campaigns.order(&ann, one, Wanted::Start).await.unwrap();
    campaigns.order(&ann, one, Wanted::Pause).await.unwrap();
    let health = campaigns.health(&ann).await.unwrap();
    let count = |status| health.tasks.iter().find(|(at, _)| *at == status).unwrap().1;
    let (draft, paused) = (count(TaskStatus::Draft), count(TaskStatus::Paused));
    assert_eq!((draft, paused, count(TaskStatus::Running)), (1, 1, 0));
    let held: Vec<_> = health.held.iter().map(|held| (held.task, &*held.title)).collect();
    assert_eq!((held, health.held_left_out), (vec![(one, "one")], 0));
    assert_eq!(health.accounts.iter().map(|(_, count)| count).sum::<u64>(), 1);
    assert!(health.left.iter().any(|(_, left)| *left > 0), "{health:?}");
    let nobodys = campaigns.health(&user("bob")).await.unwrap();
    assert_eq!(nobodys.tasks.iter().map(|(_, count)| count).sum::<u64>(), 0);
    assert!(nobodys.held.is_empty() && nobodys.accounts.iter().all(|(_, count)| *count == 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_the_daemon_stops_is_told_to_ask_again_and_nothing_has_failed() {
    let fixture = Fixture::new().await;
    let campaigns = fixture.services().campaigns;
    let (ann, id) = (user("ann"), fixture.draft("one").await);
    let Fixture { environment, root, .. } = fixture;
    let asking = async {
        loop {
            let identifier = Identifier::Id(7);
            let people = vec![NewTarget { identifier, details: None }];
            if let Err(refusal) = campaigns.add_targets_under(&ann, id, people, None).await {
                break refusal;
            }
        }
    };
    let (_, refusal) = tokio::join!(environment.stop(root), asking);
    assert_eq!(refusal.code, Code::Overloaded, "{refusal:?}");
    assert!(refusal.retry_after.is_some(), "{refusal:?}");
}
