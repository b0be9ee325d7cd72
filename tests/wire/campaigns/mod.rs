//! Campaigns against the simulator, whose books of who was reached by whom are the truth.

pub(crate) mod deaths;
mod respect;
mod running;
mod schedules;
mod sharing;
mod thousand;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use telewarden_simulator::{
    Account, ChatKind, Contacted, FaultSpec, NewAccount, NewChat, StoredMessage,
};
use tokio::time::{Instant, sleep};

use crate::support::{Client, DaemonOptions, Harness, PATIENCE};

/// Caps and rates out of the way. A new account has a fifth of the caps.
pub(crate) const FAST: &str = r#"
[telegram.limits.send]
per_minute = 6000
burst = 1000
per_day = 100000
[telegram.limits.invite]
per_minute = 6000
burst = 1000
[telegram.limits.resolve]
per_minute = 6000
burst = 1000
[telegram.limits.contacts]
per_minute = 6000
burst = 1000
[campaign]
min_pause_seconds = 0
[campaign.daily]
invites = 10000
messages = 10000
messages_with_links = 10000
resolves = 10000
contacts = 10000
[campaign.hourly]
invites = 10000
resolves = 10000
contacts = 10000
"#;

/// A user with connected accounts, and people at Telegram.
pub(crate) struct Fixture {
    pub(crate) harness: Harness,
    pub(crate) user: Client,
    /// As Telegram knows them.
    pub(crate) accounts: Vec<Account>,
    /// As the daemon calls them, in the same order.
    pub(crate) ids: Vec<String>,
    pub(crate) people: Vec<Account>,
}

/// How one target stands, as the API tells it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) identifier: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
}

impl Fixture {
    pub(crate) async fn new(accounts: usize, people: usize) -> Self {
        let options = DaemonOptions { extra_config: FAST.into(), ..DaemonOptions::default() };
        Self::with(options, accounts, people).await
    }

    pub(crate) async fn with(options: DaemonOptions, accounts: usize, people: usize) -> Self {
        let mut fixture = Self::prepare(options, people).await;
        fixture.harness.daemon.spawn().await;
        fixture.connect(accounts).await;
        fixture
    }

    /// With a daemon that does not run yet, and no accounts.
    pub(crate) async fn prepare(options: DaemonOptions, people: usize) -> Self {
        let harness = Harness::prepare(options).await;
        let user = harness.user("ann");
        let mut fixture =
            Self { harness, user, accounts: Vec::new(), ids: Vec::new(), people: Vec::new() };
        for number in 0..people {
            let new = NewAccount {
                logged_in: false,
                username: Some(format!("person_{number}")),
                first_name: Some(format!("First{number}")),
                ..NewAccount::default()
            };
            fixture.people.push(fixture.harness.account(new).await);
        }
        fixture
    }

    /// Connects so many more accounts.
    pub(crate) async fn connect(&mut self, accounts: usize) {
        for _ in 0..accounts {
            let account = self.harness.person().await;
            self.ids.push(self.harness.connect(&self.user, &account).await);
            self.accounts.push(account);
        }
    }

    /// What a campaign that writes is made of.
    pub(crate) fn writing(&self) -> Value {
        json!({
            "platform": "telegram",
            "task_type": "send_messages",
            "title": "A meeting",
            "message_template": "Hello {first_name|friend}",
            "account_ids": self.ids,
            "audience_basis": "they signed up for invitations",
        })
    }

    /// What one is made of that invites.
    pub(crate) fn inviting(&self, group: i64) -> Value {
        json!({
            "platform": "telegram",
            "task_type": "invite_to_group",
            "title": "A meeting",
            "target_group_id": group,
            "account_ids": self.ids,
            "audience_basis": "they signed up for invitations",
        })
    }

    /// A draft for `people`, each by their public name.
    pub(crate) async fn draft(&self, body: Value, people: std::ops::Range<usize>) -> String {
        let made = self.user.post("/invite/tasks", body).await.expect(201);
        let id = made["id"].as_str().expect("an id").to_owned();
        let names: Vec<String> = people.map(|number| format!("@person_{number}")).collect();
        self.add(&id, &names).await;
        id
    }

    pub(crate) async fn add(&self, task: &str, identifiers: &[String]) -> Value {
        let targets: Vec<Value> =
            identifiers.iter().map(|identifier| json!({ "identifier": identifier })).collect();
        let path = format!("/invite/tasks/{task}/targets/bulk");
        self.user.post(&path, json!({ "targets": targets })).await.expect(200)
    }

    pub(crate) async fn order(&self, task: &str, order: &str) -> Value {
        let path = format!("/invite/tasks/{task}/{order}");
        self.user.ask("POST", &path, None).await.expect(200)
    }

    pub(crate) async fn task(&self, task: &str) -> Value {
        self.user.get(&format!("/invite/tasks/{task}")).await.expect(200)
    }

    pub(crate) async fn status(&self, task: &str) -> Value {
        self.user.get(&format!("/invite/tasks/{task}/status")).await.expect(200)
    }

    /// Waits until a campaign is `status`.
    pub(crate) async fn until(&self, task: &str, status: &str) -> Value {
        self.until_any(task, &[status], PATIENCE).await
    }

    /// Waits until a campaign is one of `statuses`, for `limit` at the most.
    pub(crate) async fn until_any(&self, task: &str, statuses: &[&str], limit: Duration) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.status(task).await;
            if seen["status"].as_str().is_some_and(|status| statuses.contains(&status)) {
                return seen;
            }
            assert!(Instant::now() < deadline, "it does not become {statuses:?}: {seen:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// All targets of a campaign.
    pub(crate) async fn targets(&self, task: &str) -> Vec<Target> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/invite/tasks/{task}/targets?limit=200{cursor}");
            let page = self.user.get(&path).await.expect(200);
            for item in page["items"].as_array().expect("a list") {
                let text = |name: &str| item[name].as_str().map(str::to_owned);
                found.push(Target {
                    identifier: text("identifier").expect("who it is"),
                    status: text("status").expect("a status"),
                    reason: text("reason"),
                });
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// How many targets of a campaign have which status.
    pub(crate) async fn counts(&self, task: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for target in self.targets(task).await {
            *counts.entry(target.status).or_default() += 1;
        }
        counts
    }

    /// Who of the people that is.
    fn person(&self, identifier: &str) -> &Account {
        let number = identifier.strip_prefix("@person_").and_then(|number| number.parse().ok());
        let by_name = number.and_then(|number: usize| self.people.get(number));
        let is_it = |person: &&Account| {
            person.user_id.to_string() == identifier
                || person.phone.trim_start_matches('+') == identifier.trim_start_matches('+')
        };
        let found = by_name.or_else(|| self.people.iter().find(is_it));
        found.unwrap_or_else(|| panic!("nobody is {identifier}"))
    }

    /// The server's books by person.
    pub(crate) async fn books(&self) -> HashMap<i64, Vec<Contacted>> {
        let mut books: HashMap<i64, Vec<Contacted>> = HashMap::new();
        for entry in self.harness.sim.contacted().await {
            books.entry(entry.user_id).or_default().push(entry);
        }
        books
    }

    /// What the daemon says of the targets of `tasks` is what the server saw: whoever was reached was
    /// reached once, by one of them, and nobody else was.
    pub(crate) async fn expect_the_truth(&self, tasks: &[&str]) {
        let mut told: HashMap<i64, Vec<Target>> = HashMap::new();
        for task in tasks {
            for target in self.targets(task).await {
                let person = self.person(&target.identifier).user_id;
                told.entry(person).or_default().push(target);
            }
            self.expect_sums(task).await;
        }
        let books = self.books().await;
        for (person, targets) in &told {
            let attempts = books.get(person).map(Vec::as_slice).unwrap_or_default();
            let reached = attempts.iter().filter(|attempt| attempt.accepted).count();
            let is_success = |target: &&Target| matches!(&*target.status, "sent" | "invited");
            let successes = targets.iter().filter(is_success).count();
            assert_eq!(reached, successes, "person {person}: {targets:?}, {attempts:?}");
            let is_refused = |target: &&Target| target.status == "refused";
            let refusals = targets.iter().filter(is_refused).count();
            let refused = attempts.iter().filter(|attempt| !attempt.accepted).count();
            assert!(refused >= refusals, "person {person}: {targets:?}, {attempts:?}");
        }
        for person in books.keys() {
            assert!(told.contains_key(person), "{person} is nobody's target: {books:?}");
        }
        self.harness.expect_clean_books().await;
    }

    /// Status and statistics add up to the targets that there are.
    async fn expect_sums(&self, task: &str) {
        let counts = self.counts(task).await;
        let total: usize = counts.values().sum();
        let statistics =
            self.user.get(&format!("/invite/tasks/{task}/targets/stats")).await.expect(200);
        assert_eq!(statistics["total"], total, "{statistics:#}");
        for (status, count) in statistics["by_status"].as_object().expect("counts") {
            let counted = counts.get(status).copied().unwrap_or_default();
            assert_eq!(*count, counted, "{status}: {statistics:#}");
        }
        let progress = &self.status(task).await["progress"];
        let sum = |names: &[&str]| -> u64 {
            names.iter().map(|name| progress[*name].as_u64().expect("a count")).sum()
        };
        assert_eq!(progress["total"], total, "{progress:#}");
        let parts = ["succeeded", "refused", "failed", "skipped", "pending"];
        assert_eq!(sum(&parts), total as u64, "{progress:#}");
        assert_eq!(sum(&["done", "pending"]), total as u64, "{progress:#}");
    }

    /// Has calls of an account, or of all, go wrong.
    pub(crate) async fn fault(&self, account: Option<usize>, method: &str, spec: FaultSpec) {
        let user_id = account.map(|number| self.accounts[number].user_id);
        let spec = FaultSpec { user_id, method: Some(method.into()), ..spec };
        self.harness.sim.add_fault(spec).await.expect("a fault");
    }

    /// A supergroup in which all accounts may invite.
    pub(crate) async fn group(&self) -> i64 {
        let everybody: Vec<i64> = self.accounts.iter().map(|account| account.user_id).collect();
        let new = NewChat {
            kind: ChatKind::Supergroup,
            title: "A room".into(),
            username: None,
            members: Vec::new(),
            admins: everybody,
        };
        self.harness.sim.add_chat(new).await.expect("a group").chat_id
    }

    pub(crate) async fn inbox(&self, person: usize) -> Vec<StoredMessage> {
        self.harness.inbox(&self.people[person]).await
    }

    /// `kill -9`, and another life.
    pub(crate) async fn kill_and_start(&mut self) {
        self.harness.kill().await;
        self.harness.daemon.spawn().await;
    }
}
