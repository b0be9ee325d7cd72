//! The daemon under a service manager: what it tells it, what it takes from it.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use telewarden_simulator::{Options, Simulator};
use tokio::time::{Instant, sleep};

use crate::support::{
    Backend, Broker, Daemon, DaemonOptions, PATIENCE, ServiceManager, Stage, kill, with_cores,
};

/// What seals a store, as `openssl rand -base64 32` would make it.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";

/// WATCHDOG_USEC of two seconds.
fn watchdog() -> (String, String) {
    ("WATCHDOG_USEC".into(), "2000000".into())
}

fn set(name: &str, value: impl AsRef<Path>) -> (String, String) {
    (name.into(), value.as_ref().to_str().expect("a plain path").into())
}

fn with(environment: Vec<(String, String)>) -> DaemonOptions {
    DaemonOptions { environment, ..DaemonOptions::default() }
}

fn make_pipe(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: mkfifo gets a path that ends with a zero and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// What the unit says for `name`.
fn unit(name: &str) -> String {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/telewarden.service");
    let unit = fs::read_to_string(unit).unwrap();
    let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("the unit does not say {name}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_when_its_store_is_open_and_tells_its_sessions_and_its_end() {
    let manager = ServiceManager::listen();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    // Reading a key from a pipe waits until somebody writes it.
    make_pipe(&key);
    let options = with(vec![manager.environment(), set("TELEWARDEN__SECRETS__KEY_FILE", &key)]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let backend = Backend::connect(Broker::shared()).await;
    let mut daemon = Daemon::prepare(&sim, &backend, options);
    daemon.launch();
    manager.wait_for(0, "STATUS=starting").await;
    // The pipe is opened by the daemon, so it is past everything before its store.
    let write = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(key));
    let mut pipe = write.await.unwrap().unwrap();
    assert_eq!(manager.notices().len(), 1, "not ready: {:?}", manager.notices());
    std::io::Write::write_all(&mut pipe, KEY.as_bytes()).unwrap();
    drop(pipe);
    let ready = manager.wait_for(0, "READY=1").await;
    assert!(manager.notices()[ready].contains(&"STATUS=0/0 sessions active".to_owned()));
    let (code, _) = daemon.get("/health").await.unwrap();
    assert_eq!(code, 200);

    daemon.wait_until_ready().await;
    let mut stage = Stage::of(sim, backend, daemon).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    manager.wait_for(ready, "STATUS=1/1 sessions active").await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    manager.wait_for(ready, "STOPPING=1").await;
    assert_eq!(manager.count("READY=1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watchdog_is_fed_while_the_broker_is_away() {
    let manager = ServiceManager::listen();
    let nobody = ("TELEWARDEN__BRIDGE__URL".into(), "amqp://guest:guest@127.0.0.1:1/%2f".into());
    let options = with(vec![manager.environment(), watchdog(), nobody]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let backend = Backend::connect(Broker::shared()).await;
    let mut daemon = Daemon::prepare(&sim, &backend, options);
    daemon.launch();
    let ready = manager.wait_for(0, "READY=1").await;
    let enough = |notices: &[Vec<String>]| {
        let beats = notices.iter().flatten().filter(|line| *line == "WATCHDOG=1").count();
        (beats >= 4).then_some(())
    };
    manager.wait("four beats", enough).await;
    let before = &manager.notices()[..ready];
    assert!(!before.iter().flatten().any(|line| line == "WATCHDOG=1"), "no beat before READY");
    assert!(!daemon.log().contains("do not answer the heartbeat"), "{}", daemon.log());
    let (_, health) = daemon.get("/health/ready").await.unwrap();
    assert_ne!(health["dependencies"][1]["state"], "up", "there is no broker: {health:#}");
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_applies_the_new_level_and_limits_and_names_what_needs_a_restart() {
    let manager = ServiceManager::listen();
    let options = DaemonOptions {
        extra_config: "[telegram.limits.send]\nper_minute = 20\n".into(),
        ..with(vec![manager.environment()])
    };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let first = stage.supergroup(&[&alice]).await;
    stage.monitor(&first, &alice, &[]).await;
    let listening = |stage: &Stage| stage.daemon.log().matches("is being listened to").count();
    assert_eq!(listening(&stage), 1, "which is said at the level info");

    let told = manager.notices().len();
    stage.daemon.reconfigure(|config| {
        config
            .replace("level = \"debug\"", "level = \"warn\"")
            .replace("per_minute = 20", "per_minute = 30")
            .replace("api_hash = \"0123456789abcdef\"", "api_hash = \"fedcba9876543210\"")
    });
    stage.daemon.hang_up();
    let reloading = manager.wait_for(told, "RELOADING=1").await;
    let ready = manager.wait_for(reloading, "READY=1").await;
    let notices = manager.notices();
    let time = notices[reloading].iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{notices:?}");
    assert!(reloading < ready);

    let lines = stage.daemon.log_lines();
    let applied =
        lines.iter().position(|line| line["message"] == "the configuration was read again");
    let applied = applied.expect("it says what it did");
    let keys = "telegram.limits.send.per_minute, log.level";
    assert_eq!(lines[applied]["telewarden.applied"], keys);
    assert_eq!(lines[applied]["telewarden.send_per_minute"], 30);
    let waiting = lines.iter().find_map(|line| line["telewarden.keys"].as_str());
    assert_eq!(waiting, Some("telegram.api_hash"), "which needs a restart");
    assert!(!stage.daemon.log().contains("fedcba98"), "names only");

    let second = stage.supergroup(&[&alice]).await;
    stage.backend.start(second.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    assert_eq!(listening(&stage), 1, "nothing below the new level is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_on_a_broken_configuration_changes_nothing_and_says_every_problem() {
    let manager = ServiceManager::listen();
    let mut stage = Stage::set_with(Broker::shared(), with(vec![manager.environment()])).await;
    let good = fs::read_to_string(stage.daemon.home().join("config.toml")).unwrap();
    let told = manager.notices().len();
    stage.daemon.reconfigure(|config| {
        config
            .replace("level = \"debug\"", "level = \"warn\"\nlevle = \"warn\"")
            .replace("max_reconnect_attempts = 3", "max_reconnect_attempts = -3")
    });
    stage.daemon.hang_up();
    let reloading = manager.wait_for(told, "RELOADING=1").await;
    let ready = manager.wait_for(reloading, "READY=1").await;
    let status = manager.notices()[ready].concat();
    assert!(status.contains("not reloaded: it has 2 problems"), "{status}");
    let log = stage.daemon.log();
    assert!(log.contains("unknown key log.levle"), "{log}");
    assert!(log.contains("failover.max_reconnect_attempts is"), "{log}");
    assert!(!log.contains("the configuration was read again\""), "{log}");

    stage.daemon.reconfigure(|_| good.replace("level = \"debug\"", "level = \"info\""));
    stage.daemon.hang_up();
    let reloading = manager.wait_for(ready, "RELOADING=1").await;
    manager.wait_for(reloading, "STATUS=0/0 sessions active").await;
    assert!(stage.daemon.log().contains("\"telewarden.applied\":\"log.level\""));
    assert_eq!(stage.daemon.terminate().await.code(), Some(0), "still the same process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reads_the_configuration_that_it_was_started_with_and_no_newer_one() {
    let manager = ServiceManager::listen();
    let sim = Simulator::start(Options::default()).await.unwrap();
    let daemon = Daemon::alone(&sim, DaemonOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    // No file is named, and none is there.
    let mut process = Command::new(daemon.command_line(&[]).get_program())
        .args(["run", "--log-level", "info", "--listen", &daemon.listen().to_string()])
        .current_dir(folder.path())
        .env_clear()
        .envs([manager.environment()])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let ready = manager.wait_for(0, "READY=1").await;
    let newer = "[telegram.limits.send]\nper_minute = 31\n";
    fs::write(folder.path().join("config.toml"), newer).unwrap();
    kill(process.id(), libc::SIGHUP);
    let reloading = manager.wait_for(ready + 1, "RELOADING=1").await;
    manager.wait_for(reloading, "READY=1").await;
    kill(process.id(), libc::SIGTERM);
    let ended = process.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(ended.code(), Some(0), "{log}");
    assert!(log.contains("the configuration was read again"), "{log}");
    assert!(!log.contains("telegram.limits.send.per_minute"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_read_from_the_credentials_that_systemd_shows() {
    let broker = Broker::shared();
    let credentials = tempfile::tempdir().unwrap();
    let url = format!("{}\n", broker.url);
    let api_hash = "0123456789abcdef\n";
    for (name, content) in [("telewarden-key", KEY), ("amqp-url", &url), ("api-hash", api_hash)] {
        let path = credentials.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    let folder = credentials.path();
    let options = with(vec![
        set("CREDENTIALS_DIRECTORY", folder),
        set("TELEWARDEN__BRIDGE__URL_FILE", folder.join("amqp-url")),
        set("TELEWARDEN__TELEGRAM__API_HASH_FILE", folder.join("api-hash")),
        // Weaker than the file, so with it alone nothing would work.
        ("RABBITMQ_URL".into(), "amqp://nobody:nothing@127.0.0.1:1/%2f".into()),
    ]);
    let mut stage = Stage::set_with(broker, options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    assert!(!stage.daemon.home().join("state/key").exists(), "no key of its own was made");
    stage.daemon.terminate().await;
    stage.daemon.spawn().await;
    stage.say(&chat, 4..=5).await;
    stage.expect_all(&chat).await;
}

/// Kills it by `signal`, as a bug or the kernel would, and answers how it ended. Rust handles the first
/// SIGSEGV and SIGBUS, to tell of an overflown stack, and then expects the fault to come again; a signal
/// that is only sent does not.
async fn struck(daemon: &mut Daemon, signal: i32) -> ExitStatus {
    kill(daemon.pid(), signal);
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
        let handled = |status: &str| !is_in(status, "SigCgt", signal);
        eventually(daemon.pid(), handled).await;
        kill(daemon.pid(), signal);
    }
    daemon.wait_for_end().await
}

/// Whether a mask of signals in a process's status (proc(5)) holds this one.
fn is_in(status: &str, mask: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(mask)?.strip_prefix(":\t"));
    u64::from_str_radix(mask.unwrap(), 16).unwrap() & (1 << (signal - 1)) != 0
}

/// The largest core that this process could allow a program.
fn hard_limit_of_cores() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it gets a valid pointer to a struct that lives through the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) }, 0);
    limit.rlim_max
}

/// Waits until the status of a process is as wanted.
async fn eventually(pid: u32, wanted: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap()) {
        assert!(Instant::now() < deadline, "the signal is not handled");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_ends_and_a_start_by_hand_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let options = with(vec![set("RUNTIME_DIRECTORY", folder.path())]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = Daemon::alone(&sim, options);
    for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGKILL, libc::SIGBUS, libc::SIGSEGV] {
        daemon.spawn().await;
        assert_eq!(struck(&mut daemon, signal).await.signal(), Some(signal));
    }
    // An orderly end is none of them, and makes none of them forgotten.
    daemon.spawn().await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    daemon.spawn().await;
    assert_eq!(struck(&mut daemon, libc::SIGSEGV).await.signal(), Some(libc::SIGSEGV));
    daemon.launch();
    let ended = daemon.wait_for_end().await;
    assert_eq!(ended.code(), Some(3), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("telewarden: not started: it crashed 6 times within 10 minutes"), "{log}");
    assert!(unit("RestartPreventExitStatus").split(' ').any(|status| status == "3"));
    assert_eq!(unit("RuntimeDirectoryPreserve"), "restart");
    assert!(!unit("RuntimeDirectory").is_empty());
    assert!(!folder.path().join("runs").exists(), "it is forgotten with that");
    daemon.spawn().await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_that_were_asked_for_are_no_crashes_however_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("runs");
    let note = || fs::read_to_string(&note).unwrap();
    let options = with(vec![set("RUNTIME_DIRECTORY", folder.path())]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = Daemon::alone(&sim, options);
    daemon.spawn().await;
    assert_eq!(note(), "running\n");
    // Two signals that are there at once, so that the second one comes before it has stopped.
    for signal in [libc::SIGSTOP, libc::SIGTERM, libc::SIGINT, libc::SIGCONT] {
        kill(daemon.pid(), signal);
    }
    assert_eq!(daemon.wait_for_end().await.code(), Some(130), "{}", daemon.log());
    assert_eq!(note(), "");

    // A thread that waits for a disk: here for a key that nobody writes into its pipe.
    let key = folder.path().join("key");
    make_pipe(&key);
    daemon.set_variable("TELEWARDEN__SECRETS__KEY_FILE", key.to_str().unwrap());
    daemon.launch();
    let write = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(key));
    let _pipe = write.await.unwrap().unwrap();
    assert_eq!(note(), "running\n");
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
    assert_eq!(note(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_in_the_same_runtime_folder_leaves_the_note_of_the_first_alone() {
    let folder = tempfile::tempdir().unwrap();
    let note = || fs::read_to_string(folder.path().join("runs")).unwrap();
    let environment = || with(vec![set("RUNTIME_DIRECTORY", folder.path())]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut first = Daemon::alone(&sim, environment());
    let mut second = Daemon::alone(&sim, environment());
    first.spawn().await;
    // More of them than there may be crashes.
    for _ in 0..7 {
        second.spawn().await;
        second.kill();
    }
    // One that finds the store in use.
    let store = first.store();
    second.set_variable("TELEWARDEN__STORE__PATH", store.to_str().unwrap());
    second.launch();
    assert_eq!(second.wait_for_end().await.code(), Some(1), "{}", second.log());
    assert_eq!(note(), "running\n");
    first.kill();
    first.spawn().await;
    assert!(note().starts_with("crashed ") && note().ends_with("\nrunning\n"), "{}", note());
    assert_eq!(note().lines().count(), 2);
    assert_eq!(first.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_at_the_start_is_outlived_however_often_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let options = with(vec![set("RUNTIME_DIRECTORY", folder.path())]);
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = Daemon::alone(&sim, options);
    // A folder that is not there yet: a disk that is not mounted.
    fs::write(daemon.store(), "no folder").unwrap();
    for _ in 0..12 {
        daemon.launch();
        assert_eq!(daemon.wait_for_end().await.code(), Some(1), "{}", daemon.log());
    }
    fs::remove_file(daemon.store()).unwrap();
    daemon.spawn().await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_signal_leaves_a_core_whatever_the_limits_are() {
    // What this machine does with cores, as it shows with another program.
    let cores = tempfile::tempdir().unwrap();
    let mut other = Command::new("sh");
    other.args(["-c", "kill -SEGV $$"]).current_dir(cores.path());
    let other = with_cores(&mut other).status().unwrap();
    let hard_limit = hard_limit_of_cores();
    if hard_limit == 0 {
        // Many containers. No program may leave a core in a file here, and nobody may raise that limit: it
        // can be shown what the daemon makes of it, and that it has no core piped into a program either.
        eprintln!(
            "the hard limit of cores is 0 here (ulimit -Hc): not shown that a core is prevented"
        );
    } else {
        assert!(
            other.core_dumped(),
            "this machine makes no cores, so nothing can be shown: {other}"
        );
    }
    let limit = hard_limit.min(1).to_string();
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = Daemon::alone(&sim, DaemonOptions::default());
    daemon.allow_cores();
    for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGILL, libc::SIGSYS] {
        daemon.spawn().await;
        let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let core: Vec<&str> = core.unwrap().split_whitespace().collect();
        assert_eq!(core, [&*limit, &*limit, "bytes"], "also where cores are piped into a program");
        let ended = struck(&mut daemon, signal).await;
        assert_eq!(ended.signal(), Some(signal));
        assert!(!ended.core_dumped(), "{ended}");
    }
    // The other commands read secrets, too. This one waits for a pipe that it has opened.
    let pipe = daemon.home().join("secret");
    make_pipe(&pipe);
    daemon.set_variable("TELEWARDEN__AUTH__JWT_SECRET_FILE", pipe.to_str().unwrap());
    let mut token = daemon.command_line(&["token", "--user", "me"]).spawn().unwrap();
    let writing = tokio::task::spawn_blocking(|| fs::OpenOptions::new().write(true).open(pipe));
    let _writing = writing.await.unwrap().unwrap();
    kill(token.id(), libc::SIGABRT);
    let ended = token.wait().unwrap();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(libc::SIGABRT), false));
    let names: Vec<_> =
        fs::read_dir(daemon.home()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("core")), "{names:?}");
}
