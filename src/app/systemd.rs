//! Talking to the service manager: READY, STATUS, RELOADING, STOPPING, and WATCHDOG after a
//! heartbeat has gone through the runtime and the tree (sd_notify(3)). It reports; it never stops,
//! restarts or changes anything. Without a service manager it still says in the log who hangs.
//!
//! It has a thread of its own, for two reasons: sending may block when the service manager is
//! stuck, and when every worker of the runtime is, somebody must be left to say so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::time::Instant;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::heartbeat::{Call, Heartbeat};
use crate::actors::{Part, said_by};
use crate::clock::instant;
use crate::protocol::values::printable::Printable;

/// Between two pulses where nobody asks for a watchdog.
const UNWATCHED_EVERY: Duration = Duration::from_secs(30);
/// Shortest time between two looks at what STATUS tells.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Longest STATUS, in characters. It is one line for people.
const STATUS_CHARS_MAX: usize = 300;

/// What is told of a running daemon. Must wait for nobody.
pub(super) trait Vitals: Send {
    /// Accounts that are connected, and those that somebody needs.
    fn sessions(&self) -> (usize, usize);
    /// Why a part that waits for the disk is not to blame.
    fn disk_trouble(&self) -> Option<String>;
}

/// What the thread is told. No bound is needed: signals are coalesced, and of answers there is
/// one for each part, because no pulse begins before the last one has ended.
enum Event {
    Ready { parts: Vec<Part>, vitals: Box<dyn Vitals>, runtime: Handle },
    Reloading,
    Reloaded { failure: Option<String> },
    Stopping { why: String },
    Answered { pulse: u64, part: usize },
}

/// The link to the service manager.
pub(super) struct ServiceManager {
    events: Sender<Event>,
}

impl ServiceManager {
    /// Begins to report to the service manager that the environment names, where there is one.
    pub(super) fn start() -> Self {
        let every = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let every = every.map_or(UNWATCHED_EVERY, |limit| limit / 2);
        let mut is_told = false;
        let (events, reporter) = Reporter::new(every, move |states| {
            if let Err(error) = sd_notify::notify(states)
                && !std::mem::replace(&mut is_told, true)
            {
                tracing::warn!(%error, "the service manager cannot be told how the daemon fares");
            }
        });
        let thread = std::thread::Builder::new().name("systemd".into());
        let run = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| reporter.run())) {
                // Where there is a watchdog it ends the process, because it is fed no more.
                let cause = said_by(&*panic);
                tracing::error!(cause, "nothing more is told to the service manager");
            }
        };
        if let Err(error) = thread.spawn(run) {
            tracing::error!(%error, "nothing will be told to the service manager");
        }
        Self { events }
    }

    /// The daemon does its work from now on. To be called inside of the runtime.
    pub(super) fn ready(&self, mut parts: Vec<Part>, vitals: impl Vitals + 'static) {
        let runtime = Handle::current();
        parts.insert(0, the_runtime(runtime.clone()));
        self.tell(Event::Ready { parts, vitals: Box::new(vitals), runtime });
    }

    /// The configuration is being read again.
    pub(super) fn reloading(&self) {
        self.tell(Event::Reloading);
    }

    /// That is over; `failure` says why nothing changed.
    pub(super) fn reloaded(&self, failure: Option<String>) {
        self.tell(Event::Reloaded { failure });
    }

    /// The daemon stops. There are no beats from here on: systemd has a deadline for stopping.
    pub(super) fn stopping(&self, why: &str) {
        self.tell(Event::Stopping { why: why.into() });
    }

    fn tell(&self, event: Event) {
        // Without its thread nothing is told; that was said when it could not be started.
        let _ = self.events.send(event);
    }
}

/// The part that is the runtime itself: a task that only has to be run.
fn the_runtime(runtime: Handle) -> Part {
    Part::new("runtime", move || {
        let (reply, answer) = oneshot::channel();
        runtime.spawn(async move { reply.send(()) });
        answer
    })
}

type Notify = Box<dyn FnMut(&[NotifyState<'_>]) + Send>;

/// The thread, until the daemon is ready.
struct Reporter {
    every: Duration,
    notify: Notify,
    answers: Sender<Event>,
    inbox: Receiver<Event>,
    /// The last STATUS.
    status: String,
}

impl Reporter {
    fn new(
        every: Duration,
        notify: impl FnMut(&[NotifyState<'_>]) + Send + 'static,
    ) -> (Sender<Event>, Self) {
        let (events, inbox) = channel();
        let (notify, answers) = (Box::new(notify), events.clone());
        (events, Self { every, notify, answers, inbox, status: String::new() })
    }

    fn run(mut self) {
        self.tell_status("starting");
        while let Ok(event) = self.inbox.recv() {
            match event {
                Event::Ready { parts, vitals, runtime } => {
                    let now = instant();
                    let heart = Heartbeat::new(parts, self.every, now);
                    let failure = None;
                    return Watch {
                        reporter: self,
                        heart,
                        vitals,
                        runtime,
                        failure,
                        status_at: now,
                    }
                    .run();
                }
                Event::Stopping { why } => return self.stop(why),
                Event::Reloading | Event::Reloaded { .. } | Event::Answered { .. } => {}
            }
        }
    }

    fn stop(&mut self, why: String) {
        let status = one_line(why);
        (self.notify)(&[NotifyState::Stopping, NotifyState::Status(&status)]);
    }

    fn tell_status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            (self.notify)(&[NotifyState::Status(status)]);
        }
    }
}

/// The thread of a daemon that runs.
struct Watch {
    reporter: Reporter,
    heart: Heartbeat,
    vitals: Box<dyn Vitals>,
    runtime: Handle,
    /// Why the last reload changed nothing.
    failure: Option<String>,
    /// When it last looked at what STATUS tells.
    status_at: Instant,
}

impl Watch {
    fn run(mut self) {
        self.ready();
        let tick = STATUS_EVERY.min(self.reporter.every / 8);
        loop {
            self.look(instant());
            match self.reporter.inbox.recv_timeout(tick) {
                Ok(Event::Answered { pulse, part }) => self.answered(pulse, part),
                Ok(Event::Reloading) => self.reloading(),
                Ok(Event::Reloaded { failure }) => {
                    self.failure = failure;
                    self.ready();
                }
                Ok(Event::Stopping { why }) => return self.reporter.stop(why),
                Ok(Event::Ready { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn ready(&mut self) {
        let status = self.status();
        (self.reporter.notify)(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.reporter.status = status;
    }

    /// systemd from 253 on wants the time beside it, for `Type=notify-reload`.
    fn reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        states.push(NotifyState::Status("reading the configuration again"));
        (self.reporter.notify)(&states);
    }

    fn look(&mut self, now: Instant) {
        let trouble = self.vitals.disk_trouble();
        match self.heart.look(now, trouble.is_some()) {
            Call::Nothing => {}
            Call::Pulse => self.pulse(now),
            Call::Accuse => self.accuse(trouble),
            Call::Excuse => (self.reporter.notify)(&[NotifyState::Watchdog]),
        }
        if now.saturating_duration_since(self.status_at) >= STATUS_EVERY {
            self.show_status(now);
        }
    }

    fn pulse(&mut self, now: Instant) {
        let (pulse, answers) = self.heart.begin(now);
        for (part, answer) in answers.into_iter().enumerate() {
            let answers = self.reporter.answers.clone();
            self.runtime.spawn(async move {
                if answer.await.is_ok() {
                    let _ = answers.send(Event::Answered { pulse, part });
                }
            });
        }
    }

    fn answered(&mut self, pulse: u64, part: usize) {
        let now = instant();
        let Some((took, was_late)) = self.heart.answered(pulse, part, now) else { return };
        (self.reporter.notify)(&[NotifyState::Watchdog]);
        if was_late {
            tracing::warn!(seconds = took.as_secs_f64(), "the heartbeat is back");
            self.show_status(now);
        }
    }

    fn accuse(&mut self, trouble: Option<String>) {
        let parts = self.heart.late().join(", ");
        match trouble {
            None => tracing::error!(
                parts,
                "these parts do not answer the heartbeat; until they do the service manager gets \
                 none, and ends this process when its WatchdogSec is over"
            ),
            Some(trouble) => tracing::error!(
                parts,
                trouble,
                "these parts do not answer the heartbeat, because the disk does not answer either"
            ),
        }
        self.show_status(instant());
    }

    fn show_status(&mut self, now: Instant) {
        self.status_at = now;
        let status = self.status();
        self.reporter.tell_status(&status);
    }

    fn status(&self) -> String {
        let (active, total) = self.vitals.sessions();
        let mut notes = vec![format!("{active}/{total} sessions active")];
        let late = self.heart.late();
        if !late.is_empty() {
            notes.push(format!("no answer from {}", late.join(", ")));
        }
        notes.extend(self.vitals.disk_trouble());
        notes.extend(self.failure.clone());
        one_line(notes.join("; "))
    }
}

/// A STATUS is one line; a line break would begin another assignment.
fn one_line(text: String) -> String {
    let line: String = text.chars().take(STATUS_CHARS_MAX).collect();
    Printable(line.replace(['\n', '\r'], " ")).to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Longer than anything takes here, on a slow and busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);
    const EVERY: Duration = Duration::from_millis(100);

    struct Healthy;

    impl Vitals for Healthy {
        fn sessions(&self) -> (usize, usize) {
            (812, 1000)
        }

        fn disk_trouble(&self) -> Option<String> {
            None
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// What a service manager would see, with the log beside it.
    struct Seen {
        manager: ServiceManager,
        lines: Receiver<String>,
        log: Log,
    }

    impl Seen {
        fn start() -> Self {
            let (tell, lines) = channel();
            let (events, reporter) = Reporter::new(EVERY, move |states| {
                states.iter().for_each(|state| drop(tell.send(state.to_string())));
            });
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            std::thread::spawn(move || {
                tracing::subscriber::with_default(subscriber, || reporter.run());
            });
            Self { manager: ServiceManager { events }, lines, log }
        }

        /// The lines up to the first one that begins like this.
        fn until(&self, beginning: &str) -> Vec<String> {
            let mut seen = Vec::new();
            while !seen.last().is_some_and(|line: &String| line.starts_with(beginning)) {
                seen.push(self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                    panic!("waited in vain for {beginning}: {seen:?}\n{}", self.log.text())
                }));
            }
            seen
        }

        fn is_silent_for(&self, time: Duration) -> bool {
            self.lines.recv_timeout(time).is_err()
        }
    }

    /// A part that answers at once, unless it was told not to: then it keeps the question.
    #[derive(Clone, Default)]
    struct Stub {
        kept: Arc<Mutex<(bool, Vec<oneshot::Sender<()>>)>>,
    }

    impl Stub {
        fn part(&self, name: &'static str) -> Part {
            let kept = Arc::clone(&self.kept);
            Part::new(name, move || {
                let (reply, answer) = oneshot::channel();
                let mut kept = kept.lock().unwrap();
                if kept.0 {
                    kept.1.push(reply);
                } else {
                    reply.send(()).unwrap();
                }
                answer
            })
        }

        fn stick(&self) {
            self.kept.lock().unwrap().0 = true;
        }

        /// Answers; how many questions it was asked meanwhile.
        fn go_on(&self) -> usize {
            let mut kept = self.kept.lock().unwrap();
            kept.0 = false;
            let asked = std::mem::take(&mut kept.1);
            let count = asked.len();
            asked.into_iter().for_each(|reply| reply.send(()).unwrap());
            count
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_part_that_does_not_answer_stops_the_watchdog_and_is_named() {
        let seen = Seen::start();
        let (fleet, jobs) = (Stub::default(), Stub::default());
        seen.manager.ready(vec![fleet.part("fleet"), jobs.part("jobs")], Healthy);
        let first = seen.until("WATCHDOG=1");
        let start = ["STATUS=starting", "READY=1", "STATUS=812/1000 sessions active", "WATCHDOG=1"];
        assert_eq!(first, start);
        assert_eq!(seen.until("WATCHDOG=1"), ["WATCHDOG=1"]);
        jobs.stick();
        let accused = seen.until("STATUS=");
        let status = accused.last().unwrap();
        assert_eq!(status, "STATUS=812/1000 sessions active; no answer from jobs");
        assert!(seen.is_silent_for(EVERY * 5), "no beat without jobs");
        let log = seen.log.text();
        assert!(log.contains("ERROR") && log.contains("parts=\"jobs\""), "{log}");
        assert_eq!(jobs.go_on(), 1, "questions do not pile up");
        let back = seen.until("STATUS=");
        assert_eq!(back, ["WATCHDOG=1", "STATUS=812/1000 sessions active"]);
        seen.until("WATCHDOG=1");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_runtime_whose_workers_are_stuck_gives_no_beat_and_is_named() {
        let seen = Seen::start();
        seen.manager.ready(vec![Stub::default().part("fleet")], Healthy);
        seen.until("WATCHDOG=1");
        let (go_on, stuck) = channel::<()>();
        tokio::spawn(async move { stuck.recv() });
        let status = seen.until("STATUS=812/1000 sessions active; no answer from").pop().unwrap();
        assert!(status.contains("runtime, fleet"), "{status}");
        assert!(seen.is_silent_for(EVERY * 5));
        drop(go_on);
        seen.until("WATCHDOG=1");
    }

    #[tokio::test]
    async fn a_reload_that_failed_is_told_until_one_succeeds() {
        let seen = Seen::start();
        seen.manager.ready(Vec::new(), Healthy);
        seen.until("STATUS=812");
        seen.manager.reloading();
        let lines = seen.until("STATUS=reading");
        let at = lines.iter().position(|line| line == "RELOADING=1").unwrap();
        assert!(lines[at + 1].starts_with("MONOTONIC_USEC="), "{lines:?}");
        seen.manager.reloaded(Some("the file\nis broken".into()));
        let lines = seen.until("STATUS=");
        assert!(lines.contains(&"READY=1".into()), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "STATUS=812/1000 sessions active; the file is broken");
        seen.manager.reloading();
        seen.manager.reloaded(None);
        seen.until("READY=1");
        assert_eq!(seen.until("STATUS="), ["STATUS=812/1000 sessions active"]);
        seen.manager.stopping("stopping: the store failed");
        seen.until("STOPPING=1");
        assert_eq!(seen.until("STATUS="), ["STATUS=stopping: the store failed"]);
    }
}
