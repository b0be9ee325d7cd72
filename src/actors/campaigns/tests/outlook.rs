//! What is foreseen, held against what comes: the estimate of a running task, and the dry run.

use super::messenger::Then;
use super::*;
use crate::actors::campaigns::dry_run::dry_run;
use crate::actors::campaigns::outlook::{left_of, outlook};
use crate::protocol::answers::campaign_report::{DryRun, ProblemCode};
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::caps::Cap;
use crate::protocol::campaigns::forecast::Limit;
use crate::protocol::campaigns::quiet::{Minute, QuietHours};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Details, Statistics, Step};
use crate::protocol::campaigns::zone::Zone;
use crate::store::Reader;

async fn run_of(fixture: &Fixture, id: TaskId) -> TaskRun {
    let read = move |store: &Reader| store.row::<TaskRun>(&ann(), id);
    fixture.environment.store.read(read).await.unwrap().unwrap()
}

async fn estimate(fixture: &Fixture, life: &Life, id: TaskId) -> Option<i64> {
    let (task, run) = (fixture.task(id).await, run_of(fixture, id).await);
    let ahead = left_of(&life.context, &task).await.unwrap();
    outlook(&life.context, (&task, &run), ahead, 0, Vec::new()).await.unwrap().forecast.ends_in_ms
}

async fn tried(fixture: &Fixture, life: &Life, id: TaskId) -> DryRun {
    let (task, run) = (fixture.task(id).await, run_of(fixture, id).await);
    dry_run(&life.context, &task, &run).await.unwrap()
}

/// Runs a task, and compares what is expected after a tenth with what comes. `trouble` comes with every so many
/// messages.
async fn is_right_after_a_tenth(
    what: &str,
    fixture: &Fixture,
    request: TaskRequest,
    people: i64,
    trouble: Option<(usize, Then)>,
) {
    let life = fixture.live().await;
    let task = fixture.draft(&life, request, people).await;
    life.order(task, Wanted::Start).await.unwrap();
    let (mut expected, mut over, mut troubled) = (None, None, 0);
    for _ in 0..400_000 {
        if let Some((every, then)) = &trouble {
            let reached = fixture.messenger.world().reached.len();
            if reached / every > troubled {
                troubled += 1;
                fixture.messenger.next(Step::Send, [then.clone()]);
            }
        }
        let done = run_of(fixture, task).await.statistics.progress().done;
        if expected.is_none() && done * 10 >= u64::try_from(people).unwrap() {
            let at = tokio::time::Instant::now();
            expected = Some((at, estimate(fixture, &life, task).await.expect("it ends")));
        }
        if fixture.task(task).await.status == TaskStatus::Completed {
            over = Some(tokio::time::Instant::now());
            break;
        }
        // Days need no look every few seconds.
        let pause = expected
            .map_or(10_000, |(_, ends): (tokio::time::Instant, i64)| (ends / 200).max(10_000));
        tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
    }
    let ((at, expected), over) = (expected.unwrap(), over.expect("it completes"));
    let real = i64::try_from((over - at).as_millis()).unwrap();
    assert!((expected - real).abs() * 4 <= real, "{what}: expected {expected} ms, came {real} ms");
}

fn wide(fixture: &mut Fixture) {
    let cap = Cap { per_day: 1_000_000, per_hour: 1_000_000 };
    (fixture.settings.caps.message, fixture.settings.caps.resolve) = (cap, cap);
}

#[tokio::test(start_paused = true)]
async fn an_estimate_is_right_within_a_quarter_after_the_first_tenth() {
    let mut fixture = Fixture::new(4, 200).await;
    wide(&mut fixture);
    let request = fixture.request(TaskType::SendMessages);
    is_right_after_a_tenth("pauses alone", &fixture, request, 200, None).await;

    let fixture = Fixture::new(2, 100).await;
    let request = fixture.request(TaskType::SendMessages);
    is_right_after_a_tenth("caps", &fixture, request, 100, None).await;

    let fixture = Fixture::new(4, 100).await;
    let request = fixture.request(TaskType::InviteToGroup);
    is_right_after_a_tenth("invitations", &fixture, request, 100, None).await;

    let fixture = Fixture::new(4, 200).await;
    let minute = |text| Minute::parse(text).unwrap();
    let quiet = QuietHours { from: minute("22:00"), to: minute("08:00"), zone: Some(Zone::utc()) };
    let settings = Settings { quiet_hours: Some(quiet), ..Settings::default() };
    let request = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    is_right_after_a_tenth("quiet hours", &fixture, request, 200, None).await;
}

#[tokio::test(start_paused = true)]
async fn an_estimate_holds_through_flood_waits() {
    // As often in the first tenth as afterwards: what begins later nobody foresees.
    for (every, seconds) in [(40, 90), (25, 40)] {
        let mut fixture = Fixture::new(4, 600).await;
        wide(&mut fixture);
        let request = fixture.request(TaskType::SendMessages);
        let what = format!("a wait of {seconds} s every {every} messages");
        let trouble = (every, Then::Say(Answer::Wait { seconds }));
        is_right_after_a_tenth(&what, &fixture, request, 600, Some(trouble)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_tasks_that_share_accounts_are_expected_to_take_turns() {
    let mut fixture = Fixture::new(2, 300).await;
    wide(&mut fixture);
    let life = fixture.live().await;
    let mut tasks = Vec::new();
    for people in [60, 120] {
        let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), people).await;
        life.order(task, Wanted::Start).await.unwrap();
        tasks.push(task);
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    let began = tokio::time::Instant::now();
    for task in tasks {
        let expected = estimate(&fixture, &life, task).await.unwrap();
        let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
        until(&fixture, task, TaskStatus::Completed).await;
        let real = i64::try_from(began.elapsed().as_millis()).unwrap() - passed;
        // The second list has the first's people, whom it passes over: so it is faster than expected.
        assert!(expected * 4 >= real * 3, "expected {expected}, came {real}");
    }
}

/// Whoever a dry run lets through is contacted, and whoever it keeps back is not, for the same reason.
#[tokio::test(start_paused = true)]
async fn a_dry_run_foresees_what_a_run_does() {
    let fixture = Fixture::new(3, 30).await;
    let life = fixture.live().await;
    // Three refuse, and all of twelve were reached lately.
    fixture.messenger.world().refusing.extend([3, 7, 11]);
    let first = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 12).await;
    life.order(first, Wanted::Start).await.unwrap();
    until(&fixture, first, TaskStatus::Completed).await;

    let request = TaskRequest {
        message_template: Some("Hi {first_name}".into()),
        ..fixture.request(TaskType::SendMessages)
    };
    let task = fixture.draft(&life, request, 0).await;
    let mut people: Vec<NewTarget> = (1..=20)
        .map(|id| NewTarget {
            identifier: named(&id.to_string()),
            details: Some(Details { first_name: Some("P".into()), ..Details::default() }),
        })
        .collect();
    people.extend(
        (21..=25).map(|number| NewTarget {
            identifier: named(&format!("@person{number}")),
            details: None,
        }),
    );
    life.add(task, people).await.unwrap();
    let found = tried(&fixture, &life, task).await;
    assert!(fixture.messenger.world().reached.iter().all(|reached| reached.step == Step::Invite));
    // Of twelve that are known, nine were reached lately and three have refused an invitation; eight ids nobody knows.
    assert_eq!(found.statistics.total(), 25);
    assert_eq!(found.ready + found.skipped.values().sum::<u64>(), 25);
    assert_eq!(found.skipped[&Reason::UnknownPeer], 8);
    assert_eq!(found.looked_at, None);
    assert_eq!(
        found.accounts.iter().map(|account| account.would_contact).sum::<u64>(),
        found.ready
    );
    assert!(found.takes_ms.unwrap() > 0);
    assert!(found.problems.iter().any(|problem| problem.code == ProblemCode::MissingValues));
    let foreseen: Vec<_> = found.first.iter().map(|person| person.target).collect();
    assert!(!foreseen.is_empty());

    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let targets = fixture.targets(task).await;
    let mut reasons = BTreeMap::new();
    for target in targets.iter().filter(|target| target.status != TargetStatus::Sent) {
        *reasons.entry(target.reason.unwrap()).or_insert(0_u64) += 1;
    }
    assert_eq!(reasons, found.skipped);
    assert_eq!(Statistics::of(&targets).count(TargetStatus::Sent), found.ready);
    let world = fixture.messenger.world();
    let sent: Vec<i64> = world
        .reached
        .iter()
        .filter(|reached| reached.step == Step::Send)
        .map(|reached| reached.person)
        .collect();
    let of =
        |person: &i64| targets.iter().find(|target| target.person == Some(*person)).unwrap().id;
    let came: Vec<_> = sent.iter().map(of).take(foreseen.len()).collect();
    let (mut came, mut foreseen) = (came, foreseen);
    came.sort_unstable();
    foreseen.sort_unstable();
    assert_eq!(came, foreseen, "they come first");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_names_what_is_in_the_way_and_sends_nothing() {
    let fixture = Fixture::new(3, 40).await;
    let life = fixture.live().await;
    let ids = fixture.ids();
    fixture.messenger.world().without_rights.insert(ids[0]);
    fixture.messenger.world().away.insert(ids[1]);
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 40).await;
    let found = tried(&fixture, &life, task).await;
    let has = |found: &DryRun, code, account| {
        found.problems.iter().any(|problem| problem.code == code && problem.account == account)
    };
    assert!(has(&found, ProblemCode::NoRights, Some(ids[0])), "{:?}", found.problems);
    assert!(has(&found, ProblemCode::AccountAway, Some(ids[1])));
    assert!(has(&found, ProblemCode::NotAsked, Some(ids[1])));
    assert!(has(&found, ProblemCode::NotLookedUp, None));
    assert!(!has(&found, ProblemCode::NoAccounts, None));
    let of = |id| found.accounts.iter().find(|account| account.account == id).unwrap();
    assert_eq!((of(ids[0]).may_invite, of(ids[0]).would_contact), (Some(false), 0));
    assert_eq!((of(ids[2]).may_invite, of(ids[1]).may_invite), (Some(true), None));
    assert!(of(ids[2]).would_contact > 0);
    assert!(found.binding.iter().any(|(limit, _)| *limit == Limit::Hour), "{:?}", found.binding);
    assert!(found.first.iter().all(|person| person.account == ids[2]), "{:?}", found.first);
    let has_asked_nobody = {
        let world = fixture.messenger.world();
        world.reached.is_empty() && world.lookups.is_empty()
    };
    assert!(has_asked_nobody);

    fixture.messenger.world().without_rights.extend(ids.iter().copied());
    fixture.messenger.world().away.clear();
    let found = tried(&fixture, &life, task).await;
    assert!(has(&found, ProblemCode::NoAccounts, None));
    assert!(has(&found, ProblemCode::NeverEnds, None));
    assert_eq!(found.takes_ms, None);

    let nobody = fixture.draft_of_nobody(&life).await;
    let found = tried(&fixture, &life, nobody).await;
    assert!(has(&found, ProblemCode::NobodyReady, None));
    assert_eq!((found.ready, found.takes_ms), (0, Some(0)));
}
