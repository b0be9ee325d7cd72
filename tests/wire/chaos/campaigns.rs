//! Campaigns while everything goes wrong: one after the other, with pauses, lost answers, waits and cut connections of
//! their own. In the end whoever they were for was written to once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use telewarden_simulator::{Account, FaultKind, FaultSpec, NewAccount, Simulator};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::report::{Complaints, Figures};
use crate::support::{Client, PATIENCE};

const ACCOUNTS: usize = 4;
/// For how many people a campaign is.
const PEOPLE: usize = 120;
/// Between two things that are done to a campaign.
const STEP_MS: std::ops::RangeInclusive<u64> = 200..=1_500;
/// How long it may take until the last one has ended, when nothing goes wrong any more.
const END_MAX: Duration = Duration::from_secs(180);

/// A user who runs campaigns.
pub(super) struct Campaigner<'a> {
    sim: &'a Simulator,
    user: Client,
    accounts: Vec<Account>,
    ids: Vec<String>,
    /// Each campaign, and whom it is for.
    tasks: Vec<(String, Vec<i64>)>,
    random: StdRng,
}

impl<'a> Campaigner<'a> {
    /// Connects accounts, while nothing goes wrong yet.
    pub(super) async fn begin(sim: &'a Simulator, user: Client, seed: u64) -> Self {
        let (mut accounts, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..ACCOUNTS {
            let account = sim.add_account(NewAccount::default()).await.expect("an account");
            let session = json!({ "session_string": account.session_string });
            let made = user.post("/accounts/telegram/connect/session", session).await.expect(201);
            ids.push(made["id"].as_str().expect("an id").to_owned());
            accounts.push(account);
        }
        let random = StdRng::seed_from_u64(seed ^ 0xca3);
        Self { sim, user, accounts, ids, tasks: Vec::new(), random }
    }

    /// Asks until there is an answer: the daemon is killed and comes back.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = self.user.try_send(method, path, &[], body).await
                && answer.status != 503
            {
                return (answer.status, answer.body);
            }
            assert!(Instant::now() < deadline, "{method} {path} is not answered");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs one campaign after the other until it is told to stop.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let task = self.start().await;
            while !stop.is_cancelled() {
                let pause = self.random.random_range(STEP_MS);
                sleep(Duration::from_millis(pause)).await;
                let (_, status) = self.ask("GET", &format!("{task}/status"), None).await;
                match status["status"].as_str() {
                    Some("completed") => break,
                    Some("paused") => drop(self.ask("POST", &format!("{task}/resume"), None).await),
                    _ => self.harm(&task).await,
                }
            }
        }
    }

    /// A campaign for people whom no other one is for.
    async fn start(&mut self) -> String {
        let mut people = Vec::new();
        let first = self.tasks.len() * PEOPLE;
        for number in first..first + PEOPLE {
            let username = Some(format!("somebody_{number}"));
            let new = NewAccount { username, logged_in: false, ..NewAccount::default() };
            people.push(self.sim.add_account(new).await.expect("somebody").user_id);
        }
        let body = json!({
            "platform": "telegram",
            "task_type": "send_messages",
            "title": "Chaos",
            "message_template": "Hello {first_name|friend}",
            "account_ids": self.ids,
            "audience_basis": "they signed up for invitations",
        });
        // One that was made without an answer stays a draft for nobody.
        let (_, made) = self.ask("POST", "/invite/tasks", Some(&body)).await;
        let task = format!("/invite/tasks/{}", made["id"].as_str().expect("an id"));
        let name = |number| json!({ "identifier": format!("@somebody_{number}") });
        let targets: Vec<Value> = (first..first + PEOPLE).map(name).collect();
        let targets = json!({ "targets": targets });
        let added = self.ask("POST", &format!("{task}/targets/bulk"), Some(&targets)).await;
        assert_eq!(added.0, 200, "{}", added.1);
        self.tasks.push((task.clone(), people));
        self.ask("POST", &format!("{task}/start"), None).await;
        task
    }

    async fn harm(&mut self, task: &str) {
        let account = self.accounts.choose(&mut self.random).expect("an account").user_id;
        let method = Some("messages.sendMessage".to_owned());
        let fault = FaultSpec { user_id: Some(account), method, ..FaultSpec::default() };
        let fault = FaultSpec { times: Some(1), ..fault };
        match self.random.random_range(0..10) {
            0..3 => {
                let kind = Some(FaultKind::LoseAnswer);
                self.sim.add_fault(FaultSpec { kind, ..fault }).await.expect("a fault");
            }
            3..5 => {
                let error = Some(format!("FLOOD_WAIT_{}", self.random.random_range(1..4)));
                self.sim.add_fault(FaultSpec { error, ..fault }).await.expect("a fault");
            }
            5..6 => {
                let error = Some("RPC_CALL_FAIL".to_owned());
                self.sim.add_fault(FaultSpec { error, ..fault }).await.expect("a fault");
            }
            6..8 => self.sim.disconnect(account).await.expect("it is cut off"),
            8..9 => drop(self.ask("POST", &format!("{task}/pause"), None).await),
            _ => {}
        }
    }

    /// Nothing goes wrong any more: all come to their end, and the server's books agree with what they say.
    pub(super) async fn check(&self, figures: &mut Figures, complaints: &mut Complaints) {
        let deadline = Instant::now() + END_MAX;
        for (task, _) in &self.tasks {
            loop {
                let (_, status) = self.ask("GET", &format!("{task}/status"), None).await;
                match status["status"].as_str() {
                    Some("completed") => break,
                    Some("running") => {}
                    _ => drop(self.ask("POST", &format!("{task}/resume"), None).await),
                }
                if Instant::now() > deadline {
                    complaints.add(format!("{task} does not end: {status}"));
                    break;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
        let mut reached: HashMap<i64, u32> = HashMap::new();
        for entry in self.sim.contacted().await.iter().filter(|entry| entry.accepted) {
            *reached.entry(entry.user_id).or_default() += 1;
        }
        for (task, people) in &self.tasks {
            let told = self.told(task).await;
            let once = |person: &&i64| reached.get(*person) == Some(&1);
            let wrong = people.iter().filter(|person| !once(person)).count();
            if wrong > 0
                || told.values().any(|status| status != "sent")
                || told.len() != people.len()
            {
                let odd: HashSet<&String> = told.values().collect();
                complaints.add(format!("{task}: {wrong} not reached once; told {odd:?}"));
            }
            figures.contacted += people.len();
        }
        figures.campaigns = self.tasks.len();
    }

    /// What a campaign says of its people.
    async fn told(&self, task: &str) -> HashMap<String, String> {
        let (mut told, mut cursor) = (HashMap::new(), String::new());
        loop {
            let path = format!("{task}/targets?limit=200{cursor}");
            let (_, page) = self.ask("GET", &path, None).await;
            for item in page["items"].as_array().into_iter().flatten() {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                told.insert(text("identifier"), text("status"));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return told,
            }
        }
    }
}
