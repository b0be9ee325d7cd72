//! Logging: one subscriber, text or JSON, with everything that could leak kept out.
//!
//! The configured level is for the daemon's own events. What libraries say is capped below the
//! levels at which they print message texts. What strangers wrote (titles, names, errors of servers)
//! is escaped here, in both forms: nothing of it can end a line, forge another, command a terminal or
//! hide ([`crate::protocol::values::printable`]). This module must never decide what is logged by
//! others of our modules, and never fail a caller: a log line that cannot be written is lost.

mod ecs;
mod text;

use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use crate::config::LogFormat;

/// Where our own events come from: every target with this prefix.
const OWN_TARGET: &str = "telewarden";

/// The most that libraries may say, whatever the configured level is.
/// - `lapin` prints the body of a returned message as a warning, and an error for every try to
///   reach a broker that is away; the edge says both in its own words, once.
/// - `grammers_client` prints whole updates, message texts included, as warnings.
/// - The other parts of grammers print requests and updates below warnings.
/// - `grammers_mtsender` warns of every connection that ends; the account's actor says it once.
const LIBRARY_CAPS: [(&str, LevelFilter); 3] = [
    ("lapin", LevelFilter::OFF),
    ("grammers_client", LevelFilter::ERROR),
    ("grammers_mtsender", LevelFilter::ERROR),
];
const OTHERS_CAP: LevelFilter = LevelFilter::WARN;

/// The longest part of a panic's message that is logged, in characters.
const PANIC_REASON_CHARS_MAX: usize = 200;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Somebody was first.
    #[error("set up logging: another subscriber is already in place")]
    AlreadySet,
}

/// The logging that is in place; changes its level at run time.
#[derive(Clone, Debug)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
}

impl Logging {
    /// Changes the level of the daemon's own events.
    pub fn set_level(&self, level: Level) {
        if self.filter.reload(targets(level)).is_err() {
            tracing::warn!("the log level could not be changed");
        }
    }
}

/// Puts logging in place for the whole process, panics included. Lines go to standard output.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(level: Level, format: LogFormat) -> Result<Logging, LoggingError> {
    let is_terminal = io::stdout().is_terminal();
    let (subscriber, logging) = build(level, format, is_terminal, io::stdout);
    subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySet)?;
    panic::set_hook(Box::new(log_panic));
    Ok(logging)
}

fn build<W>(
    level: Level,
    format: LogFormat,
    is_terminal: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, Logging)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let is_text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let output = if is_text {
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(is_terminal)
            .fmt_fields(text::OneLine::new())
            // Its complaints would go to standard error by a macro that panics when that is gone.
            .log_internal_errors(false)
            .with_writer(writer);
        lines.boxed()
    } else {
        ecs::EcsLayer::new(writer).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(output);
    (subscriber, Logging { filter: handle })
}

/// What passes at `level`: see [`LIBRARY_CAPS`].
fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new()
        .with_default(level.min(OTHERS_CAP))
        .with_targets(LIBRARY_CAPS.map(|(target, cap)| (target, level.min(cap))))
        .with_target(OWN_TARGET, level)
}

/// Logs a panic as one line. Messages of panics elsewhere may quote whatever a library was
/// working on, so only their place is told.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let is_ours = info.location().is_some_and(|location| is_own_file(location.file()));
    let reason = if is_ours { panic_reason(info.payload_as_str().unwrap_or("")) } else { "" };
    if tracing::enabled!(target: "telewarden::panic", Level::ERROR) {
        tracing::error!(target: "telewarden::panic", place, thread, reason, "panicked");
    } else {
        // Nobody listens yet; if even this fails there is nobody left to tell.
        let _ = writeln!(io::stderr(), "panicked at {place} in thread {thread}: {reason}");
    }
}

/// Whether the compiler knew `file` by a path that begins like this file's own. Libraries are
/// compiled under absolute paths, or under another folder.
fn is_own_file(file: &str) -> bool {
    let sources = file!().strip_suffix("logging.rs").unwrap_or("src/");
    file.starts_with(sources)
}

/// The part of a panic's message that was written by us: what follows a colon, a semicolon or
/// "of `" is the run-time value that an `expect`, an assertion or a slice was working on.
fn panic_reason(message: &str) -> &str {
    let end = [": ", "; ", " of `", "\n"].iter().filter_map(|mark| message.find(mark)).min();
    let reason = &message[..end.unwrap_or(message.len())];
    match reason.char_indices().nth(PANIC_REASON_CHARS_MAX) {
        Some((cut, _)) => &reason[..cut],
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::protocol::values::printable::is_printable;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn records(&self) -> Vec<Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    fn logged(level: Level, format: LogFormat, work: impl FnOnce(&Logging)) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, logging) = build(level, format, false, move || writer.clone());
        subscriber::with_default(subscriber, || work(&logging));
        lines
    }

    #[test]
    fn a_json_line_has_the_names_that_elastic_expects() {
        let lines = logged(Level::INFO, LogFormat::Json, |_| {
            let span =
                tracing::info_span!("account", account = "00ff", tries = tracing::field::Empty);
            let _in_span = span.enter();
            span.record("tries", 3);
            tracing::warn!(error = "it \"broke\"", wait_seconds = 7, is_last = true, "waits\nlong");
        });
        assert_eq!(lines.text().lines().count(), 1);
        let record = &lines.records()[0];
        let timestamp = record["@timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.ends_with('Z'));
        assert_eq!(record["log.level"], "warn");
        assert_eq!(record["message"], "waits\nlong");
        assert_eq!(record["ecs.version"], "8.11.0");
        assert_eq!(record["log.logger"], module_path!());
        assert_eq!(record["service.name"], "telewarden");
        assert_eq!(record["error.message"], "it \"broke\"");
        assert_eq!(record["telewarden.account"], "00ff");
        assert_eq!(record["telewarden.tries"], 3);
        assert_eq!(record["telewarden.wait_seconds"], 7);
        assert_eq!(record["telewarden.is_last"], true);
        assert!(lines.text().starts_with("{\"@timestamp\":"));
    }

    #[test]
    fn text_is_readable() {
        let lines = logged(Level::INFO, LogFormat::Text, |_| tracing::info!(sessions = 3, "ready"));
        let text = lines.text();
        assert!(text.contains("INFO") && text.contains("ready") && text.contains("sessions=3"));
        let lines = logged(Level::INFO, LogFormat::Auto, |_| tracing::info!("not a terminal"));
        assert_eq!(lines.records().len(), 1);
    }

    #[test]
    fn libraries_stay_quiet_whatever_the_level() {
        let lines = logged(Level::TRACE, LogFormat::Json, |_| {
            tracing::warn!(target: "lapin::returned_messages", "body");
            tracing::error!(target: "lapin", "no broker");
            tracing::warn!(target: "grammers_client::client::messages", "update");
            tracing::info!(target: "grammers_mtsender::sender", "request");
            tracing::warn!(target: "grammers_mtsender::sender", "a connection ended");
            tracing::warn!(target: "grammers_session::session", "kept 1");
            tracing::info!(target: "sled", "chatter");
            tracing::trace!(target: "telewarden::actors", "kept 2");
        });
        let kept: Vec<Value> = lines.records().iter().map(|r| r["message"].clone()).collect();
        assert_eq!(kept, ["kept 1", "kept 2"]);
        let lines = logged(Level::ERROR, LogFormat::Json, |_| {
            tracing::warn!(target: "grammers_session::session", "below the level");
        });
        assert_eq!(lines.text(), "");
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let lines = logged(Level::INFO, LogFormat::Json, |logging| {
            tracing::debug!("before");
            logging.set_level(Level::DEBUG);
            tracing::debug!("after");
            logging.set_level(Level::ERROR);
            tracing::info!("later");
        });
        assert_eq!(lines.records().len(), 1);
        assert_eq!(lines.records()[0]["message"], "after");
    }

    #[test]
    fn a_huge_field_is_cut() {
        for (format, most) in [(LogFormat::Json, 10_000), (LogFormat::Text, 20_000)] {
            let lines = logged(Level::INFO, format, |_| {
                tracing::info!(huge = "é".repeat(1 << 20), "cut");
                tracing::info!("{}", "é".repeat(1 << 20));
            });
            assert!(lines.text().len() < 2 * most);
            assert_eq!(lines.text().matches('…').count(), 2);
        }
    }

    /// An error whose words a server chose.
    #[derive(Debug, thiserror::Error)]
    #[error("the server says: {0}")]
    struct Foreign(String);

    /// Puts `text` wherever a text can stand in an event.
    fn say_everywhere(text: &str) {
        let error = Foreign(text.to_owned());
        let span = tracing::info_span!("chat", title = %text, later = tracing::field::Empty);
        let _in_span = span.enter();
        span.record("later", tracing::field::display(text));
        tracing::warn!(
            title = %text,
            quoted = text,
            debug = ?text,
            error = &error as &dyn std::error::Error,
            "the chat {text} says"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_that_strangers_wrote_leaves_its_line_or_hides(
            text in "[\\PC\u{0}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{feff}]{0,30}",
        ) {
            for format in [LogFormat::Text, LogFormat::Json] {
                let lines = logged(Level::INFO, format, |_| say_everywhere(&text)).text();
                let line = lines.strip_suffix('\n').unwrap();
                prop_assert!(line.chars().all(is_printable), "{:?}", line);
            }
            let records = logged(Level::INFO, LogFormat::Json, |_| say_everywhere(&text)).records();
            prop_assert_eq!(&records[0]["telewarden.title"], &text);
            prop_assert_eq!(&records[0]["message"], &format!("the chat {text} says"));
        }
    }

    #[test]
    fn on_a_terminal_the_only_escapes_are_the_colours_of_the_frame() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _) = build(Level::INFO, LogFormat::Text, true, move || writer.clone());
        subscriber::with_default(subscriber, || say_everywhere("\u{1b}[2J\u{9b}31m\r\n\u{202e}"));
        let text = lines.text();
        let mut parts = text.split('\u{1b}');
        let mut plain = parts.next().unwrap().to_owned();
        for part in parts {
            let (colour, rest) = part.split_once('m').unwrap();
            let is_colour = colour
                .strip_prefix('[')
                .is_some_and(|code| code.chars().all(|c| c.is_ascii_digit() || c == ';'));
            assert!(is_colour, "{text:?}");
            plain.push_str(rest);
        }
        assert!(plain.strip_suffix('\n').unwrap().chars().all(is_printable), "{plain:?}");
    }

    #[test]
    fn a_panic_is_one_line_without_run_time_values() {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let lines = logged(Level::INFO, LogFormat::Json, |_| {
            let text = "sécret".to_owned();
            let _ = panic::catch_unwind(|| text[2..].len());
            let _ = panic::catch_unwind(|| {
                text.parse::<u32>().map_err(|_| &text).expect("the promise holds")
            });
        });
        panic::set_hook(hook);
        let records = lines.records();
        assert_eq!(records.len(), 2);
        assert!(!lines.text().contains("cret"), "{}", lines.text());
        assert!(records[0]["telewarden.place"].as_str().unwrap().starts_with("src/logging.rs:"));
        assert_eq!(records[1]["telewarden.reason"], "the promise holds");
        assert_eq!(records[1]["message"], "panicked");
    }

    #[test]
    fn only_our_own_files_tell_why_they_panicked() {
        assert!(is_own_file("src/actors/fleet.rs"));
        assert!(!is_own_file("/home/me/.cargo/registry/src/index/grammers-client-0.11.0/src/x.rs"));
        assert!(!is_own_file("/rustc/0123/library/core/src/str/mod.rs"));
        assert!(!is_own_file("tests/simulator/src/lib.rs"));
        assert_eq!(panic_reason(&"é".repeat(500)).chars().count(), PANIC_REASON_CHARS_MAX);
    }
}
