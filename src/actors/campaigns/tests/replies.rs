//! What people answer to campaigns.

use super::*;
use crate::actors::accounts::context::PrivateMessages;
use crate::actors::campaigns::context::Refused;
use crate::actors::campaigns::replies::Replies;
use crate::protocol::campaigns::respect::{KnownAs, List, Source, Suppression};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::messages::message::{Author, Message};

/// Somebody writes to an account. Answers whether that is done with, or has to come again.
async fn says(life: &Life, fixture: &Fixture, account: AccountId, person: i64, text: &str) -> bool {
    let account = fixture.accounts.iter().find(|own| own.id == account).unwrap().clone();
    let sender = Some(Author { id: person, ..Author::default() });
    let messages = vec![Message { text: text.into(), sender, ..Message::default() }];
    life.replies.clone().read(PrivateMessages { account, messages }).await
}

impl Fixture {
    async fn list(&self) -> Vec<Suppression> {
        let list = List::User(ann());
        let read = move |store: &crate::store::Reader| {
            let mut standing = store.suppressions(&list, None, 100)?;
            let mut told = Vec::new();
            for entry in standing.drain(..) {
                let refusals = store.refusals(entry.key)?;
                if refusals.iter().any(|refusal| refusal.entry == Some(entry.id)) {
                    told.push(entry);
                }
            }
            Ok(told)
        };
        self.environment.store.read(read).await.unwrap()
    }

    /// All entries, those that no list shows included.
    async fn entries(&self) -> Vec<Suppression> {
        let list = List::User(ann());
        self.environment
            .store
            .read(move |store| store.suppressions(&list, None, 100))
            .await
            .unwrap()
    }

    fn reached_by(&self, person: i64) -> AccountId {
        let world = self.messenger.world();
        world.reached.iter().find(|reached| reached.person == person).unwrap().by
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_stop_is_on_the_list_before_the_update_state_moves() {
    let fixture = Fixture::new(2, 5).await;
    let life = fixture.live().await;
    let settings =
        Settings { opt_out_confirmation: Some("Understood.".into()), ..Settings::default() };
    let request = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    let task = fixture.draft(&life, request, 5).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let by = fixture.reached_by(1);
    for (person, text) in [(1, "Stop. Thank you"), (2, "when?"), (3, "is this spam?")] {
        assert!(says(&life, &fixture, by, person, text).await);
    }
    // Said again, or by somebody whom no campaign has reached: nothing changes.
    for (person, text) in [(1, "STOP"), (3, "Is this spam?"), (77, "stop")] {
        assert!(says(&life, &fixture, by, person, text).await);
    }
    let list = fixture.list().await;
    let seen: Vec<_> = list
        .iter()
        .map(|entry| (entry.identifier.clone(), entry.covers, entry.is_doubtful))
        .collect();
    use crate::protocol::campaigns::respect::Covers::Everything;
    let id = |id| Some(Identifier::Id(id));
    assert_eq!(seen, [(id(3), Everything, true), (id(1), Everything, false)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let texts: Vec<String> =
        fixture.messenger.world().reached.iter().skip(5).map(|it| it.text.clone()).collect();
    assert_eq!(texts, ["Understood."], "once, and to nobody who is only doubtful");
    // What was doubtful becomes clear.
    assert!(says(&life, &fixture, by, 3, "STOP").await);
    let list = fixture.list().await;
    assert!(list.iter().any(|entry| entry.identifier == id(3) && !entry.is_doubtful), "{list:?}");
    assert_eq!(fixture.entries().await.len(), list.len(), "and nothing else is kept of them");
    assert!(says(&life, &fixture, by, 3, "start").await);
    assert!(says(&life, &fixture, by, 3, "is this spam?").await);
    // Who writes "start" is off it again.
    assert!(says(&life, &fixture, by, 4, "stop").await);
    assert_eq!(fixture.list().await.len(), 3);
    assert!(says(&life, &fixture, by, 4, "Start, please").await);
    assert_eq!(fixture.list().await.len(), 2);
    let settings = Settings { ignore_recontact: true, ..Settings::default() };
    let again = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    let again = fixture.draft(&life, again, 5).await;
    life.order(again, Wanted::Start).await.unwrap();
    until(&fixture, again, TaskStatus::Completed).await;
    let reasons = fixture.reasons(again).await;
    assert_eq!(reasons[&1], (TargetStatus::Skipped, Some(Reason::Suppressed)));
    assert_eq!(reasons[&2], (TargetStatus::Sent, None));
    assert_eq!(reasons[&3], (TargetStatus::Skipped, Some(Reason::HeldForReview)));
    assert_eq!(reasons[&4], (TargetStatus::Sent, None));
}

#[tokio::test(start_paused = true)]
async fn who_refuses_less_is_held_all_the_same_when_they_answer_doubtfully() {
    use crate::protocol::campaigns::respect::Covers::{Everything, Invitations};
    let fixture = Fixture::new(1, 2).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 2).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let refused =
        |covers, is_doubtful| Refused { covers, group: None, source: Source::Privacy, is_doubtful };
    for (person, refused) in [(1, refused(Invitations, false)), (2, refused(Everything, false))] {
        let known = KnownAs::named(&Identifier::Id(person));
        let ops = life.context.put_refusals(&ann(), &refused, &known);
        fixture.environment.store.commit(ops).await.unwrap();
    }
    let by = fixture.reached_by(1);
    for person in [1, 2, 1] {
        assert!(says(&life, &fixture, by, person, "is this spam?").await);
    }
    let list = fixture.list().await;
    let of = |person| {
        let theirs = list.iter().filter(|entry| entry.identifier == Some(Identifier::Id(person)));
        theirs.map(|entry| (entry.covers, entry.is_doubtful)).collect::<Vec<_>>()
    };
    assert_eq!(of(1), [(Everything, true), (Invitations, false)], "once");
    assert_eq!(of(2), [(Everything, false)], "what is clear stays");
    let settings = Settings { ignore_recontact: true, ..Settings::default() };
    let again = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    let again = fixture.draft(&life, again, 2).await;
    life.order(again, Wanted::Start).await.unwrap();
    until(&fixture, again, TaskStatus::Completed).await;
    let reasons = fixture.reasons(again).await;
    assert_eq!(reasons[&1], (TargetStatus::Skipped, Some(Reason::HeldForReview)));
    assert_eq!(reasons[&2], (TargetStatus::Skipped, Some(Reason::Suppressed)));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_nobody_can_heed_yet_comes_again() {
    let fixture = Fixture::new(1, 1).await;
    let mut life = fixture.live().await;
    life.replies = Replies::default();
    assert!(!says(&life, &fixture, fixture.ids()[0], 1, "stop").await);
}

#[tokio::test(start_paused = true)]
async fn of_a_user_who_is_erased_no_campaign_lives_and_nobody_is_contacted_any_more() {
    let fixture = Fixture::new(2, 40).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 40).await;
    life.order(task, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let forget = |reply| CampaignsMsg::Forget { user: ann(), reply };
    life.campaigns.call(forget, None).await.unwrap();
    let reached = fixture.messenger.world().reached.len();
    assert!((1..40).contains(&reached), "{reached}");
    assert!(life.context.status.campaign_view(&ann(), task).is_none());
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(fixture.messenger.world().reached.len(), reached);
}
