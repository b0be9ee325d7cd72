//! Copies of folders: made, compared, and given the owner and mode of the original. Owns no place of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file or folder of a database, as it was found.
pub(in crate::store) struct FileAttributes {
    name: PathBuf,
    mode: u32,
    owner: (u32, u32),
}

impl FileAttributes {
    /// Gives owner and mode to the copy of this file.
    pub(super) fn give_to(&self, folder: &Path) -> io::Result<()> {
        let path = if self.name.as_os_str().is_empty() {
            folder.to_owned()
        } else {
            folder.join(&self.name)
        };
        let now = fs::metadata(&path)?;
        if (now.uid(), now.gid()) != self.owner {
            std::os::unix::fs::chown(&path, Some(self.owner.0), Some(self.owner.1))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(self.mode))
    }
}

/// Bytes that this user may still write on the disk of `path`.
pub(in crate::store) fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `statvfs` is plain numbers, for which zeroes are valid.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and both live through the call.
    let answered = unsafe { libc::statvfs(path.as_ptr(), &mut found) };
    (answered == 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of the files in a folder, without the folders in it.
pub(in crate::store) fn size_of_files(folder: &Path) -> io::Result<u64> {
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
pub(in crate::store) fn copy_whole(from: &Path, to: &Path) -> io::Result<Vec<FileAttributes>> {
    let mut found = Vec::new();
    copy_into(from, to, Path::new(""), &mut found)?;
    Ok(found)
}

fn copy_into(
    from: &Path,
    to: &Path,
    name: &Path,
    found: &mut Vec<FileAttributes>,
) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    found.push(about(name, &fs::metadata(from)?));
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (to.join(entry.file_name()), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_into(&entry.path(), &path, &name, found)?;
        } else if kind.is_file() {
            let mut source = File::open(entry.path())?;
            found.push(about(&name, &source.metadata()?));
            let mut copy =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            io::copy(&mut source, &mut copy)?;
            copy.sync_all()?;
        } else {
            return Err(io::Error::other(format!("{} is not a file", entry.path().display())));
        }
    }
    File::open(to)?.sync_all()
}

fn about(name: &Path, found: &fs::Metadata) -> FileAttributes {
    let owner = (found.uid(), found.gid());
    FileAttributes { name: name.into(), mode: found.permissions().mode() & 0o7777, owner }
}

/// Whether two folders hold the same files with the same bytes.
pub(super) fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
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
    const CHUNK_BYTES: u64 = 1 << 16;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        Read::by_ref(&mut one).take(CHUNK_BYTES).read_to_end(&mut left)?;
        Read::by_ref(&mut other).take(CHUNK_BYTES).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
