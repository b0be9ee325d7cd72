//! Tests of the configuration as its users meet it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use toml::de::{DeTable, DeValue};

use super::keys::{KEPT_VARIABLES, KEYS, KeptKey, Kind, SERVERS, by_path};
use super::*;
use crate::protocol::bridge::event::KINDS;
use crate::protocol::values::printable::is_printable;

mod secrets;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn load(&self, text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = ConfigFile::Required(self.write("config.toml", text));
        Config::load(&Sources { file, environment: variables(environment), flags: Vec::new() })
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    Folder::new().load(text, &[])
}

fn from_variables(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&Sources { environment: variables(pairs), ..Sources::default() })
}

fn complaints(result: Result<Config, ConfigError>) -> Vec<String> {
    let ConfigError(problems) = result.expect_err("the configuration was accepted");
    problems.iter().map(|problem| problem.what.clone()).collect()
}

#[test]
fn every_kind_of_event_has_a_key_for_its_type() {
    let keys = KEYS.iter().filter_map(|key| key.path.strip_prefix("bridge.event_types."));
    assert_eq!(keys.collect::<Vec<_>>(), KINDS);
    for kind in KINDS {
        let config = from_text(&format!("[bridge.event_types]\n{kind} = 'App\\Of'\n")).unwrap();
        let changed = changed_keys(&Config::default(), &config);
        assert_eq!(changed, [format!("bridge.event_types.{kind}")]);
    }
}

fn reference() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml"))
}

fn live_keys(above: &str, table: &DeTable<'_>, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = format!("{above}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => {
                if path == SERVERS {
                    found.push(path.clone());
                }
                live_keys(&format!("{path}."), inner, found);
            }
            _ => found.push(path),
        }
    }
}

#[test]
fn the_reference_file_equals_the_defaults() {
    let file = ConfigFile::Required(reference().to_owned());
    let config = Config::load(&Sources { file, ..Sources::default() }).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn the_reference_file_gives_and_explains_every_key() {
    let text = fs::read_to_string(reference()).unwrap();
    let table = DeTable::parse(&text).unwrap();
    let mut given = Vec::new();
    live_keys("", table.get_ref(), &mut given);
    let mut known: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    given.sort();
    known.sort_unstable();
    assert_eq!(given, known);
    for line in text.lines().filter(|line| line.contains(" = ")) {
        assert!(line.contains("# "), "not explained: {line}");
    }
    for (variable, _) in KEPT_VARIABLES {
        assert!(text.contains(variable), "{variable} is not mentioned");
    }
}

/// A file of the source.
fn of_the_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_unit_and_the_configuration_that_its_header_installs_agree() {
    const CONFIG: &str = "/etc/telewarden/config.toml";
    const KEY: &str = "/etc/telewarden/key";
    let unit = fs::read_to_string(of_the_source("systemd/telewarden.service")).unwrap();
    let file = ConfigFile::Required(of_the_source("systemd/config.toml"));
    let config = Config::load(&Sources { file, ..Sources::default() }).unwrap();
    let says = |line: &str| unit.lines().any(|found| found == line);
    let state = config.store.path.strip_prefix("/var/lib").unwrap().display().to_string();
    assert!(says(&format!("StateDirectory={state}")));
    let key = config.secrets.key_file.unwrap();
    assert!(says(&format!("LoadCredential=telewarden-key:{}", key.display())));
    assert!(says("ExecStart=/usr/bin/telewarden run --config /etc/telewarden/config.toml"));
    // What is set here could not be seen by a command.
    assert!(
        !unit.lines().any(|line| line.starts_with("Environment=")),
        "a setting beside the file"
    );
    let steps: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    // Whoever repeats the steps keeps what was filled in, and the key of the store.
    for (filled, writes) in [(CONFIG, "install "), (KEY, "openssl ")] {
        let step = steps.iter().find(|step| step.contains(filled) && step.contains(writes));
        let kept = format!("test -e {filled} || ");
        assert!(step.is_some_and(|step| step.starts_with(&kept)), "{step:?}");
    }
    let installed: Vec<&str> = steps
        .iter()
        .filter_map(|step| step.split("install ").nth(1).filter(|_| step.contains("install -")))
        .map(|line| line.split(' ').rev().nth(1).unwrap())
        .filter(|source| !source.starts_with("target/"))
        .collect();
    assert_eq!(installed.len(), 3);
    assert!(installed.iter().all(|source| of_the_source(source).is_file()), "{installed:?}");
    // With the lines that its reader fills in.
    let text = fs::read_to_string(of_the_source("systemd/config.toml")).unwrap();
    let filled = Folder::new().load(
        &text.replace("#api_", "api_").replace("#enabled", "enabled").replace("#url", "url"),
        &[],
    );
    let filled = filled.unwrap();
    assert!(filled.bridge.enabled && filled.telegram.api_id == Some(12345));
}

#[test]
fn without_any_source_the_defaults_apply() {
    assert_eq!(Config::load(&Sources::default()), Ok(Config::default()));
}

#[test]
fn a_file_that_is_something_else_is_refused_in_a_moment_and_in_a_few_words() {
    let folder = Folder::new();
    let keys: String = (0..60_000).map(|number| format!("key_{number}=1\n")).collect();
    let deep = format!("a = {}", "[".repeat(500_000));
    let dotted = format!("{}z = 1", "a.".repeat(250_000));
    let long = "#".repeat(2 << 20);
    for (text, words) in [
        (keys.as_str(), "and 59950 more"),
        (&deep, "this is not TOML"),
        (&dotted, "this is not TOML"),
        (&long, "the file is longer than 1048576 bytes"),
        ("\u{1b}[2J = 1\n\"a\nb\u{202e}\" = 1", "this is not TOML"),
        ("\"a\u{202e}\\n\" = 1", "unknown key a\\u{202e}\\n"),
    ] {
        let file = ConfigFile::Required(folder.write("strange.toml", text));
        let begun = tokio::time::Instant::now();
        let error = Config::load(&Sources { file, ..Sources::default() }).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {}", &error[..error.floor_char_boundary(500)]);
        assert!(error.len() < 20_000 && begun.elapsed().as_secs() < 20, "{words}");
        assert!(error.chars().all(|c| c == '\n' || is_printable(c)), "{error:?}");
    }
}

#[test]
fn a_pipe_is_read_to_its_end_and_not_waited_for_for_ever() {
    let folder = Folder::new();
    let path = folder.0.path().join("pipe");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: mkfifo gets a path that ends with a zero and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let error = read_named_file(&path).unwrap_err();
    assert!(error.contains("nobody wrote to it"), "{error}");
    let long = "x".repeat(300_000);
    let (written, to) = (long.clone(), path.clone());
    let writer = std::thread::spawn(move || fs::write(to, written));
    assert_eq!(read_named_file(&path), Ok(long));
    writer.join().unwrap().unwrap();
    // Somebody who keeps it open.
    let to = path.clone();
    let opened = std::thread::spawn(move || fs::OpenOptions::new().write(true).open(to));
    assert!(read_named_file(&path).unwrap_err().contains("closed it within"));
    drop(opened.join().unwrap());
}

#[test]
fn what_is_no_file_of_text_is_not_read_to_its_end() {
    for (path, words) in [
        ("/dev/zero", "the file is longer than"),
        ("/dev/null", "the file is empty"),
        ("/", "it is a folder"),
        ("/proc/self/mem", "it cannot be read"),
        ("/nowhere/secret", "there is no such file"),
    ] {
        for key in ["TELEWARDEN__TELEGRAM__API_HASH_FILE", "TELEWARDEN__AUTH__JWT_SECRET_FILE"] {
            let environment = variables(&[(key, path)]);
            let sources = Sources { environment, ..Sources::default() };
            let error = Config::load(&sources).unwrap_err().to_string();
            // The device that is always empty is open to everybody.
            let is_open = error.contains("can be read by others");
            assert!(error.contains(words) || is_open && path == "/dev/null", "{error}");
        }
        let file = ConfigFile::Required(PathBuf::from(path));
        let loaded = Config::load(&Sources { file, ..Sources::default() });
        assert_eq!(loaded.is_ok(), path == "/dev/null", "an empty file says nothing");
        assert_eq!(read_named_file(Path::new(path)).is_ok(), path == "/dev/null");
    }
}

#[test]
fn a_named_file_must_exist() {
    let file = ConfigFile::Required(PathBuf::from("/nowhere/config.toml"));
    let error = Config::load(&Sources { file, ..Sources::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "read the configuration: /nowhere/config.toml: there is no such file; make it, or name another one"
    );
}

#[test]
fn later_sources_win() {
    let folder = Folder::new();
    let text = "[http]\nlisten = \"127.0.0.1:1\"\n[bridge]\nprefetch = 1\n[log]\nlevel = \"warn\"";
    let file = ConfigFile::Required(folder.write("config.toml", text));
    let environment = variables(&[
        ("LOG_LEVEL", "ERROR"),
        ("TELEWARDEN__LOG__LEVEL", "debug"),
        ("TELEWARDEN__BRIDGE__PREFETCH", "2"),
    ]);
    let flags = vec![Flag { name: "--log-level", key: "log.level", value: "trace".to_owned() }];
    let config = Config::load(&Sources { file, environment, flags }).unwrap();
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!(config.bridge.prefetch, 2);
    assert_eq!(config.log.level, Level::TRACE);
}

#[test]
fn every_key_can_be_set_by_file_and_by_variable() {
    let text = r#"
        [telegram]
        api_id = 17
        server_public_key_file = "server.pem"
        servers = { 2 = "127.0.0.1:4430" }
        [campaign.daily]
        messages_with_links = 3
        [secrets]
        rotate_every = "12h"
        [http]
        cors_origins = ["https://a.example", "https://b.example"]
    "#;
    let by_file = from_text(text).unwrap();
    let by_variable = from_variables(&[
        ("TELEWARDEN__TELEGRAM__API_ID", "17"),
        ("TELEWARDEN__TELEGRAM__SERVER_PUBLIC_KEY_FILE", "server.pem"),
        ("TELEWARDEN__TELEGRAM__SERVERS__2", "127.0.0.1:4430"),
        ("TELEWARDEN__CAMPAIGN__DAILY__MESSAGES_WITH_LINKS", "3"),
        ("TELEWARDEN__SECRETS__ROTATE_EVERY", "12h"),
        ("TELEWARDEN__HTTP__CORS_ORIGINS", "https://a.example, https://b.example"),
    ])
    .unwrap();
    assert_eq!(by_file, by_variable);
    assert_eq!(by_file.telegram.servers[&2], "127.0.0.1:4430".parse().unwrap());
    assert_eq!(by_file.secrets.rotate_every, Duration::from_secs(43_200));
}

/// A value that no key has by default.
fn another_value(path: &str, kind: &Kind) -> &'static str {
    match (path, kind) {
        (SERVERS, _) => "{ 2 = \"127.0.0.1:4430\" }",
        ("store.backend", _) => "",
        ("secrets.rotate_every", _) => "\"8d\"",
        ("secrets.vault.address", _) => "\"https://a.example\"",
        ("bridge.url", _) => "\"amqp://other\"",
        ("monitoring.check_every", _) => "\"never\"",
        ("monitoring.difference_every", _) => "\"8m\"",
        ("webhooks.retry_first" | "webhooks.retry_longest" | "webhooks.give_up_after", _) => {
            "\"8m\""
        }
        ("campaign.recontact_scope", _) => "\"installation\"",
        ("campaign.max_late", _) => "\"8m\"",
        ("campaign.default_country", _) => "\"DE\"",
        ("campaign.stop_words", _) => "[\"enough\"]",
        ("http.listen", _) => "\"127.0.0.1:1\"",
        ("http.cors_origins", _) => "[\"https://a.example\"]",
        ("http.trusted_proxies", _) => "[\"10.0.0.0/8\"]",
        ("auth.jwt_secret", _) => "\"0123456789abcdef0123456789abcdef\"",
        ("parsing.url", _) => "\"https://a.example\"",
        ("log.level", _) => "\"warn\"",
        ("log.format", _) => "\"json\"",
        (_, Kind::SecretFile { .. }) => "",
        (_, Kind::Whole { .. }) => "13",
        (_, Kind::Switch(_)) => "true",
        _ => "\"other\"",
    }
}

#[test]
fn every_key_that_changes_is_named_and_no_other_one() {
    let old = Config::default();
    assert!(changed_keys(&old, &old).is_empty());
    for key in KEYS {
        let value = another_value(key.path, &key.kind);
        if value.is_empty() {
            // There is one backend only, and a secret's file is told as the secret.
            continue;
        }
        let new = from_text(&format!("{} = {value}", key.path)).unwrap();
        assert_eq!(changed_keys(&old, &new), [key.path]);
        assert_eq!(changed_keys(&new, &old), [key.path]);
    }
}

#[test]
fn the_variables_of_the_replaced_service_still_work() {
    let config = from_variables(&[
        ("TELEGRAM_API_ID", "12345"),
        ("TELEGRAM_API_HASH", "0123456789abcdef"),
        ("RABBITMQ_URL", "amqps://user:pass@broker:5671/vhost"),
        ("RABBITMQ_EXCHANGE", "other"),
        ("HEALTH_CHECK_HOST", "0.0.0.0"),
        ("HEALTH_CHECK_PORT", "9090"),
        ("LOG_LEVEL", "WARNING"),
        ("LOG_FORMAT", "json"),
        ("FAILOVER_RETRY_DELAY_SECONDS", "7"),
        ("MAX_RECONNECT_ATTEMPTS", "9"),
        ("SHUTDOWN_TIMEOUT_SECONDS", "11"),
    ])
    .unwrap();
    assert_eq!(config.telegram.api_id, Some(12345));
    assert_eq!(config.telegram.api_hash.unwrap().expose(), "0123456789abcdef");
    assert_eq!(config.bridge.url.expose(), "amqps://user:pass@broker:5671/vhost");
    assert_eq!(config.bridge.exchange, "other");
    assert_eq!(config.http.listen, "0.0.0.0:9090".parse().unwrap());
    assert_eq!(config.log, Log { level: Level::WARN, format: LogFormat::Json });
    assert_eq!(config.failover.retry_delay, Duration::from_secs(7));
    assert_eq!(config.failover.max_reconnect_attempts, 9);
    assert_eq!(config.shutdown.timeout, Duration::from_secs(11));
}

#[test]
fn a_broker_from_the_environment_turns_the_bridge_on() {
    let folder = Folder::new();
    let off = "[bridge]\nenabled = false\nurl = \"amqp://a@b\"";
    let url = ("RABBITMQ_URL", "amqp://127.0.0.1");
    assert!(folder.load(off, &[url]).unwrap().bridge.enabled);
    let refused = ("TELEWARDEN__BRIDGE__ENABLED", "false");
    assert!(!folder.load(off, &[url, refused]).unwrap().bridge.enabled);
    assert!(!folder.load(off, &[("RABBITMQ_URL", "")]).unwrap().bridge.enabled);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = from_text("[bridge]\n\nprefech = 3\n").unwrap_err().to_string();
    assert!(error.contains("config.toml:3: "), "{error}");
    assert!(error.contains("bridge.prefech; the nearest known one is bridge.prefetch"), "{error}");
    let found = complaints(from_text("[brige]\nprefetch = 3\n"));
    assert_eq!(found, ["unknown key brige; the nearest known one is bridge"]);
    let found = complaints(from_variables(&[("TELEWARDEN__LOG__LEVLE", "info")]));
    assert_eq!(found, ["unknown key log.levle; the nearest known one is log.level"]);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = "[bridge]\nprefetch = \"many\"\nenabled = 1\n[shutdown]\ntimeout_seconds = 0\n\
                [http]\nlisten = \"here\"\n";
    let error = Folder::new().load(text, &[("LOG_LEVEL", "loud")]).unwrap_err();
    let lines: Vec<String> = error.0.iter().map(ToString::to_string).collect();
    let expected = [
        "config.toml:2: bridge.prefetch is \"many\"; expected a whole number from 1 to 10000",
        "config.toml:3: bridge.enabled is 1; expected true or false",
        "config.toml:5: shutdown.timeout_seconds is 0; expected a whole number from 1 to 3600",
        "config.toml:7: http.listen is \"here\"; expected an address such as \"127.0.0.1:8080\"",
        "variable LOG_LEVEL: log.level is \"loud\"; expected error, warn, info, debug or trace",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for wanted in expected {
        assert!(lines.iter().any(|line| line.ends_with(wanted)), "{wanted} is not in {lines:?}");
    }
}

#[test]
fn a_section_is_not_a_value_and_a_value_no_section() {
    assert_eq!(
        complaints(from_text("http = 3")),
        ["http is a number (not shown); expected a section"]
    );
    let found = complaints(from_text("[http.listen]\nport = 1"));
    assert_eq!(found, ["http.listen is a section; expected an address such as \"127.0.0.1:8080\""]);
}

#[test]
fn broken_toml_names_the_line_but_does_not_show_it() {
    let text = "[telegram]\napi_hash = \"0123456789abcdef\nsecond\n";
    let error = from_text(text).unwrap_err().to_string();
    assert!(error.contains("config.toml:2: this is not TOML"), "{error}");
    assert!(!error.contains("0123456789abcdef"), "{error}");
}

#[test]
fn a_store_that_does_not_exist_yet_is_refused() {
    let found = complaints(from_text("[store]\nbackend = \"postgres\""));
    assert_eq!(found, ["store.backend is \"postgres\"; expected \"sled\""]);
}

const API_HASH: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn an_application_without_its_hash_or_with_none_that_can_be_is_told_of() {
    let told = |hash: &str| {
        let variables = [("TELEGRAM_API_ID", "1"), ("TELEGRAM_API_HASH", hash)];
        let lines = advice(&from_variables(&variables).unwrap()).join("\n");
        assert!(hash.is_empty() || !lines.contains(hash));
        (lines.contains("telegram.api_hash is not:"), lines.contains("32 hexadecimal digits"))
    };
    assert_eq!(told(""), (true, false));
    assert_eq!(told("0123456789abcdef"), (false, true));
    assert_eq!(told(&API_HASH.replace('0', "g")), (false, true));
    assert_eq!(told(API_HASH), (false, false));
}

#[test]
fn advice_follows_the_configuration() {
    let newcomer = advice(&Config::default()).join("\n");
    assert!(newcomer.contains("my.telegram.org"));
    assert!(newcomer.contains("The bridge is off"));
    assert!(newcomer.contains("state/key"));
    let config = from_variables(&[
        ("TELEGRAM_API_ID", "1"),
        ("TELEGRAM_API_HASH", API_HASH),
        ("RABBITMQ_URL", "amqp://far.example"),
        ("HEALTH_CHECK_HOST", "0.0.0.0"),
        ("TELEWARDEN__SECRETS__KEY_FILE", "/etc/key"),
    ]);
    let lines = advice(&config.unwrap());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("Use amqps://"));
    assert!(lines[1].contains("0.0.0.0:8080"));
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    for origin in ["https://a.example", "http://127.0.0.1:3000", "https://[::1]:8"] {
        let config = from_variables(&[("TELEWARDEN__HTTP__CORS_ORIGINS", origin)]).unwrap();
        assert_eq!(config.http.cors_origins, [origin]);
    }
    for origin in ["https://a.example/", "a.example", "https://", "*", "https://*.example"] {
        let found = complaints(from_variables(&[("TELEWARDEN__HTTP__CORS_ORIGINS", origin)]));
        assert!(found[0].starts_with("http.cors_origins"), "{found:?}");
    }
}

#[test]
fn a_variable_with_single_underscores_is_refused_with_the_right_name() {
    for (wrong, right) in [
        ("TELEWARDEN_BRIDGE_PREFETCH", "TELEWARDEN__BRIDGE__PREFETCH"),
        ("TELEWARDEN_BRIDGE__PREFECH", "TELEWARDEN__BRIDGE__PREFETCH"),
        ("TELEWARDEN_store_path", "TELEWARDEN__STORE__PATH"),
        ("TELEWARDEN_TELEGRAM_SERVERS_4", "TELEWARDEN__TELEGRAM__SERVERS__4"),
    ] {
        let error = from_variables(&[(wrong, "x")]).unwrap_err().to_string();
        let expected = format!("the nearest known one is {right}");
        assert!(error.contains(wrong) && error.ends_with(&expected), "{error}");
    }
    let others = [
        ("TELEWARDEN_TEST_BIN", "x"),
        ("TELEWARDEN_BENCH_DAEMON", "x"),
        ("TELEWARDEN_FAIL_POINT", "x"),
        ("TELEWARDEN_SERVICE_HOST", "10.0.0.1"),
        ("TELEWARDEN_PORT", "tcp://10.0.0.1:8080"),
        ("TELEWARDEN_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("TELEWARDEN_BRIDGE_PREFETCH", ""),
    ];
    assert_eq!(from_variables(&others), Ok(Config::default()));
}

#[test]
fn the_tables_agree_with_each_other() {
    for (variable, key) in KEPT_VARIABLES {
        if let KeptKey::Path(path) | KeptKey::TurnsOn(path) = key {
            assert!(by_path(path).is_some(), "{variable} sets {path}");
        }
    }
    for key in KEYS {
        if let super::keys::Kind::SecretFile { of } = key.kind {
            assert!(by_path(of).is_some(), "{of}");
            assert_eq!(key.path, format!("{of}_file"));
        }
    }
}

#[test]
fn systemd_waits_longer_than_a_soft_stop_takes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/telewarden.service");
    let unit = fs::read_to_string(path).unwrap();
    let wait = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let wait = Duration::from_secs(wait.parse().unwrap());
    // And the threads that block, which are waited for after it.
    assert!(wait > Config::default().shutdown.timeout + Duration::from_secs(5), "{wait:?}");
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_problems(text in "\\PC{0,200}", more in any::<String>()) {
        for text in [text, more] {
            if let Err(error) = from_text(&text) {
                prop_assert!(!error.0.is_empty());
            }
        }
    }

    #[test]
    fn any_value_for_any_key_gives_a_configuration_or_names_the_key(
        index in 0..KEYS.len(),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            "\"[a-z0-9:/.@]{0,40}\"",
            Just("[1]".to_owned()),
            Just("{ x = 1 }".to_owned()),
            Just("1.5".to_owned()),
            Just("2020-01-01".to_owned()),
        ],
        words in "\\PC{0,40}",
    ) {
        let path = KEYS[index].path;
        if let Err(error) = from_text(&format!("{path} = {value}")) {
            prop_assert!(error.to_string().contains(path), "{error}");
        }
        let variable = format!("TELEWARDEN__{}", path.to_uppercase().replace('.', "__"));
        if let Err(error) = from_variables(&[(&variable, &words)]) {
            prop_assert!(error.to_string().contains(path), "{error}");
        }
    }
}

#[test]
fn events_need_a_queue_of_their_own() {
    for events in ["orders", "orders.dead"] {
        let text = format!("[bridge]\ncommand_queue = \"orders\"\nevent_queue = \"{events}\"\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: ConfigFile::Required(path), ..Sources::default() };
        let error = Config::load(&sources).unwrap_err().to_string();
        assert!(error.contains("bridge.event_queue"), "{error}");
    }
}
