//! Keeps a database as it was found until it is known to be good. sled zeroes and cuts what it takes
//! for torn as soon as it opens, also what a person could have saved; so it opens with a copy beside
//! it, which comes back when the store is refused as damaged. Owns that copy; never looks into it.
//!
//! Beside the database `sled` lie, each for a moment only:
//! - `sled.copying`: a copy under way, worth nothing;
//! - `sled.before`: the database as it was found, whole and synced. One that is there at start is of
//!   a start that was killed, or that could not put it back: it stays until the store has opened;
//! - `sled.done`: on its way out.
//!
//! All of it happens under the store's lock. The database and its copy change places in one step; a
//! file in the folder that goes tells which of the two is which if a crash comes just then.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failpoint;

use super::error::{Files, StoreError};

/// Larger databases open without a copy: it would take long.
const KEEP_BYTES_MAX: u64 = 256 << 20;
/// Room that a copy must leave on the disk, for what has to be written there.
pub(super) const ROOM_BYTES_MIN: u64 = 64 << 20;
/// How long sled's threads may outlive their database.
const SLED_PATIENCE: Duration = Duration::from_secs(5);
/// Lies in a database that was changed and is about to be replaced by its copy.
const CHANGED: &str = "changed";

/// The folders that a database and its copies may have.
struct Places {
    database: PathBuf,
    copying: PathBuf,
    before: PathBuf,
    done: PathBuf,
}

/// A file or folder of a database, as it was found.
pub(super) struct Found {
    name: PathBuf,
    mode: u32,
    owner: (u32, u32),
}

/// What there is to come back to.
enum State {
    /// There is no database yet.
    New,
    /// A copy, made just now.
    Copied(Vec<Found>),
    /// The copy of an earlier start.
    Earlier,
    /// None, and why.
    Without(String),
}

/// What is kept of a database while it is opened. Nothing is deleted when it is dropped.
pub(super) struct Kept {
    places: Places,
    state: State,
}

/// Whether a folder holds a database.
fn is_database(folder: &Path) -> bool {
    folder.join("db").exists()
}

/// Refuses to make a new database where the copy of one waits to be moved back.
pub(super) fn refuse_if_aside(database: &Path) -> Result<(), StoreError> {
    let Places { database, before, .. } = Places::of(database);
    if !is_database(&database) && is_database(&before) && !before.join(CHANGED).exists() {
        return Err(StoreError::Aside { database, copy: before });
    }
    Ok(())
}

impl Kept {
    /// Copies a database, if there is one and room for two of them.
    pub(super) fn of(database: &Path) -> Self {
        let places = Places::of(database);
        if !is_database(database) {
            return Self { places, state: State::New };
        }
        places.sweep();
        if places.before.exists() {
            tracing::warn!(
                "an earlier start did not come to its end: the database as that found it stays in \
                 {} until the store has opened",
                places.before.display()
            );
            return Self { places, state: State::Earlier };
        }
        let state = places.copy().map_or_else(State::Without, State::Copied);
        if let State::Without(why) = &state {
            tracing::warn!(
                "opens the database in {} without a copy of it, because {why}: if it is damaged, \
                 opening it may change what could be saved of it",
                database.display()
            );
        }
        Self { places, state }
    }

    /// The store has opened: what was kept may go. Must come before anything new is acknowledged.
    ///
    /// # Errors
    /// When the copy cannot be moved out of the way: it would be taken for newer than it is.
    pub(super) fn let_go(self) -> Result<(), StoreError> {
        match self.state {
            State::New | State::Without(_) => Ok(()),
            State::Copied(_) | State::Earlier => {
                let before = &self.places.before;
                self.places.dispose().map_err(StoreError::file("move away", before))
            }
        }
    }

    /// The store was refused. A database that is damaged is again as it was found, where that is
    /// possible, and the error tells; any other is fine. Nobody may have the database open any more.
    pub(super) fn after(self, refusal: StoreError) -> StoreError {
        let copy = self.places.before.clone();
        let is_damage = refusal.is_damage();
        let files = match self.state {
            State::New => return refusal,
            State::Copied(_) if !is_damage => {
                if let Err(error) = self.places.dispose() {
                    tracing::warn!(%error, "could not delete {}", copy.display());
                }
                return refusal;
            }
            _ if !is_damage => return refusal,
            State::Copied(found) => match self.places.put_back(&found) {
                Ok(()) => Files::AsFound,
                Err(error) => Files::Aside { copy, why: error.to_string() },
            },
            State::Earlier => Files::Earlier { copy },
            State::Without(why) => Files::NoCopy { why },
        };
        StoreError::Refused { refusal: Box::new(refusal), files }
    }
}

impl Places {
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
            if !is_database(&self.before) {
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
    fn copy(&self) -> Result<Vec<Found>, String> {
        let told = |error: io::Error| format!("it could not be copied ({error})");
        if fs::symlink_metadata(&self.database).map_err(told)?.is_symlink() {
            return Err("it is a link to a folder elsewhere".into());
        }
        let size = size_of_files(&self.database).map_err(told)?;
        if size > KEEP_BYTES_MAX {
            return Err(format!(
                "it has {} MiB, and only up to {} are copied",
                size >> 20,
                KEEP_BYTES_MAX >> 20
            ));
        }
        if free_bytes(&self.database).is_none_or(|free| free < size + ROOM_BYTES_MIN) {
            return Err(format!("there is no room for its {} MiB and some to spare", size >> 20));
        }
        let copied = self.make_copy();
        if copied.is_err() {
            let _ = fs::remove_dir_all(&self.copying);
        }
        copied.map_err(told)
    }

    fn make_copy(&self) -> io::Result<Vec<Found>> {
        self.wait_for_sled()?;
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
    fn put_back(&self, found: &[Found]) -> io::Result<()> {
        self.wait_for_sled()?;
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

    /// The database and its copy change places, at once and for good.
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
    fn wait_for_sled(&self) -> io::Result<()> {
        let file = File::open(self.database.join("db"))?;
        let patience = Instant::now() + SLED_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
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

impl Found {
    /// Gives owner and mode to the copy of this file.
    fn give_to(&self, folder: &Path) -> io::Result<()> {
        let place = if self.name.as_os_str().is_empty() {
            folder.to_owned()
        } else {
            folder.join(&self.name)
        };
        let now = fs::metadata(&place)?;
        if (now.uid(), now.gid()) != self.owner {
            std::os::unix::fs::chown(&place, Some(self.owner.0), Some(self.owner.1))?;
        }
        fs::set_permissions(&place, fs::Permissions::from_mode(self.mode))
    }
}

/// Bytes that this user may still write on the disk of `path`.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `statvfs` is plain numbers, for which zeroes are valid.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and both live through the call.
    let answered = unsafe { libc::statvfs(path.as_ptr(), &mut found) };
    (answered == 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of the files in a folder, without the folders in it.
pub(super) fn size_of_files(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let found = entry?.metadata()?;
        size += if found.is_file() { found.len() } else { 0 };
    }
    Ok(size)
}

/// Copies a folder with all that is in it, synced, closed to others, and answers what it found:
/// first the folder, then what is in it.
///
/// # Errors
/// Also when something in it is neither file nor folder.
pub(super) fn copy_whole(from: &Path, to: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    copy_into(from, to, Path::new(""), &mut found)?;
    Ok(found)
}

fn copy_into(from: &Path, to: &Path, name: &Path, found: &mut Vec<Found>) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    found.push(about(name, &fs::metadata(from)?));
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (place, name) = (to.join(entry.file_name()), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_into(&entry.path(), &place, &name, found)?;
        } else if kind.is_file() {
            let mut source = File::open(entry.path())?;
            found.push(about(&name, &source.metadata()?));
            let mut copy =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
            io::copy(&mut source, &mut copy)?;
            copy.sync_all()?;
        } else {
            return Err(io::Error::other(format!("{} is not a file", entry.path().display())));
        }
    }
    File::open(to)?.sync_all()
}

fn about(name: &Path, found: &fs::Metadata) -> Found {
    let owner = (found.uid(), found.gid());
    Found { name: name.into(), mode: found.permissions().mode() & 0o7777, owner }
}

/// Whether two folders hold the same files with the same bytes.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
        entries.collect::<io::Result<std::collections::BTreeSet<_>>>()
    };
    let all = names(one)?;
    if all != names(other)? {
        return Ok(false);
    }
    for name in all {
        let (one, other) = (one.join(&name), other.join(&name));
        let same = match (fs::metadata(&one)?.is_dir(), fs::metadata(&other)?.is_dir()) {
            (true, true) => is_same(&one, &other)?,
            (false, false) => has_same_bytes(&one, &other)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    const PIECE: u64 = 1 << 16;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        Read::by_ref(&mut one).take(PIECE).read_to_end(&mut left)?;
        Read::by_ref(&mut other).take(PIECE).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
