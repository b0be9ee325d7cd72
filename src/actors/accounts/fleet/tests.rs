//! Sessions that commands brought: kept as long as something uses them, forgotten with their last use.

mod taken_over;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::actors::accounts::listener::tests::losses;
use crate::actors::monitors::commands::CommandSink;
use crate::actors::monitors::commands::Commands;
use crate::actors::root::Root;
use crate::actors::tree::actor::spawn_alone;
use crate::actors::tree::calling::call;
use crate::clock::now;
use crate::protocol::accounts::record::Me;
use crate::protocol::bridge::command::{Command, Order};
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling};
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
use crate::store::gated::{GatedDisk, records_by_kind};
use crate::store::{Outbox, Store};

const PATIENCE: Duration = Duration::from_secs(60);

/// The session of one day: an id and a key of its own.
fn session(day: u16) -> SessionData {
    let mut key = [7; AUTH_KEY_LEN];
    key[..2].copy_from_slice(&day.to_be_bytes());
    let auth_key = AuthKey::new(key);
    let (id, account) = (SessionId(format!("day-{day}")), AuthKeyId::of(&auth_key));
    SessionData { id, api_id: None, account, dc_id: 2, auth_key }
}

fn chat(number: i64) -> ChatRef {
    ChatRef::parse(ChatSpelling::Number(-1_000_000_000_000 - number)).unwrap()
}

fn order(command: Command) -> Order {
    let reply = Some(ReplyTo { queue: "answers".into(), correlation_id: None });
    Order { command, reply }
}

fn switch(number: i64, day: u16) -> Order {
    order(Command::SwitchSource { chat: chat(number), sessions: vec![session(day)] })
}

fn stop(number: i64) -> Order {
    order(Command::StopMonitoring { chat: chat(number) })
}

async fn tree(store: &Store) -> (Root, Commands) {
    let snapshot = store.load().unwrap();
    let root = Root::for_tests(store, snapshot).await;
    let orders = root.commands();
    (root, orders)
}

/// What the reply to the newest command says.
async fn reply(outbox: &mut Outbox) -> Value {
    loop {
        let next = tokio::time::timeout(PATIENCE, outbox.next(1)).await.expect("it is answered");
        let (_, entry): &(u64, Arc<OutboxEntry>) = next.first().unwrap();
        if entry.kind == "command_reply" {
            return serde_json::from_slice(&entry.body).unwrap();
        }
    }
}

async fn expect_census(root: &Root, wanted: (usize, usize, usize)) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let census = call(root.fleet(), FleetMsg::Census, PATIENCE).await.unwrap();
        if census == wanted {
            return;
        }
        assert!(Instant::now() < patience, "members, sessions, uses: {census:?}, not {wanted:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What is kept of sessions and accounts, by kind of record.
fn kept(store: &Store) -> BTreeMap<char, usize> {
    let mut kinds = records_by_kind(store);
    kinds.retain(|kind, _| "acupsm".contains(*kind));
    kinds
}

#[tokio::test]
async fn a_year_of_daily_rotation_leaves_what_one_day_leaves() {
    let (store, mut outbox) = Store::in_memory().unwrap();
    let (root, orders) = tree(&store).await;
    let mut after_one_day = BTreeMap::new();
    for day in 0..=365 {
        orders.submit(switch(1, day)).await.unwrap();
        let told = reply(&mut outbox).await;
        let gone = day.checked_sub(1).map(|before| json!([format!("day-{before}")]));
        assert_eq!(told["result"].get("forgotten_sessions"), gone.as_ref(), "{told}");
        // What an account gathers in a day.
        let account = session(day).account;
        let peer = |id| PeerRecord {
            id: MarkedId(id),
            access_hash: 1,
            is_bot: false,
            is_broadcast: false,
        };
        let state = UpdateState { pts: 5, ..UpdateState::default() };
        let ops = vec![
            Op::PutPeers { account, peers: vec![peer(5), peer(6)] },
            Op::SetUpdateState { account, state },
        ];
        store.commit(ops).await.unwrap();
        if day == 0 {
            after_one_day = kept(&store);
        }
    }
    let wanted = BTreeMap::from([('a', 1), ('c', 1), ('u', 1), ('p', 2), ('s', 1), ('m', 1)]);
    assert_eq!((&kept(&store), &after_one_day), (&wanted, &wanted));
    expect_census(&root, (1, 1, 1)).await;
    orders.submit(stop(1)).await.unwrap();
    let told = reply(&mut outbox).await;
    assert_eq!(told["result"]["forgotten_sessions"], json!(["day-365"]));
    assert_eq!(kept(&store), BTreeMap::new());
    expect_census(&root, (0, 0, 0)).await;
    root.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_session_stays_as_long_as_any_monitor_names_it() {
    let (store, mut outbox) = Store::in_memory().unwrap();
    let (root, orders) = tree(&store).await;
    for number in [1, 2] {
        orders.submit(switch(number, 1)).await.unwrap();
        reply(&mut outbox).await;
    }
    for (number, gone) in [(1, Value::Null), (2, json!(["day-1"]))] {
        orders.submit(stop(number)).await.unwrap();
        assert_eq!(reply(&mut outbox).await["result"]["forgotten_sessions"], gone);
    }
    assert_eq!(kept(&store), BTreeMap::new());
    root.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_session_that_comes_again_as_it_is_forgotten_is_there_afterwards() {
    let (store, _outbox, gate) = GatedDisk::default().open();
    let (root, orders) = tree(&store).await;
    orders.submit(switch(1, 1)).await.unwrap();
    for _ in 0..10 {
        gate.hang_writes(true);
        let submit = |order: Order| {
            let orders = orders.clone();
            tokio::spawn(async move { orders.submit(order).await })
        };
        let (stopped, started) = (submit(stop(1)), submit(switch(2, 1)));
        sleep(Duration::from_millis(10)).await;
        gate.hang_writes(false);
        stopped.await.unwrap().unwrap();
        started.await.unwrap().unwrap();
        let snapshot = store.load().unwrap();
        assert_eq!((snapshot.sessions.len(), snapshot.accounts.len()), (1, 1));
        assert!(store.credentials(session(1).account).unwrap().is_some());
        expect_census(&root, (1, 1, 1)).await;
        orders.submit(switch(1, 1)).await.unwrap();
        orders.submit(stop(2)).await.unwrap();
    }
    root.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn what_a_crash_left_of_sessions_that_nothing_uses_is_forgotten_at_the_next_start() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let record = |day, me, flood_waits| AccountRecord {
        id: session(day).account,
        me,
        fault: None,
        frozen: None,
        flood_waits,
        created_at: now(),
    };
    let me = |user_id| Some(Me { user_id, is_bot: false, username: None, first_name: None });
    let wait = |class, ms| {
        let scope = FloodWaitScope::Class(class);
        vec![FloodWait { scope, until: now().plus_ms(ms) }]
    };
    let long = wait(MethodClass::Send, 600_000);
    let accounts = [
        // Nothing is known of it; a person waits; a wait of nobody known; an account without a session.
        (record(1, None, Vec::new()), true),
        (record(2, me(5), long.clone()), true),
        (record(3, None, wait(MethodClass::Auth, 1_500)), true),
        (record(4, me(6), Vec::new()), false),
    ];
    let mut ops = Vec::new();
    for (record, has_session) in accounts {
        let account = record.id;
        ops.push(Op::PutAccount(record));
        if has_session {
            let id = SessionId(format!("of-{account}"));
            ops.push(Op::PutSession(SessionRecord { id, account, api_id: None }));
        }
    }
    store.commit(ops).await.unwrap();
    let begun = Instant::now();
    let (root, _) = tree(&store).await;
    expect_census(&root, (1, 1, 1)).await;
    let left = store.load().unwrap();
    assert_eq!(left.accounts.len(), 1);
    assert_eq!(left.accounts[0].id, session(3).account, "only it knows of its wait");
    let waits = store.person_waits().unwrap();
    assert_eq!(
        waits,
        [PersonFloodWaits { telegram_id: 5, waits: long }],
        "it outlives the session"
    );
    expect_census(&root, (0, 0, 0)).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_400), "the wait was over");
    assert_eq!(store.load().unwrap().accounts, []);
    root.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn many_sessions_that_nothing_uses_are_forgotten_bit_by_bit() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let mut ops = Vec::new();
    for day in 0..300 {
        let SessionData { id, account, dc_id, auth_key, .. } = session(day);
        let (me, fault, flood_waits, created_at) = (None, None, Vec::new(), now());
        ops.push(Op::PutAccount(AccountRecord {
            id: account,
            me,
            fault,
            frozen: None,
            flood_waits,
            created_at,
        }));
        ops.push(Op::PutCredentials(Credentials { account, dc_id, auth_key }));
        if day % 3 != 0 {
            ops.push(Op::PutSession(SessionRecord { id, account, api_id: None }));
        }
    }
    store.commit(ops).await.unwrap();
    let (root, orders) = tree(&store).await;
    orders.submit(switch(1, 1)).await.unwrap();
    expect_census(&root, (1, 1, 1)).await;
    store.commit(Vec::new()).await.unwrap();
    let wanted = BTreeMap::from([('a', 1), ('c', 1), ('s', 1), ('m', 1)]);
    assert_eq!(kept(&store), wanted, "but for the one that came again");
    root.stop(Instant::now() + PATIENCE).await;
}

fn blank_record(day: u16) -> AccountRecord {
    AccountRecord {
        id: session(day).account,
        me: None,
        fault: None,
        frozen: None,
        flood_waits: Vec::new(),
        created_at: now(),
    }
}

fn state(context: &Arc<AccountsContext>, accounts: Vec<AccountRecord>) -> FleetState {
    FleetState::new(FleetArgs { accounts, ..FleetArgs::empty(context) })
}

#[tokio::test]
async fn a_monitor_that_asks_for_a_key_that_was_just_replaced_is_not_told_that_it_was_removed() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let accounts = [1, 2].map(blank_record).into();
    let mut fleet = state(&AccountsContext::for_tests(store), accounts);
    for (day, why) in [(1, Released::Removed), (2, Released::Replaced)] {
        let key = session(day).account;
        fleet.release(key, why).await;
        assert!(!fleet.members.contains_key(&key));
        assert_eq!(fleet.why_gone(key), why);
    }
}

#[tokio::test]
async fn a_frozen_account_is_remembered_until_the_next_look() {
    use crate::protocol::telegram::freeze::Frozen;
    let (store, _outbox) = Store::in_memory().unwrap();
    let frozen = |at| Frozen::refused(None, "FROZEN_METHOD_INVALID", MethodClass::Send, at);
    let day_ago = now().plus_ms(-2 * crate::protocol::telegram::freeze::LOOK_EVERY_MS);
    let record = |day, at| AccountRecord { frozen: Some(frozen(at)), ..blank_record(day) };
    let accounts = vec![record(1, now()), record(2, day_ago)];
    let fleet = state(&AccountsContext::for_tests(store), accounts);
    assert_eq!(fleet.orphans(), [session(2).account]);
}

#[tokio::test]
async fn a_session_that_has_to_be_remembered_has_one_timer() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let context = AccountsContext::for_tests(store);
    let until = now().plus_ms(600_000);
    let wait = FloodWait { scope: FloodWaitScope::Class(MethodClass::Auth), until };
    let record = AccountRecord { flood_waits: vec![wait], ..blank_record(1) };
    let mut fleet = state(&context, vec![record]);
    let myself = spawn_alone(Fleet, FleetArgs::empty(&context)).await;
    let member = session(1).member();
    fleet.uses.know(&member);
    for _ in 0..3 {
        fleet.forget_unused(&myself, vec![member.clone()]).await;
        assert_eq!(fleet.held_back.len(), 1);
    }
    myself.stop(None);
}

/// The bridge brought the key, too, so that it stays: as a backup it would be asked for at any time.
#[tokio::test]
async fn a_users_monitor_may_not_listen_through_a_key_that_its_user_has_given_up() {
    use crate::actors::accounts::directory::tests::owned;
    use crate::protocol::users::owner::UserId;
    let (store, _outbox) = Store::in_memory().unwrap();
    let context = AccountsContext::for_tests(store);
    let key = session(1).account;
    let account = OwnedAccount { key, ..owned("ann", 7) };
    let accounts = vec![blank_record(1)];
    let of_bridge = (Holder::Monitor(chat(1).key()), vec![session(1).member()]);
    let args = FleetArgs { accounts, held: vec![of_bridge], ..FleetArgs::empty(&context) };
    let mut fleet = FleetState::new(args);
    context.directory.put(account.clone());
    let myself = spawn_alone(Fleet, FleetArgs::empty(&context)).await;
    let (monitor, mut hears) = losses().await;
    let watch = async |fleet: &mut FleetState, owner: Option<&str>| {
        let owner = owner.map(|owner| UserId::new(owner).unwrap());
        let of_chat = ChatKey::of(owner.as_ref(), &chat(2));
        let subscription = Subscription { monitor: monitor.get_derived(), chat: None };
        fleet.watch(&myself, key, of_chat.clone(), subscription, false).await;
        fleet.members[&key].subscriptions.contains_key(&of_chat)
    };
    assert!(watch(&mut fleet, Some("ann")).await);
    assert!(!watch(&mut fleet, Some("bob")).await, "it is not his");
    assert_eq!(hears.recv().await, Some(Failure::Removed));
    context.directory.remove(&account.user, account.id);
    fleet.release(key, Released::Removed).await;
    assert_eq!(hears.recv().await, Some(Failure::Removed), "who listened is told");
    assert!(!watch(&mut fleet, Some("ann")).await);
    assert_eq!(hears.recv().await, Some(Failure::Removed), "and who comes later");
    assert!(watch(&mut fleet, None).await, "the bridge keeps it");
    // One that logged in anew is about to be given its new key.
    fleet.release(key, Released::Replaced).await;
    assert!(!watch(&mut fleet, Some("ann")).await);
    assert_eq!(fleet.why_gone(key), Released::Replaced);
    myself.stop(None);
    monitor.stop(None);
}
