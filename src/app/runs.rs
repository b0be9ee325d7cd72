//! How earlier runs of the process ended, so that a crash loop ends, too.
//!
//! A service manager only counts starts. It cannot tell a process that dies of something each time from
//! one that says that its disk is full and does no harm, and that must be tried as long as the disk is
//! full. So the process leaves a note while it runs and takes it away when its end was in order: told by
//! a signal, or by an error with a cause outside. What finds the note of an earlier run knows that it
//! crashed.
//!
//! The note lies in the unit's runtime folder, which systemd keeps from one automatic restart to the next
//! (`RuntimeDirectoryPreserve=restart`) and empties when the unit is stopped, has failed for good, or the
//! machine is started. Without such a folder nothing is counted.
//!
//! The note is locked (flock(2)) as long as the process lives that wrote it; the kernel ends the lock with
//! it, however it ends. One that is locked says nothing about crashes, and belongs to somebody else.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::protocol::tree::restart::{
    PROCESS, PROCESS_SLOWLY, RestartDecision, RestartHistory, RestartPolicy,
};
use crate::protocol::values::ids::UnixMillis;

/// The note's name in the folder.
const NAME: &str = "runs";
/// The line that stands there while the process runs.
const RUNNING: &str = "running";
/// What a line about a crash begins with; then comes when it was noticed, in milliseconds since boot.
const CRASHED: &str = "crashed ";
/// More is not of ours.
const BYTES_MAX: u64 = 4096;

/// Why the process does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not started: it crashed {crashes} times within {minutes} minutes, and each start connects every session \
     anew. Look at what was logged before each end (journalctl -u telewarden); when it dies of a \
     command, the broker redelivers it first: take it out of the command queue. Then start it: \
     systemctl start telewarden"
)]
pub(super) struct CrashLoop {
    crashes: u32,
    minutes: i64,
}

/// The note of this run.
pub(super) struct Runs {
    note: Option<Note>,
}

struct Note {
    path: PathBuf,
    /// Open, so locked.
    file: File,
    crashes: Vec<i64>,
}

impl Runs {
    /// Notes a run that begins `now`, in milliseconds since boot. `folder` is what the service manager
    /// keeps for its unit, if it keeps one. Nothing is noted where another process runs that keeps its note
    /// there.
    ///
    /// # Errors
    /// When earlier runs were a crash loop. That is forgotten with this: whoever starts the process again
    /// has asked for it.
    pub(super) fn begin(folder: Option<&OsStr>, now: i64) -> Result<Self, CrashLoop> {
        // Several folders of one unit are separated by colons, and none of them is this one.
        let folder = folder.map(Path::new).filter(|folder| folder.is_absolute() && folder.is_dir());
        let Some(folder) = folder else { return Ok(Self { note: None }) };
        let path = folder.join(NAME);
        let file = match take(&path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                tracing::info!(
                    path = %path.display(),
                    "another process that runs keeps its note there, so none is kept of this run"
                );
                return Ok(Self { note: None });
            }
            Err(error) => {
                complain(&path, &error);
                return Ok(Self { note: None });
            }
        };
        let text = read(&file).unwrap_or_else(|error| {
            complain(&path, &error);
            String::new()
        });
        let (crashes, found) = judge(&text, now);
        if let Some(found) = found {
            let _ = fs::remove_file(&path);
            return Err(found);
        }
        let note = Note { path, file, crashes };
        note.write(true);
        Ok(Self { note: Some(note) })
    }

    /// This run ends by its own choice. May be said more than once.
    pub(super) fn ended_in_order(&self) {
        if let Some(note) = &self.note {
            note.write(false);
        }
    }
}

impl Note {
    fn write(&self, is_running: bool) {
        let mut text = String::new();
        for at in &self.crashes {
            let _ = writeln!(text, "{CRASHED}{at}");
        }
        if is_running {
            let _ = writeln!(text, "{RUNNING}");
        }
        // An end in order only takes the last line away, so that is one step: the length.
        let written = self.file.write_all_at(text.as_bytes(), 0);
        if let Err(error) = written.and_then(|()| self.file.set_len(text.len() as u64)) {
            complain(&self.path, &error);
        }
    }
}

/// What cannot be noted must not keep the daemon from its work.
fn complain(path: &Path, error: &io::Error) {
    tracing::warn!(
        path = %path.display(),
        %error,
        "it cannot be noted how this run ends, so a crash loop would not be noticed"
    );
}

/// The note, locked for this process; `None` when another one has it. Where something else has its name,
/// that is neither waited for nor followed.
fn take(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidData.into());
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read(mut file: &File) -> io::Result<String> {
    if file.metadata()?.len() > BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The crashes of which a run that begins `now` keeps a note, and the loop that they are, if they are one and the run
/// before it crashed.
fn judge(text: &str, now: i64) -> (Vec<i64>, Option<CrashLoop>) {
    let horizon = now.saturating_sub(PROCESS_SLOWLY.window_ms);
    let noted = text.lines().filter_map(|line| line.strip_prefix(CRASHED)?.parse().ok());
    let mut crashes: Vec<i64> = noted.filter(|at| (horizon..=now).contains(at)).collect();
    let is_crash = text.lines().any(|line| line == RUNNING);
    crashes.extend(is_crash.then_some(now));
    crashes.sort_unstable();
    let found = [PROCESS, PROCESS_SLOWLY].iter().find_map(|policy| loop_of(&crashes, policy));
    let spare = crashes.len().saturating_sub(PROCESS_SLOWLY.restarts_max as usize);
    (crashes.split_off(spare), found.filter(|_| is_crash))
}

/// The loop that crashes are by a policy, if the last one of them makes it one.
fn loop_of(crashes: &[i64], policy: &RestartPolicy) -> Option<CrashLoop> {
    let mut history = RestartHistory::default();
    let last = crashes.iter().map(|at| history.failed(policy, UnixMillis(*at), 0.0)).last()?;
    match last {
        RestartDecision::Restart { .. } => None,
        RestartDecision::Park { attempt } | RestartDecision::Escalate { attempt } => {
            Some(CrashLoop { crashes: attempt, minutes: policy.window_ms / 60_000 })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn begin(folder: &Path, now: i64) -> Result<Runs, CrashLoop> {
        Runs::begin(Some(folder.as_os_str()), now)
    }

    #[test]
    fn the_sixth_crash_within_ten_minutes_is_the_last_until_somebody_asks() {
        let folder = tempfile::tempdir().unwrap();
        for crash in 0..6 {
            drop(begin(folder.path(), crash * MINUTE).unwrap());
        }
        let parked = begin(folder.path(), 6 * MINUTE).err().unwrap();
        assert_eq!(parked, CrashLoop { crashes: 6, minutes: 10 });
        let text = parked.to_string();
        assert!(text.contains("6 times within 10 minutes") && text.contains("systemctl start"));
        for crash in 0..6 {
            drop(begin(folder.path(), 6 * MINUTE + crash).unwrap());
        }
        assert!(begin(folder.path(), 7 * MINUTE).is_err());
    }

    #[test]
    fn what_ends_in_order_or_seldom_is_started_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        for start in 0..10_000 {
            begin(folder.path(), start * 15_000).unwrap().ended_in_order();
        }
        // Four crashes in an hour, and outages between them.
        for start in 0..1_000 {
            drop(begin(folder.path(), 200_000_000 + start * 15 * MINUTE + 1).unwrap());
            begin(folder.path(), 200_000_000 + start * 15 * MINUTE + MINUTE)
                .unwrap()
                .ended_in_order();
        }
    }

    #[test]
    fn a_loop_whose_turns_take_minutes_ends_within_hours() {
        let folder = tempfile::tempdir().unwrap();
        let ended = (0..).find_map(|crash| begin(folder.path(), crash * 5 * MINUTE).err()).unwrap();
        assert_eq!(ended, CrashLoop { crashes: 31, minutes: 360 });
    }

    #[test]
    fn outages_between_two_crashes_do_not_hide_a_loop() {
        let folder = tempfile::tempdir().unwrap();
        for crash in 0..6 {
            drop(begin(folder.path(), crash * MINUTE).unwrap());
            if crash < 5 {
                begin(folder.path(), crash * MINUTE + 1).unwrap().ended_in_order();
            }
        }
        assert!(begin(folder.path(), 6 * MINUTE).is_err());
    }

    #[test]
    fn without_a_folder_of_its_own_nothing_is_counted_and_nothing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let two = format!("{0}:{0}", folder.path().display());
        for strange in [None, Some(""), Some("relative"), Some("/nowhere/at/all"), Some(&*two)] {
            for _ in 0..10 {
                drop(Runs::begin(strange.map(OsStr::new), 0).unwrap());
            }
        }
        fs::create_dir(folder.path().join(NAME)).unwrap();
        for _ in 0..10 {
            drop(begin(folder.path(), 0).unwrap());
        }
    }

    #[test]
    fn the_note_of_a_process_that_lives_is_neither_counted_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let note = || fs::read_to_string(folder.path().join(NAME)).unwrap();
        let living = begin(folder.path(), 0).unwrap();
        for second in 0..10 {
            // As one that finds the store in use, and as one that crashes.
            begin(folder.path(), second).unwrap().ended_in_order();
            drop(begin(folder.path(), second).unwrap());
            assert_eq!(note(), "running\n");
        }
        living.ended_in_order();
        assert_eq!(note(), "");
        drop(living);
        drop(begin(folder.path(), MINUTE).unwrap());
        let after = begin(folder.path(), 2 * MINUTE).unwrap();
        assert_eq!(note(), format!("crashed {}\nrunning\n", 2 * MINUTE));
        after.ended_in_order();
        after.ended_in_order();
        assert_eq!(note(), format!("crashed {}\n", 2 * MINUTE));
    }

    proptest! {
        #[test]
        fn any_note_is_taken_and_a_new_one_stays_small(
            text in "(crashed -?[0-9]{1,20}\n|running\n|\\PC{0,20}\n){0,40}",
            now in any::<i64>(),
        ) {
            let (crashes, found) = judge(&text, now);
            prop_assert!(crashes.len() <= PROCESS_SLOWLY.restarts_max as usize);
            prop_assert!(crashes.iter().all(|at| *at <= now));
            let is_crash = text.lines().any(|line| line == RUNNING);
            prop_assert!(is_crash || found.is_none());
        }
    }
}
