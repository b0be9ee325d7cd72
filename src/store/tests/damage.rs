//! Damage to the files of a real store: whatever is cut, flipped or zeroed, the store never opens
//! with a record missing or changed without saying so.

use std::collections::BTreeMap;
use std::fs;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Accounts, sessions and monitors of the store that is damaged.
const RECORDS: u64 = 40;
/// Events in its outbox.
const EVENTS: u64 = 4_000;
/// How many of them were acknowledged.
const ACKNOWLEDGED: u64 = 500;

/// What a store held, as far as anybody was told.
#[derive(Debug, PartialEq)]
struct Held {
    accounts: usize,
    sessions: usize,
    monitors: BTreeMap<String, Option<Cursor>>,
    credentials: usize,
    events: Vec<u64>,
}

async fn fill(path: &Path) {
    let (store, mut outbox) = Store::open(StoreOptions::new(path)).unwrap();
    for id in 0..RECORDS {
        let number = i64::try_from(id).unwrap();
        let session = SessionRecord {
            id: SessionId(format!("s{id}")),
            account: AuthKeyId(id),
            api_id: Some(1),
        };
        let auth_key = AuthKey::new([7; 256]);
        let credentials = Credentials { account: AuthKeyId(id), dc_id: 2, auth_key };
        let ops = vec![
            Op::PutAccount(account(id)),
            Op::PutSession(session),
            Op::PutCredentials(credentials),
            Op::PutMonitor(monitor(number)),
        ];
        store.commit(ops).await.unwrap();
    }
    for number in 0..EVENTS {
        let at = i64::try_from(number % RECORDS).unwrap();
        let last_id = i32::try_from(number).unwrap();
        let moved = Op::PutCursor { chat: chat(at).key(), cursor: cursor(last_id) };
        let done = |outcome: Result<(), CommitError>| outcome.unwrap();
        let ops = vec![Op::Append(event(number, 600)), moved];
        if number % 50 == 49 {
            store.commit(ops).await.unwrap();
        } else {
            store.submit(ops, done).await.unwrap();
        }
    }
    let mut taken = 0;
    while taken < ACKNOWLEDGED {
        let next = outbox.next(usize::try_from(ACKNOWLEDGED - taken).unwrap()).await;
        taken += next.len() as u64;
    }
    outbox.acknowledge(ACKNOWLEDGED);
    store.close().await.unwrap();
}

/// What a store said instead.
#[derive(Debug)]
struct Told {
    text: String,
    /// It did not open at all.
    is_refused: bool,
}

/// Everything a store holds, or what it said instead.
async fn held(path: &Path) -> Result<Held, Told> {
    let refused = |error: StoreError| Told { text: error.to_string(), is_refused: true };
    let told = |error: StoreError| Told { text: error.to_string(), is_refused: false };
    let (store, mut outbox) = Store::open(StoreOptions::new(path)).map_err(refused)?;
    let snapshot = store.load().map_err(told)?;
    let mut credentials = 0;
    for account in &snapshot.accounts {
        credentials += usize::from(store.credentials(account.id).map_err(told)?.is_some());
    }
    let depth = store.stats().outbox_depth;
    let mut events = Vec::new();
    while (events.len() as u64) < depth {
        let next = tokio::select! {
            biased;
            error = store.failed() => {
                return Err(Told { text: error.to_string(), is_refused: false });
            }
            next = tokio::time::timeout(PATIENCE, outbox.next(64)) => next.unwrap(),
        };
        for (seq, entry) in next {
            assert_eq!(seq, number_of(&entry) + 1, "a number is another event's");
            assert_eq!(*entry, event(number_of(&entry), 600), "an event was changed");
            events.push(seq);
        }
    }
    let monitors = snapshot.monitors.iter();
    let monitors = monitors.map(|(record, cursor)| (record.chat.key().0, cursor.clone()));
    Ok(Held {
        accounts: snapshot.accounts.len(),
        sessions: snapshot.sessions.len(),
        monitors: monitors.collect(),
        credentials,
        events,
    })
}

/// A copy that opens: of one that runs beside its original nothing is noted.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false if entry.file_name() == "identity" => {}
            false => drop(fs::copy(entry.path(), place).unwrap()),
        }
    }
}

fn damage(db: &Path, random: &mut StdRng) -> String {
    let mut bytes = fs::read(db).unwrap();
    let at = random.random_range(0..bytes.len());
    let what = match random.random_range(0..4) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at} of {}", fs::metadata(db).unwrap().len())
        }
        1 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("a bit at {at}")
        }
        2 => {
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            format!("zeroes at {at}")
        }
        _ => {
            let end = (at + 64).min(bytes.len());
            random.fill(&mut bytes[at..end]);
            format!("garbage at {at}")
        }
    };
    fs::write(db, bytes).unwrap();
    what
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_in_the_database_is_healed_or_told_and_never_passed_over() {
    damage_is_told(false).await;
}

/// Then sled has written down what lies where, and reads old pages only when they are asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_in_a_database_that_was_opened_again_is_told_as_well() {
    damage_is_told(true).await;
}

async fn damage_is_told(reopened: bool) {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    fill(&whole).await;
    if reopened {
        let (store, outbox) = Store::open(StoreOptions::new(&whole)).unwrap();
        store.close().await.unwrap();
        drop(outbox);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let copied = folder.path().join("copied");
    copy(&whole, &copied);
    let truth = held(&copied).await.unwrap();
    assert_eq!((truth.accounts, truth.credentials), (40, 40));
    assert_eq!(truth.events.len() as u64, EVENTS - ACKNOWLEDGED);
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut told = 0;
    for round in 0..rounds() {
        let place = folder.path().join(format!("round{round}"));
        copy(&whole, &place);
        let db = place.join("sled/db");
        let what = damage(&db, &mut random);
        let damaged = fs::read(&db).unwrap();
        match held(&place).await {
            Ok(found) => assert_eq!(found, truth, "{what}, seed {seed}"),
            Err(Told { text, is_refused }) => {
                assert!(text.contains("backup"), "no advice after {what}, seed {seed}: {text}");
                assert!(!text.contains("xxxx"), "it quotes an event");
                assert!(!text.contains("repair the disk"), "damage, told as the disk's: {text}");
                let is_changed = damaged != fs::read(&db).unwrap();
                assert!(!is_refused || !is_changed, "changed after {what}, seed {seed}: {text}");
                told += 1;
            }
        }
        // sled's threads may be at it still; what stays goes with the folder.
        let _ = fs::remove_dir_all(place);
    }
    assert!(told > 0, "no damage was ever noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_torn_anywhere_is_there_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let [alive, base] = ["alive", "base"].map(|name| folder.path().join(name));
    let (store, outbox) = Store::open(StoreOptions::new(&alive)).unwrap();
    let batch = |id: u64| {
        let number = i64::try_from(id).unwrap();
        let auth_key = AuthKey::new([7; 256]);
        let credentials = Credentials { account: AuthKeyId(id), dc_id: 2, auth_key };
        let mut ops = vec![
            Op::PutAccount(account(id)),
            Op::PutCredentials(credentials),
            Op::PutMonitor(monitor(number)),
            Op::PutCursor { chat: chat(number).key(), cursor: cursor(5) },
        ];
        ops.extend((id * 20..id * 20 + 20).map(|number| Op::Append(event(number, 600))));
        ops
    };
    store.commit(batch(0)).await.unwrap();
    copy(&alive, &base);
    store.commit(batch(1)).await.unwrap();
    let after = fs::read(alive.join("sled/db")).unwrap();
    let mut before = fs::read(base.join("sled/db")).unwrap();
    before.resize(after.len(), 0);
    let differs = |at: &usize| before[*at] != after[*at];
    let first = (0..after.len()).find(differs).unwrap();
    let end = (0..after.len()).rfind(differs).unwrap() + 1;
    assert!(end - first > 12_000, "the batch takes {} bytes", end - first);
    let step = (end - first) / usize::try_from(rounds()).unwrap();
    let cuts = (first..end).step_by(step).chain([first + 1, first + 30, end - 30, end - 1, end]);
    let (mut without, mut with) = (0, 0);
    for (number, cut) in cuts.flat_map(|cut| [(0, cut), (1, cut)]) {
        // Each in a place of its own: the store before is not quite closed yet.
        let torn = folder.path().join(format!("torn{number}at{cut}"));
        copy(&base, &torn);
        // A file that ends there, and one that has something else there.
        let rest = if number == 0 { &[] } else { &before[cut..] };
        fs::write(torn.join("sled/db"), [&after[..cut], rest].concat()).unwrap();
        let found = held(&torn).await.unwrap_or_else(|refused| panic!("cut at {cut}: {refused:?}"));
        let events = found.events.len();
        let all = (found.accounts, found.credentials, found.monitors.len(), events);
        match all {
            (1, 1, 1, 20) => without += 1,
            (2, 2, 2, 40) => with += 1,
            torn => panic!("half of the batch, cut at {cut}: {torn:?}"),
        }
        assert!(found.monitors.values().all(|at| *at == Some(cursor(5))), "cut at {cut}");
        assert!(cut < end || all.0 == 2, "what was confirmed is missing");
    }
    assert!(without > 10 && with > 0, "{without} without it, {with} with it");
    drop((store, outbox));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_heals_and_nothing_confirmed_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    let (store, outbox) = Store::open(StoreOptions::new(&alive)).unwrap();
    store.commit(vec![Op::PutAccount(account(1)), Op::PutMonitor(monitor(1))]).await.unwrap();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut confirmed = 0;
    for round in 0..10 {
        for _ in 0..random.random_range(1..40) {
            store.commit(vec![Op::Append(event(confirmed, 600))]).await.unwrap();
            confirmed += 1;
        }
        // What a kill leaves, and a write that did not get to its end.
        let torn = folder.path().join(format!("torn{round}"));
        copy(&alive, &torn);
        let mut tail = vec![0; random.random_range(1..3_000)];
        random.fill(&mut tail[..]);
        let db = fs::File::options().append(true).open(torn.join("sled/db")).unwrap();
        std::io::Write::write_all(&mut &db, &tail).unwrap();
        let (again, mut outbox) = Store::open(StoreOptions::new(&torn)).unwrap();
        assert_eq!(again.load().unwrap().accounts, [account(1)], "seed {seed}");
        let mut seen = 0;
        while seen < confirmed {
            for (_, entry) in outbox.next(64).await {
                assert_eq!(*entry, event(seen, 600), "seed {seed}");
                seen += 1;
            }
        }
    }
    drop((store, outbox));
}

fn seed() -> u64 {
    let given = std::env::var("TELEWARDEN_TEST_SEED").ok();
    given.map_or_else(rand::random, |seed| seed.parse().unwrap())
}

fn rounds() -> u32 {
    let given = std::env::var("TELEWARDEN_TEST_ROUNDS").ok();
    given.map_or(25, |rounds| rounds.parse().unwrap())
}
