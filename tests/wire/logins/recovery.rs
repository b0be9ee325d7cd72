//! A code that is sent once more, and a password that was forgotten: as Telegram has it, through wrong codes,
//! floods, lost answers and deaths of the daemon.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};
use telewarden_simulator::{Account, FaultKind, FaultSpec, Limits, NewAccount};
use tokio::time::{Instant, sleep};

use super::connecting::{begin_sms, with_password};
use crate::support::{Answer, Client, DaemonOptions, Harness, PATIENCE, eventually, id_of};

const EMAIL: &str = "jonathan@example.org";
const EMAIL_PATTERN: &str = "j***n@example.org";
const PASSWORD: &str = "open, sesame";

/// Somebody with a password, who has forgotten it.
fn forgetful() -> NewAccount {
    NewAccount { recovery_email: Some(EMAIL.into()), ..with_password() }
}

fn path(login: &str, step: &str) -> String {
    format!("/logins/{login}/{step}")
}

async fn resend(user: &Client, login: &str) -> Answer {
    user.ask("POST", &path(login, "resend"), None).await
}

async fn forgot(user: &Client, login: &str) -> Answer {
    user.ask("POST", &path(login, "recovery"), None).await
}

async fn recover(user: &Client, login: &str, code: &str) -> Answer {
    user.post(&path(login, "recovery/code"), json!({ "code": code })).await
}

async fn state(user: &Client, login: &str) -> Value {
    user.get(&format!("/logins/{login}")).await.expect(200)
}

/// What the user's audit log has of `action`, oldest first: how it ended.
async fn audited(user: &Client, action: &str) -> Vec<String> {
    let page = user.get(&format!("/audit?action={action}&limit=200")).await.expect(200);
    let items = page["items"].as_array().unwrap().iter();
    let mut ends: Vec<String> =
        items.map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect();
    ends.reverse();
    ends
}

impl Harness {
    /// A login of that account, up to the password.
    async fn at_password(&self, user: &Client, account: &Account) -> String {
        let login = begin_sms(user, &account.phone).await;
        let asked = self.hand_in_code(user, &login, account).await;
        assert_eq!(asked["state"], "password_required", "{asked:#}");
        assert!(asked.get("email_pattern").is_none(), "{asked:#}");
        login
    }

    async fn mailed(&self, account: &Account) -> String {
        let mailed = self.sim.mailed_code(account.user_id).await.unwrap();
        assert_eq!(mailed.email, EMAIL);
        mailed.code
    }

    async fn hinder(&self, method: &str, error: Option<&str>, kind: Option<FaultKind>) {
        let (method, error) = (Some(method.to_owned()), error.map(str::to_owned));
        let fault = FaultSpec { method, error, kind, times: Some(1), ..FaultSpec::default() };
        self.sim.add_fault(fault).await.unwrap();
    }
}

fn wrong(code: &str) -> &'static str {
    if code == "111111" { "222222" } else { "111111" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_by_mail_stands_for_a_forgotten_password_and_takes_it_away() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = begin_sms(&user, &account.phone).await;
    forgot(&user, &login).await.expect_problem(409, "CONFLICT");
    recover(&user, &login, "123456").await.expect_problem(409, "CONFLICT");
    let asked = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(asked["state"], "password_required", "{asked:#}");
    let asked = forgot(&user, &login).await.expect(200);
    assert_eq!(asked["state"], "password_required", "{asked:#}");
    assert_eq!(asked["email_pattern"], EMAIL_PATTERN);
    assert_eq!(state(&user, &login).await, asked);
    recover(&user, &login, "12").await.expect_problem(422, "VALIDATION");
    let done = recover(&user, &login, &harness.mailed(&account).await).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    assert!(done.get("email_pattern").is_none(), "{done:#}");
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    assert_eq!(audited(&user, "login.recovery").await, ["ok"]);
    assert_eq!(audited(&user, "login.recovery_code").await, ["begun", "ok"]);
    assert_eq!(audited(&user, "account.connect").await, ["ok"]);
    // The account has no password any more.
    let again = begin_sms(&user, &account.phone).await;
    let done = harness.hand_in_code(&user, &again, &account).await;
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_recovery_mail_only_the_password_helps() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(with_password()).await);
    let login = harness.at_password(&user, &account).await;
    let refused = forgot(&user, &login).await.expect_problem(409, "CONFLICT");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("no recovery e-mail address"), "{detail}");
    assert_eq!(audited(&user, "login.recovery").await, ["CONFLICT"]);
    recover(&user, &login, "123456").await.expect_problem(422, "TG_CODE_INVALID");
    let password = json!({ "password": PASSWORD });
    let done = user.post(&path(&login, "password"), password).await.expect(200);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_wrong_codes_use_the_mail_up_and_another_one_helps() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = harness.at_password(&user, &account).await;
    forgot(&user, &login).await.expect(200);
    let code = harness.mailed(&account).await;
    for _ in 0..3 {
        let refused = recover(&user, &login, wrong(&code)).await;
        refused.expect_problem(422, "TG_CODE_INVALID");
    }
    // The right one comes too late.
    let late = recover(&user, &login, &code).await.expect_problem(422, "TG_CODE_INVALID");
    assert!(late.body["detail"].as_str().unwrap().contains("ask for another one"), "{late:?}");
    assert_eq!(state(&user, &login).await["state"], "password_required");
    forgot(&user, &login).await.expect(200);
    let done = recover(&user, &login, &harness.mailed(&account).await).await.expect(200);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    let mut expected = ["begun", "TG_CODE_INVALID"].repeat(4);
    expected.extend(["begun", "ok"]);
    assert_eq!(audited(&user, "login.recovery_code").await, expected);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_by_mail_that_has_expired_leaves_the_password() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = harness.at_password(&user, &account).await;
    forgot(&user, &login).await.expect(200);
    let code = harness.mailed(&account).await;
    harness.sim.set_limits(Limits { code_seconds: 0, ..Limits::default() }).await;
    recover(&user, &login, &code).await.expect_problem(422, "TG_CODE_INVALID");
    let password = json!({ "password": PASSWORD });
    let done = user.post(&path(&login, "password"), password).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    assert_eq!(audited(&user, "login.recovery_code").await, ["begun", "TG_CODE_INVALID"]);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_mails_is_waited_for_also_by_the_next_life() {
    const WAIT: u64 = 15;
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = harness.at_password(&user, &account).await;
    forgot(&user, &login).await.expect(200);
    let code = harness.mailed(&account).await;
    let flood = format!("FLOOD_WAIT_{WAIT}");
    harness.hinder("auth.requestPasswordRecovery", Some(&flood), None).await;
    let told = forgot(&user, &login).await.expect_problem(429, "TG_API_429").retry_after();
    assert!((1..=WAIT + 1).contains(&told), "{told}");
    let began = Instant::now();
    harness.kill().await;
    harness.daemon.spawn().await;
    forgot(&user, &login).await.expect_problem(429, "TG_API_429");
    assert!(began.elapsed() < Duration::from_secs(WAIT), "what was asked fell into the wait");
    assert_eq!(harness.calls_of("auth.requestPasswordRecovery").await, 2);
    assert_eq!(state(&user, &login).await["email_pattern"], EMAIL_PATTERN);
    let done = eventually("the wait is over", async || {
        let answer = recover(&user, &login, &code).await;
        (![429, 503].contains(&answer.status)).then(|| answer.expect(200))
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(WAIT - 1));
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_whose_answer_is_lost_is_not_handed_in_twice() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = harness.at_password(&user, &account).await;
    let kind = Some(FaultKind::LoseAnswer);
    harness.hinder("auth.requestPasswordRecovery", None, kind).await;
    forgot(&user, &login).await.expect_problem(503, "TG_UNAVAILABLE");
    assert_eq!(state(&user, &login).await["state"], "password_required");
    harness.hinder("auth.recoverPassword", None, kind).await;
    let done = recover(&user, &login, &harness.mailed(&account).await).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    assert_eq!(harness.calls_of("auth.recoverPassword").await, 1);
    assert_eq!(audited(&user, "login.recovery_code").await, ["begun", "ok"]);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_sent_once_more_by_sms_and_by_call_until_nothing_is_left() {
    let harness = Harness::open().await;
    harness.sim.set_limits(Limits { resend_seconds: 4, ..Limits::default() }).await;
    let new = NewAccount { logged_in: true, ..NewAccount::default() };
    let (user, account) = (harness.user("ann"), harness.account(new).await);
    let login = begin_sms(&user, &account.phone).await;
    let first = state(&user, &login).await;
    let told = |login: &Value| {
        let code = &login["code"];
        assert_eq!(code["length"], 5, "{login:#}");
        assert_eq!(code["next"].is_null(), code["next_at"].is_null(), "{login:#}");
        json!([code["via"], code["next"], code["next_after_seconds"]])
    };
    assert_eq!(told(&first), json!(["app", "sms", 0]));
    let by_sms = resend(&user, &login).await.expect(200);
    assert_eq!(by_sms["state"], "code_sent", "{by_sms:#}");
    assert_eq!(told(&by_sms), json!(["sms", "call", 4]));
    let early = resend(&user, &login).await.expect_problem(409, "CONFLICT");
    assert!((1..=4).contains(&early.retry_after()), "{early:?}");
    assert_eq!(harness.calls_of("auth.resendCode").await, 1, "telegram is not asked too early");
    sleep(Duration::from_secs(4)).await;
    let by_call = resend(&user, &login).await.expect(200);
    assert_eq!(told(&by_call), json!(["call", null, null]));
    assert_eq!(state(&user, &login).await, by_call);
    let nothing = resend(&user, &login).await.expect_problem(409, "CONFLICT");
    assert!(nothing.header("retry-after").is_none(), "{nothing:?}");
    assert_eq!(harness.calls_of("auth.resendCode").await, 2, "nor in vain");
    let done = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(done["state"], "active", "{done:#}");
    assert!(done.get("code").is_none(), "{done:#}");
    resend(&user, &login).await.expect_problem(409, "CONFLICT");
    assert_eq!(audited(&user, "login.resend").await, ["ok", "ok"]);
    harness.expect_clean_books().await;
}

/// What Telegram says of a code that is asked for once more, although it offered that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegram_has_the_last_word_on_sending_a_code_once_more() {
    const WAIT: u64 = 15;
    let mut harness = Harness::open().await;
    let new = NewAccount { logged_in: true, ..NewAccount::default() };
    let (user, account) = (harness.user("ann"), harness.account(new).await);
    let login = begin_sms(&user, &account.phone).await;
    harness.hinder("auth.resendCode", Some("SEND_CODE_UNAVAILABLE"), None).await;
    let nothing = resend(&user, &login).await.expect_problem(409, "CONFLICT");
    assert!(nothing.header("retry-after").is_none(), "{nothing:?}");
    harness.hinder("auth.resendCode", Some(&format!("FLOOD_WAIT_{WAIT}")), None).await;
    let began = Instant::now();
    let told = resend(&user, &login).await.expect_problem(429, "TG_API_429").retry_after();
    assert!((1..=WAIT + 1).contains(&told), "{told}");
    harness.kill().await;
    harness.daemon.spawn().await;
    resend(&user, &login).await.expect_problem(429, "TG_API_429");
    assert!(began.elapsed() < Duration::from_secs(WAIT), "what was asked fell into the wait");
    assert_eq!(harness.calls_of("auth.resendCode").await, 2, "nobody asks meanwhile");
    let sent = eventually("the wait is over", async || {
        let answer = resend(&user, &login).await;
        (![429, 503].contains(&answer.status)).then(|| answer.expect(200))
    })
    .await;
    assert_eq!(sent["code"]["via"], "sms", "{sent:#}");
    assert_eq!(audited(&user, "login.resend").await, ["CONFLICT", "TG_API_429", "ok"]);
    let done = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_went_out_once_more_unheard_is_good_all_the_same() {
    let harness = Harness::open().await;
    let new = NewAccount { logged_in: true, ..NewAccount::default() };
    let (user, account) = (harness.user("ann"), harness.account(new).await);
    let login = begin_sms(&user, &account.phone).await;
    harness.hinder("auth.resendCode", None, Some(FaultKind::LoseAnswer)).await;
    resend(&user, &login).await.expect_problem(503, "TG_UNAVAILABLE");
    assert_eq!(state(&user, &login).await["state"], "code_sent");
    let done = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_taken_away_meanwhile_ends_the_login() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(forgetful()).await);
    let login = harness.at_password(&user, &account).await;
    harness.hinder("auth.requestPasswordRecovery", Some("PASSWORD_EMPTY"), None).await;
    forgot(&user, &login).await.expect_problem(409, "CONFLICT");
    let failed = state(&user, &login).await;
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("CONFLICT"))
    );
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    harness.expect_clean_books().await;
}

/// One test a point: the daemon dies there.
macro_rules! points {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                Forgetting::set().await.dies_at($name).await;
            }
        )*

        /// The points that have a test here.
        pub(crate) const DEATHS_TESTED: &[&str] = &[$($name),*];
    };
}

points! {
    login_resend_before: "login.resend.before",
    login_resend_after: "login.resend.after",
    login_recovery_before: "login.recovery.before",
    login_recovery_after: "login.recovery.after",
    login_recover_before: "login.recover.before",
    login_recover_after: "login.recover.after",
}

/// A user who does not get the code and has forgotten the password logs in. Whatever is not answered is asked
/// again, as a user would.
struct Forgetting {
    harness: Harness,
    user: Client,
    account: Account,
    deaths: u32,
}

impl Forgetting {
    async fn set() -> Self {
        let options = DaemonOptions { fail_points: true, ..DaemonOptions::default() };
        let harness = Harness::prepare(options).await;
        // What went out as the daemon died may be asked for again at once.
        harness.sim.set_limits(Limits { resend_seconds: 0, ..Limits::default() }).await;
        let new = NewAccount { logged_in: true, ..forgetful() };
        let (user, account) = (harness.user("ann"), harness.account(new).await);
        Self { harness, user, account, deaths: 0 }
    }

    async fn dies_at(mut self, point: &str) {
        self.harness.daemon.launch_to_die_at(point, 1);
        self.harness.daemon.wait_until_ready().await;
        let sessions = self.harness.books(&self.account).await.sessions;
        let login = begin_sms(&self.user, &self.account.phone).await;
        self.insist(&path(&login, "resend"), None).await;
        let seen = state(&self.user, &login).await;
        assert_eq!(seen["state"], "code_sent", "{seen:#}");
        let code = self.harness.sim.login_code(self.account.user_id).await.unwrap();
        let asked = self.insist(&path(&login, "code"), Some(json!({ "code": code }))).await;
        assert_eq!(asked["state"], "password_required", "{asked:#}");
        let asked = self.insist(&path(&login, "recovery"), None).await;
        assert_eq!(asked["email_pattern"], EMAIL_PATTERN, "{asked:#}");
        let code = json!({ "code": self.harness.mailed(&self.account).await });
        let done = self.insist(&path(&login, "recovery/code"), Some(code)).await;
        assert_eq!(done["state"], "active", "{done:#}");
        assert_eq!(self.deaths, 1, "{point} is not reached");
        self.harness.expect_usable(&self.user, &id_of(&done["account"]), &self.account).await;
        assert_eq!(
            self.harness.books(&self.account).await.sessions,
            sessions + 1,
            "one more session"
        );
        let begun = audited(&self.user, "login.recovery_code").await;
        assert_eq!(begun.first().map(String::as_str), Some("begun"), "{begun:?}");
        self.harness.expect_clean_books().await;
    }

    /// Asks until it is answered; when the daemon died over it, it lives again. A code that Telegram took as
    /// the daemon died has led on by then.
    async fn insist(&mut self, path: &str, body: Option<Value>) -> Value {
        let login = path.split('/').nth(2).unwrap().to_owned();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{path} is not answered");
            match self.user.try_send("POST", path, &[], body.as_ref()).await {
                Ok(answer) if answer.status == 503 => {}
                Ok(answer) if answer.status == 409 && self.deaths == 1 => {
                    return state(&self.user, &login).await;
                }
                Ok(answer) => return answer.expect(200),
                Err(_) => self.live_again().await,
            }
        }
    }

    async fn live_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let death = loop {
            if let Some(death) = self.harness.daemon.ended() {
                break death;
            }
            assert!(Instant::now() < deadline, "the daemon neither answers nor dies");
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(death.signal(), Some(9), "{death}: {}", self.harness.daemon.log());
        self.deaths += 1;
        self.harness.sim.client_killed().await;
        self.harness.daemon.spawn().await;
    }
}
