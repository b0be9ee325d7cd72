//! Key files, and roots from wherever the options say. Owns the making of the default file;
//! never decides which origin is used: that is the operator's configuration.
//!
//! A key file holds 32 bytes in standard base64 (44 characters), as `openssl rand -base64 32`
//! prints them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::failpoint;
use crate::protocol::values::secret::SecretText;

use super::root::Root;
use super::seal::{KEY_LEN, MasterKey, RawKey, random_key};
use crate::store::contract::{KeyOrigin, StoreError};

impl KeyOrigin {
    /// Whether a key could be had from here. Changes nothing.
    ///
    /// # Errors
    /// What [`crate::store::Store::open`] would say about it.
    pub fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Own => Ok(()),
            Self::File { path, .. } => KeyFile::configured(path).check(),
            Self::Text { name, text } => from_text(name, text).map(drop),
            Self::Remote(root) => root.check().map_err(|cause| StoreError::Root {
                origin: root.name(),
                cause: cause.to_string(),
            }),
        }
    }

    /// The root itself.
    pub(super) fn read_now(&self, store: &Path) -> Result<Root, StoreError> {
        let key = match self {
            Self::Own => KeyFile::own(store).load(false)?,
            Self::File { path, .. } => {
                let file = File::open(path).map_err(StoreError::file("read", path))?;
                KeyFile::configured(path).read(file)?
            }
            Self::Text { name, text } => from_text(name, text)?,
            Self::Remote(root) => return Ok(Root::remote(root)),
        };
        Ok(Root::Local { key: Box::new(key), name: self.to_string() })
    }
}

fn from_text(name: &'static str, text: &SecretText) -> Result<MasterKey, StoreError> {
    let key = decode(text.expose()).ok_or(StoreError::KeyTextMalformed { name })?;
    Ok(MasterKey::new(&key))
}

fn decode(text: &str) -> Option<RawKey> {
    let decoded = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    <[u8; KEY_LEN]>::try_from(&decoded[..]).ok().map(Zeroizing::new)
}

/// A key file.
#[derive(Clone)]
pub(in crate::store) struct KeyFile {
    /// The key file.
    pub(in crate::store) path: PathBuf,
    /// Whether it was named in the configuration: then it is never made on the operator's behalf.
    pub(in crate::store) configured: bool,
}

impl KeyFile {
    /// The store's own key file.
    pub(in crate::store) fn own(store: &Path) -> Self {
        Self { path: store.join("key"), configured: false }
    }

    /// One that the operator named.
    pub(super) fn configured(path: &Path) -> Self {
        Self { path: path.into(), configured: true }
    }

    pub(super) fn name(&self) -> String {
        format!("the key file {}", self.path.display())
    }

    /// Reads the key and forgets it again.
    fn check(&self) -> Result<(), StoreError> {
        let file = File::open(&self.path).map_err(StoreError::file("read", &self.path))?;
        self.read(file).map(drop)
    }

    /// Reads the key before anything else is touched; it may come through a pipe, and then only once.
    /// One that is missing is missed only if the store is known to have been in use.
    pub(super) fn read_first(&self, used: bool) -> Result<Option<MasterKey>, StoreError> {
        match File::open(&self.path) {
            Ok(file) => self.read(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound && used => {
                Err(StoreError::KeyMissing { path: self.path.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file("read", &self.path)(error)),
        }
    }

    /// Reads the key. `fresh` tells that nothing was sealed yet, so a missing key may be made.
    pub(super) fn load(&self, fresh: bool) -> Result<MasterKey, StoreError> {
        match File::open(&self.path) {
            Ok(file) => self.read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.missing(fresh),
            Err(error) => Err(StoreError::file("read", &self.path)(error)),
        }
    }

    fn missing(&self, fresh: bool) -> Result<MasterKey, StoreError> {
        if !fresh {
            return Err(StoreError::KeyMissing { path: self.path.clone() });
        }
        if self.configured {
            return Err(StoreError::KeyNotMade { path: self.path.clone() });
        }
        let key = random_key()?;
        create_key_file(&self.path, &key).map_err(StoreError::file("create", &self.path))?;
        tracing::warn!(
            path = %self.path.display(),
            "made a new key file; keep a copy apart from the store: without it no session in the \
             store can be read, and with it every one can"
        );
        Ok(MasterKey::new(&key))
    }

    fn read(&self, file: File) -> Result<MasterKey, StoreError> {
        let malformed = || StoreError::KeyMalformed { path: self.path.clone() };
        let meta = file.metadata().map_err(StoreError::file("read", &self.path))?;
        if meta.is_dir() {
            let error = io::Error::from_raw_os_error(libc::EISDIR);
            return Err(StoreError::file("read", &self.path)(error));
        }
        let mode = meta.mode() & 0o7777;
        if mode & 0o077 != 0 && meta.uid() == effective_user() {
            return Err(StoreError::KeyExposed { path: self.path.clone(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(128));
        io::Read::read_to_string(&mut io::Read::take(file, 128), &mut text)
            .map_err(|_| malformed())?;
        decode(&text).map(|key| MasterKey::new(&key)).ok_or_else(malformed)
    }

    /// The file of the key that is to follow this one.
    fn next(&self) -> PathBuf {
        self.path.with_extension("next")
    }

    /// The key that was to follow this one when the last run ended, if there is a whole one. Only
    /// the store's own file is ever followed by another.
    pub(super) fn read_next(&self) -> Option<MasterKey> {
        let path = self.next();
        let file = File::open(&path).ok().filter(|_| !self.configured)?;
        Self { path, configured: false }.read(file).ok()
    }

    /// Writes a new key beside this one, durable before it returns.
    pub(super) fn write_next(&self, key: &RawKey) -> Result<(), StoreError> {
        let next = self.next();
        let written =
            fs::remove_file(&next).or_else(is_absent).and_then(|()| write_key(&next, key));
        written.and_then(|()| sync_parent(&next)).map_err(StoreError::file("create", &next))?;
        Ok(())
    }

    /// Puts the key that was to follow in the place of this one, which is deleted by that.
    pub(in crate::store) fn take_next(&self) -> Result<(), StoreError> {
        let next = self.next();
        let moved = fs::rename(&next, &self.path).and_then(|()| sync_parent(&self.path));
        moved.map_err(StoreError::file("replace", &self.path))?;
        Ok(())
    }

    /// Deletes the key that was to follow: nothing was wrapped with it.
    pub(in crate::store) fn drop_next(&self) -> Result<(), StoreError> {
        let next = self.next();
        fs::remove_file(&next).or_else(is_absent).map_err(StoreError::file("delete", &next))
    }
}

fn is_absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// As ssh judges its keys: only a file of our own is ours to protect. Credentials that systemd
/// hands over belong to root and are opened to the service by an access list, which shows as a
/// group permission.
fn effective_user() -> u32 {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Writes the key beside its place, synced, then moves it there: a crash leaves a whole key or
/// none.
fn create_key_file(path: &Path, key: &RawKey) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    failpoint::reach("key.write.before");
    write_key(&new, key)?;
    failpoint::reach("key.rename.before");
    fs::rename(&new, path)?;
    failpoint::reach("key.rename.after");
    sync_parent(path)
}

fn write_key(path: &Path, key: &RawKey) -> io::Result<()> {
    let mut text = Zeroizing::new(STANDARD.encode(key.as_slice()));
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
