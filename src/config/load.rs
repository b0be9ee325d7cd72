//! Gathers what each source says, in order, and puts it into one [`Config`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroize;

use super::keys::{self, KEPT_VARIABLES, KeptKey, Key, Kind, Named};
use super::problem::{PROBLEMS_SHOWN_MAX, nearest, nearest_within};
use super::reference::{self, Reference};
use super::value::Value;
use super::{Config, ConfigError, Place, Problem};
use crate::clock::instant;
use crate::exposure::refuse_exposed;
use crate::protocol::values::secret::SecretText;

/// What our own variables begin with.
const VARIABLE_PREFIX: &str = "TELEWARDEN__";

/// What somebody writes who does not know that it takes two underscores.
const NEAR_PREFIX: &str = "TELEWARDEN_";

/// Variables under [`NEAR_PREFIX`] that are this near to one of ours were meant to be it. Others
/// are not ours to judge: Kubernetes, for one, sets `TELEWARDEN_SERVICE_HOST` for a service of
/// that name, and the tests have some of their own.
const MISTAKES_MAX: usize = 2;

/// A file that holds a secret is a line of text; more than this is a mistake.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// What signs tokens.
const TOKEN_SECRET: &str = "auth.jwt_secret";

/// Configuration files are a few KiB; more than this is a mistake.
const CONFIG_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How long somebody may take to write into a pipe that is named as a file.
const PIPE_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// Which configuration file is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigFile {
    /// None.
    #[default]
    None,
    /// This one.
    Required(PathBuf),
}

/// A setting given on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the user wrote it, e.g. `--listen`.
    pub name: &'static str,
    /// The key it sets, e.g. `http.listen`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// Where a configuration is read from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file.
    pub file: ConfigFile,
    /// The environment's variables; those that are not ours are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Vec<Flag>,
}

/// One value of one source.
struct Setting {
    key: &'static Key,
    /// The datacenter's id, for addresses of servers.
    name: String,
    value: Value,
    place: Place,
}

/// What a source says, and what is wrong with it.
#[derive(Default)]
struct Layer {
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Layer {
    fn problem(&mut self, place: Place, what: String) {
        self.problems.push(Problem { place, what });
    }

    fn unknown(&mut self, place: Place, path: &str) {
        if self.problems.len() >= PROBLEMS_SHOWN_MAX {
            return self.problem(place, "unknown key".to_owned());
        }
        let hint = nearest(path, keys::known_names()).unwrap_or_default();
        self.problem(place, format!("unknown key {path}; the nearest known one is {hint}"));
    }
}

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let (kept, own) = environment_layers(&sources.environment);
    let layers = [file_layer(&sources.file), kept, own, flag_layer(&sources.flags)];
    let mut config = Config::default();
    let mut problems = Vec::new();
    let mut secret_files = BTreeMap::new();
    for layer in layers {
        problems.extend(apply(&mut config, &mut secret_files, layer));
    }
    for (of, (path, place)) in secret_files {
        if let Err(what) = read_secret(&mut config, of, &path) {
            problems.push(Problem { place, what });
        }
    }
    problems.extend(references_without_vault(&config));
    problems.extend(clash_of_queues(&config));
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

/// Events in a queue that the daemon itself reads or fills would come back as commands.
fn clash_of_queues(config: &Config) -> Option<Problem> {
    let (commands, events) = (&config.bridge.command_queue, &config.bridge.event_queue);
    let is_clash = events == commands || *events == format!("{commands}.dead");
    is_clash.then(|| Problem {
        place: Place::Settings("bridge.command_queue and bridge.event_queue"),
        what: "events need a queue of their own, which is neither that of the commands nor the \
               one of their dead letters"
            .to_owned(),
    })
}

fn references_without_vault(config: &Config) -> Option<Problem> {
    let vault = &config.secrets.vault;
    let (key, reference) = config.references.first_key_value()?;
    vault.address.is_none().then(|| Problem {
        place: Place::Settings(key),
        what: format!("{reference} is kept in Vault; set secrets.vault.address, too"),
    })
}

/// See [`Config::fill`].
pub(super) fn fill(config: &mut Config, of: &str, secret: &SecretText) -> Result<(), String> {
    let key = keys::by_path(of).ok_or_else(|| format!("there is no key {of}"))?;
    let mut value = Value::Words(secret.expose().to_owned());
    let applied = key.apply(config, "", &value);
    if let Value::Words(text) = &mut value {
        text.zeroize();
    }
    applied.ok_or_else(|| {
        let expected = key.expected();
        format!("{of} (from Vault) is not shown; expected {expected}")
    })?;
    config.references.remove(of);
    Ok(())
}

type SecretFiles = BTreeMap<&'static str, (PathBuf, Place)>;

/// Puts one layer over what the earlier ones gave. A secret and its `*_file` replace each other
/// across layers; inside one layer nobody can say which was meant.
fn apply(config: &mut Config, secret_files: &mut SecretFiles, layer: Layer) -> Vec<Problem> {
    let mut problems = layer.problems;
    let mut given: Vec<&'static str> = Vec::new();
    for setting in layer.settings {
        let Setting { key, name, value, place } = setting;
        let reference = match take_reference(key, &value) {
            Ok(reference) => reference,
            Err(what) => {
                problems.push(Problem { place, what });
                continue;
            }
        };
        if reference.is_none() && key.apply(config, &name, &value).is_none() {
            problems.push(Problem { place, what: refusal(key, &name, &value) });
            continue;
        }
        let text = value.text().unwrap_or_default();
        let secret = match key.kind {
            Kind::Secret { .. } => key.path,
            Kind::SecretFile { of } => of,
            _ => continue,
        };
        if text.is_empty() {
            continue;
        }
        if given.contains(&secret) {
            let what = format!("both {secret} and {secret}_file are given; keep one of them");
            problems.push(Problem { place, what });
            continue;
        }
        given.push(secret);
        config.references.remove(secret);
        if let Some(reference) = reference {
            config.references.insert(secret, reference);
        }
        match key.kind {
            Kind::SecretFile { .. } => secret_files.insert(secret, (PathBuf::from(text), place)),
            _ => secret_files.remove(secret),
        };
    }
    problems
}

/// The place in Vault that stands for a secret, if one does.
fn take_reference(key: &Key, value: &Value) -> Result<Option<Reference>, String> {
    let text = value.text().unwrap_or_default();
    if !key.is_secret() || !text.starts_with(reference::PREFIX) {
        return Ok(None);
    }
    let bad =
        || format!("{} is not shown; expected vault:<mount>/<path>#<field>, or a secret", key.path);
    let is_for_vault = key.path.starts_with("secrets.vault.") || keys::by_path(key.path).is_none();
    if is_for_vault {
        return Err(format!("{} is needed to reach Vault, so it cannot be kept there", key.path));
    }
    Reference::parse(text).map(Some).ok_or_else(bad)
}

fn refusal(key: &Key, name: &str, value: &Value) -> String {
    let dot = if name.is_empty() { "" } else { "." };
    let found = value.describe(key.is_secret());
    format!("{}{dot}{name} is {found}; expected {}", key.path, key.expected())
}

fn read_secret(config: &mut Config, of: &'static str, path: &Path) -> Result<(), String> {
    let text = read_text(path, SECRET_FILE_BYTES_MAX)
        .map_err(|error| format!("{of}_file names {}: {error}", path.display()))?;
    if of == TOKEN_SECRET {
        // Whoever reads it is everybody, as with the key file.
        let about = fs::metadata(path).map_err(|error| describe_io(&error))?;
        refuse_exposed(&about, path).map_err(|error| format!("{of}_file: {error}"))?;
    }
    let secret = Value::Words(text.trim_end_matches(['\r', '\n']).to_owned());
    let key = keys::by_path(of).ok_or_else(|| format!("there is no key {of}"))?;
    if secret.text() == Some("") {
        return Err(format!("{of}_file names {}: the file is empty", path.display()));
    }
    key.apply(config, "", &secret).ok_or_else(|| {
        let expected = key.expected();
        format!("{of} (from {}) is not shown; expected {expected}", path.display())
    })
}

/// Reads a text file that a setting names: a certificate, a key. One that is too long for that (a device
/// that never ends, say) is refused. The error says what is wrong and shows nothing of it.
///
/// # Errors
/// Why it cannot be used.
pub fn read_named_file(path: &Path) -> Result<String, String> {
    read_text(path, CONFIG_FILE_BYTES_MAX)
}

/// Reads a text file of bounded size. The error says what is wrong and shows nothing of it.
fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let bytes = read_bytes(path, bytes_max).map_err(|error| describe_io(&error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("the file is longer than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())
}

/// Reads up to one byte more than `bytes_max`. Of a pipe (`<(…)` in a shell makes one) it reads as long as
/// somebody writes, and does not wait for ever for somebody who does.
fn read_bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for who writes to it; for a file the flag means nothing (open(2)).
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let mut file = file.take(bytes_max + 1);
    let mut bytes = Vec::new();
    if !is_pipe {
        file.read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let end = instant() + PIPE_MAX;
    let mut part = [0; 4096];
    loop {
        wait_for(file.get_ref(), end.saturating_duration_since(instant()))?;
        match file.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend(&part[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until a pipe has something to read or its last writer is gone.
fn wait_for(pipe: &fs::File, left: Duration) -> io::Result<()> {
    let mut asked = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: poll gets one valid struct that lives through the call, and the descriptor is open.
    match unsafe { libc::poll(&mut asked, 1, left) } {
        0 => Err(ErrorKind::TimedOut.into()),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file; make it, or name another one".to_owned(),
        ErrorKind::PermissionDenied => {
            "it may not be read by this user; give the file to the user that the daemon runs as"
                .to_owned()
        }
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::TimedOut => {
            format!(
                "it is a pipe, and nobody wrote to it and closed it within {} s",
                PIPE_MAX.as_secs()
            )
        }
        _ => format!("it cannot be read ({error})"),
    }
}

fn file_layer(file: &ConfigFile) -> Layer {
    let ConfigFile::Required(path) = file else { return Layer::default() };
    match read_text(path, CONFIG_FILE_BYTES_MAX) {
        Ok(text) => toml_layer(path, &text),
        Err(what) => {
            let mut layer = Layer::default();
            layer.problem(Place::File(path.clone(), None), what);
            layer
        }
    }
}

/// What the text of a configuration file says.
fn toml_layer(path: &Path, text: &str) -> Layer {
    let mut layer = Layer::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut walk = Walk { path, lines: Lines::of(text), layer };
        walk.table("", table.get_ref());
        layer = walk.layer;
    }
    let lines = Lines::of(text);
    for error in errors {
        // The parser's own rendering shows the line, which may hold a secret: only its words.
        let line = error.span().map(|span| lines.line_of(span.start));
        let what = format!("this is not TOML: {}", error.message());
        layer.problem(Place::File(path.to_owned(), line), what);
    }
    layer.problems.sort_by_key(|problem| match problem.place {
        Place::File(_, line) => line,
        _ => None,
    });
    layer
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a place, counted from 1.
    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// A walk over the tables of a configuration file.
struct Walk<'f> {
    path: &'f Path,
    lines: Lines,
    layer: Layer,
}

impl Walk<'_> {
    fn table(&mut self, above: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let dot = if above.is_empty() { "" } else { "." };
            let path = format!("{above}{dot}{}", name.get_ref());
            let place =
                Place::File(self.path.to_owned(), Some(self.lines.line_of(name.span().start)));
            self.entry(&path, place, value);
        }
    }

    fn entry(&mut self, path: &str, place: Place, value: &Spanned<DeValue<'_>>) {
        match (keys::look_up(path), value.get_ref()) {
            (Named::Key(key, name), value) => {
                let (name, value) = (name.to_owned(), Value::from_toml(value));
                self.layer.settings.push(Setting { key, name, value, place });
            }
            (Named::Section, DeValue::Table(inner)) => self.table(path, inner),
            (Named::Section, other) => {
                let found = Value::from_toml(other).describe(true);
                self.layer.problem(place, format!("{path} is {found}; expected a section"));
            }
            (Named::Unknown, _) => self.layer.unknown(place, path),
        }
    }
}

/// What the environment says: under the kept names, and under our own, which are more precise
/// and therefore win. An empty variable counts as not set, as compose files leave them.
fn environment_layers(environment: &[(OsString, OsString)]) -> (Layer, Layer) {
    let (mut kept, mut own) = (Layer::default(), Layer::default());
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
        let Some(value) = value.to_str() else {
            let is_ours = KEPT_VARIABLES.iter().any(|(kept_name, _)| *kept_name == name);
            if is_ours || name.starts_with(VARIABLE_PREFIX) {
                own.problem(Place::Variable(name.to_owned()), "is not UTF-8 text".to_owned());
            }
            continue;
        };
        let value = Value::Words(value.to_owned());
        for (_, key) in KEPT_VARIABLES.iter().filter(|(kept_name, _)| *kept_name == name) {
            kept.settings.extend(kept_setting(name, key, &value));
        }
        if let Some(path) = name.strip_prefix(VARIABLE_PREFIX) {
            let path = path.to_ascii_lowercase().replace("__", ".");
            named_setting(&mut own, &path, Place::Variable(name.to_owned()), value);
        } else if !KEPT_VARIABLES.iter().any(|(kept_name, _)| *kept_name == name)
            && let Some(meant) = name.strip_prefix(NEAR_PREFIX).and_then(meant_variable)
        {
            let what = format!(
                "is not read, because each part of a variable's name follows two underscores; the \
                 nearest known one is {meant}"
            );
            own.problem(Place::Variable(name.to_owned()), what);
        }
    }
    (kept, own)
}

/// The variable that was meant by [`NEAR_PREFIX`] and `rest`, if one is near enough.
fn meant_variable(rest: &str) -> Option<String> {
    let words: Vec<String> =
        rest.split('_').filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let (dc_id, words) = match words.split_last() {
        Some((last, before)) if last.parse::<i32>().is_ok() => (Some(last), before),
        _ => (None, words.as_slice()),
    };
    let known = keys::KEYS.iter().map(|key| (key.path.replace('.', "_"), key.path));
    let path = nearest_within(&words.join("_"), MISTAKES_MAX, known)?;
    let name = format!("{VARIABLE_PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"));
    let dc_id = dc_id.map_or("2", String::as_str);
    Some(if path == keys::SERVERS { format!("{name}__{dc_id}") } else { name })
}

fn kept_setting(variable: &str, kept: &KeptKey, value: &Value) -> Option<Setting> {
    let (key, value) = match kept {
        KeptKey::Path(path) => (keys::by_path(path)?, value.clone()),
        KeptKey::TurnsOn(path) => (keys::by_path(path)?, Value::Boolean(true)),
        KeptKey::Part(key) => (*key, value.clone()),
    };
    let place = Place::Variable(variable.to_owned());
    Some(Setting { key, name: String::new(), value, place })
}

fn named_setting(layer: &mut Layer, path: &str, place: Place, value: Value) {
    match keys::look_up(path) {
        Named::Key(key, name) => {
            let name = name.to_owned();
            layer.settings.push(Setting { key, name, value, place });
        }
        Named::Section => layer.problem(place, format!("{path} is a section, not a key")),
        Named::Unknown => layer.unknown(place, path),
    }
}

fn flag_layer(flags: &[Flag]) -> Layer {
    let mut layer = Layer::default();
    for Flag { name, key, value } in flags {
        named_setting(&mut layer, key, Place::Flag(name), Value::Words(value.clone()));
    }
    layer
}
