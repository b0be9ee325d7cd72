//! Dry runs, counts and reports in memory, and how they are answered.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use super::campaigns::Campaigns;
use super::fake::{ACCOUNT, T, TASK, row};
use super::*;
use crate::actors::{CampaignService as _, ReportService};
use crate::protocol::answers::campaign_report::{
    CampaignCounts, DryRun, DryRunAccount, DryRunPerson, Problem, ProblemCode, ReportHead,
    ReportPiece,
};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::account::AccountStatus;
use crate::protocol::campaigns::forecast::Limit;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::tally::Tally;
use crate::protocol::campaigns::target::{
    Details, Intent, Reason, Statistics, Step, Target, TargetId, TargetStatus,
};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::{AccountId, Caller};

/// Targets of the task of reports: two pieces of them.
const TARGETS: u32 = 12;

/// One task of one user.
pub(super) struct Reports;

fn targets() -> Vec<Target> {
    let target = |id: u32| {
        let details = Details { first_name: Some("=1+1".into()), ..Details::default() };
        let identifier = Identifier::Phone(79_991_234_567 + u64::from(id));
        let mut target = Target::new(TargetId(id), identifier, Some(details));
        if id % 2 == 1 {
            let account = AccountId(ACCOUNT);
            let intent = Intent {
                account,
                step: Step::Send,
                random_id: 1,
                at: T,
                is_repeat: false,
                wall: None,
            };
            target.intent = Some(Box::new(intent));
            (target.status, target.reason) = (TargetStatus::Refused, Some(Reason::Privacy));
        }
        target
    };
    (0..TARGETS).map(target).collect()
}

fn counts() -> CampaignCounts {
    let targets = targets();
    let mut tally = Tally::of(&targets);
    tally.note_code("USER_PRIVACY_RESTRICTED");
    let statistics = Statistics::of(&targets);
    CampaignCounts { statistics, tally, attempts: 6, last_attempt_at: Some(T) }
}

fn one<T>(who: &Caller, id: TaskId, answer: T) -> Result<T, Refusal> {
    row(who, id.0 == TASK, "task", answer)
}

#[async_trait]
impl ReportService for Reports {
    async fn dry_run(&self, who: &Caller, id: TaskId) -> Result<DryRun, Refusal> {
        let account = AccountId(ACCOUNT);
        let found = DryRun {
            statistics: counts().statistics,
            ready: 5,
            skipped: BTreeMap::from([(Reason::Suppressed, 1)]),
            accounts: vec![DryRunAccount {
                account,
                name: Some("@alice".to_owned()),
                status: AccountStatus::Active,
                would_contact: 5,
                left_today: 40,
                may_invite: Some(true),
            }],
            first: vec![DryRunPerson {
                target: TargetId(0),
                identifier: "+79991234567".to_owned(),
                account,
            }],
            binding: vec![(Limit::Hour, 80)],
            takes_ms: Some(61_500),
            starts_at: Some(T),
            problems: vec![Problem {
                code: ProblemCode::NotAsked,
                detail: "it was not asked".to_owned(),
                account: Some(account),
            }],
            looked_at: Some(6),
        };
        one(who, id, found)
    }

    async fn estimate(&self, who: &Caller, id: TaskId) -> Result<Option<u64>, Refusal> {
        one(who, id, Some(620))
    }

    async fn head(&self, who: &Caller, id: TaskId) -> Result<ReportHead, Refusal> {
        let info = Campaigns.get(who, id).await?;
        let names = BTreeMap::from([(AccountId(ACCOUNT), "@alice".to_owned())]);
        let (task, owner, counts) = (info.task, info.owner, counts());
        Ok(ReportHead { task, owner, counts, names, link_uses: None, made_at: T })
    }

    async fn link_uses(&self, who: &Caller, id: TaskId) -> Result<Option<LinkUses>, Refusal> {
        one(who, id, Some(LinkUses { joined: 4, waiting: 1 }))
    }

    async fn piece(&self, who: &Caller, id: TaskId, from: u32) -> Result<ReportPiece, Refusal> {
        let half = TARGETS as usize / 2;
        let all = targets();
        let (targets, next) = match from {
            0 => (all[..half].to_vec(), Some(64)),
            _ => (all[half..].to_vec(), None),
        };
        one(who, id, ReportPiece { targets, next })
    }
}

fn ask(path: &str) -> Request {
    Request::to("GET", &format!("/api/v1/invite/tasks/{{id}}/{path}")).by(&alice())
}

#[tokio::test]
async fn counts_and_the_estimate_are_told_and_add_up() {
    let server = Server::start().await;
    let status = server.ask(ask("status")).await.json();
    assert_eq!(status["estimate_seconds"], json!(620));
    let stats = server.ask(ask("stats")).await.json();
    assert_eq!(stats["progress"]["total"], json!(12));
    assert_eq!(
        stats["outcomes"],
        json!([{"status": "pending", "count": 6}, {"status": "refused", "reason": "privacy", "count": 6}])
    );
    assert_eq!(stats["accounts"][0]["total"], json!(6));
    assert_eq!(stats["untried"], json!({"pending": 6}));
    assert_eq!(stats["codes"], json!({"USER_PRIVACY_RESTRICTED": 1}));
}

#[tokio::test]
async fn a_dry_run_says_who_by_whom_and_what_is_in_the_way() {
    let server = Server::start().await;
    let request = Request::to("POST", "/api/v1/invite/tasks/{id}/dry-run").by(&alice());
    let answer = server.ask(request).await.json();
    assert_eq!(answer["targets"]["ready"], json!(5));
    assert_eq!(answer["targets"]["skipped"], json!({"suppressed": 1}));
    assert_eq!(answer["binding"], json!([{"limit": "hour", "percent": 80}]));
    assert_eq!(answer["estimate_seconds"], json!(62));
    assert_eq!(answer["problems"][0]["code"], json!("not_asked"));
}

#[tokio::test]
async fn a_report_comes_in_the_form_that_is_asked_for_and_opens_harmlessly() {
    let server = Server::start().await;
    let whole = server.ask(ask("report")).await;
    let json = whole.json();
    assert_eq!(json["task"]["audience_basis"], json!("They signed up"));
    assert_eq!(json["targets"].as_array().unwrap().len(), 12);
    assert_eq!(json["targets"][11]["identifier"], json!("+79991234578"));
    assert_eq!(json["per_day"].as_array().unwrap().len(), 1);
    assert_eq!(json["per_day"][0]["refused"], json!(6));
    assert_eq!(json["by_status"]["refused"], json!(6));
    for (query, accept, kind, shown) in [
        ("", "text/csv", "text/csv; charset=utf-8", "attachment"),
        ("format=csv", "*/*", "text/csv; charset=utf-8", "attachment"),
        ("", "text/html,*/*;q=0.1", "text/html; charset=utf-8", "inline"),
        ("format=json", "text/html", "application/json", "attachment"),
    ] {
        let answer = server.ask(ask("report").query(query).header("Accept", accept)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
        let disposition = answer.header("content-disposition").unwrap();
        let start = format!("{shown}; filename=\"campaign-meetup-in-may-");
        assert!(disposition.starts_with(&start), "{disposition}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        assert!(!answer.body.contains("\n=1+1") && !answer.body.contains("\"=1+1\"\""));
    }
    let csv = server.ask(ask("report").query("format=csv&delimiter=semicolon&bom=false")).await;
    assert!(csv.body.contains("\"id\";\"identifier\""), "{}", csv.body);
    assert_eq!(csv.body.matches(";\"'=1+1\";").count(), 12);
    for wrong in ["format=pdf", "delimiter=tab", "bom=perhaps"] {
        assert_eq!(server.ask(ask("report").query(wrong)).await.status, 422, "{wrong}");
    }
}
