//! SIGKILL against the store on sled: a child process runs the script of [`super::model`] and tells
//! what it was promised; the parent kills it at a random moment, opens the store and judges.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Judge, Witness, script};
use super::*;

const ROUNDS: u64 = 20;

fn open(dir: &Path) -> (Store, Outbox) {
    let engine = DiskEngine::open(dir, 8 << 20).unwrap();
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    Store::start(Arc::new(engine), key, hurried()).unwrap()
}

fn tell(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    out.write_fmt(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).unwrap();
}

fn variable(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child() {
    let dir = std::env::var("STORE_CRASH_DIR").expect("run by the test below");
    let (seed, round) = (variable("STORE_CRASH_SEED"), variable("STORE_CRASH_ROUND"));
    let (store, mut outbox) = open(Path::new(&dir));
    let releases = std::env::var_os("STORE_CRASH_KEEP").is_none();
    tell(format_args!("open"));
    let reader = async move {
        for turn in 0_u64.. {
            let taken = outbox.next(32).await;
            for (seq, entry) in &taken {
                tell(format_args!("seen {seq} {}", number_of(entry)));
            }
            if turn % 3 != 0 && releases {
                let through = taken.last().unwrap().0;
                tell(format_args!("released {through}"));
                outbox.acknowledge(through);
            }
        }
    };
    let writer = async {
        for index in 0.. {
            tell(format_args!("submitted {}", index + 1));
            let done = move |outcome: Result<(), CommitError>| {
                outcome.unwrap();
                tell(format_args!("acked {}", index + 1));
            };
            store.submit(script(seed, round, index), done).await.unwrap();
            if index % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::join!(reader, writer);
}

/// What goes wrong with the disk of a child.
enum Fault<'a> {
    None,
    /// No file may grow beyond so many KiB; nothing is released.
    Limit(u32),
    /// A sync fails once the folder says so: see `failpoint`.
    Sync(&'a Path),
}

fn spawn(dir: &Path, seed: u64, round: u64, fault: Fault) -> Child {
    let mut child = Command::new("/bin/sh");
    let mut limit = String::new();
    match fault {
        Fault::None => {}
        Fault::Limit(kib) => {
            limit = format!("trap '' XFSZ; ulimit -f {}; ", kib * 2);
            child.env("STORE_CRASH_KEEP", "1");
        }
        Fault::Sync(folder) => drop(child.env("TELEWARDEN_SYNC_FAILS", folder)),
    }
    let command = format!(r#"{limit}exec "$0" "$@""#);
    child
        .args(["-c", &command])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child", "--ignored", "--nocapture"])
        .env("STORE_CRASH_DIR", dir)
        .env("STORE_CRASH_SEED", seed.to_string())
        .env("STORE_CRASH_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a child and kills it: mostly at work, sometimes while it opens the store.
fn run_and_kill(dir: &Path, seed: u64, round: u64, rng: &mut StdRng) -> Witness {
    let mut child = spawn(dir, seed, round, Fault::None);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if rng.random_ratio(4, 5) {
        let opened = lines.by_ref().map_while(Result::ok).any(|line| line == "open");
        assert!(opened, "the child did not open the store");
    }
    let after = Duration::from_millis(rng.random_range(0..300));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let witness = listen(lines);
    killer.join().unwrap();
    witness
}

/// Notes what a child tells until it ends.
fn listen(lines: impl Iterator<Item = std::io::Result<String>>) -> Witness {
    let mut witness = Witness::default();
    for line in lines.map_while(Result::ok) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        match (word, &numbers[..]) {
            ("submitted", [count]) => witness.submitted = *count,
            ("acked", [count]) => witness.acked = *count,
            ("released", [seq]) => witness.acknowledged = *seq,
            ("seen", [seq, number]) => witness.seen.push((*seq, *number)),
            _ => {}
        }
    }
    witness
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_promised() {
    let seed = std::env::var("STORE_CRASH_SEED")
        .map_or_else(|_| rand::random(), |_| variable("STORE_CRASH_SEED"));
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    let mut judge = Judge::default();
    let mut acked = 0;
    for round in 0..ROUNDS {
        let witness = run_and_kill(&path, seed, round, &mut rng);
        acked += witness.acked;
        let (store, mut outbox) = open(&path);
        judge.check(seed, round, &witness, &store, &mut outbox).await;
        store.close().await.unwrap();
    }
    assert!(acked > 100, "seed {seed}: only {acked} commits were confirmed in all rounds");
}

#[tokio::test]
async fn a_database_that_may_not_grow_fails_and_keeps_what_was_confirmed() {
    let seed = rand::random();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    let mut child = spawn(&path, seed, 0, Fault::Limit(2048));
    let witness = listen(BufReader::new(child.stdout.take().unwrap()).lines());
    let ended = child.wait().unwrap();
    assert_eq!(ended.code(), Some(101), "seed {seed}: the child saw the store fail");
    assert!(witness.acked > 10, "seed {seed}: {} commits were confirmed", witness.acked);
    let (store, mut outbox) = open(&path);
    Judge::default().check(seed, 0, &witness, &store, &mut outbox).await;
    store.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            // It is the same store, after a power cut.
            false if entry.file_name() == "identity" => {}
            false => drop(std::fs::copy(entry.path(), place).unwrap()),
        }
    }
}

/// The kernel tells of it once and calls clean what was not written. What was confirmed was synced before:
/// it is there when nothing else is.
#[tokio::test]
async fn a_sync_that_fails_ends_the_store_and_what_was_confirmed_outlives_a_power_cut() {
    for _ in 0..6 {
        let seed = rand::random();
        let (dir, syncs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("sled");
        let mut child = spawn(&path, seed, 0, Fault::Sync(syncs.path()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let opened = lines.by_ref().map_while(Result::ok).any(|line| line == "open");
        assert!(opened, "the child did not open the store");
        let fails_at = format!("acked {}", StdRng::seed_from_u64(seed).random_range(5..150));
        let fail = syncs.path().join("fail");
        let witness = listen(lines.inspect(|line| {
            if line.as_ref().is_ok_and(|line| *line == fails_at) {
                std::fs::write(&fail, "").unwrap();
            }
        }));
        assert_eq!(child.wait().unwrap().code(), Some(101), "seed {seed}: it saw the store fail");
        assert!(!fail.exists(), "seed {seed}: a sync has failed");
        assert!(witness.acked >= 5, "seed {seed}: {} commits were confirmed", witness.acked);
        let cut = dir.path().join("cut/sled");
        copy(&path, &cut);
        std::fs::copy(syncs.path().join("durable"), cut.join("db")).unwrap();
        for path in [&cut, &path] {
            let (store, mut outbox) = open(path);
            Judge::default().check(seed, 0, &witness, &store, &mut outbox).await;
            store.commit(vec![Op::Append(event(9_999_999, 8))]).await.unwrap();
            store.close().await.unwrap();
        }
    }
}
