//! The command line beside a daemon at work: keys over HTTP, the audit log in a copy of the store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use telewarden_simulator::{Options, Simulator};

use crate::support::{Client, Daemon, DaemonOptions, Door, Stage, program};

/// Runs a command that has to succeed, and answers what it said.
fn fine(daemon: &Daemon, words: &[&str]) -> String {
    let (code, said) = daemon.command(words);
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

fn head(said: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix("head"));
    line.expect("a head is told").trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_renewed_and_the_audit_log_is_followed_beside_a_running_daemon() {
    let mut stage = Stage::set().await;
    let before = fine(&stage.daemon, &["keys", "status"]);
    assert!(before.contains("generation  1 ("), "{before}");
    let renewed = fine(&stage.daemon, &["keys", "rotate"]);
    assert!(renewed.contains("generation  2 (") && renewed.contains("were renewed"), "{renewed}");
    let followed = fine(&stage.daemon, &["audit", "verify"]);
    assert!(followed.contains("entries        1, 0 of them pseudonymised"), "{followed}");
    let first = head(&followed);
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let (code, said) = stage.daemon.command(&["keys", "rotate"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody listens there; start it with telewarden run"), "{said}");
    let older = stage.daemon.home().join("older");
    copy(&stage.daemon.store(), &older);
    stage.daemon.spawn().await;
    let json = fine(&stage.daemon, &["keys", "rotate", "--json"]);
    assert!(json.contains("\"pending\":0"), "{json}");
    let second = head(&fine(&stage.daemon, &["audit", "verify", "--noted", &first]));
    assert!(second.starts_with("2:"), "{second}");
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let older = older.display().to_string();
    let in_older = ["audit", "verify", "--state", &older, "--noted"];
    fine(&stage.daemon, &[&in_older[..], &[&first]].concat());
    let (code, said) = stage.daemon.command(&[&in_older[..], &[&second]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("entry 2 was noted and is gone: the log ends with 1"), "{said}");
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_log_that_somebody_changed_on_the_disk_is_not_called_whole() {
    let mut stage = Stage::set().await;
    fine(&stage.daemon, &["keys", "rotate"]);
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    fine(&stage.daemon, &["audit", "verify"]);
    let database = stage.daemon.store().join("sled").join("db");
    let mut bytes = fs::read(&database).unwrap();
    let place = bytes.windows(11).position(|window| window == b"keys.rotate");
    let place = place.expect("the log lies in clear");
    bytes[place..place + 4].copy_from_slice(b"time");
    fs::write(&database, &bytes).unwrap();
    let (code, said) = stage.daemon.command(&["audit", "verify"]);
    assert!(matches!(code, Some(1 | 2)) && !said.contains("whole. Note"), "{code:?}: {said}");
    assert!(fs::read(&database).unwrap() == bytes, "looking changed the database");
}

/// Every command that reads a configuration, and its exit status when it cannot.
const COMMANDS: [(&str, i32); 6] = [
    ("token --user me", 1),
    ("keys status", 1),
    ("keys rotate", 1),
    ("audit verify", 2),
    ("health", 1),
    ("check", 1),
];

/// Runs a command beside no daemon; nobody listens where it asks.
fn run(words: &str, more: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = program();
    command.args(words.split(' ')).args(more).current_dir(folder);
    let said = command.output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap();
    (said.status.code(), text)
}

/// Places where no store can be, with a word of what is to be said of them.
fn places_without_a_store(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| folder.join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("foreign")).unwrap();
    fs::write(at("foreign/letter"), "not ours").unwrap();
    fs::set_permissions(at("foreign"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("file"), "no folder").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    vec![
        (at("missing/and/deep"), "missing/and/deep"),
        (at("empty"), "empty"),
        (at("foreign"), "foreign"),
        (at("file"), "file"),
        (at("file/below"), "file/below"),
        (at("dangling"), "dangling"),
        (at("loop"), "loop"),
    ]
}

#[test]
fn no_command_calls_a_store_fine_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mode =
        |path: &Path| fs::symlink_metadata(path).map(|found| found.permissions().mode()).ok();
    for (store, name) in places_without_a_store(folder.path()) {
        let before = mode(&store);
        let state = store.display().to_string();
        for (words, status) in
            COMMANDS.into_iter().filter(|(words, _)| !matches!(*words, "health" | "check"))
        {
            let (code, said) =
                run(words, &["--state", &state, "--listen", "127.0.0.1:1"], folder.path());
            assert_eq!(code, Some(status), "{words} on {name}: {said}");
            assert!(
                said.starts_with("telewarden: failed to ") && said.contains(name),
                "{words}: {said}"
            );
            assert!(!said.contains("whole"), "{words} on {name}: {said}");
        }
        let noted = format!("1:{}", "a".repeat(64));
        let (code, said) =
            run("audit verify --json", &["--state", &state, "--noted", &noted], folder.path());
        assert_eq!(code, Some(2), "{said}");
        // Looking ahead to the first start is what check is for; it makes no difference to what is there.
        let (code, said) =
            run("check", &["--state", &state, "--listen", "127.0.0.1:0"], folder.path());
        let can_be_made = matches!(name, "missing/and/deep" | "empty");
        assert_eq!(code, Some(i32::from(!can_be_made)), "check of {name}: {said}");
        assert!(can_be_made || said.contains("FAULT   store.path"), "check of {name}: {said}");
        assert_eq!(mode(&store), before, "{name} was changed");
    }
    assert!(!folder.path().join("missing").exists());
    assert_eq!(fs::read_dir(folder.path().join("empty")).unwrap().count(), 0);
    let said = run("audit verify", &["--state", "empty"], folder.path()).1;
    assert!(said.contains("there is no store in empty") && said.contains("--state"), "{said}");
}

#[test]
fn every_command_says_what_is_wrong_with_a_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.toml"), "[store]\npaht = \"x\"\n").unwrap();
    fs::write(folder.path().join("binary.toml"), b"\xff\xfe").unwrap();
    for (file, words) in [
        ("missing.toml", "missing.toml: there is no such file"),
        ("wrong.toml", "wrong.toml:2: unknown key store.paht; the nearest known one is store.path"),
        ("binary.toml", "binary.toml: the file is not UTF-8 text"),
        (".", ".: it is a folder"),
        ("/dev/zero", "/dev/zero: the file is longer than"),
    ] {
        for (command, status) in COMMANDS.into_iter().chain([("run", 1)]) {
            let (code, said) = run(command, &["--config", file], folder.path());
            assert_eq!(code, Some(status), "{command} with {file}: {said}");
            assert!(said.contains(words), "{command} with {file}: {said}");
            let mut named = program();
            named
                .args(command.split(' '))
                .current_dir(folder.path())
                .env("TELEWARDEN_CONFIG", file);
            assert_eq!(
                named.output().unwrap().status.code(),
                Some(status),
                "{command}: {file} named by a variable"
            );
        }
    }
}

#[test]
fn words_that_are_no_text_are_refused_and_end_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let strange = OsStr::from_bytes(b"\xff\xfe\x1b[2J");
    let folder = tempfile::tempdir().unwrap();
    for (command, flag, status) in [
        ("check", "--state", 2),
        ("check", "--listen", 2),
        ("check", "--log-level", 2),
        ("token", "--user", 2),
        ("health", "--url", 2),
        ("audit verify", "--noted", 2),
        // A file may have any name, and this one is not there.
        ("check", "--config", 1),
    ] {
        let mut program = program();
        program.args(command.split(' ')).arg(flag).arg(strange).current_dir(folder.path());
        let said = program.output().unwrap();
        assert_eq!(said.status.code(), Some(status), "{command} {flag}");
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    let mut command = program();
    let said = command
        .args(["check", "--listen", "127.0.0.1:0"])
        .env("LANG", strange)
        .env("TMPDIR", strange);
    assert_eq!(said.current_dir(folder.path()).output().unwrap().status.code(), Some(0));
    for name in ["RABBITMQ_URL", "TELEWARDEN__STORE__PATH"] {
        let said =
            program().arg("check").env(name, strange).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(
            said.status.code() == Some(1) && text.contains("is not UTF-8 text"),
            "{name}: {text}"
        );
    }
}

/// Runs shell commands as they would run on a machine that has nothing but this file in /etc, as
/// /etc/telewarden/config.toml: no certificate authorities either.
/// `None` where nobody may make namespaces.
fn installed(config: &Path, folder: &Path, commands: &str) -> Option<String> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
        command.current_dir(folder).output().unwrap()
    };
    let prepare = format!(
        "cp {} config-to-install && mount -t tmpfs tmpfs /etc && mkdir /etc/telewarden && cp \
         config-to-install /etc/telewarden/config.toml",
        config.display()
    );
    if !unshare(&prepare).status.success() {
        println!("no namespaces here: nothing can be installed for a trial");
        return None;
    }
    let path = format!("{}", program().get_program().display());
    let script =
        format!("{prepare}; exec 2>&1; ln -s {path} telewarden; PATH=$PWD:$PATH; {commands}");
    let said = unshare(&script);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    Some(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_installation_every_command_finds_the_store_from_any_folder() {
    let sim = Simulator::start(Options::default()).await.unwrap();
    let mut daemon = Daemon::alone(&sim, DaemonOptions::default());
    daemon.spawn().await;
    let config = daemon.home().join("config.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    // As in the folder of the source, where the header of the unit is followed.
    fs::write(elsewhere.path().join("config.toml"), "[store]\npath = \"state\"\n").unwrap();
    let commands = "telewarden token --user somebody; telewarden keys status; telewarden audit verify; \
                    telewarden health; telewarden check; telewarden check --config config.toml; \
                    TELEWARDEN_CONFIG=config.toml telewarden check --listen 127.0.0.1:0";
    let Some(said) = installed(&config, elsewhere.path(), commands) else { return };
    for words in [
        "telewarden: /etc/telewarden/config.toml is read, and config.toml in this folder is not",
        "generation  1 (",
        "whole. Note the head",
        "alive",
        "can be read (/etc/telewarden/config.toml)",
        "can be read (config.toml)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let token = said.lines().find(|line| line.starts_with("eyJ")).unwrap();
    let user = Client::new(Door::at(daemon.listen()), token.to_owned());
    user.get("/accounts").await.expect(200);
    assert_eq!(said.matches("config.toml in this folder is not").count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_certificate_authorities_runs_the_daemon_all_the_same() {
    let sim = Simulator::start(Options::default()).await.unwrap();
    let daemon = Daemon::alone(&sim, DaemonOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let commands = "telewarden run > log & until grep -q 'telewarden is up' log; do kill -0 $!; sleep 0.1; done; \
                    telewarden keys status; kill $!; wait $!; cat log";
    let Some(said) = installed(&daemon.home().join("config.toml"), folder.path(), commands) else {
        return;
    };
    assert!(said.contains("generation  1 ("), "{said}");
    assert!(said.contains("install them (package ca-certificates)"), "{said}");
}
