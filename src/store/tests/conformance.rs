//! What every engine must let the store do. Each test runs on every engine.
//!
//! To run all of them on a third engine, say one on PostgreSQL:
//! 1. implement [`Engine`]: its documentation is the contract, of which the order of durability is
//!    the part that engines get wrong;
//! 2. give [`Place`] a variant that outlives the engines opened on it (a folder, a schema of its
//!    own), and one line in [`Place::engine`];
//! 3. add a line to [`on_every_engine`].
//!
//! Nothing else in here knows which engine it runs on. `crash` and `damage` are about the files of
//! sled alone.

use std::future::Future;

use super::*;
use crate::store::memory_engine::MemoryDisk;

/// A store that can be closed and opened again.
pub(super) enum Place {
    Sled(tempfile::TempDir),
    Memory(MemoryDisk),
}

impl Place {
    pub(super) fn options(&self) -> StoreOptions {
        match self {
            Self::Sled(dir) => StoreOptions::new(dir.path().join("state")),
            Self::Memory(_) => panic!("a store in memory has no path"),
        }
    }

    /// The bare engine, opened anew.
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Sled(dir) => Arc::new(SledEngine::open(dir.path(), 8 << 20).unwrap()),
            Self::Memory(disk) => Arc::new(disk.clone()),
        }
    }

    pub(super) fn open(&self) -> (Store, Outbox) {
        match self {
            // By the front door: with its folder, lock, key file, marker and witness.
            Self::Sled(_) => Store::open(self.options()).unwrap(),
            Self::Memory(_) => self.start(Pace::default()),
        }
    }

    /// The same at a rhythm that meets many checkpoints.
    fn open_hurried(&self) -> (Store, Outbox) {
        self.start(hurried())
    }

    fn start(&self, pace: Pace) -> (Store, Outbox) {
        let key = Key::Given(Box::new(MasterKey::new(&[1; 32])));
        Store::start(self.engine(), key, pace).unwrap()
    }
}

async fn on_every_engine<F: Future<Output = ()>>(test: impl Fn(Place) -> F) {
    test(Place::Memory(MemoryDisk::default())).await;
    test(Place::Sled(tempfile::tempdir().unwrap())).await;
}

/// Reads `count` entries.
async fn take(outbox: &mut Outbox, count: usize) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(PATIENCE, outbox.next(count - taken.len())).await;
        taken.extend(next.expect("entries come").iter().map(|(seq, e)| (*seq, number_of(e))));
    }
    taken
}

fn appends(numbers: std::ops::Range<u64>) -> Vec<Op> {
    numbers.map(|number| Op::Append(event(number, 40))).collect()
}

fn put_cursor(number: i64, last_id: i32) -> Op {
    Op::PutCursor { chat: chat(number).key(), cursor: cursor(last_id) }
}

fn peer(id: i64, access_hash: i64) -> PeerRecord {
    PeerRecord { id: MarkedId(id), access_hash, is_bot: false, is_broadcast: true }
}

fn credentials(id: u64) -> Credentials {
    Credentials { account: AuthKeyId(id), dc_id: 2, auth_key: AuthKey::new([id as u8; 256]) }
}

fn session(id: &str) -> SessionRecord {
    SessionRecord { id: SessionId(id.into()), account: AuthKeyId(1), api_id: Some(6) }
}

fn job(number: u128) -> JobRecord {
    let work =
        JobWork::Join { chat: chat(4), session: SessionId("s".into()), account: AuthKeyId(1) };
    JobRecord { id: Uuid::from_u128(number), work, reply: None, created_at: UnixMillis(1) }
}

fn restart(at: i64) -> RestartRecord {
    let at = UnixMillis(at);
    RestartRecord { actor: "account/1".into(), at, cause: "why".into(), attempt: 1, next_at: None }
}

#[tokio::test]
async fn every_record_is_there_after_a_restart() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        let state = UpdateState { pts: 4, ..UpdateState::default() };
        let ops = vec![
            Op::PutSession(session("a")),
            Op::PutSession(session("b")),
            Op::DeleteSession(SessionId("a".into())),
            Op::PutAccount(account(7)),
            Op::PutCredentials(credentials(7)),
            Op::PutMonitor(monitor(3)),
            put_cursor(3, 33),
            Op::PutJob(job(1)),
            Op::PutJob(job(2)),
            Op::DeleteJob(Uuid::from_u128(1)),
            Op::PutRestart(restart(5)),
            Op::SetUpdateState { account: AuthKeyId(7), state: state.clone() },
            Op::PutPeers { account: AuthKeyId(7), peers: vec![peer(9, 1), peer(-5, 2)] },
        ];
        store.commit(ops).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = place.open();
        let snapshot = store.load().unwrap();
        assert_eq!(snapshot.sessions, [session("b")]);
        assert_eq!(snapshot.accounts, [account(7)]);
        assert_eq!(snapshot.monitors, [(monitor(3), Some(cursor(33)))]);
        assert_eq!(snapshot.jobs, [job(2)]);
        assert_eq!(snapshot.restarts, [restart(5)]);
        assert_eq!(store.credentials(AuthKeyId(7)).unwrap(), Some(credentials(7)));
        assert_eq!(store.credentials(AuthKeyId(8)).unwrap(), None);
        assert_eq!(store.update_state(AuthKeyId(7)).unwrap(), Some(state));
        assert_eq!(store.peers(AuthKeyId(7), 9).unwrap(), [peer(-5, 2), peer(9, 1)]);
        assert_eq!(store.peers(AuthKeyId(7), 1).unwrap().len(), 1);
        assert_eq!(store.peer(AuthKeyId(7), MarkedId(9)).unwrap(), Some(peer(9, 1)));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing() {
    on_every_engine(|place| async move {
        let (store, _outbox) = place.open();
        for id in [7, 8] {
            let ops = vec![
                Op::PutAccount(account(id)),
                Op::PutCredentials(credentials(id)),
                Op::SetUpdateState { account: AuthKeyId(id), state: UpdateState::default() },
                Op::PutPeers { account: AuthKeyId(id), peers: vec![peer(1, 1), peer(-1, 1)] },
            ];
            store.commit(ops).await.unwrap();
        }
        let late = Op::MoveUpdateState { account: AuthKeyId(7), delta: moved(3) };
        let again = Op::PutPeers { account: AuthKeyId(7), peers: vec![peer(2, 1)] };
        store.commit(vec![again, Op::DeleteAccount(AuthKeyId(7)), late]).await.unwrap();
        assert_eq!(store.load().unwrap().accounts, [account(8)]);
        assert_eq!(store.credentials(AuthKeyId(7)).unwrap(), None);
        assert_eq!(store.update_state(AuthKeyId(7)).unwrap(), None);
        assert_eq!(store.peers(AuthKeyId(7), 9).unwrap(), []);
        assert_eq!(store.peers(AuthKeyId(8), 9).unwrap().len(), 2);
        assert!(store.credentials(AuthKeyId(8)).unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn entries_come_in_order_and_again_until_they_are_released() {
    on_every_engine(|place| async move {
        let (store, mut outbox) = place.open();
        store.commit(appends(0..50)).await.unwrap();
        let first = take(&mut outbox, 50).await;
        assert_eq!(first, (1..=50).zip(0..50).collect::<Vec<_>>());
        outbox.rewind(first[20].0);
        assert_eq!(take(&mut outbox, 30).await, first[20..]);
        outbox.release(first[29].0);
        outbox.rewind(0);
        assert_eq!(take(&mut outbox, 20).await, first[30..], "what was released stays so");
        store.commit(appends(50..51)).await.unwrap();
        assert_eq!(take(&mut outbox, 1).await, [(51, 50)]);
        assert_eq!(store.stats().outbox_depth, 21);
        store.close().await.unwrap();
        drop(outbox);
        let (store, mut outbox) = place.open();
        assert_eq!(store.stats().outbox_depth, 21);
        assert!(store.stats().outbox_oldest_at.is_some());
        assert_eq!(take(&mut outbox, 21).await[0], first[30]);
    })
    .await;
}

/// What has left the outbox, as the disk has it.
fn noted(store: &Store) -> u64 {
    let bytes = store.shared.engine.get(layout::RELEASED).unwrap();
    bytes.map_or(0, |bytes| records::from_compact::<u64>("released", &bytes).unwrap())
}

/// Whatever the writer waits for meanwhile, be it an hour.
#[tokio::test]
async fn a_release_is_noted_soon_although_no_commit_follows() {
    on_every_engine(|place| async move {
        let pace = Pace { checkpoint_every: Duration::from_secs(3600), ..Pace::default() };
        let (store, mut outbox) = place.start(pace);
        let ops = vec![Op::PutAccount(account(1)), Op::PutMonitor(monitor(1))];
        store.commit(ops).await.unwrap();
        let mut ops = appends(0..10);
        ops.push(put_cursor(1, 9));
        store.commit(ops).await.unwrap();
        let taken = take(&mut outbox, 10).await;
        for (seq, _) in [taken[4], taken[9]] {
            outbox.release(seq);
            let noted = async {
                while noted(&store) < seq {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, noted).await.expect("it is noted alone");
        }
        drop((store, outbox));
    })
    .await;
}

/// As with a broker that confirms the last of a burst while other things are written all the time.
#[tokio::test]
async fn a_release_is_noted_however_steadily_other_things_are_written() {
    on_every_engine(|place| async move {
        let (store, mut outbox) = place.open();
        store.commit(appends(0..10)).await.unwrap();
        let taken = take(&mut outbox, 10).await;
        outbox.release(taken[9].0);
        // Each goes alone and follows the one before at once: the writer never comes to rest.
        let steady = async {
            while noted(&store) < taken[9].0 {
                store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, steady).await.expect("commits take it along");
        outbox.rewind(0);
        store.commit(appends(10..11)).await.unwrap();
        assert_eq!(take(&mut outbox, 1).await, [(11, 10)]);
        drop((store, outbox));
    })
    .await;
}

#[tokio::test]
async fn sequence_numbers_go_on_after_an_empty_outbox_was_closed() {
    on_every_engine(|place| async move {
        for round in 0..3 {
            let (store, mut outbox) = place.open();
            store.commit(appends(0..10)).await.unwrap();
            let taken = take(&mut outbox, 10).await;
            assert_eq!(taken[0].0, 1 + 10 * round);
            outbox.release(taken[9].0);
            store.close().await.unwrap();
            drop(outbox);
        }
        let (store, _outbox) = place.open();
        assert_eq!(store.stats().outbox_depth, 0);
        assert_eq!(store.stats().outbox_oldest_at, None);
    })
    .await;
}

#[tokio::test]
async fn a_reader_far_behind_catches_up_and_misses_nothing() {
    on_every_engine(|place| async move {
        let (store, mut outbox) = place.open();
        for batch in 0..10_u64 {
            store.commit(appends(batch * 1000..(batch + 1) * 1000)).await.unwrap();
        }
        let more = tokio::spawn(async move {
            for number in 10_000..10_300 {
                store.commit(appends(number..number + 1)).await.unwrap();
            }
            store
        });
        let taken = take(&mut outbox, 10_300).await;
        assert!(taken.iter().enumerate().all(|(at, pair)| *pair == (at as u64 + 1, at as u64)));
        drop(more.await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        store.commit(appends(0..2000)).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (_store, mut outbox) = place.open();
        let mut taken = Vec::new();
        while taken.len() < 2000 {
            tokio::select! {
                biased;
                next = outbox.next(7) => taken.extend(next.iter().map(|(_, e)| number_of(e))),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(taken.into_iter().eq(0..2000));
    })
    .await;
}

#[tokio::test]
async fn large_entries_and_records_come_back_whole() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        let mut large = monitor(1);
        let member = large.pool[0].clone();
        for count in [2000, 40, 900] {
            large.ordered = vec![member.clone(); count];
            let ops = vec![Op::PutMonitor(large.clone()), Op::Append(event(count as u64, 300_000))];
            store.commit(ops).await.unwrap();
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, mut outbox) = place.open();
        assert_eq!(store.load().unwrap().monitors, [(large, None)]);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(outbox.next(9).await);
        }
        for ((_, entry), count) in seen.iter().zip([2000, 40, 900]) {
            assert_eq!(**entry, event(count, 300_000));
        }
        store.commit(vec![Op::DeleteMonitor(chat(1).key())]).await.unwrap();
        assert_eq!(store.load().unwrap().monitors, []);
        if let Place::Sled(_) = &place {
            assert_eq!(sled_engine::stray_files(&place.options().path), 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_monitor_takes_its_cursor_along_for_good() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        let key = chat(1).key();
        store.commit(vec![Op::PutMonitor(monitor(1)), put_cursor(1, 5)]).await.unwrap();
        let with_event = vec![put_cursor(1, 6), Op::Append(event(0, 9))];
        store.commit(with_event).await.unwrap();
        assert_eq!(store.cursor(&key).unwrap(), Some(cursor(6)));
        store.commit(vec![Op::DeleteMonitor(key.clone()), put_cursor(1, 7)]).await.unwrap();
        store.commit(vec![put_cursor(1, 8), Op::Append(event(1, 9))]).await.unwrap();
        assert_eq!(store.cursor(&key).unwrap(), None);
        store.commit(vec![Op::PutMonitor(monitor(1))]).await.unwrap();
        assert_eq!(store.cursor(&key).unwrap(), None, "a new monitor starts without one");
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = place.open();
        assert_eq!(store.cursor(&key).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn moves_of_the_update_state_are_read_at_once_and_kept_by_a_clean_end() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        let id = AuthKeyId(1);
        let state = UpdateState { pts: 1, qts: 8, ..UpdateState::default() };
        let set = Op::SetUpdateState { account: id, state };
        store.commit(vec![Op::PutAccount(account(1)), set]).await.unwrap();
        let delta = UpdateStateDelta { channels: vec![(5, 50)], ..moved(3) };
        store.commit(vec![Op::MoveUpdateState { account: id, delta }]).await.unwrap();
        let seen = store.update_state(id).unwrap().unwrap();
        assert_eq!((seen.pts, seen.qts, seen.channels.get(&5)), (3, 8, Some(&50)));
        let replaced = UpdateState { pts: 2, ..UpdateState::default() };
        let set = Op::SetUpdateState { account: id, state: replaced.clone() };
        store.commit(vec![set]).await.unwrap();
        assert_eq!(store.update_state(id).unwrap(), Some(replaced), "earlier moves are void");
        let delta = moved(9);
        store.commit(vec![Op::MoveUpdateState { account: id, delta }]).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = place.open();
        assert_eq!(store.update_state(id).unwrap().unwrap().pts, 9);
        assert_eq!(store.stats().pending, 0);
    })
    .await;
}

#[tokio::test]
async fn checkpoints_run_by_themselves_and_empty_the_disk_of_what_was_released() {
    on_every_engine(|place| async move {
        let (store, mut outbox) = place.open_hurried();
        let ops = vec![Op::PutAccount(account(1)), Op::PutMonitor(monitor(1))];
        store.commit(ops).await.unwrap();
        let mut ops = appends(0..3000);
        ops.push(put_cursor(1, 9));
        ops.push(Op::MoveUpdateState { account: AuthKeyId(1), delta: moved(3) });
        store.commit(ops).await.unwrap();
        let taken = take(&mut outbox, 3000).await;
        outbox.release(taken.last().unwrap().0);
        let (from, to) = layout::all(kind::SEGMENT);
        let trimmed = async {
            while store.shared.engine.last(&from, &to).unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, trimmed).await.expect("segments go once released");
        assert_eq!(store.stats().pending, 0);
        assert_eq!(store.cursor(&chat(1).key()).unwrap(), Some(cursor(9)));
        assert_eq!(store.update_state(AuthKeyId(1)).unwrap().unwrap().pts, 3);
        drop((store, outbox));
    })
    .await;
}

#[tokio::test]
async fn the_restart_ledger_keeps_the_newest_lines() {
    on_every_engine(|place| async move {
        let (store, outbox) = place.open();
        for at in 0..RESTARTS_KEPT as i64 + 5 {
            let done = |outcome: Result<(), CommitError>| outcome.unwrap();
            store.submit(vec![Op::PutRestart(restart(at / 2))], done).await.unwrap();
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = place.open();
        store.commit(vec![Op::PutRestart(restart(9000))]).await.unwrap();
        let kept = store.load().unwrap().restarts;
        assert_eq!(kept.len(), RESTARTS_KEPT);
        assert_eq!(kept[0].at, UnixMillis(3));
        assert_eq!(kept.last().unwrap().at, UnixMillis(9000));
    })
    .await;
}

#[tokio::test]
async fn submissions_become_durable_in_order_and_say_so() {
    on_every_engine(|place| async move {
        let (store, _outbox) = place.open();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..500 {
            let sender = sender.clone();
            let done = move |outcome: Result<(), CommitError>| {
                outcome.unwrap();
                sender.send(number).unwrap();
            };
            store.submit(appends(number..number + 1), done).await.unwrap();
        }
        for number in 0..500 {
            assert_eq!(told.recv().await, Some(number));
        }
        let stats = store.stats();
        assert_eq!((stats.appended, stats.outbox_depth, stats.failed), (500, 500, None));
        assert!(stats.commits >= 1 && stats.latency_p99 >= stats.latency_p50);
        assert!(stats.disk_bytes > 0);
    })
    .await;
}

#[tokio::test]
async fn a_panicking_callback_does_not_stop_the_store() {
    on_every_engine(|place| async move {
        let (store, _outbox) = place.open();
        store.submit(vec![], |_| panic!("on purpose")).await.unwrap();
        store.commit(appends(0..1)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_refuses_and_still_answers_reads() {
    on_every_engine(|place| async move {
        let (store, _outbox) = place.open();
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        let other = store.clone();
        store.close().await.unwrap();
        assert_eq!(other.commit(vec![]).await, Err(CommitError::Closed));
        assert_eq!(other.load().unwrap().accounts, [account(1)]);
    })
    .await;
}

#[tokio::test]
async fn an_update_state_that_moves_alone_becomes_durable_without_a_commit() {
    on_every_engine(async |place| {
        let (store, _outbox) = place.open_hurried();
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        let id = account(1).id;
        for pts in [7, 8] {
            // The writer has nothing else to do, and sleeps for good.
            let asleep = || store.shared.read_hot().len() == 0;
            eventually(asleep).await;
            let delta = UpdateStateDelta { common: Some((pts, 1, 1)), ..Default::default() };
            store.note_update_state(id, delta);
            let stored = || super::super::recall::stored_state(&*store.shared.engine, id).unwrap();
            eventually(|| stored().is_some_and(|state| state.pts == pts)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_written_of_an_account_behind_its_removal_leaves_nothing() {
    on_every_engine(async |place| {
        let (store, outbox) = place.open_hurried();
        let id = account(1).id;
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        store.note_update_state(id, moved(3));
        store.commit(vec![Op::DeleteAccount(id)]).await.unwrap();
        // What an account's link and actor still write on their way out, in every way there is.
        store.note_update_state(id, moved(7));
        let state = UpdateState { pts: 8, ..UpdateState::default() };
        let peers = vec![PeerRecord {
            id: MarkedId(5),
            access_hash: 1,
            is_bot: false,
            is_broadcast: false,
        }];
        let late = [
            Op::MoveUpdateState { account: id, delta: moved(9) },
            Op::SetUpdateState { account: id, state },
            Op::PutPeers { account: id, peers },
            Op::UpdateAccount(account(1)),
        ];
        store.commit(late.into()).await.unwrap();
        store.note_update_state(id, moved(10));
        eventually(|| store.shared.read_hot().len() == 0).await;
        assert_eq!(records_of(&store, id), Vec::<u8>::new(), "kinds of record that came back");
        // Nor is anything of it the next one's that brings the same key.
        store.note_update_state(id, moved(11));
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        assert_eq!(store.update_state(id).unwrap(), None);
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = place.open_hurried();
        assert_eq!(records_of(&store, id), [kind::ACCOUNT]);
        let mut renamed = account(1);
        renamed.me = None;
        store.commit(vec![Op::UpdateAccount(renamed.clone())]).await.unwrap();
        assert_eq!(store.account(id).unwrap(), Some(renamed), "of one that is there it is kept");
    })
    .await;
}

/// The kinds of record that an account has.
fn records_of(store: &Store, id: AuthKeyId) -> Vec<u8> {
    let engine = &*store.shared.engine;
    let kinds = [kind::ACCOUNT, kind::CREDENTIALS, kind::UPDATE_STATE];
    let has = |kind: &u8| engine.get(&layout::account(*kind, id)).unwrap().is_some();
    let (from, to) = layout::peers(id);
    let peers = engine.last(&from, &to).unwrap().map(|_| kind::PEER);
    kinds.into_iter().filter(has).chain(peers).collect()
}

async fn eventually(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it becomes true");
}
