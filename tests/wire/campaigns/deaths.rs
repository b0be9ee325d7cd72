//! The daemon dies by SIGKILL wherever something of a campaign becomes durable, and is started again: nobody is
//! contacted twice, nobody is forgotten, and who said "stop" is left alone.

use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};
use telewarden_simulator::{FaultKind, FaultSpec};
use tokio::time::{Duration, Instant, sleep};

use super::{FAST, Fixture};
use crate::support::{Answer, DaemonOptions, PATIENCE};

/// One test a point: the daemon dies there when it comes by for the given time.
macro_rules! points {
    ($($test:ident: $name:literal @ $nth:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                Play::set().await.dies_at($name, $nth).await;
            }
        )*

        /// The points that have a test here.
        pub(crate) const DEATHS_TESTED: &[&str] = &[$($name),*];
    };
}

points! {
    campaign_targets_before: "campaign.targets.before" @ 1,
    campaign_targets_after: "campaign.targets.after" @ 1,
    campaign_order_before_the_start: "campaign.order.before" @ 1,
    campaign_order_after_the_start: "campaign.order.after" @ 1,
    campaign_order_before_its_end: "campaign.order.before" @ 2,
    campaign_order_after_its_end: "campaign.order.after" @ 2,
    campaign_intent_before_a_look_up: "campaign.intent.before" @ 1,
    campaign_intent_after_a_look_up: "campaign.intent.after" @ 1,
    campaign_intent_before_a_contact: "campaign.intent.before" @ 5,
    campaign_intent_after_a_contact: "campaign.intent.after" @ 5,
    campaign_outcome_before_a_look_up: "campaign.outcome.before" @ 1,
    campaign_outcome_after_a_look_up: "campaign.outcome.after" @ 1,
    campaign_outcome_before_a_contact: "campaign.outcome.before" @ 5,
    campaign_outcome_after_a_contact: "campaign.outcome.after" @ 5,
    campaign_settle_before: "campaign.settle.before" @ 1,
    campaign_settle_after: "campaign.settle.after" @ 1,
    campaign_reply_before: "campaign.reply.before" @ 1,
    campaign_reply_after: "campaign.reply.after" @ 1,
}

const PEOPLE: usize = 4;
/// How long a campaign may take.
const END_MAX: Duration = Duration::from_secs(180);

/// One campaign writes to four people, of whom one answers "stop"; another one invites the same people to a group.
/// Whatever is not answered is asked again, as a user would.
struct Play {
    fixture: Fixture,
    deaths: u32,
}

impl Play {
    async fn set() -> Self {
        let options = DaemonOptions {
            fail_points: true,
            extra_config: FAST.into(),
            ..DaemonOptions::default()
        };
        Self { fixture: Fixture::prepare(options, PEOPLE).await, deaths: 0 }
    }

    async fn dies_at(mut self, point: &str, nth: u64) {
        self.fixture.harness.daemon.launch_to_die_at(point, nth);
        self.fixture.harness.daemon.wait_until_ready().await;
        self.fixture.connect(2).await;
        let writing = self.run(self.fixture.writing()).await;
        self.opt_out().await;
        let group = self.fixture.group().await;
        // Whether somebody came in is looked at a minute later: only where that is what it is about.
        if point.starts_with("campaign.settle") {
            let kind = Some(FaultKind::LoseAnswer);
            let lost = FaultSpec { kind, times: Some(1), ..FaultSpec::default() };
            self.fixture.fault(None, "channels.inviteToChannel", lost).await;
        }
        let mut inviting = self.fixture.inviting(group);
        inviting["settings"] = json!({ "ignore_recontact": true });
        let inviting = self.run(inviting).await;
        assert_eq!(self.deaths, 1, "{point} is not reached");
        self.expect_all_of_it(&writing, &inviting, group).await;
        self.fixture.kill_and_start().await;
        self.expect_all_of_it(&writing, &inviting, group).await;
    }

    /// Waits for the daemon's death, which is due, and gives it another life.
    async fn live_again(&mut self, what: &str) {
        let daemon = &mut self.fixture.harness.daemon;
        let deadline = Instant::now() + PATIENCE;
        let death = loop {
            if let Some(death) = daemon.ended() {
                break death;
            }
            assert!(Instant::now() < deadline, "{what} is not answered");
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(death.signal(), Some(9), "{death}: {}", daemon.log());
        self.deaths += 1;
        self.fixture.harness.sim.client_killed().await;
        self.fixture.harness.daemon.spawn().await;
    }

    /// Asks; `None` when the daemon died over it, and lives again.
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> Option<Answer> {
        match self.fixture.user.try_send(method, path, &[], body.as_ref()).await {
            Ok(answer) => Some(answer),
            Err(_) => {
                self.live_again(path).await;
                None
            }
        }
    }

    /// Runs a campaign to its end.
    async fn run(&mut self, body: Value) -> String {
        // The death may come with the answer before this one. A task that was made without its
        // answer stays a draft without targets: it contacts nobody.
        let made = loop {
            if let Some(answer) = self.ask("POST", "/invite/tasks", Some(body.clone())).await {
                break answer;
            }
        };
        let id = made.expect(201)["id"].as_str().expect("an id").to_owned();
        let names = (0..PEOPLE).map(|number| json!({ "identifier": format!("@person_{number}") }));
        let people = json!({ "targets": names.collect::<Vec<_>>() });
        let path = format!("/invite/tasks/{id}/targets/bulk");
        loop {
            if let Some(answer) = self.ask("POST", &path, Some(people.clone())).await {
                let added = answer.expect(200);
                let known =
                    |name: &str| usize::try_from(added[name].as_u64().unwrap_or(0)).unwrap_or(0);
                assert_eq!(known("accepted") + known("duplicates"), PEOPLE, "{added:#}");
                break;
            }
        }
        let start = format!("/invite/tasks/{id}/start");
        loop {
            match self.ask("POST", &start, None).await {
                Some(answer) if answer.status == 200 => break,
                // It had begun before the daemon died over the answer.
                Some(answer) => {
                    answer.expect_problem(409, "CONFLICT");
                    assert_eq!(self.deaths, 1);
                    break;
                }
                None => {}
            }
        }
        let deadline = Instant::now() + END_MAX;
        let status = format!("/invite/tasks/{id}/status");
        loop {
            if let Some(answer) = self.ask("GET", &status, None).await {
                let seen = answer.expect(200);
                if seen["status"] == "completed" {
                    return id;
                }
                assert!(Instant::now() < deadline, "it does not end: {seen:#}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first of the people answers, and is understood.
    async fn opt_out(&mut self) {
        let person = self.fixture.people[0].user_id;
        let books = self.fixture.books().await;
        let by = books[&person].iter().find(|attempt| attempt.accepted).expect("was reached").by;
        self.fixture.harness.sim.post_private(by, person, "Stop!").await.expect("it is written");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.ask("GET", "/invite/suppression", None).await {
                let list = answer.expect(200);
                if list["items"].as_array().is_some_and(|items| !items.is_empty()) {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "a reply is not understood");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn expect_all_of_it(&self, writing: &str, inviting: &str, group: i64) {
        let fixture = &self.fixture;
        assert_eq!(fixture.counts(writing).await["sent"], PEOPLE);
        let invited = fixture.targets(inviting).await;
        let first = (&*invited[0].status, invited[0].reason.as_deref());
        assert_eq!(first, ("skipped", Some("suppressed")), "{invited:?}");
        assert!(invited[1..].iter().all(|target| target.status == "invited"), "{invited:?}");
        for number in 0..PEOPLE {
            assert_eq!(fixture.inbox(number).await.len(), 1, "one message to each");
        }
        let members = fixture.harness.sim.members(group).await.expect("the group");
        assert_eq!(members.len(), 2 + PEOPLE - 1);
        fixture.expect_the_truth(&[writing, inviting]).await;
    }
}
