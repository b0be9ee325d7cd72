//! `telewarden check`: reads the configuration as the daemon would, tries what it names, and
//! says what to do. Must never change anything that lasts.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, ExitCode};

use super::{ConfigArgs, say};
use crate::app::{Descriptors, amqp_options};
use crate::config::{Config, advice, broker_address, read_named_file};
use crate::edge::amqp::{AmqpOptions, Look, look};
use crate::edge::http::{TokenSecret, TokenSecretError};
use crate::secrets::{self, Chosen};
use crate::store::{Examined, KeyOrigin, StoreError, StoreOptions, examine};
use crate::telegram::ServerKey;

/// Room that the store needs to start: the first block of its database, and some.
const PROBE_BYTES: usize = 1 << 20;

/// What one look found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// All is well.
    Fine(String),
    /// The daemon starts, but somebody should know.
    Advice(String),
    /// The daemon would not start, or its bridge would never work.
    Fault(String),
}

/// Checks, prints what it found, and answers 0, or 1 when it found a fault.
pub fn check(args: &ConfigArgs) -> ExitCode {
    let mut config = match args.load() {
        Ok(config) => config,
        Err(error) => {
            say(format_args!("failed to {error}"));
            return ExitCode::FAILURE;
        }
    };
    let source = args.file();
    let source =
        source.map_or("no file, built-in defaults".into(), |file| file.display().to_string());
    say(format_args!("fine    the configuration can be read ({source})"));
    let mut findings = resolve(&mut config);
    findings.extend(self::findings(&config));
    for finding in &findings {
        match finding {
            Finding::Fine(text) => say(format_args!("fine    {text}")),
            Finding::Advice(text) => say(format_args!("advice  {text}")),
            Finding::Fault(text) => say(format_args!("FAULT   {text}")),
        }
    }
    let is_faulty = findings.iter().any(|finding| matches!(finding, Finding::Fault(_)));
    if is_faulty { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Reads the secrets that Vault keeps.
fn resolve(config: &mut Config) -> Vec<Finding> {
    let count = config.references.len();
    if count == 0 {
        return vec![];
    }
    if config.secrets.vault.secret_id_wrapped {
        return vec![Finding::Advice(
            "the secrets that Vault keeps were not read: the secret id is wrapped, and reading would \
             use it up"
                .to_owned(),
        )];
    }
    match secrets::resolve(config) {
        Ok(()) => vec![Finding::Fine(format!("the {count} secrets that Vault keeps can be read"))],
        Err(error) => vec![Finding::Fault(format!("failed to {error}"))],
    }
}

fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![listen(config.http.listen)];
    match secrets::choose(config) {
        Ok(chosen) => {
            let mut accounts = None;
            findings.insert(0, look_into_store(&config.store.path, &chosen, &mut accounts));
            findings.push(open_files(Descriptors::of_process(), accounts));
            findings.extend(key(&chosen));
        }
        Err(error) => findings.push(Finding::Fault(format!("failed to find the key: {error}"))),
    }
    if config.bridge.enabled && !config.references.contains_key("bridge.url") {
        findings.extend(broker(&amqp_options(config)));
    }
    // A secret that Vault keeps and that was not read was told of before.
    if !config.references.contains_key("auth.jwt_secret") {
        findings.push(token_secret(config));
    }
    findings.extend(config.telegram.server_public_key_file.as_deref().map(server_key));
    findings.extend(advice(config).into_iter().map(Finding::Advice));
    findings
}

/// What the limit of open files, as it is here, means for the accounts that there are.
fn open_files(files: anyhow::Result<Descriptors>, accounts: Option<u64>) -> Finding {
    match files {
        Ok(files) => Finding::Advice(files.advice(accounts)),
        Err(error) => Finding::Fault(format!("{error:#}")),
    }
}

/// What the daemon would say about its store, found without changing a byte of it. How many accounts are
/// in there goes to `accounts`, if it comes to that.
fn look_into_store(path: &Path, chosen: &Chosen, accounts: &mut Option<u64>) -> Finding {
    let shown = path.display();
    if is_spent_by_asking(&chosen.key) {
        return Finding::Advice(format!(
            "store.path {shown} was not looked into: the secret id for Vault is wrapped, and looking \
             would use it up"
        ));
    }
    let mut options = StoreOptions::new(path);
    (options.key, options.previous_keys) = (chosen.key.clone(), chosen.previous.clone());
    let examined = match examine(&options) {
        Ok(Examined::New) if !path.exists() => return future_store(path),
        Ok(examined) => examined,
        // The daemon itself, if it runs now.
        Err(error @ StoreError::Busy { .. }) => {
            return Finding::Advice(format!("store.path {shown} is in use: {error}"));
        }
        Err(error) => return Finding::Fault(format!("store.path {shown} cannot be used: {error}")),
    };
    *accounts = match &examined {
        Examined::New => Some(0),
        Examined::Whole { accounts, .. } => Some(*accounts),
        Examined::Closed(_) => None,
    };
    if let Err(error) = try_writing(path) {
        let error = StoreError::unwritable(path, error);
        return Finding::Fault(format!("store.path {shown} cannot be used: {error}"));
    }
    let is_open = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    if is_open {
        return Finding::Advice(format!(
            "store.path {shown} is open to other users of this machine: chmod 700 {shown}"
        ));
    }
    match examined {
        Examined::New => Finding::Fine(format!("store.path {shown} can be written")),
        Examined::Whole { waiting, .. } => Finding::Fine(format!(
            "store.path {shown} can be written, and all in it can be read; {waiting} events wait \
             for the broker"
        )),
        Examined::Closed(why) => Finding::Advice(format!(
            "store.path {shown} can be written; its database was not looked into: {why}"
        )),
    }
}

/// The folder is made on the first start, if the nearest one above it can be written.
fn future_store(path: &Path) -> Finding {
    let shown = path.display();
    // A link that leads nowhere is there, and no folder can be made in its place.
    let above = path.ancestors().find(|place| fs::symlink_metadata(place).is_ok());
    let above = above.unwrap_or(Path::new("."));
    match try_writing(above) {
        Ok(()) => Finding::Fine(format!("store.path {shown} will be made on the first start")),
        Err(error) => Finding::Fault(format!(
            "store.path {shown} cannot be used: {}",
            StoreError::unwritable(above, error)
        )),
    }
}

/// Writes a file of [`PROBE_BYTES`] and takes it away again.
fn try_writing(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".check-{}", process::id()));
    let written = fs::write(&probe, vec![0; PROBE_BYTES]);
    let removed = match fs::remove_file(&probe) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(removed)
}

/// What signs the tokens of the API.
fn token_secret(config: &Config) -> Finding {
    match TokenSecret::find(config.auth.jwt_secret.as_ref(), &config.store.path) {
        Ok(_) => Finding::Fine("the secret that signs tokens can be used".to_owned()),
        Err(TokenSecretError::NotMade(path)) => Finding::Fine(format!(
            "the secret that signs tokens will be made on the first start, in {}",
            path.display()
        )),
        Err(error) => Finding::Fault(format!("the daemon would fail to {error}")),
    }
}

/// Whether the key that wraps all others can be used. The store's own is looked at with the store.
fn key(chosen: &Chosen) -> Vec<Finding> {
    let key = &chosen.key;
    let mut findings = Vec::new();
    if is_spent_by_asking(key) {
        let advice = format!("the keys are wrapped by {key}, which was not asked");
        return vec![Finding::Advice(advice)];
    }
    match key.check() {
        Ok(()) if matches!(key, KeyOrigin::Own) => {}
        Ok(()) => {
            findings.push(Finding::Fine(format!("the keys are wrapped by {key}, which works")))
        }
        Err(error) => findings
            .push(Finding::Fault(format!("the key that wraps all others cannot be used: {error}"))),
    }
    findings.extend(chosen.unused.iter().map(|unused| {
        Finding::Advice(format!("{unused} is configured, too, and not used: {key} comes first"))
    }));
    findings
}

fn is_spent_by_asking(key: &KeyOrigin) -> bool {
    matches!(key, KeyOrigin::Remote(root) if root.is_spent_by_asking())
}

fn listen(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::Fine(format!("http.listen {address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::Advice(format!(
            "http.listen {address} is taken: by the daemon itself if it runs now, else by \
             another program, and then it could not start"
        )),
        Err(error) => Finding::Fault(format!("http.listen {address} cannot be used: {error}")),
    }
}

/// Logs in as the daemon would, and looks at what it would use.
fn broker(options: &AmqpOptions) -> Vec<Finding> {
    let Some((host, port)) = broker_address(options.url.expose()) else {
        return vec![Finding::Fault("bridge.url cannot be read".to_owned())];
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let found = match runtime {
        Ok(runtime) => runtime.block_on(look(options)),
        Err(error) => {
            let text = format!("the broker was not looked at: no thread could be made ({error})");
            return vec![Finding::Advice(text)];
        }
    };
    let found = match found {
        Look::Away(why) => {
            return vec![Finding::Advice(format!(
                "the broker at {host}:{port} does not answer ({why}): the daemon starts and keeps \
                 trying, but takes no commands until then"
            ))];
        }
        Look::Refused(why) => {
            return vec![Finding::Fault(format!(
                "the bridge cannot work with the broker at {host}:{port}: {why}"
            ))];
        }
        Look::Open(found) => found,
    };
    let rest = if found.missing.is_empty() {
        "exchange and queues are there".to_owned()
    } else {
        format!("the daemon will declare what is not there yet: {}", found.missing.join(", "))
    };
    let mut findings =
        vec![Finding::Fine(format!("the broker at {host}:{port} lets the bridge in; {rest}"))];
    findings.extend(found.mismatched.into_iter().map(|name| {
        Finding::Advice(format!(
            "the {name} exists with other properties than ours; it will be used as it stands"
        ))
    }));
    findings
}

/// The public key of servers of one's own.
fn server_key(path: &Path) -> Finding {
    let shown = path.display();
    let pem = match read_named_file(path) {
        Ok(pem) => pem,
        Err(error) => {
            let text = format!("telegram.server_public_key_file {shown} cannot be read: {error}");
            return Finding::Fault(text);
        }
    };
    match ServerKey::from_pem(&pem) {
        Ok(_) => Finding::Fine(format!("telegram.server_public_key_file {shown} can be used")),
        Err(error) => Finding::Fault(format!("telegram.server_public_key_file {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::SecretText;

    fn store(path: &Path, chosen: &Chosen) -> Finding {
        look_into_store(path, chosen, &mut None)
    }

    #[test]
    fn what_the_limit_of_open_files_means_is_told_and_one_too_low_is_a_fault() {
        let told = open_files(Descriptors::within(1024), Some(700));
        let Finding::Advice(text) = told else { panic!("{told:?}") };
        assert!(text.contains("1024") && text.contains("609") && text.contains("700"), "{text}");
        assert!(matches!(open_files(Descriptors::within(255), None), Finding::Fault(_)));
        let mut config = Config::default();
        config.store.path = tempfile::tempdir().unwrap().path().join("state");
        let named =
            |one: &Finding| matches!(one, Finding::Advice(text) if text.contains("open files"));
        assert_eq!(findings(&config).iter().filter(|one| named(one)).count(), 1);
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_store_may_be_missing_but_not_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(matches!(store(&path, &own()), Finding::Fine(_)));
        fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        assert!(
            matches!(store(&path, &own()), Finding::Advice(text) if text.contains("chmod 700"))
        );
        mode(&path, 0o700);
        assert!(matches!(store(&path, &own()), Finding::Fine(_)));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        let not_a_folder = folder.path().join("file");
        fs::write(&not_a_folder, "").unwrap();
        assert!(matches!(store(&not_a_folder, &own()), Finding::Fault(_)));
        assert!(matches!(store(&not_a_folder.join("inside"), &own()), Finding::Fault(_)));
        let deep = folder.path().join("not/yet/there");
        assert!(matches!(store(&deep, &own()), Finding::Fine(_)));
        assert!(!folder.path().join("not").exists());
        // Nobody makes folders there, not even root.
        assert!(matches!(store(Path::new("/proc/telewarden/state"), &own()), Finding::Fault(_)));
    }

    /// The store's own key.
    fn own() -> Chosen {
        secrets::choose(&Config::default()).unwrap()
    }

    #[test]
    fn a_taken_address_is_told_from_an_impossible_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(listen(taken.local_addr().unwrap()), Finding::Advice(_)));
        // An address for documentation (RFC 5737): no machine has it.
        assert!(matches!(listen("192.0.2.1:1".parse().unwrap()), Finding::Fault(_)));
    }

    #[test]
    fn a_broker_that_does_not_answer_is_no_fault_and_no_secret_is_told() {
        let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = Config::default();
        config.bridge.url = SecretText::new(format!("amqp://user:hidden@{away}/vhost"));
        let found = broker(&amqp_options(&config));
        let [Finding::Advice(text)] = &found[..] else { panic!("{found:?}") };
        assert!(text.contains(&away.to_string()) && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_key_file_must_be_usable_as_a_key() {
        let of = |path: &Path| {
            let mut config = Config::default();
            config.secrets.key_file = Some(path.into());
            key(&secrets::choose(&config).unwrap()).remove(0)
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(of(&path), Finding::Fault(_)));
        fs::write(&path, "too short").unwrap();
        mode(&path, 0o600);
        assert!(matches!(of(&path), Finding::Fault(_)));
        fs::write(&path, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        assert!(matches!(of(&path), Finding::Fine(_)));
        mode(&path, 0o644);
        assert!(matches!(of(&path), Finding::Fault(text) if text.contains("chmod")));
    }

    #[test]
    fn a_server_key_that_cannot_be_used_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pem");
        let is_fault =
            |text: &str| matches!(server_key(&path), Finding::Fault(said) if said.contains(text));
        assert!(is_fault("cannot be read"));
        fs::write(&path, "x").unwrap();
        assert!(is_fault("server.pem"));
        let mut config = Config::default();
        config.telegram.server_public_key_file = Some(path.clone());
        config.store.path = folder.path().join("state");
        let named =
            |one: &Finding| matches!(one, Finding::Fault(text) if text.contains("server.pem"));
        assert!(findings(&config).iter().any(named));
    }

    #[test]
    fn the_secret_of_tokens_is_looked_at_and_not_made() {
        let state = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.path = state.path().to_owned();
        let said = token_secret(&config);
        assert!(matches!(said, Finding::Fine(text) if text.contains("on the first start")));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
        fs::write(state.path().join("jwt-secret"), "short").unwrap();
        mode(&state.path().join("jwt-secret"), 0o644);
        assert!(matches!(token_secret(&config), Finding::Fault(text) if text.contains("chmod")));
        mode(&state.path().join("jwt-secret"), 0o600);
        assert!(matches!(token_secret(&config), Finding::Fault(text) if text.contains("5 bytes")));
    }
}
