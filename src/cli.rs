//! The command line: what can be asked, and the commands beside `run`.
//!
//! Exit codes: 0 all is well; 1 the command failed, or found what would stop the daemon (`audit verify`:
//! found faults); 2 the command line itself was wrong (`audit verify`: also when it could not look).
//! This module must never start the daemon's parts.

mod audit;
mod check;
mod health;
mod keys;
mod token;

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, ConfigFile, Flag, Sources};
use crate::protocol::values::printable;
use crate::protocol::values::printable::PrintableLines;
use crate::secrets;

pub use audit::audit_verify;
pub use check::check;
pub use health::health;
pub use keys::{keys_rotate, keys_status};
pub use token::token;

/// Names the configuration file when no flag does.
const FILE_VARIABLE: &str = "TELEWARDEN_CONFIG";

/// The configuration of an installed daemon, which all commands read when nothing else is named. Tests
/// know none: what the machine they run on has must not change them.
#[cfg(not(test))]
const INSTALLED_FILE: &str = "/etc/telewarden/config.toml";
#[cfg(test)]
const INSTALLED_FILE: &str = "/nowhere/telewarden/config.toml";

/// Read when nothing else is there. After the installed one: from whatever folder an operator asks, the
/// answer is about the daemon that runs.
const LOCAL_FILE: &str = "config.toml";

#[derive(Debug, Parser)]
#[command(name = "telewarden", version, about, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground until SIGTERM.
    Run(RunArgs),
    /// Check the configuration and what it needs, and give advice.
    Check(ConfigArgs),
    /// Ask a running daemon whether it is alive.
    Health(HealthArgs),
    /// Print a token for the HTTP API.
    Token(TokenArgs),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The keys that protect the store.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// What can be done with the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum AuditCommand {
    /// Follow the audit log from its newest entry to its oldest, also beside a running daemon.
    ///
    /// Exit status: 0 it is whole, 1 something is wrong with it, 2 it could not be looked at.
    Verify(AuditVerifyArgs),
}

/// What can be done with the keys, by the running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum KeysCommand {
    /// Say where the root key comes from and which generation seals now.
    ///
    /// Exit status: 0 the daemon has answered, 1 it has not.
    Status(KeysArgs),
    /// Renew the keys in the store now, without a pause.
    ///
    /// Exit status: 0 they were renewed, 1 they were not.
    Rotate(KeysArgs),
}

/// Flags of `run`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Say, once, that the store was moved or restored and runs nowhere else: without it a copy of a store is not
    /// opened, because a second one ends every session of both.
    #[arg(long)]
    pub moved: bool,
}

/// Flags that choose and override the configuration.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigArgs {
    /// The configuration file; without it $TELEWARDEN_CONFIG, /etc/telewarden/config.toml or
    /// ./config.toml, the first that is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where health and API listen, e.g. 127.0.0.1:8080 (http.listen).
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// The folder for everything the daemon writes (store.path).
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<String>,
    /// error, warn, info, debug or trace (log.level).
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// auto, text or json (log.format).
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl ConfigArgs {
    /// The sources that the daemon reads, the process's environment included, with `file` among them.
    fn sources(&self, file: Option<PathBuf>) -> Sources {
        let file = match file {
            Some(path) => ConfigFile::Required(path),
            None => ConfigFile::None,
        };
        let flags = [
            ("--listen", "http.listen", &self.listen),
            ("--state", "store.path", &self.state),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(name, key, value)| value.clone().map(|value| Flag { name, key, value }));
        let environment = env::vars_os().chain(secrets::hidden_key_variable()).collect();
        Sources { file, environment, flags: flags.collect() }
    }

    /// The configuration file that is read; `None` when only defaults, environment and flags are.
    pub fn file(&self) -> Option<PathBuf> {
        let found = || found_file(Path::new(INSTALLED_FILE), Path::new(LOCAL_FILE));
        self.file_named().or_else(found)
    }

    /// The one that somebody named.
    fn file_named(&self) -> Option<PathBuf> {
        let variable = || env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty());
        self.config.clone().or_else(|| variable().map(PathBuf::from))
    }

    /// Says once why `file` is read where somebody may have meant another one.
    fn note_choice(&self, file: Option<&Path>) {
        static ONCE: Once = Once::new();
        if self.file_named().is_some() {
            return;
        }
        let (installed, local) = (Path::new(INSTALLED_FILE), Path::new(LOCAL_FILE));
        let line = match file {
            Some(file) if file == installed && is_other(local, installed) => format!(
                "{INSTALLED_FILE} is read, and {LOCAL_FILE} in this folder is not; --config \
                 {LOCAL_FILE} reads it"
            ),
            Some(file) if file == local && is_closed(installed) => format!(
                "{LOCAL_FILE} in this folder is read: this user may not read {INSTALLED_FILE}, the \
                 configuration of the installed daemon, if there is one"
            ),
            _ => return,
        };
        ONCE.call_once(|| note(format_args!("telewarden: {line}")));
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every problem of every source, at once.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_from(self.file())
    }

    fn load_from(&self, file: Option<PathBuf>) -> Result<Config, ConfigError> {
        self.note_choice(file.as_deref());
        Config::load(&self.sources(file))
    }

    /// Reads the configuration with `file`, which [`ConfigArgs::file`] has answered before, and the secrets
    /// of it that Vault keeps. What reads it again must not choose again: a file that was installed since
    /// may be another daemon's. Blocks while Vault is asked.
    ///
    /// # Errors
    /// As [`ConfigArgs::load`]; and every secret that was not read.
    pub fn load_whole(&self, file: Option<PathBuf>) -> Result<Config, ConfigError> {
        let mut config = self.load_from(file)?;
        secrets::resolve(&mut config)?;
        Ok(config)
    }
}

/// The first of the two files that is there. One of which nobody can say whether it is there counts as
/// being there: reading it says why. But whom the installed one is closed to, and who has one of their own
/// here, means that.
fn found_file(installed: &Path, local: &Path) -> Option<PathBuf> {
    if is_closed(installed) && local.exists() {
        return Some(local.to_owned());
    }
    let is_there = |file: &&Path| !matches!(file.try_exists(), Ok(false));
    [installed, local].into_iter().find(is_there).map(Path::to_owned)
}

/// Whether this user may not read `file`, or not even look where it is. A pipe is not opened: its content
/// comes once.
fn is_closed(file: &Path) -> bool {
    let opened = file
        .metadata()
        .and_then(|found| if found.is_file() { File::open(file).map(drop) } else { Ok(()) });
    opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether `file` is there and not the same as `than`.
fn is_other(file: &Path, than: &Path) -> bool {
    file.exists() && file.canonicalize().ok() != than.canonicalize().ok()
}

/// Flags of `telewarden health`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthArgs {
    /// The address to ask; without it, /health/live where the configuration says it listens.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The configuration, as for `run`.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Flags of `telewarden token`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenArgs {
    /// The user whose token it is: the owner of accounts and everything else.
    #[arg(long, value_name = "ID")]
    pub user: String,
    /// user (its own things) or admin (everybody's).
    #[arg(long, value_name = "ROLE", default_value = "user")]
    pub role: String,
    /// How long it is valid: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "12h")]
    pub ttl: String,
    /// The configuration, as for `run`.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Flags of `telewarden audit verify`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditVerifyArgs {
    /// A head that was noted earlier; it is a fault when the log does not hold it any more.
    #[arg(long, value_name = "NUMBER:HASH")]
    pub noted: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration, as for `run`.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Flags of `telewarden keys`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysArgs {
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration, as for `run`.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Reads the process's arguments. Help, version and mistakes end the process here.
pub fn parse() -> Command {
    CommandLine::parse().command
}

/// Says why the daemon cannot run, and answers the exit code for it.
pub fn fail(error: &impl fmt::Display) -> std::process::ExitCode {
    note(format_args!("telewarden: {error}"));
    std::process::ExitCode::FAILURE
}

/// Writes a line beside the answer. Whatever servers, files and settings put into it is printable then.
fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", PrintableLines(line));
}

/// Writes a line for the user, in the same way. Nobody reads it when the pipe is closed; that is no
/// failure.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{}", PrintableLines(line));
}

/// Writes an answer for a program.
fn say_json(answer: &serde_json::Value) {
    match printable::json(answer) {
        Ok(line) => say(line),
        Err(error) => note(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        CommandLine::try_parse_from(line.split_whitespace())
            .map(|line| line.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn run_takes_a_configuration_and_overrides() {
        let Ok(Command::Run(args)) =
            parsed("telewarden run --config a.toml --listen 127.0.0.1:1 --log-level debug")
        else {
            panic!("not understood");
        };
        assert!(!args.moved);
        let args = args.config;
        let sources = args.sources(args.file());
        assert_eq!(sources.file, ConfigFile::Required(PathBuf::from("a.toml")));
        let flags: Vec<_> = sources.flags.iter().map(|f| (f.key, f.value.as_str())).collect();
        assert_eq!(flags, [("http.listen", "127.0.0.1:1"), ("log.level", "debug")]);
        let args = ConfigArgs::default();
        let sources = args.sources(args.file());
        assert_eq!(sources.file, ConfigFile::Required(PathBuf::from("config.toml")), "ours, here");
        assert_eq!(args.sources(None).file, ConfigFile::None, "chosen before, when none was there");
    }

    #[test]
    fn the_installed_configuration_comes_before_the_one_in_this_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (installed, local) = (folder.path().join("installed"), folder.path().join("local"));
        assert_eq!(found_file(&installed, &local), None);
        std::fs::write(&local, "").unwrap();
        assert_eq!(found_file(&installed, &local), Some(local.clone()));
        assert!(!is_other(&local, &local) && is_other(&local, &installed));
        std::fs::write(&installed, "").unwrap();
        assert_eq!(found_file(&installed, &local), Some(installed.clone()));
        // What is in the way of looking is told by reading.
        let hidden = local.join("config.toml");
        assert_eq!(found_file(&hidden, &installed), Some(hidden));
    }

    #[test]
    fn whom_the_installed_configuration_is_closed_to_runs_from_a_folder_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(folder.path(), 0o755);
        let etc = folder.path().join("etc");
        let (installed, local) = (etc.join("config.toml"), folder.path().join("config.toml"));
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(&installed, "").unwrap();
        let found = || {
            let (installed, local) = (installed.clone(), local.clone());
            let look = move || {
                // What root may look at is closed to nobody; for this thread alone.
                // SAFETY: it takes a plain number, and changes nothing but this thread.
                unsafe { libc::setfsuid(65534) };
                (is_closed(&installed), found_file(&installed, &local))
            };
            std::thread::spawn(look).join().unwrap()
        };
        for (path, closed, open) in [(&etc, 0o000, 0o755), (&installed, 0o000, 0o644)] {
            set(path, closed);
            assert_eq!(found(), (true, Some(installed.clone())), "reading it says why");
            std::fs::write(&local, "").unwrap();
            assert_eq!(found(), (true, Some(local.clone())));
            set(path, open);
            assert_eq!(found(), (false, Some(installed.clone())));
            std::fs::remove_file(&local).unwrap();
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(parsed("telewarden").is_err());
        assert!(parsed("telewarden dance").is_err());
        assert!(parsed("telewarden run --colour red").is_err());
        for line in ["audit", "audit forget", "keys", "keys show", "keys rotate --noted 1:a"] {
            assert!(parsed(&format!("telewarden {line}")).is_err(), "{line}");
        }
        assert!(parsed("telewarden --version").is_err_and(|text| text.starts_with("telewarden ")));
    }

    #[test]
    fn commands_of_two_words_take_a_configuration_too() {
        let verify = parsed("telewarden audit verify --json --noted 7:ab --state elsewhere");
        let Ok(Command::Audit(AuditCommand::Verify(args))) = verify else {
            panic!("not understood");
        };
        assert_eq!((args.noted.as_deref(), args.json), (Some("7:ab"), true));
        assert_eq!(args.config.state.as_deref(), Some("elsewhere"));
        let rotate = parsed("telewarden keys rotate --listen 127.0.0.1:1");
        let Ok(Command::Keys(KeysCommand::Rotate(args))) = rotate else {
            panic!("not understood");
        };
        assert_eq!(args.config.listen.as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn every_flag_sets_a_key_that_exists() {
        let given = ConfigArgs {
            config: None,
            listen: Some("127.0.0.1:1".to_owned()),
            state: Some("elsewhere".to_owned()),
            log_level: Some("error".to_owned()),
            log_format: Some("json".to_owned()),
        };
        let flags = given.sources(None).flags;
        let config = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
        assert_eq!(config.http.listen.port(), 1);
        assert_eq!(config.store.path, Path::new("elsewhere"));
        assert_eq!(config.log.level, tracing::Level::ERROR);
    }
}
