//! Looking at a store: each record of campaigns is read, in clear and sealed, and one that cannot be is named.

use super::sample_rows::{
    actor, attempt, campaign_clock, contacted, creation, import, page, refusal, run, use_count,
};
use super::*;
use crate::protocol::campaigns::caps::Budget;

fn options(folder: &tempfile::TempDir) -> StoreOptions {
    StoreOptions::new(folder.path().join("state"))
}

/// Commits a record of every kind, then has the first one of `broken` hold no fields.
async fn filled(folder: &tempfile::TempDir, broken: Option<u8>) {
    let (store, outbox) = Store::open(options(folder)).unwrap();
    let in_clear = vec![
        Op::put_row(&run("one", 21)),
        Op::put_row(&page("one", 21, 0)),
        Op::put_row(&attempt("one", 21, 0)),
        Op::put_row(&creation("one")),
        Op::put_row(&import("one", 21)),
        Op::put_shared(&use_count(5, Budget::Invite, 1)),
        Op::put_shared(&actor(5)),
        Op::put_shared(&contacted(9, "one", 1)),
        Op::put_shared(&refusal("one")),
        Op::put_shared(&campaign_clock(1)),
    ];
    store.commit([sealed_rows(), in_clear].concat()).await.unwrap();
    if let Some(kind) = broken {
        let (from, to) = layout::all(kind);
        let engine = &*store.shared.engine;
        let (key, _) = collect(engine, &from, &to, 1).unwrap().remove(0);
        let is_sealed = layout::SEALED_KINDS.iter().any(|(sealed, _)| *sealed == kind);
        let empty = encoding::versioned(b"{}");
        let value = if is_sealed {
            store.shared.keys.seal(&key, &empty).unwrap()
        } else {
            empty[..usize::from(kind != kind::TASK_MARK) * 2 + 1].to_vec()
        };
        let mut batch = WriteBatch::default();
        batch.put(key, value);
        engine.apply(batch).unwrap();
    }
    store.close().await.unwrap();
    drop(outbox);
}

#[tokio::test]
async fn a_look_reads_each_record_of_campaigns() {
    let whole = tempfile::tempdir().unwrap();
    filled(&whole, None).await;
    let seen = examine(&options(&whole)).unwrap();
    assert_eq!(seen, Examined::Whole { waiting: 0, accounts: 0 });
    for (kind, name) in [
        (kind::TASK, "task"),
        (kind::TASK_MARK, "task mark"),
        (kind::TASK_RUN, "task run"),
        (kind::TARGET_BLOCK, "target block"),
        (kind::STATUS_PAGE, "status page"),
        (kind::ATTEMPT, "attempt"),
        (kind::IMPORT, "import"),
        (kind::SUPPRESSION, "suppression"),
        (kind::CREATION, "creation"),
        (kind::USE_COUNT, "use count"),
        (kind::ACTOR, "campaign actor"),
        (kind::CONTACTED, "contacted person"),
        (kind::REFUSAL, "refusal"),
        (kind::INSTALLATION_SUPPRESSION, "installation suppression"),
        (kind::CAMPAIGN_CLOCK, "campaign clock"),
        (kind::INSTALLATION_KEY, "installation key"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        filled(&folder, Some(kind)).await;
        let refusal = examine(&options(&folder)).unwrap_err();
        let is_named = matches!(refusal, StoreError::Damaged { record, .. } if record == name);
        assert!(is_named, "{name}: {refusal:?}");
    }
}
