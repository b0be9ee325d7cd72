//! Records: there after a restart, gone with what they belong to.

use super::*;

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
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
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
        let (store, _outbox) = engine.open();
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
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
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
async fn large_entries_and_records_come_back_whole() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let mut large = monitor(1);
        let member = large.pool[0].clone();
        for count in [2000, 40, 900] {
            large.ordered = vec![member.clone(); count];
            let ops = vec![Op::PutMonitor(large.clone()), Op::Append(event(count as u64, 300_000))];
            store.commit(ops).await.unwrap();
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, mut outbox) = engine.open();
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
        engine.expect_clean();
    })
    .await;
}

#[tokio::test]
async fn a_deleted_monitor_takes_its_cursor_along_for_good() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
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
        let (store, _outbox) = engine.open();
        assert_eq!(store.cursor(&key).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn the_restart_ledger_keeps_the_newest_lines() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        for at in 0..RESTARTS_KEPT as i64 + 5 {
            let done = |outcome: Result<(), CommitError>| outcome.unwrap();
            store.submit(vec![Op::PutRestart(restart(at / 2))], done).await.unwrap();
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        store.commit(vec![Op::PutRestart(restart(9000))]).await.unwrap();
        let kept = store.load().unwrap().restarts;
        assert_eq!(kept.len(), RESTARTS_KEPT);
        assert_eq!(kept[0].at, UnixMillis(3));
        assert_eq!(kept.last().unwrap().at, UnixMillis(9000));
    })
    .await;
}

#[tokio::test]
async fn what_is_written_of_an_account_behind_its_removal_leaves_nothing() {
    on_every_engine(async |engine| {
        let (store, outbox) = engine.open_with(hurried());
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
        eventually(|| store.shared.overlay().len() == 0).await;
        assert_eq!(records_of(&store, id), Vec::<u8>::new(), "kinds of record that came back");
        // Nor is anything of it the next one's that brings the same key.
        store.note_update_state(id, moved(11));
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        assert_eq!(store.update_state(id).unwrap(), None);
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open_with(hurried());
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
