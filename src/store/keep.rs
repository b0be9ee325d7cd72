//! Keeps a database as it was found until it is known to be good. sled zeroes and cuts what it takes
//! for torn as soon as it opens, also what a person could have saved; so it opens with a copy beside
//! it, which comes back when the store is refused. Owns that copy; never looks into it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Larger databases open without a copy: it would take long, and damage is told all the same.
const KEEP_BYTES_MAX: u64 = 256 << 20;
/// Room that a copy must leave on the disk, for what the daemon has to write.
const ROOM_BYTES_MIN: u64 = 64 << 20;

/// A copy of a database, which is deleted unless it is put back.
pub(super) struct Kept {
    database: PathBuf,
    copy: PathBuf,
}

impl Kept {
    /// Copies a database, if there is one and room for two of them.
    pub(super) fn of(database: &Path) -> Option<Self> {
        let kept = Self { database: database.into(), copy: database.with_extension("before") };
        // Of a start that was interrupted. What it was a copy of may have gone on since.
        let _ = fs::remove_dir_all(&kept.copy);
        let size = size_of_files(database).ok().filter(|size| *size > 0)?;
        if size > KEEP_BYTES_MAX || free_bytes(database)? < size + ROOM_BYTES_MIN {
            return None;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(&kept.copy);
        let copied = made.and_then(|()| copy_files(database, &kept.copy));
        copied
            .inspect_err(|error| tracing::debug!(%error, "opens the database without a copy of it"))
            .ok()
            .map(|()| kept)
    }

    /// The database is again as it was found.
    pub(super) fn put_back(self) {
        let changed = self.database.with_extension("changed");
        let _ = fs::remove_dir_all(&changed);
        let moved = fs::rename(&self.database, &changed)
            .and_then(|()| fs::rename(&self.copy, &self.database));
        match moved {
            Ok(()) => drop(fs::remove_dir_all(&changed)),
            Err(error) => tracing::error!(
                %error,
                "the database was changed while it was opened and could not be put back; as it \
                 was it lies in {}",
                self.copy.display()
            ),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Once it was put back it is not there any more.
        if self.database.exists() {
            let _ = fs::remove_dir_all(&self.copy);
        }
    }
}

/// Bytes that this user may still write on the disk of `path`.
fn free_bytes(path: &Path) -> Option<u64> {
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

/// Copies a folder's files and the folders in it, which sled keeps one deep.
pub(super) fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&place)?;
            copy_files(&entry.path(), &place)?;
        } else if kind.is_file() {
            match fs::copy(entry.path(), place) {
                // sled takes away old files a moment after it was closed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
    }
    Ok(())
}
