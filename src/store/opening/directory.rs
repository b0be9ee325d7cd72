//! The store's directory: made private, locked by one process, marked once it is in use. Owns the
//! files beside the database; never opens the database.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::instant;
use crate::failpoint;

use crate::store::contract::StoreError;
use crate::store::format::FORMAT;

/// How long to wait for a process that is just ending, or for a child it just forked.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const MARKER: &str = "telewarden store, format ";

/// Makes the directory, or closes an existing one to others.
pub(in crate::store) fn make_private(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::file("create", path))?;
    let mode = fs::metadata(path).map_err(StoreError::file("read", path))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if !is_ours(path)? {
        return Err(StoreError::Foreign { path: path.into() });
    }
    tracing::warn!(
        path = %path.display(),
        "the store's directory was open to others (mode {:04o}); closing it",
        mode & 0o7777
    );
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(StoreError::file("protect", path))
}

/// Whether a directory is empty or was a store before: any other may be somebody's, and closing it
/// would shut them out.
pub(in crate::store) fn is_ours(path: &Path) -> Result<bool, StoreError> {
    let mut entries = fs::read_dir(path).map_err(StoreError::file("read", path))?;
    let is_empty = entries.next().is_none();
    Ok(is_empty || path.join("lock").exists() || marker(path).exists())
}

/// Takes the store for this process. The lock goes with the file handle, also after a crash.
pub(in crate::store) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = path.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(StoreError::file("create", &name))?;
    wait_for(file, path)
}

/// The same without making the file: where there is none, nobody holds the store.
pub(in crate::store) fn lock_if_exists(path: &Path) -> Result<Option<File>, StoreError> {
    let name = path.join("lock");
    match File::open(&name) {
        Ok(file) if file.metadata().is_ok_and(|found| found.is_dir()) => {
            Err(StoreError::file("open", &name)(io::Error::from_raw_os_error(libc::EISDIR)))
        }
        Ok(file) => wait_for(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("open", &name)(error)),
    }
}

fn wait_for(file: File, path: &Path) -> Result<File, StoreError> {
    let patience = instant() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if instant() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", path)(error)),
        }
    }
}

fn marker(path: &Path) -> PathBuf {
    path.join("format")
}

/// Whether the store was in use before. Refuses formats of newer programs before their database is
/// touched.
pub(in crate::store) fn read_marker(path: &Path) -> Result<bool, StoreError> {
    let file = marker(path);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::file("read", &file)(error)),
    };
    let found = text.strip_prefix(MARKER).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match found {
        Some(found) if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
        Some(_) => Ok(true),
        None => Err(StoreError::Damaged { record: "format", detail: "its file is not readable" }),
    }
}

/// Marks the store as used.
pub(in crate::store) fn write_marker(path: &Path) -> Result<(), StoreError> {
    let file = marker(path);
    let text = format!("{MARKER}{FORMAT}\n");
    if fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let new = path.join("format.new");
    let write = || {
        let mut handle = File::create(&new)?;
        handle.write_all(text.as_bytes())?;
        handle.sync_all()?;
        fs::rename(&new, &file)?;
        File::open(path)?.sync_all()
    };
    failpoint::reach("store.marker.before");
    write().map_err(StoreError::file("create", &file))?;
    failpoint::reach("store.marker.after");
    Ok(())
}
