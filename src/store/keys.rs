//! Keys and seals. Owns the key file, the key-encryption key and the data keys; never logs or
//! returns key bytes.
//!
//! Credentials are sealed with AES-256-GCM under a fresh data key each, which is wrapped by the
//! key-encryption key from the key file. The segments of the outbox share one data key per opening
//! of the store; their nonce is the segment's first sequence number, which one opening uses once.
//! The associated data of every seal is the record's key in the store, so that no sealed record
//! passes for another.
//!
//! The key file holds 32 bytes in standard base64 (44 characters), as `openssl rand -base64 32`
//! prints them.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, AeadInOut, Generate, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::failpoint;

use super::error::StoreError;
use super::op::StoreOptions;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_ID_LEN: usize = 8;
const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
/// Version of the sealed form.
const SEAL_VERSION: u8 = 1;
/// Bytes before the ciphertext: version, key id, nonce of the wrap, wrapped data key, nonce of the record.
const SEAL_HEAD: usize = 1 + KEY_ID_LEN + NONCE_LEN + WRAPPED_LEN + NONCE_LEN;

type Bytes = Zeroizing<Vec<u8>>;

/// A seal that does not open: another key, another place, or a changed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenSeal;

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    <[u8; N]>::try_generate().map_err(|_| StoreError::NoRandomness)
}

fn cipher(key: &[u8; KEY_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn encrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let damaged = |_| StoreError::Damaged { record: "sealed", detail: "too large to seal" };
    cipher.encrypt(&Nonce::from(nonce), Payload { msg, aad }).map_err(damaged)
}

fn decrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Result<Bytes, BrokenSeal> {
    let plain = cipher.decrypt(&Nonce::from(nonce), Payload { msg, aad });
    plain.map(Zeroizing::new).map_err(|_| BrokenSeal)
}

/// The key-encryption key.
pub(super) struct MasterKey {
    cipher: Aes256Gcm,
    /// Tells which key sealed a record, so that keys can be changed record by record.
    id: [u8; KEY_ID_LEN],
}

impl MasterKey {
    /// Takes over raw key bytes.
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        let digest =
            Sha256::new().chain_update(b"telewarden key id\0").chain_update(key).finalize();
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Self { cipher: cipher(key), id }
    }

    /// A key that lives as long as the process, for stores in memory.
    pub(super) fn ephemeral() -> Result<Self, StoreError> {
        Ok(Self::new(&Zeroizing::new(random()?)))
    }

    /// Seals `plain` under a fresh data key, bound to `place`.
    pub(super) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let data_key = Zeroizing::new(random::<KEY_LEN>()?);
        let (wrap_nonce, nonce) = (random()?, random()?);
        let wrapped = encrypt(&self.cipher, wrap_nonce, &wrap_place(place), &*data_key)?;
        let sealed = encrypt(&cipher(&data_key), nonce, place, plain)?;
        let mut out = Vec::with_capacity(SEAL_HEAD + sealed.len());
        for part in [&[SEAL_VERSION][..], &self.id, &wrap_nonce, &wrapped, &nonce, &sealed] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// Opens what [`MasterKey::seal`] made for the same `place`.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal> {
        let (&SEAL_VERSION, sealed) = sealed.split_first().ok_or(BrokenSeal)? else {
            return Err(BrokenSeal);
        };
        let (id, rest) = sealed.split_first_chunk::<KEY_ID_LEN>().ok_or(BrokenSeal)?;
        let (wrap_nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(BrokenSeal)?;
        let (wrapped, rest) = rest.split_first_chunk::<WRAPPED_LEN>().ok_or(BrokenSeal)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(BrokenSeal)?;
        if *id != self.id {
            return Err(BrokenSeal);
        }
        let data_key = decrypt(&self.cipher, *wrap_nonce, &wrap_place(place), wrapped)?;
        let data_key = data_key.first_chunk::<KEY_LEN>().ok_or(BrokenSeal)?;
        decrypt(&cipher(data_key), *nonce, place, rest)
    }
}

fn wrap_place(place: &[u8]) -> Vec<u8> {
    [b"telewarden data key\0", place].concat()
}

/// The data keys of the outbox: one per opening of the store, the newest for writing.
pub(super) struct Keyring {
    ciphers: HashMap<u32, Aes256Gcm>,
    epoch: u32,
}

impl Keyring {
    /// Draws the data key of this opening, number `epoch`, and returns its wrapped form as well.
    pub(super) fn new(
        master: &MasterKey,
        epoch: u32,
        place: &[u8],
    ) -> Result<(Self, Vec<u8>), StoreError> {
        let key = Zeroizing::new(random::<KEY_LEN>()?);
        let wrapped = master.seal(place, &*key)?;
        Ok((Self { ciphers: HashMap::from([(epoch, cipher(&key))]), epoch }, wrapped))
    }

    /// Adds the key of an earlier opening.
    pub(super) fn add(
        &mut self,
        master: &MasterKey,
        epoch: u32,
        place: &[u8],
        wrapped: &[u8],
    ) -> Result<(), BrokenSeal> {
        let key = master.open(place, wrapped)?;
        let key = key.first_chunk::<KEY_LEN>().ok_or(BrokenSeal)?;
        self.ciphers.insert(epoch, cipher(key));
        Ok(())
    }

    /// Number of the key that writes.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Encrypts `buffer[from..]` in place and appends the tag. `nonce` must be new to this epoch.
    pub(super) fn seal_tail(
        &self,
        nonce: u64,
        place: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), BrokenSeal> {
        let cipher = self.ciphers.get(&self.epoch).ok_or(BrokenSeal)?;
        let nonce = Nonce::from(nonce_bytes(nonce));
        let tail = (&mut buffer[from..]).into();
        let tag = cipher.encrypt_inout_detached(&nonce, place, tail).map_err(|_| BrokenSeal)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens what [`Keyring::seal_tail`] made.
    pub(super) fn open(
        &self,
        epoch: u32,
        nonce: u64,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Bytes, BrokenSeal> {
        let cipher = self.ciphers.get(&epoch).ok_or(BrokenSeal)?;
        decrypt(cipher, nonce_bytes(nonce), place, sealed)
    }
}

fn nonce_bytes(number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Where the key comes from.
pub(super) struct KeySource {
    /// The key file.
    pub(super) path: PathBuf,
    /// Whether it was named in the configuration: then it is never made on the operator's behalf.
    pub(super) configured: bool,
}

impl KeySource {
    /// What the options say of it.
    pub(super) fn of(options: &StoreOptions) -> Self {
        Self {
            path: options.key_file.clone().unwrap_or_else(|| options.path.join("key")),
            configured: options.key_file.is_some(),
        }
    }

    /// Reads the key and forgets it again.
    pub(super) fn check(&self) -> Result<(), StoreError> {
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
        let key = Zeroizing::new(random::<KEY_LEN>()?);
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
        let decoded = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| malformed())?;
        let key = <&[u8; KEY_LEN]>::try_from(&decoded[..]).map_err(|_| malformed())?;
        Ok(MasterKey::new(key))
    }
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
fn create_key_file(path: &Path, key: &[u8; KEY_LEN]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut text = Zeroizing::new(STANDARD.encode(key));
    text.push('\n');
    let _ = fs::remove_file(&new);
    failpoint::reach("key.write.before");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    failpoint::reach("key.rename.before");
    fs::rename(&new, path)?;
    failpoint::reach("key.rename.after");
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn source(dir: &tempfile::TempDir) -> KeySource {
        KeySource { path: dir.path().join("key"), configured: false }
    }

    #[test]
    fn a_seal_opens_only_with_its_key_in_its_place_and_unchanged() {
        let key = MasterKey::new(&[7; 32]);
        let sealed = key.seal(b"place", b"secret").unwrap();
        assert_eq!(key.open(b"place", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(key.open(b"other", &sealed), Err(BrokenSeal));
        assert_eq!(MasterKey::new(&[8; 32]).open(b"place", &sealed), Err(BrokenSeal));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"place", &changed), Err(BrokenSeal), "byte {at}");
            assert_eq!(key.open(b"place", &sealed[..at]), Err(BrokenSeal), "cut at {at}");
        }
    }

    #[test]
    fn the_same_secret_never_looks_the_same_twice() {
        let key = MasterKey::new(&[7; 32]);
        assert_ne!(key.seal(b"place", b"secret").unwrap(), key.seal(b"place", b"secret").unwrap());
    }

    #[test]
    fn segments_of_an_earlier_opening_stay_readable() {
        let master = MasterKey::new(&[7; 32]);
        let (first, wrapped) = Keyring::new(&master, 1, b"d1").unwrap();
        let mut buffer = b"headbody".to_vec();
        first.seal_tail(42, b"place", &mut buffer, 4).unwrap();
        assert_eq!(&buffer[..4], b"head");
        let (mut second, _) = Keyring::new(&master, 2, b"d2").unwrap();
        assert_eq!(second.open(1, 42, b"place", &buffer[4..]), Err(BrokenSeal));
        second.add(&master, 1, b"d1", &wrapped).unwrap();
        assert_eq!(second.open(1, 42, b"place", &buffer[4..]).unwrap().as_slice(), b"body");
        assert_eq!(second.open(1, 43, b"place", &buffer[4..]), Err(BrokenSeal));
    }

    #[test]
    fn a_new_key_is_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let made = source(&dir).load(true).unwrap();
        let mode = fs::metadata(dir.path().join("key")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let sealed = made.seal(b"place", b"secret").unwrap();
        assert!(source(&dir).load(false).unwrap().open(b"place", &sealed).is_ok());
    }

    #[test]
    fn a_missing_key_is_made_only_for_an_empty_store_and_the_default_place() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(source(&dir).load(false), Err(StoreError::KeyMissing { .. })));
        let configured = KeySource { configured: true, ..source(&dir) };
        assert!(matches!(configured.load(true), Err(StoreError::KeyNotMade { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        source(&dir).load(true).unwrap();
        let path = dir.path().join("key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = source(&dir).load(false);
        assert!(matches!(refused, Err(StoreError::KeyExposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in ["", "hello", "AAAA", &"A".repeat(200)] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(source(&dir).load(false), Err(StoreError::KeyMalformed { .. })));
        }
    }
}
