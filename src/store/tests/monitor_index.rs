//! The list of monitors is in step with the disk, and finds everybody's own without reading others'.

use crate::protocol::users::owner::{Scope, UserId};

use super::*;

fn only(user: &str) -> Scope {
    Scope::Only(UserId::new(user).unwrap())
}

fn of(user: Option<&str>, number: i64) -> MonitorRecord {
    MonitorRecord { owner: user.map(|user| UserId::new(user).unwrap()), ..monitor(number) }
}

fn chats(store: &Store, scope: &Scope, after: Option<&ChatKey>, limit: usize) -> Vec<ChatRef> {
    let keys = store.monitor_keys(scope, after, limit);
    store.monitors_at(&keys).unwrap().into_iter().map(|record| record.chat).collect()
}

fn open(disk: &MemoryDisk) -> (Store, Outbox) {
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    Store::start(Arc::new(disk.clone()), key, hurried()).unwrap()
}

#[tokio::test]
async fn ones_own_monitors_are_found_page_by_page_whatever_others_have() {
    let disk = MemoryDisk::default();
    let (store, outbox) = open(&disk);
    let all = [("ann", 1), ("ann", 2), ("ann", 3), ("an", 1), ("annabel", 1), ("bob", 1)];
    let mut ops: Vec<Op> =
        all.iter().map(|(user, number)| Op::PutMonitor(of(Some(user), *number))).collect();
    ops.push(Op::PutMonitor(of(None, 1)));
    store.commit(ops).await.unwrap();
    // Somebody else's that cannot be read is nobody's trouble but theirs.
    let mut batch = WriteBatch::default();
    batch.put(layout::chat(kind::MONITOR, &of(Some("bob"), 1).key()), b"rubbish".to_vec());
    store.shared.engine.apply(batch).unwrap();
    let first = chats(&store, &only("ann"), None, 2);
    assert_eq!(first, [chat(1), chat(2)]);
    let second = of(Some("ann"), 2);
    // The row that a page ended with may have gone since.
    store.commit(vec![Op::DeleteMonitor(second.key())]).await.unwrap();
    assert_eq!(chats(&store, &only("ann"), Some(&second.key()), 9), [chat(3)]);
    assert_eq!(chats(&store, &only("an"), None, 9), [chat(1)]);
    assert_eq!(chats(&store, &only("nobody"), None, 9), []);
    let ann = UserId::new("ann").unwrap();
    assert_eq!(store.monitor_count(&ann), 2);
    let keys = store.monitor_keys(&Scope::Everybody, None, 99);
    assert_eq!((keys.len(), &keys[0]), (6, &of(None, 1).key()), "the bridge's come first");
    assert_eq!(store.monitor_keys(&Scope::Everybody, Some(&keys[2]), 99), keys[3..]);
    store.close().await.unwrap();
    drop(outbox);
    let (store, _outbox) = open(&disk);
    assert_eq!(chats(&store, &only("ann"), None, 9), [chat(1), chat(3)], "after a restart, too");
}

#[tokio::test]
async fn a_monitor_is_found_by_its_name_and_by_its_number_by_its_owner() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let named = |text: &str| ChatRef::parse(ChatSpelling::Text(text.into())).unwrap();
    let by_name = MonitorRecord { chat: named("@Durov"), ..of(Some("ann"), 7) };
    store.commit(vec![Op::PutMonitor(by_name.clone())]).await.unwrap();
    let number = chat(7);
    assert_eq!(store.monitor_of(&only("ann"), &named("t.me/durov")), Some(by_name.key()));
    assert_eq!(store.monitor_of(&only("ann"), &number), None, "nobody has looked it up yet");
    let ChatTarget::Marked(id) = number.target else { panic!() };
    let found = MonitorRecord { marked_id: Some(id), ..by_name.clone() };
    store.commit(vec![Op::PutMonitor(found)]).await.unwrap();
    assert_eq!(store.monitor_of(&only("ann"), &number), Some(by_name.key()));
    assert_eq!(store.monitor_of(&Scope::Everybody, &number), Some(by_name.key()));
    assert_eq!(store.monitor_of(&only("bob"), &number), None);
    let by_number =
        MonitorRecord { names: vec!["orders".into(), "bestellungen".into()], ..of(Some("ann"), 8) };
    store.commit(vec![Op::PutMonitor(by_number.clone())]).await.unwrap();
    for name in ["@Orders", "https://t.me/bestellungen"] {
        assert_eq!(store.monitor_of(&only("ann"), &named(name)), Some(by_number.key()), "{name}");
        assert_eq!(store.monitor_of(&only("bob"), &named(name)), None);
    }
    assert_eq!(store.monitor_of(&only("ann"), &chat(8)), Some(by_number.key()));
    // Made before the other was known to have that name: what it is called goes before.
    let of_that_name = MonitorRecord { chat: named("@orders"), ..of(Some("ann"), 9) };
    store.commit(vec![Op::PutMonitor(of_that_name.clone())]).await.unwrap();
    for scope in [only("ann"), Scope::Everybody] {
        assert_eq!(store.monitor_of(&scope, &named("@orders")), Some(of_that_name.key()));
    }
    let spelling = ChatSpelling::Text("@Durov".into());
    assert_eq!(store.monitor_spelling(&by_name.key()), Some(spelling));
}
