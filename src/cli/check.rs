//! `telewarden check`: reads the configuration as the daemon would, tries what it names, and
//! says what to do. Must never change anything that lasts.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::Duration;

use super::{ConfigArgs, say};
use crate::config::{Config, advice, broker_address};
use crate::store::check_key_file;

/// How long the broker may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// What one look found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// All is well.
    Fine(String),
    /// The daemon starts, but somebody should know.
    Advice(String),
    /// The daemon would not start.
    Fault(String),
}

/// Checks, prints what it found, and answers 0, or 1 when the daemon would not start.
pub fn check(args: &ConfigArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(error) => {
            say(format_args!("failed to {error}"));
            return ExitCode::FAILURE;
        }
    };
    let source = args.file().map_or("no file, built-in defaults".into(), Path::to_string_lossy);
    say(format_args!("fine    the configuration can be read ({source})"));
    let findings = findings(&config);
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

fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![store(&config.store.path), listen(config.http.listen)];
    if config.bridge.enabled {
        findings.push(broker(config.bridge.url.expose()));
    }
    findings.extend(config.secrets.key_file.as_deref().map(key_file));
    let unread = [
        ("telegram.server_public_key_file", &config.telegram.server_public_key_file),
        ("auth.jwt_secret_file", &config.auth.jwt_secret_file),
    ];
    for (key, path) in unread {
        findings.extend(path.as_deref().and_then(|path| unread_file(key, path)));
    }
    findings.extend(advice(config).into_iter().map(Finding::Advice));
    findings
}

fn store(path: &Path) -> Finding {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return future_store(path),
        Err(error) => return Finding::Fault(format!("store.path {shown} cannot be used: {error}")),
    };
    if !metadata.is_dir() {
        return Finding::Fault(format!("store.path {shown} is not a folder"));
    }
    if let Err(error) = try_writing(path) {
        return Finding::Fault(format!("store.path {shown} cannot be written: {error}"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Finding::Advice(format!(
            "store.path {shown} is open to other users of this machine: chmod 700 {shown}"
        ));
    }
    Finding::Fine(format!("store.path {shown} can be written"))
}

/// The folder is made on the first start, if the nearest one above it can be written.
fn future_store(path: &Path) -> Finding {
    let shown = path.display();
    let above = path.ancestors().skip(1).find(|folder| folder.exists());
    let above = above.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match try_writing(above) {
        Ok(()) => Finding::Fine(format!("store.path {shown} will be made on the first start")),
        Err(error) => Finding::Fault(format!(
            "store.path {shown} cannot be made: {} cannot be written by this user: {error}",
            above.display()
        )),
    }
}

fn try_writing(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".check-{}", process::id()));
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe))
}

fn key_file(path: &Path) -> Finding {
    match check_key_file(path) {
        Ok(()) => Finding::Fine(format!("secrets.key_file {} can be used", path.display())),
        Err(error) => Finding::Fault(format!("secrets.key_file: {error}")),
    }
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

/// Only asks whether somebody accepts connections: user and password are not tried.
fn broker(url: &str) -> Finding {
    let Some((host, port)) = broker_address(url) else {
        return Finding::Fault("bridge.url cannot be read".to_owned());
    };
    let connected = (host.as_str(), port).to_socket_addrs().and_then(|mut addresses| {
        let address = addresses.next().ok_or(ErrorKind::NotFound)?;
        TcpStream::connect_timeout(&address, CONNECT_MAX)
    });
    match connected {
        Ok(_) => Finding::Fine(format!("the broker at {host}:{port} accepts connections")),
        Err(error) => Finding::Advice(format!(
            "the broker at {host}:{port} cannot be reached ({error}): the daemon starts and \
             keeps trying, but takes no commands until then"
        )),
    }
}

/// A file that the daemon does not open in this version, so that it starts whatever is wrong with
/// it. That the setting has no effect is said by [`advice`].
fn unread_file(key: &str, path: &Path) -> Option<Finding> {
    let shown = path.display();
    match fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => Some(Finding::Advice(format!("{key} {shown} is not a file"))),
        Err(error) => Some(Finding::Advice(format!("{key} {shown} cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_store_may_be_missing_but_not_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(matches!(store(&path), Finding::Fine(_)));
        fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        assert!(matches!(store(&path), Finding::Advice(text) if text.contains("chmod 700")));
        mode(&path, 0o700);
        assert!(matches!(store(&path), Finding::Fine(_)));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        let not_a_folder = folder.path().join("file");
        fs::write(&not_a_folder, "").unwrap();
        assert!(matches!(store(&not_a_folder), Finding::Fault(_)));
        assert!(matches!(store(&not_a_folder.join("inside")), Finding::Fault(_)));
        let deep = folder.path().join("not/yet/there");
        assert!(matches!(store(&deep), Finding::Fine(_)));
        assert!(!folder.path().join("not").exists());
        // Nobody makes folders there, not even root.
        assert!(matches!(store(Path::new("/proc/telewarden/state")), Finding::Fault(_)));
    }

    #[test]
    fn a_taken_address_is_told_from_an_impossible_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(listen(taken.local_addr().unwrap()), Finding::Advice(_)));
        // An address for documentation (RFC 5737): no machine has it.
        assert!(matches!(listen("192.0.2.1:1".parse().unwrap()), Finding::Fault(_)));
    }

    #[test]
    fn the_broker_is_only_knocked_at() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let url = format!("amqp://user:hidden@{address}/vhost");
        assert_eq!(
            broker(&url),
            Finding::Fine(format!("the broker at {address} accepts connections"))
        );
        drop(open);
        assert!(matches!(broker(&url), Finding::Advice(text) if !text.contains("hidden")));
    }

    #[test]
    fn a_key_file_must_be_usable_as_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(key_file(&path), Finding::Fault(_)));
        fs::write(&path, "too short").unwrap();
        mode(&path, 0o600);
        assert!(matches!(key_file(&path), Finding::Fault(_)));
        fs::write(&path, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        assert!(matches!(key_file(&path), Finding::Fine(_)));
        mode(&path, 0o644);
        assert!(matches!(key_file(&path), Finding::Fault(text) if text.contains("chmod")));
    }

    #[test]
    fn a_file_that_nothing_reads_yet_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let missing = unread_file("auth.jwt_secret_file", &path);
        assert!(matches!(missing, Some(Finding::Advice(text)) if text.contains("cannot be read")));
        let not_a_file = unread_file("auth.jwt_secret_file", folder.path());
        assert!(matches!(not_a_file, Some(Finding::Advice(_))));
        fs::write(&path, "x").unwrap();
        assert_eq!(unread_file("auth.jwt_secret_file", &path), None);

        let mut config = Config::default();
        config.auth.jwt_secret_file = Some(folder.path().join("nowhere"));
        config.store.path = folder.path().join("state");
        let said = findings(&config);
        assert!(
            !said.iter().any(|one| matches!(one, Finding::Fault(text) if text.contains("jwt")))
        );
        let has_advice = said.iter().any(
            |one| matches!(one, Finding::Advice(text) if text.contains("no effect yet in this version")),
        );
        assert!(has_advice, "{said:?}");
    }
}
