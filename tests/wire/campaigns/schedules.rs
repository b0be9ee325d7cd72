//! Times: a start that came due while nobody was there, clocks that are set, caps that no clock refills.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use telewarden::protocol::values::time::iso8601;
use telewarden_simulator::{FaultKind, FaultSpec};
use tokio::time::{Instant, sleep};

use super::{FAST, Fixture};
use crate::support::{DaemonOptions, PATIENCE, eventually};

/// So many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    iso8601(i64::try_from(now).unwrap() + seconds)
}

impl Fixture {
    /// Another life, after that many seconds: Telegram's clock has gone on, too.
    async fn live_later(&mut self, seconds: i32) {
        self.harness.kill().await;
        let kind = Some(FaultKind::ClockSkew);
        let spec = FaultSpec { kind, skew_seconds: Some(seconds), ..FaultSpec::default() };
        for account in &self.accounts {
            let spec = FaultSpec { user_id: Some(account.user_id), ..spec.clone() };
            self.harness.sim.add_fault(spec).await.unwrap();
        }
        self.start_at(seconds.into()).await;
    }

    /// Another life, whose clock was set that many seconds ahead.
    async fn live_at(&mut self, seconds: i64) {
        self.harness.kill().await;
        self.start_at(seconds).await;
    }

    /// Waits until two of six were written to, and the account may do no more.
    async fn until_used_up(&self, task: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts(task).await;
            let accounts = self.user.get("/invite/accounts").await.expect(200);
            let account = &accounts["items"][0];
            let is_so = counts.get("sent") == Some(&2) && counts.get("pending") == Some(&4);
            if is_so && account["left"]["message"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "it does not come to that: {counts:?}, {account:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start_at(&mut self, seconds: i64) {
        self.harness.daemon.set_clock(seconds);
        self.harness.daemon.spawn().await;
        self.user = self.harness.user_by_clock("ann", &format!("{seconds}s"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_due_while_the_daemon_was_down_starts_when_it_is_back_and_says_that_it_is_late() {
    let mut fixture = Fixture::new(1, 3).await;
    let mut body = fixture.writing();
    body["scheduled_at"] = in_seconds(120).into();
    let task = fixture.draft(body, 0..3).await;
    assert_eq!(fixture.order(&task, "start").await["status"], "scheduled");
    fixture.live_later(3_600).await;
    fixture.until(&task, "completed").await;
    let late = fixture.task(&task).await["late_seconds"].as_i64().unwrap();
    assert!((3_300..3_700).contains(&late), "{late}");
    assert_eq!(fixture.counts(&task).await["sent"], 3);
    fixture.expect_the_truth(&[&task]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_far_too_late_waits_for_a_person() {
    let mut fixture = Fixture::new(1, 3).await;
    let mut body = fixture.writing();
    body["scheduled_at"] = in_seconds(120).into();
    let task = fixture.draft(body, 0..3).await;
    fixture.order(&task, "start").await;
    fixture.live_later(7 * 3_600).await;
    let paused = fixture.until(&task, "paused").await;
    assert_eq!(paused["paused_because"], "too_late", "{paused:#}");
    assert!(fixture.harness.sim.contacted().await.is_empty());
    fixture.order(&task, "resume").await;
    fixture.until(&task, "completed").await;
    fixture.expect_the_truth(&[&task]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_that_is_set_refills_a_cap() {
    // A new account may do a fifth: two.
    let config = FAST.replacen("messages = 10000", "messages = 10", 1);
    let options = DaemonOptions { extra_config: config, ..DaemonOptions::default() };
    let mut fixture = Fixture::with(options, 1, 6).await;
    let task = fixture.draft(fixture.writing(), 0..6).await;
    fixture.order(&task, "start").await;
    for clock in [0, 3 * 24 * 3_600, 20, 0, -200] {
        if clock != 0 {
            fixture.live_at(clock).await;
        }
        if clock > 30 {
            // Telegram answers nobody whose clock is that far ahead.
            let is_told = || fixture.harness.daemon.log().contains("ahead of telegram's");
            eventually("it is told", async || is_told().then_some(())).await;
        } else {
            fixture.harness.until_state(&fixture.user, &fixture.ids[0], "active").await;
        }
        fixture.until_used_up(&task).await;
        assert_eq!(fixture.status(&task).await["status"], "running");
        assert_eq!(fixture.harness.sim.contacted().await.len(), 2, "with the clock at {clock}");
    }
}
