//! The services on a tree without Telegram: what users find, and what they are refused.

mod imports;

use super::monitors::PER_USER_MAX;
use super::user_data::EXPORTS_MAX;
use super::*;
use crate::actors::accounts::directory::tests::owned;
use crate::actors::accounts::fleet::{OwnedMsg, Wanted};
use crate::actors::root::Root;
use crate::actors::tree::calling::call;
use crate::clock::now;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::answers::monitor::MonitorInfo;
use crate::protocol::answers::refusal::Code;
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, MarkedId};

use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::protocol::values::page::PageQuery;
use crate::store::Store;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn caller(id: &str) -> Caller {
    Caller { user: user(id), role: Role::User, address: None }
}

fn admin() -> Caller {
    Caller { role: Role::Admin, ..caller("the-admin") }
}

fn chat(text: &str) -> ChatRef {
    ChatRef::parse(ChatSpelling::Text(text.into())).unwrap()
}

fn number(nth: i64) -> ChatRef {
    ChatRef::parse(ChatSpelling::Number(MarkedId::channel(nth).0)).unwrap()
}

fn monitor(account: &OwnedAccount, chat: ChatRef) -> MonitorRecord {
    let session = SessionId(account.id.to_string());
    let pool = vec![PoolMember { session, account: AuthKeyId(account.key.0) }];
    MonitorRecord {
        owner: Some(account.user.clone()),
        chat,
        ordered: pool.clone(),
        pool,
        phase: MonitorPhase::Exhausted,
        started_at: now(),
        started_steady: None,
        owed_from: None,
        marked_id: None,
        migrated_from: None,
        title: None,
        names: Vec::new(),
        start_pts: None,
        exhausted: None,
    }
}

/// A running tree with these accounts, which Telegram has never heard of, held by their users.
struct Harness {
    root: Root,
    services: Services,
    store: Store,
}

impl Harness {
    async fn with(accounts: &[OwnedAccount], ops: Vec<Op>) -> Self {
        let (store, _outbox) = Store::in_memory().unwrap();
        let held = |account: &OwnedAccount| OwnedAccount { is_paused: true, ..account.clone() };
        let rows = accounts.iter().map(|account| Op::put_row(&held(account)));
        store.commit(rows.chain(ops).collect()).await.unwrap();
        let snapshot = store.load().unwrap();
        let root = Root::for_tests(&store, snapshot).await;
        Self { services: root.services(), root, store }
    }

    async fn put(
        &self,
        chat: ChatRef,
        account: &OwnedAccount,
    ) -> Result<(MonitorInfo, bool), Refusal> {
        self.services.monitors.put(&caller(account.user.as_str()), chat, vec![account.id]).await
    }
}

fn page(limit: usize) -> MonitorQuery {
    MonitorQuery { user: None, page: PageQuery { cursor: None, limit } }
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_monitors_and_may_go_on_changing_them() {
    let one = owned("one", 1);
    let all = (1..PER_USER_MAX as i64).map(|nth| Op::PutMonitor(monitor(&one, number(nth))));
    let two = owned("two", 2);
    let harness = Harness::with(&[one.clone(), two.clone()], all.collect()).await;
    // Two at once do not both find the last place free.
    let (first, second) = tokio::join!(
        harness.put(chat("@the_last"), &one),
        harness.put(chat("@one_too_many"), &one)
    );
    let (made, refused) = if first.is_ok() { (first, second) } else { (second, first) };
    assert!(made.unwrap().1, "it is new");
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    assert!(refused.detail.contains("1000"), "{refused}");
    let (_, is_new) = harness.put(number(1), &one).await.unwrap();
    assert!(!is_new, "one that is there may be changed");
    harness.put(chat("@of_another"), &two).await.unwrap();
    harness.services.monitors.delete(&caller("one"), number(1)).await.unwrap();
    harness.put(chat("@one_too_many"), &one).await.unwrap();
    drop(harness.root);
}

#[tokio::test]
async fn a_third_export_at_once_is_asked_to_come_again() {
    let harness = Harness::with(&[owned("one", 1)], Vec::new()).await;
    let (who, user_data) = (caller("one"), Arc::clone(&harness.services.user_data));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let mut held = Vec::new();
    for _ in 0..EXPORTS_MAX {
        let (user_data, who, begun) = (Arc::clone(&user_data), who.clone(), begun.clone());
        let (go_on, hold) = std::sync::mpsc::channel::<()>();
        let write = Box::new(move |_| {
            begun.send(()).unwrap();
            let _ = hold.recv();
            Vec::new()
        });
        let export = async move { user_data.export(&who, user("one"), write).await };
        held.push((tokio::spawn(export), go_on));
        begins.recv().await.unwrap();
    }
    let count = || Box::new(|archive: UserArchive| vec![archive.accounts.len() as u8]);
    let refused = user_data.export(&who, user("one"), count()).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after), (Code::Overloaded, Some(10)));
    for (export, go_on) in held {
        drop(go_on);
        export.await.unwrap().unwrap();
    }
    let archive = user_data.export(&who, user("one"), count()).await.unwrap();
    assert_eq!(archive, [1], "it tells of the account");
    drop(harness.root);
}

/// What the fleet writes is one commit: a crash behind it must not leave the chats of an account that is
/// gone.
#[tokio::test]
async fn the_chats_of_an_account_go_in_the_commit_in_which_it_goes() {
    let (one, other) = (owned("one", 1), owned("one", 2));
    let attached = |account: &OwnedAccount| AttachedChat {
        user: account.user.clone(),
        account: account.id,
        chat: MarkedId::channel(5),
        title: None,
        kind: "channel".into(),
        username: None,
        is_member: true,
        is_admin: false,
        can_post: false,
        can_invite: false,
        checked_at: now(),
    };
    let rows = vec![Op::put_row(&attached(&one)), Op::put_row(&attached(&other))];
    let harness = Harness::with(&[one.clone(), other.clone()], rows).await;
    let audit_event = AuditEvent::by(&caller("one"), &one.user, "account.remove", now()).on(one.id);
    let (user, id) = (one.user.clone(), one.id);
    let gone = |reply| OwnedMsg::Change { user, id, wanted: Wanted::Gone, audit_event, reply };
    let asked = call(harness.root.fleet(), |reply| FleetMsg::Owned(gone(reply)), STEP_TIMEOUT);
    asked.await.unwrap().unwrap();
    // Nor does one stay behind that was being looked up meanwhile.
    harness.store.commit(vec![Op::put_row(&attached(&one))]).await.unwrap();
    let left = harness.store.rows::<AttachedChat>(&one.user, None, None, 9).unwrap();
    assert_eq!(
        left,
        [attached(&other)].map(|chat| AttachedChat { checked_at: left[0].checked_at, ..chat })
    );
    drop(harness.root);
}

#[tokio::test]
async fn one_chat_has_one_monitor_of_a_user_whichever_of_its_names_is_used() {
    let one = owned("one", 1);
    let by_name =
        MonitorRecord { marked_id: Some(MarkedId::channel(1)), ..monitor(&one, chat("@by_name")) };
    let by_number = MonitorRecord { names: vec!["its_name".into()], ..monitor(&one, number(2)) };
    let harness = Harness::with(
        std::slice::from_ref(&one),
        vec![Op::PutMonitor(by_name), Op::PutMonitor(by_number)],
    )
    .await;
    let who = caller("one");
    for (asked, other) in [(number(1), chat("@by_name")), (chat("@Its_Name"), number(2))] {
        let (configured, is_new) = harness.put(asked.clone(), &one).await.unwrap();
        let seen = harness.services.monitors.get(&who, asked.clone()).await.unwrap();
        let known = harness.services.monitors.get(&who, other).await.unwrap();
        assert!(!is_new && configured.chat == known.chat && seen.chat == known.chat);
        assert_eq!(
            harness.services.monitors.get(&caller("two"), asked).await.unwrap_err().code,
            Code::NotFound
        );
    }
    assert_eq!(harness.services.monitors.list(&who, page(9)).await.unwrap().items.len(), 2);
    harness.services.monitors.delete(&who, number(1)).await.unwrap();
    harness.services.monitors.delete(&who, chat("@its_name")).await.unwrap();
    assert_eq!(harness.services.monitors.list(&who, page(9)).await.unwrap().items.len(), 0);
    drop(harness.root);
}

#[tokio::test]
async fn lists_of_monitors_go_on_behind_one_that_is_gone() {
    let one = owned("one", 1);
    let all = (1..=5).map(|nth| Op::PutMonitor(monitor(&one, number(nth))));
    let harness = Harness::with(std::slice::from_ref(&one), all.collect()).await;
    for who in [caller("one"), admin()] {
        let first = harness.services.monitors.list(&who, page(2)).await.unwrap();
        let last = ChatRef::parse(first.items.last().unwrap().chat.clone()).unwrap();
        harness.services.monitors.delete(&caller("one"), last).await.unwrap();
        let page = PageQuery { cursor: first.next_cursor, limit: 9 };
        let query = MonitorQuery { user: None, page };
        let rest = harness.services.monitors.list(&who, query).await.unwrap();
        let left = harness.store.monitor_count(&user("one"));
        assert_eq!(first.items.len() - 1 + rest.items.len(), left, "{}", who.user);
    }
    drop(harness.root);
}

#[tokio::test]
async fn admins_are_told_whose_things_are_and_may_ask_for_one_users() {
    let (one, two) = (owned("one", 1), owned("two", 2));
    let monitors = [(&one, 1), (&one, 2), (&two, 1)];
    let rows = monitors.map(|(account, nth)| Op::PutMonitor(monitor(account, number(nth))));
    let harness = Harness::with(&[one, two], rows.into()).await;
    let monitors = async |who: Caller, of: Option<&str>| {
        let query = MonitorQuery { user: of.map(user), ..page(9) };
        let listed = harness.services.monitors.list(&who, query).await.unwrap().items;
        listed.into_iter().map(|monitor| monitor.owner).collect::<Vec<_>>()
    };
    let accounts = async |who: Caller, of: Option<&str>| {
        let query = AccountQuery { user: of.map(user), ..AccountQuery::default() };
        let listed = harness.services.accounts.list(&who, query).await.unwrap().items;
        listed.into_iter().map(|account| account.owner).collect::<Vec<_>>()
    };
    let owners = |owners: &[&str]| owners.iter().map(|owner| Some(user(owner))).collect::<Vec<_>>();
    assert_eq!(monitors(admin(), None).await, owners(&["one", "one", "two"]));
    assert_eq!(accounts(admin(), None).await, owners(&["one", "two"]));
    assert_eq!(monitors(admin(), Some("two")).await, owners(&["two"]));
    assert_eq!(accounts(admin(), Some("two")).await, owners(&["two"]));
    assert_eq!(monitors(caller("one"), None).await, [None, None], "users know whose theirs are");
    assert_eq!(accounts(caller("one"), Some("one")).await, [None]);
    assert_eq!(monitors(caller("one"), Some("two")).await, [], "what is another's does not exist");
    assert_eq!(accounts(caller("one"), Some("two")).await, []);
    drop(harness.root);
}
