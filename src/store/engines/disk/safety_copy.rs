//! Copies a database before it is opened, until it is known to be good. sled zeroes and cuts what it takes
//! for torn as soon as it opens, also what a person could have saved; so it opens with a copy beside
//! it, which comes back when the store is refused as damaged. Owns that copy; never looks into it.
//!
//! Beside the database `sled` lie, each for a moment only:
//! - `sled.copying`: a copy under way, worth nothing;
//! - `sled.before`: the database as it was found, whole and synced. One that is there at start is of
//!   a start that was killed, or that could not put it back: it stays until the store has opened;
//! - `sled.done`: about to be deleted.
//!
//! All of it happens under the store's lock. The database and its copy change places in one step; a
//! file in the folder that goes tells which of the two is which if a crash comes just then.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::instant;
use crate::failpoint;

use super::copying::{FileAttributes, copy_whole, free_bytes, is_same, size_of_files};
use super::sled_engine::holds_database;
use crate::store::contract::{DatabaseFiles, StoreError};

/// Larger databases open without a copy: it would take long.
const COPY_BYTES_MAX: u64 = 256 << 20;
/// Room that a copy must leave on the disk, for what has to be written there.
pub(in crate::store) const FREE_BYTES_MIN: u64 = 64 << 20;
/// How long sled's threads may outlive their database.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Lies in a database that was changed and is about to be replaced by its copy.
const CHANGED: &str = "changed";

/// The folders that a database and its copies may have.
struct DatabasePaths {
    database: PathBuf,
    copying: PathBuf,
    before: PathBuf,
    done: PathBuf,
}

/// What there is to come back to.
enum State {
    /// There is no database yet.
    New,
    /// A copy, made just now.
    Copied(Vec<FileAttributes>),
    /// The copy of an earlier start.
    Earlier,
    /// None, and why.
    Without(String),
}

/// The copy of a database while it is opened. Nothing is deleted when it is dropped.
pub(in crate::store) struct SafetyCopy {
    paths: DatabasePaths,
    state: State,
}

/// Refuses to make a new database where the copy of one waits to be moved back.
pub(in crate::store) fn refuse_if_aside(database: &Path) -> Result<(), StoreError> {
    let DatabasePaths { database, before, .. } = DatabasePaths::of(database);
    if !holds_database(&database) && holds_database(&before) && !before.join(CHANGED).exists() {
        return Err(StoreError::Aside { database, copy: before });
    }
    Ok(())
}

impl SafetyCopy {
    /// Copies a database, if there is one and room for two of them.
    pub(in crate::store) fn of(database: &Path) -> Self {
        let paths = DatabasePaths::of(database);
        if !holds_database(database) {
            return Self { paths, state: State::New };
        }
        paths.sweep();
        if paths.before.exists() {
            tracing::warn!(
                "an earlier start did not come to its end: the database as that found it stays in \
                 {} until the store has opened",
                paths.before.display()
            );
            return Self { paths, state: State::Earlier };
        }
        let state = paths.copy().map_or_else(State::Without, State::Copied);
        if let State::Without(why) = &state {
            tracing::warn!(
                "opens the database in {} without a copy of it, because {why}: if it is damaged, \
                 opening it may change what could be saved of it",
                database.display()
            );
        }
        Self { paths, state }
    }

    /// The store has opened: the copy may be deleted. Must come before anything new is acknowledged.
    ///
    /// # Errors
    /// When the copy cannot be moved out of the way: it would be taken for newer than it is.
    pub(in crate::store) fn discard(self) -> Result<(), StoreError> {
        match self.state {
            State::New | State::Without(_) => Ok(()),
            State::Copied(_) | State::Earlier => {
                let before = &self.paths.before;
                self.paths.dispose().map_err(StoreError::file("move away", before))
            }
        }
    }

    /// The store was refused. A database that is damaged is again as it was found, where that is
    /// possible, and the error tells; any other is fine. Nobody may have the database open any more.
    pub(in crate::store) fn restore_after(self, refusal: StoreError) -> StoreError {
        let copy = self.paths.before.clone();
        let is_damage = refusal.is_damage();
        let files = match self.state {
            State::New => return refusal,
            State::Copied(_) if !is_damage => {
                if let Err(error) = self.paths.dispose() {
                    tracing::warn!(%error, "could not delete {}", copy.display());
                }
                return refusal;
            }
            _ if !is_damage => return refusal,
            State::Copied(found) => match self.paths.put_back(&found) {
                Ok(()) => DatabaseFiles::AsFound,
                Err(error) => DatabaseFiles::Aside { copy, why: error.to_string() },
            },
            State::Earlier => DatabaseFiles::Earlier { copy },
            State::Without(why) => DatabaseFiles::NoCopy { why },
        };
        StoreError::Refused { refusal: Box::new(refusal), files }
    }
}

impl DatabasePaths {
    fn of(database: &Path) -> Self {
        let beside = |word: &str| database.with_extension(word);
        Self {
            database: database.into(),
            copying: beside("copying"),
            before: beside("before"),
            done: beside("done"),
        }
    }

    /// Takes away what is worth nothing, and ends an exchange that a crash came into.
    fn sweep(&self) {
        for needless in [&self.copying, &self.done] {
            let _ = fs::remove_dir_all(needless);
        }
        let mark = self.database.join(CHANGED);
        if mark.exists() {
            if !holds_database(&self.before) {
                let _ = fs::remove_file(mark);
            } else if let Err(error) = self.exchange() {
                tracing::warn!(%error, "the database could not be put back");
            }
        }
        if self.before.join(CHANGED).exists()
            && let Err(error) = self.dispose()
        {
            tracing::warn!(%error, "could not delete {}", self.before.display());
        }
    }

    /// Makes the copy; or why there is none.
    fn copy(&self) -> Result<Vec<FileAttributes>, String> {
        let told = |error: io::Error| format!("it could not be copied ({error})");
        if fs::symlink_metadata(&self.database).map_err(told)?.is_symlink() {
            return Err("it is a link to a folder elsewhere".into());
        }
        let size = size_of_files(&self.database).map_err(told)?;
        if size > COPY_BYTES_MAX {
            return Err(format!(
                "it has {} MiB, and only up to {} are copied",
                size >> 20,
                COPY_BYTES_MAX >> 20
            ));
        }
        if free_bytes(&self.database).is_none_or(|free| free < size + FREE_BYTES_MIN) {
            return Err(format!("there is no room for its {} MiB and some to spare", size >> 20));
        }
        let copied = self.make_copy();
        if copied.is_err() {
            let _ = fs::remove_dir_all(&self.copying);
        }
        copied.map_err(told)
    }

    fn make_copy(&self) -> io::Result<Vec<FileAttributes>> {
        self.wait_until_closed()?;
        let found = copy_whole(&self.database, &self.copying)?;
        failpoint::reach("store.keep.before");
        fs::rename(&self.copying, &self.before)?;
        self.sync_around()?;
        failpoint::reach("store.keep.after");
        Ok(found)
    }

    /// The database is again as it was found, if it was changed.
    ///
    /// # Errors
    /// Why not; then the copy stays where it is.
    fn put_back(&self, found: &[FileAttributes]) -> io::Result<()> {
        self.wait_until_closed()?;
        if !is_same(&self.database, &self.before)? {
            for about in found.iter().rev() {
                about.give_to(&self.before)?;
            }
            let mark = self.database.join(CHANGED);
            let exchanged = File::create(&mark)
                .and_then(|_| File::open(&self.database)?.sync_all())
                .and_then(|()| self.exchange());
            exchanged.inspect_err(|_| drop(fs::remove_file(&mark)))?;
        }
        if let Err(error) = self.dispose() {
            tracing::warn!(%error, "could not delete {}", self.before.display());
        }
        Ok(())
    }

    /// The database and its copy change places, atomically and durably.
    fn exchange(&self) -> io::Result<()> {
        let [database, before] = [&self.database, &self.before]
            .map(|path| std::ffi::CString::new(path.as_os_str().as_bytes()));
        let (database, before) = (database?, before?);
        // SAFETY: both paths end with a zero and live through the call. Called by its number, because
        // not every libc has a name for it.
        let answered = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                database.as_ptr(),
                libc::AT_FDCWD,
                before.as_ptr(),
                libc::RENAME_EXCHANGE,
            )
        };
        if answered != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Err(error) = self.sync_around() {
            tracing::warn!(%error, "could not sync the store's folder");
        }
        Ok(())
    }

    /// Deletes what lies in the copy's place. It is out of the way before the first file goes.
    fn dispose(&self) -> io::Result<()> {
        let _ = fs::remove_dir_all(&self.done);
        failpoint::reach("store.dispose.before");
        fs::rename(&self.before, &self.done)?;
        self.sync_around()?;
        failpoint::reach("store.dispose.after");
        // What stays is taken away at the next start.
        let _ = fs::remove_dir_all(&self.done);
        Ok(())
    }

    fn sync_around(&self) -> io::Result<()> {
        self.database.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Waits until the last thread of a database that was closed has ended: until then it may write.
    /// All of them hold sled's lock.
    fn wait_until_closed(&self) -> io::Result<()> {
        let file = File::open(self.database.join("db"))?;
        let patience = instant() + CLOSE_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if instant() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("the database is still in use"));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}
