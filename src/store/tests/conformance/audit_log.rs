//! The audit log: linked over restarts, found by user, forgotten without a break, and never changed
//! unnoticed.

use crate::protocol::audit::log::{AuditEvent, Details};
use crate::protocol::users::owner::UserId;

use super::*;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn audit_event(actor: &str, owner: &str, at: i64) -> Op {
    Op::Audit(AuditEvent {
        at: UnixMillis(at),
        actor: user(actor),
        owner: user(owner),
        action: if at % 2 == 0 { "message.send" } else { "account.pause" }.into(),
        target: Some(format!("thing {at}")),
        address: Some("127.0.0.1".into()),
        outcome: "ok".into(),
        details: (at % 2 == 0).then(|| Details::new(&format!("about {owner}"))),
    })
}

fn numbers(store: &Store, query: AuditLogQuery) -> Vec<u64> {
    let page = store.audit_log(&AuditLogQuery { limit: 100, ..query }).unwrap();
    page.entries.iter().map(|entry| entry.link.number).collect()
}

fn of(id: &str) -> AuditLogQuery {
    AuditLogQuery { user: Some(user(id)), ..AuditLogQuery::default() }
}

#[tokio::test]
async fn entries_are_found_by_whom_they_tell_of_the_newest_first() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store
            .commit(vec![audit_event("one", "one", 1), audit_event("two", "two", 2)])
            .await
            .unwrap();
        store
            .commit(vec![audit_event("admin", "one", 3), audit_event("one", "one", 4)])
            .await
            .unwrap();
        assert_eq!(numbers(&store, of("one")), [4, 3, 1]);
        assert_eq!(numbers(&store, of("two")), [2]);
        assert_eq!(numbers(&store, AuditLogQuery::default()), [4, 3, 2, 1]);
        assert_eq!(numbers(&store, AuditLogQuery { before: Some(4), ..of("one") }), [3, 1]);
        assert_eq!(
            numbers(&store, AuditLogQuery { since: Some(UnixMillis(3)), ..of("one") }),
            [4, 3]
        );
        let sends =
            AuditLogQuery { action: Some("message.send".into()), ..AuditLogQuery::default() };
        assert_eq!(numbers(&store, sends), [4, 2]);
        let admins = AuditLogQuery { actor: Some("admin".into()), ..of("one") };
        assert_eq!(numbers(&store, admins), [3]);
    })
    .await;
}

#[tokio::test]
async fn pages_of_the_log_follow_one_another() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        for at in 0..7 {
            store.commit(vec![audit_event("one", "one", at)]).await.unwrap();
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = store.audit_log(&AuditLogQuery { before, limit: 3, ..of("one") }).unwrap();
            seen.extend(page.entries.iter().map(|entry| entry.link.number));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    })
    .await;
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart() {
    on_every_engine(|engine| async move {
        for at in 0..3 {
            let (store, _outbox) = engine.open();
            store
                .commit(vec![audit_event("one", "one", at), audit_event("one", "one", at)])
                .await
                .unwrap();
            let report = store.verify_audit_log().unwrap();
            assert_eq!(report.faults, Vec::<String>::new());
            assert_eq!(report.head.number, 2 * (at as u64 + 1));
            store.close().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_user_is_forgotten_without_breaking_the_chain() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store
            .commit(vec![audit_event("one", "one", 1), audit_event("admin", "one", 2)])
            .await
            .unwrap();
        let pseudonym = "erased-1".to_owned();
        let forget = Op::Pseudonymise { user: user("one"), pseudonym };
        store
            .commit(vec![audit_event("one", "one", 3), forget, audit_event("two", "two", 4)])
            .await
            .unwrap();
        assert_eq!(numbers(&store, of("one")), Vec::<u64>::new());
        let report = store.verify_audit_log().unwrap();
        assert_eq!((report.entries, report.pseudonymised), (4, 3));
        assert_eq!(report.faults, Vec::<String>::new());
        let page =
            store.audit_log(&AuditLogQuery { limit: 9, ..AuditLogQuery::default() }).unwrap();
        let actors: Vec<&str> = page.entries.iter().map(|entry| &*entry.persons.actor).collect();
        assert_eq!(actors, ["two", "erased-1", "admin", "erased-1"]);
    })
    .await;
}

#[tokio::test]
async fn old_entries_go_and_the_rest_stays_whole() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        for at in 0..6 {
            store.commit(vec![audit_event("one", "one", at)]).await.unwrap();
        }
        store.commit(vec![Op::TrimAuditLog(UnixMillis(3))]).await.unwrap();
        assert_eq!(numbers(&store, of("one")), [6, 5, 4]);
        let report = store.verify_audit_log().unwrap();
        assert_eq!((report.entries, report.trimmed.number), (3, 3));
        assert_eq!(report.faults, Vec::<String>::new());
        store.commit(vec![audit_event("one", "one", 9)]).await.unwrap();
        assert_eq!(store.verify_audit_log().unwrap().faults, Vec::<String>::new());
    })
    .await;
}

/// Changes the log behind the store's back, as somebody with access to the disk could.
fn tamper(store: &Store, change: impl FnOnce(&dyn Engine, &mut WriteBatch)) -> Vec<String> {
    let engine = Arc::clone(&store.shared.engine);
    let mut batch = WriteBatch::default();
    change(&*engine, &mut batch);
    engine.apply(batch).unwrap();
    store.verify_audit_log().unwrap().faults
}

#[tokio::test]
async fn an_entry_that_was_changed_or_removed_is_named() {
    let log = async || {
        let (store, outbox) = Store::in_memory().unwrap();
        for at in 0..3 {
            store.commit(vec![audit_event("one", "one", at)]).await.unwrap();
        }
        (store, outbox)
    };
    let replace =
        |engine: &dyn Engine, batch: &mut WriteBatch, key: Vec<u8>, old: &str, new: &str| {
            let text = String::from_utf8(engine.get(&key).unwrap().unwrap()).unwrap();
            assert!(text.contains(old), "{text}");
            batch.put(key, text.replace(old, new).into_bytes());
        };
    let (store, _outbox) = log().await;
    let faults = tamper(&store, |_, batch| batch.delete(layout::audit_entry(kind::AUDIT_CHAIN, 2)));
    assert_eq!(faults[0], "entries 2 to 2 are missing");
    let (store, _outbox) = log().await;
    let faults = tamper(&store, |engine, batch| {
        replace(engine, batch, layout::audit_entry(kind::AUDIT_CHAIN, 2), "\"ok\"", "\"no\"");
    });
    assert!(faults[0].contains("entry 2"), "{faults:?}");
    let (store, _outbox) = log().await;
    let faults = tamper(&store, |engine, batch| {
        replace(engine, batch, layout::audit_entry(kind::AUDIT_PERSONS, 1), "thing 0", "thing 9");
    });
    assert!(faults[0].contains("entry 1"), "{faults:?}");
}
