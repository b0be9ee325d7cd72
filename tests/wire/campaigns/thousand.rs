//! A thousand people, and everything goes wrong on the way: flood waits, an account that dies, lost answers, pauses,
//! and twenty deaths of the daemon at seeded instants.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use telewarden_simulator::{FaultKind, FaultSpec, Limits};
use tokio::time::sleep;

use super::Fixture;

const PEOPLE: usize = 1_000;
const DEATHS: u32 = 20;
const SEED: u64 = 20_261_130;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_people_are_reached_once_whatever_goes_wrong() {
    let mut fixture = Fixture::new(5, PEOPLE).await;
    // Each wait is twice as long as the one before: an account has some seconds of them.
    let limits = Limits {
        messages_before_flood: 60,
        flood_seconds: 1,
        waits_before_peer_flood: 0,
        ..Limits::default()
    };
    fixture.harness.sim.set_limits(limits).await;
    let task = fixture.draft(fixture.writing(), 0..PEOPLE).await;
    fixture.order(&task, "start").await;
    let mut random = StdRng::seed_from_u64(SEED);
    for death in 0..DEATHS {
        let kind = Some(FaultKind::LoseAnswer);
        let spec = FaultSpec { kind, times: Some(1), ..FaultSpec::default() };
        fixture.fault(None, "messages.sendMessage", spec).await;
        // The instant is what is random here; nothing is awaited.
        sleep(Duration::from_millis(random.random_range(100..1_500))).await;
        match death {
            5 => fixture.harness.sim.revoke(fixture.accounts[0].user_id, None).await.unwrap(),
            8 => drop(fixture.order(&task, "pause").await),
            9 => drop(fixture.order(&task, "resume").await),
            _ => {}
        }
        fixture.kill_and_start().await;
    }
    let status = fixture.until_any(&task, &["completed", "paused"], Duration::from_secs(300)).await;
    let counts = fixture.counts(&task).await;
    let unsettled = counts.get("uncertain").copied().unwrap_or_default();
    // What the dead account had under way nobody can settle; it is left to a person, by name.
    assert!(unsettled <= 2, "{counts:?}");
    if unsettled > 0 {
        assert_eq!(status["paused_because"], "unsettled", "{status:#}");
    }
    assert_eq!(counts["sent"] + unsettled, PEOPLE, "{counts:?}: {status:#}");
    let books = fixture.books().await;
    for (person, attempts) in &books {
        let reached = attempts.iter().filter(|attempt| attempt.accepted).count();
        assert!(reached <= 1, "{person} is reached {reached} times: {attempts:?}");
    }
    for target in fixture.targets(&task).await {
        let person = fixture.person(&target.identifier).user_id;
        let is_reached = books.get(&person).is_some_and(|it| it.iter().any(|it| it.accepted));
        match &*target.status {
            "sent" => assert!(is_reached, "{target:?} was not"),
            "uncertain" => {}
            other => panic!("{target:?} is {other}"),
        }
    }
    fixture.expect_sums(&task).await;
    fixture.harness.expect_clean_books().await;
}
