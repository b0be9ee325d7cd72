//! Disks that are full, limited, or cannot be written at all.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::json;
use telewarden_simulator::Chat;
use tempfile::TempDir;

use crate::support::{Broker, Daemon, DaemonOptions, Harness, Listener, ServiceManager, Stage};

use super::{FAILURE, end, expect_refusal, expect_words, secrets, talk, works_again};

/// A small file system of its own, in the memory of a process that holds nothing else. It takes no
/// privilege where a user may make namespaces; where nobody may, there is none.
struct SmallDisk {
    holder: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    point: TempDir,
}

impl SmallDisk {
    fn mount(mib: u32) -> Option<Self> {
        let point = TempDir::new().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (ask, answers) = (holder.stdin.take()?, BufReader::new(holder.stdout.take()?));
        let mut disk = Self { holder, ask, answers, point };
        let options = format!("size={mib}m,mode=0700");
        let point = disk.point.path().display().to_string();
        disk.ask(&format!("mount -t tmpfs -o {options} tmpfs {point}")).then_some(disk)
    }

    /// The same; where there is none, the test says that it tries less.
    fn mount_or_tell(mib: u32) -> Option<Self> {
        let disk = Self::mount(mib);
        if disk.is_none() {
            println!("no namespaces here: without a disk of its own this test tries less");
        }
        disk
    }

    /// Runs a command where the disk can be seen; whether it succeeded.
    fn ask(&mut self, command: &str) -> bool {
        let mut answer = String::new();
        writeln!(self.ask, "{command} && echo yes || echo no").is_ok()
            && self.answers.read_line(&mut answer).is_ok()
            && answer == "yes\n"
    }

    /// The disk, as everybody else sees it.
    fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.point.path().strip_prefix("/").unwrap())
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.path().join("ballast")).unwrap();
        for block in [1 << 16, 1 << 10, 1] {
            while ballast.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What keeps the store from growing.
enum Disk {
    Small(SmallDisk),
    /// No file of the running process may grow beyond a bound.
    Limited,
}

impl Disk {
    fn any() -> Self {
        SmallDisk::mount_or_tell(24).map_or(Self::Limited, Self::Small)
    }

    fn fill(&self, stage: &Stage) {
        match self {
            Self::Small(disk) => disk.fill(),
            Self::Limited => limit(&stage.daemon),
        }
    }

    /// The bound of a process goes with it.
    fn make_room(&self) {
        if let Self::Small(disk) = self {
            disk.make_room();
        }
    }
}

/// Lets no file of the daemon's grow beyond what its database has now.
fn limit(daemon: &Daemon) {
    let size = fs::metadata(daemon.store().join("sled/db")).unwrap().len();
    let bound = libc::rlimit { rlim_cur: size, rlim_max: libc::RLIM_INFINITY };
    let pid = i32::try_from(daemon.pid()).unwrap();
    // SAFETY: the new limit is a valid struct, and the old one is not asked for.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &bound, std::ptr::null_mut()) };
    assert_eq!(set, 0, "the limit is set");
}

/// A stage whose store lies on a disk of its own, if there is one.
async fn stage_on(disk: Option<&SmallDisk>, manager: &ServiceManager) -> Stage {
    // A limit of file sizes binds its log, too: with a line for each question it could come to it first.
    let quiet = ("TELEWARDEN__LOG__LEVEL".into(), "info".into());
    let environment = vec![manager.environment(), quiet];
    let options = DaemonOptions { environment, ..DaemonOptions::default() };
    let stage = Stage::prepare(Broker::shared(), options).await;
    if let Some(disk) = disk {
        symlink(disk.path(), stage.daemon.store()).unwrap();
    }
    stage
}

/// Writes to a chat that is monitored until the daemon ends, which is told to monitor another one
/// meanwhile; answers that one.
async fn write_until_it_ends(stage: &Stage, chat: &Chat, alice: &Listener) -> Chat {
    let mut number = 20;
    let filling = async {
        let long = "x".repeat(3_000);
        loop {
            number += 1;
            let text = format!("{} {number} {long}", super::TEXT);
            stage.sim.post(chat.chat_id, stage.author, &text).await.unwrap();
            if stage.daemon.get("/health/live").await.is_err() {
                break;
            }
        }
    };
    let more = stage.supergroup(&[alice]).await;
    let command = json!({
        "command": "start_monitoring_chat",
        "chat_id": more.chat_id,
        "primary_session": alice.data(),
        "backup_sessions_pool": [],
    });
    tokio::join!(filling, stage.backend.command(&command));
    more
}

/// The daemon says what went wrong and what to do, and logs it as an error.
fn expect_reason(stage: &Stage, told: &str, cause: &str) {
    let path = stage.daemon.store().display().to_string();
    let words = [&*path, cause, "free or repair the disk, then start again"];
    expect_words("the daemon", told, &words);
    let at_error =
        told.lines().filter(|line| line.contains(cause) && line.contains(r#""log.level":"error""#));
    assert!(at_error.count() >= 1, "it is logged as an error: {told}");
}

/// The service manager learns it, too.
fn expect_last_notice(manager: &ServiceManager, cause: &str) {
    let stopping = manager.notices();
    let last = stopping.iter().flatten().rev().find(|line| line.starts_with("STATUS="));
    assert!(last.is_some_and(|line| line.contains(cause)), "{stopping:?}");
}

fn expect_nothing_private(stage: &Stage, alice: &Listener, told: &str) {
    for secret in secrets(stage, alice).iter().filter(|secret| *secret != super::TEXT) {
        assert!(!told.contains(secret.as_str()), "a secret is told");
    }
    assert!(!told.contains(super::TEXT), "a message is told");
}

/// Fills the disk under a daemon at work; looks at what it says and at what it has kept.
async fn fills_up_at_work(disk: Disk) {
    let manager = ServiceManager::listen();
    let (own, cause) = match &disk {
        Disk::Small(small) => (Some(small), "No space left on device"),
        Disk::Limited => (None, "File too large"),
    };
    let mut stage = stage_on(own, &manager).await;
    stage.daemon.spawn().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    talk(&stage, &chat, 1..=20).await;
    stage.expect_all(&chat).await;
    let logged = stage.daemon.log().len();
    disk.fill(&stage);
    let more = write_until_it_ends(&stage, &chat, &alice).await;
    let (status, told) = end(&mut stage, logged).await;
    assert_eq!(status, FAILURE, "{told}");
    expect_reason(&stage, &told, cause);
    expect_last_notice(&manager, cause);
    expect_nothing_private(&stage, &alice, &told);
    if let Disk::Small(_) = &disk {
        let path = stage.daemon.store().display().to_string();
        let (status, said) = stage.daemon.check();
        assert_eq!(status, FAILURE, "{said}");
        expect_words("check", &said, &[&path, cause, "make room"]);
        // And again at the start.
        let logged = stage.daemon.log().len();
        stage.daemon.launch();
        let (status, told) = end(&mut stage, logged).await;
        assert_eq!(status, FAILURE, "{told}");
        expect_words("the daemon", &told, &[&path, cause]);
    }
    disk.make_room();
    stage.daemon.spawn().await;
    // The command was taken before or is taken now; either way it is done.
    stage.daemon.wait_for_monitors("active", 2).await;
    talk(&stage, &chat, 901..=905).await;
    talk(&stage, &more, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.expect_all(&more).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_at_work_ends_the_daemon_with_its_reason_and_loses_nothing() {
    fills_up_at_work(Disk::any()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_sizes_ends_the_daemon_with_its_reason_and_loses_nothing() {
    fills_up_at_work(Disk::Limited).await;
}

/// The kernel tells of it once, and what was not written is gone with the power: whatever was told is there
/// without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_ends_the_daemon_with_its_reason_and_loses_nothing() {
    let manager = ServiceManager::listen();
    let environment = vec![manager.environment()];
    let options = DaemonOptions { environment, fail_points: true, ..DaemonOptions::default() };
    let mut stage = Stage::prepare(Broker::shared(), options).await;
    let syncs = stage.daemon.home().join("syncs");
    fs::create_dir(&syncs).unwrap();
    stage.daemon.set_variable("TELEWARDEN_SYNC_FAILS", syncs.to_str().unwrap());
    stage.daemon.spawn().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    talk(&stage, &chat, 1..=20).await;
    stage.expect_all(&chat).await;
    let logged = stage.daemon.log().len();
    fs::write(syncs.join("fail"), "").unwrap();
    let more = write_until_it_ends(&stage, &chat, &alice).await;
    let (status, told) = end(&mut stage, logged).await;
    assert_eq!(status, FAILURE, "{told}");
    assert!(!syncs.join("fail").exists(), "a sync has failed: {told}");
    let cause = "Input/output error";
    expect_reason(&stage, &told, cause);
    expect_last_notice(&manager, cause);
    expect_nothing_private(&stage, &alice, &told);
    fs::copy(syncs.join("durable"), stage.daemon.store().join("sled/db")).unwrap();
    stage.daemon.spawn().await;
    // The command was taken before or is taken now; either way it is done.
    stage.daemon.wait_for_monitors("active", 2).await;
    talk(&stage, &chat, 901..=905).await;
    talk(&stage, &more, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.expect_all(&more).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_at_the_first_start_is_told_and_with_room_the_start_succeeds() {
    // Without namespaces there is a device that is always full, but no folder on it.
    let Some(disk) = SmallDisk::mount_or_tell(8) else {
        return unwritable_at_the_first_start().await;
    };
    let manager = ServiceManager::listen();
    let mut stage = stage_on(Some(&disk), &manager).await;
    let alice = stage.listener("alice").await;
    disk.fill();
    let path = stage.daemon.store().display().to_string();
    let words = [&*path, "No space left on device", "make room"];
    expect_refusal(&mut stage, &alice, &words).await;
    disk.make_room();
    let chat = stage.supergroup(&[&alice]).await;
    stage.daemon.spawn().await;
    stage.monitor(&chat, &alice, &[]).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_is_told_and_once_it_can_be_all_is_there() {
    let Some(mut disk) = SmallDisk::mount_or_tell(24) else {
        return unwritable_at_the_first_start().await;
    };
    let manager = ServiceManager::listen();
    let mut stage = stage_on(Some(&disk), &manager).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.daemon.spawn().await;
    stage.monitor(&chat, &alice, &[]).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    let point = disk.point.path().display().to_string();
    assert!(disk.ask(&format!("mount -o remount,ro {point}")));
    let path = stage.daemon.store().display().to_string();
    let words = [&*path, "Read-only file system", "mount it so that it can be written"];
    expect_refusal(&mut stage, &alice, &words).await;
    assert!(disk.ask(&format!("mount -o remount,rw {point}")));
    works_again(&mut stage, &chat).await;
}

/// Nobody makes a folder there, not even root.
async fn unwritable_at_the_first_start() {
    let manager = ServiceManager::listen();
    let mut stage = stage_on(None, &manager).await;
    let own = stage.daemon.store().display().to_string();
    stage.daemon.reconfigure(|config| config.replace(&own, "/proc/telewarden/state"));
    let alice = stage.listener("alice").await;
    expect_refusal(&mut stage, &alice, &["/proc"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_is_told_to_whoever_asks_over_http() {
    let small = SmallDisk::mount_or_tell(24);
    let mut harness = Harness::prepare(DaemonOptions::default()).await;
    if let Some(disk) = &small {
        symlink(disk.path(), harness.daemon.store()).unwrap();
    }
    harness.daemon.spawn().await;
    let user = harness.user("ann");
    let id = harness.connect(&user, &harness.person().await).await;
    let words = match &small {
        Some(disk) => {
            disk.fill();
            ["the disk of the store is full", "make room there"]
        }
        None => {
            limit(&harness.daemon);
            ["limit on file sizes", "raise the limit"]
        }
    };
    let mut refusals = Vec::new();
    let ended = loop {
        for what in ["pause", "resume"] {
            let path = format!("/accounts/{id}/{what}");
            if let Ok(answer) = user.try_send("POST", &path, &[], None).await {
                refusals.extend((answer.status != 200).then_some(answer));
            }
        }
        if let Some(status) = harness.daemon.ended() {
            break status;
        }
    };
    assert_eq!(ended.code(), FAILURE, "{}", harness.daemon.log());
    let told = refusals.iter().filter(|answer| words.iter().all(|word| answer.text.contains(word)));
    assert!(told.count() >= 1, "nobody was told: {refusals:#?}");
    for answer in &refusals {
        // Also who comes behind it, while the daemon stops.
        assert_eq!(answer.refusal(), (503, "OVERLOADED".to_owned()), "{answer:#?}");
        assert!(answer.retry_after() > 0 && !answer.text.contains("bug"), "{answer:#?}");
    }
}
