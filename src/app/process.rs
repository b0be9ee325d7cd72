//! The daemon as a process: limits, signals, exit.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::door::DoorEnded;
use super::runs::{CrashLoop, Runs};
use super::systemd::ServiceManager;
use super::{Daemon, Reload};
use crate::actors::RootError;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{CommitError, Outbox};

/// Exit code after a second signal: the usual one for SIGINT.
const HARD_STOP: i32 = 130;

/// Exit code when it refuses to start after a crash loop. The unit takes it for an end
/// (`RestartPreventExitStatus=`).
const CRASH_LOOP: u8 = 3;

/// Longest wait for threads that block, once everything else has ended: for a disk that hangs, or the
/// system's resolver. With `shutdown.timeout_seconds` (30) it is shorter than the unit's `TimeoutStopSec=`
/// (45). What such a thread leaves unfinished on disk is what a crash there would leave.
const THREADS_MAX: Duration = Duration::from_secs(5);

/// Names the folder that systemd keeps for a unit with `RuntimeDirectory=` (systemd.exec(5)).
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";

/// Sees to it that the process leaves no core, tells the allocator how to treat big blocks, raises the
/// limit of open files, and turns the limit of file sizes into an error. To be called first of all,
/// before any thread is started and any secret is read.
///
/// The library allocates two zeroed 1 MiB buffers a connection, of which only touched pages cost
/// memory. With glibc's moving threshold freed ones are kept and reused, and every reconnect makes
/// more of them resident; with a fixed threshold each is mapped and given back.
pub fn prepare_process() {
    leave_no_core();
    #[cfg(target_env = "gnu")]
    {
        const MMAP_THRESHOLD_BYTES: i32 = 128 * 1024;
        const ARENAS_MAX: i32 = 2;
        // SAFETY: called at the start of main, before any other thread exists; mallopt only sets
        // parameters of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
            libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        }
    }
    raise_open_files();
    outlive_file_size_limits();
}

/// The memory of the process holds every key and every session, so none of it may become a core,
/// whatever ends the process and whatever limits it was started with.
///
/// A process that is not dumpable leaves none, neither in a file nor piped into a program (prctl(2),
/// core(5)); `fs.suid_dumpable` only says what set-user-ID programs begin with. Nor may others of the
/// same user attach to it or read its memory. Nothing here changes credentials or executes a program,
/// which would set it anew.
///
/// The limit says the same once more. Of 1 byte rather than 0, because 0 does not bind a kernel that
/// pipes cores into a program and 1 does (`do_coredump` in the kernel), while a file of 1 byte is too
/// small for any core.
fn leave_no_core() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: prctl takes plain numbers; the others get a valid pointer to a struct that lives through
    // them. A lower limit is always granted.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        if libc::getrlimit(libc::RLIMIT_CORE, &mut limit) == 0 {
            let most = limit.rlim_max.min(1);
            limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
        }
    }
}

/// A file that may not grow any more comes back as an error from the write, told like a full disk,
/// instead of a signal that ends the process without a word.
fn outlive_file_size_limits() {
    // SAFETY: ignoring a signal involves no handler; nobody else has one for it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Every account needs a socket: takes what the administrator allows.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to a struct that lives through them. A refusal
    // changes nothing and shows later as an error of the socket that did not fit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Runs the daemon until SIGTERM or SIGINT, on a store that `has_moved` if the operator says so. A second signal ends the process at once; SIGHUP reads
/// the configuration again.
///
/// Exit status: 0 after SIGTERM or SIGINT; 1 with an error, whatever it is (a store that cannot be
/// opened, a disk that became full), told as the last line on stderr and, once it is up, in STATUS;
/// 3 after a crash loop ([`Runs`]); 130 after a second signal. Mistakes on the command line end with 2
/// before this. A service manager may start it again after 1: what is broken stays refused and unchanged
/// until somebody mends it. After 3 it may not.
///
/// # Errors
/// What could not be started, or what ended without which going on would be a lie.
pub fn run(reload: Reload, has_moved: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    let runs =
        Runs::begin(std::env::var_os(RUNTIME_DIRECTORY).as_deref(), Clock::system().steady().0)?;
    let ended = runtime.block_on(serve(reload, has_moved, &runs));
    note_end(&runs, ended.as_ref().err());
    runtime.shutdown_timeout(THREADS_MAX);
    ended
}

/// Notes how the run ends, as soon as that is known: what is still to be stopped may hang until the
/// service manager kills it, which must not make a crash of it.
fn note_end(runs: &Runs, failure: Option<&anyhow::Error>) {
    if !failure.is_some_and(is_crash) {
        runs.ended_in_order();
    }
}

/// Whether an end is to be counted as a crash: what ended will end again with every start, each of which
/// connects every session anew. So it is with a fault of ours in the tree, the writer or the HTTP edge, and
/// with a store that turned out to be damaged while it was used. A disk that fails is not counted, nor is
/// what cannot be started: it says why, before any session is connected.
fn is_crash(error: &anyhow::Error) -> bool {
    error.is::<RootError>()
        || error.is::<DoorEnded>()
        || error.downcast_ref().is_some_and(CommitError::comes_again)
}

/// The exit code for an error of [`run`].
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<CrashLoop>() { ExitCode::from(CRASH_LOOP) } else { ExitCode::FAILURE }
}

async fn serve(mut reload: Reload, has_moved: bool, runs: &Runs) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    // Listened for from the start: by default it would end the process.
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
    let manager = ServiceManager::start();
    let (daemon, outbox) = tokio::select! {
        started = Daemon::start_moved(reload.running(), has_moved) => started?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    greet(reload.running(), outbox.is_some());
    // Nobody reads it here: what is for webhooks is in their lines.
    outbox.into_iter().for_each(Outbox::abandon);
    manager.ready(daemon.parts(), daemon.health());
    let failure = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            failure = daemon.failed() => break Some(failure),
            _ = hangup.recv() => {
                manager.reloading();
                manager.reloaded(reload.run(&daemon).await.err());
            }
        }
    };
    // Before a second signal can end it.
    note_end(runs, failure.as_ref());
    match &failure {
        None => {
            manager.stopping("stopping");
            tracing::info!("stopping; a second signal ends at once");
        }
        Some(failure) => {
            manager.stopping(&format!("stopping: {failure:#}"));
            tracing::error!(error = format!("{failure:#}"), "stopping: it cannot go on");
        }
    }
    let grace = reload.running().shutdown.timeout;
    let stopped = tokio::select! {
        stopped = daemon.stop() => stopped,
        _ = terminate.recv() => std::process::exit(HARD_STOP),
        _ = interrupt.recv() => std::process::exit(HARD_STOP),
    };
    if let Some(failure) = failure {
        return Err(failure);
    }
    stopped?;
    tracing::info!(grace_seconds = grace.as_secs(), "stopped");
    Ok(ExitCode::SUCCESS)
}

fn greet(config: &Config, without_bridge: bool) {
    let listen = config.http.listen;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, "telewarden is up");
    if without_bridge {
        tracing::info!(
            api = %format_args!("http://{listen}/docs"),
            "the bridge is off, so it is commanded over HTTP: telewarden token --user NAME makes a \
             token, and docs/http-api.md shows the first steps. For the bridge set RABBITMQ_URL, or \
             bridge.enabled and bridge.url in config.toml, and start it again"
        );
    }
    if config.telegram.api_id.is_none() {
        tracing::info!(
            "telegram.api_id is not set: only sessions that bring their own can connect; get one \
             at my.telegram.org and set TELEGRAM_API_ID"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DiskTrouble, StoreError};

    #[test]
    fn a_fault_of_ours_counts_as_a_crash_and_what_lies_outside_does_not() {
        let ended = RootError::Ended { part: "fleet".into(), cause: "panicked".into() };
        assert!(is_crash(&anyhow::Error::new(ended)));
        assert!(is_crash(&anyhow::Error::new(DoorEnded("it panicked".into()))));
        // As `Daemon::failed` tells it.
        let store = |error: CommitError| anyhow::Error::new(error).context("the store failed");
        let failed = |is_panic, trouble| CommitError::Failed {
            cause: "said".into(),
            trouble,
            is_panic,
            path: None,
        };
        assert!(is_crash(&store(failed(true, None))));
        assert!(is_crash(&store(CommitError::Damaged { cause: "it panicked".into(), path: None })));
        assert!(!is_crash(&store(failed(false, None))));
        assert!(!is_crash(&store(failed(false, Some(DiskTrouble::Full)))));
        assert!(!is_crash(&store(CommitError::Closed)));
        let full = StoreError::NotThere { path: "state".into() };
        let full = anyhow::Error::new(full).context("the store failed");
        assert!(!is_crash(&full));
        assert_eq!(exit_code(&full), ExitCode::FAILURE);
    }
}
