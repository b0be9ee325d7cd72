//! A copy of a database in the folder for temporary files, to be opened in place of the original. Owns that copy,
//! and deletes what earlier ones left behind.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::contract::StoreError;
use crate::store::engines::disk::{self, FREE_BYTES_MIN, copy_whole, free_bytes, size_of_files};
use crate::store::keys;

/// How the names of copies begin.
const NAME: &str = "telewarden-check-";
/// No examination takes so long: a copy that is older was left behind.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Page cache of the copy, in bytes.
pub(super) const CACHE_BYTES: u64 = 16 << 20;

/// Runs `work` without what the engine says when it panics, which is part of the error: it is not needed
/// twice.
pub(super) fn without_panic_output<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let seen = work();
    std::panic::set_hook(hook);
    seen
}

/// Errors speak of the original.
pub(super) fn naming_the_original(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Unreadable { detail, .. } => {
            StoreError::Unreadable { path: disk::directory(path), detail }
        }
        other => other,
    }
}

/// A copy of a database, private like the original and gone with this value.
pub(super) struct ScratchCopy {
    pub(super) path: PathBuf,
}

impl ScratchCopy {
    /// The copy, or why there is none.
    pub(super) fn of(database: &Path) -> Result<Self, String> {
        let folder = std::env::temp_dir();
        sweep(&folder);
        let size = size_of_files(database).map_err(|error| error.to_string())?;
        // Opening writes a little, and others need that folder too.
        if free_bytes(&folder).is_none_or(|free| free < size + FREE_BYTES_MIN) {
            let (size, folder) = (size >> 20, folder.display());
            return Err(format!(
                "there is no room in {folder} for a copy of its {size} MiB and some to spare; set \
                 TMPDIR to a folder with more"
            ));
        }
        let unique = keys::random().map_err(|error| error.to_string())?;
        let copy = Self { path: folder.join(format!("{NAME}{:016x}", u64::from_be_bytes(unique))) };
        match copy_whole(database, &copy.path) {
            Ok(_) => Ok(copy),
            Err(error) => {
                Err(format!("it could not be copied to {}: {error}", copy.path.display()))
            }
        }
    }
}

/// Deletes what earlier ones left that were killed: folders of this user's, older than a day.
fn sweep(folder: &Path) {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    let own = unsafe { libc::geteuid() };
    let now = Clock::system().now().seconds();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else { continue };
        let age = Duration::from_secs(u64::try_from(now - found.mtime()).unwrap_or(0));
        let is_ours = entry.file_name().to_string_lossy().starts_with(NAME)
            && found.is_dir()
            && found.uid() == own;
        if is_ours && age > LEFT_AFTER {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for ScratchCopy {
    fn drop(&mut self) {
        // The engine's threads end a little later than its database, and write a last file meanwhile.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_copies_of_earlier_looks_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("db"), "x").unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let left = make("telewarden-check-1", LEFT_AFTER * 2);
        let stay = [
            make("telewarden-check-2", LEFT_AFTER / 2),
            make("somebody-elses", LEFT_AFTER * 2),
            make("telewarden", LEFT_AFTER * 2),
        ];
        let link = folder.path().join("telewarden-check-3");
        std::os::unix::fs::symlink(&stay[1], &link).unwrap();
        sweep(folder.path());
        assert!(!left.exists());
        assert!(stay.iter().all(|path| path.join("db").exists()));
        assert!(link.is_symlink());
    }
}
