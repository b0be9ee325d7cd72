//! The secret that signs tokens: the configured one, or one that the daemon makes for itself on its
//! first start. Owns the file `<store.path>/jwt-secret`; must never show what it holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aes_gcm::aead::Generate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::exposure::{Exposed, refuse_exposed};
use crate::protocol::values::secret::{SecretText, TOKEN_SECRET_BYTES_MIN};

/// Name of the file in `store.path`.
const FILE: &str = "jwt-secret";
/// Random bytes of a secret that is made here.
const RANDOM_BYTES: usize = 48;
/// Longer files are a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What signs tokens: at least [`TOKEN_SECRET_BYTES_MIN`] bytes.
#[derive(Clone, Debug)]
pub struct TokenSecret {
    secret: SecretText,
    /// Where it was made just now.
    made: Option<PathBuf>,
}

/// Why there is no secret to sign tokens with.
#[derive(Debug, thiserror::Error)]
pub enum TokenSecretError {
    /// It is too easy to guess.
    #[error(
        "sign tokens: the secret has {0} bytes and needs at least {TOKEN_SECRET_BYTES_MIN}; make one \
         with openssl rand -base64 48"
    )]
    TooShort(usize),
    /// The daemon was not started yet, and none is configured.
    #[error(
        "find the secret that signs tokens: the daemon makes it on its first start, in {}; start \
         it once, or set auth.jwt_secret_file", .0.display()
    )]
    NotMade(PathBuf),
    /// The file cannot be read or made.
    #[error("use {}, which holds the secret that signs tokens: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than the daemon can read the file.
    #[error("use the secret that signs tokens: {0}")]
    Exposed(#[from] Exposed),
    /// The system gives no random bytes.
    #[error("make a secret that signs tokens: the system gives no random bytes")]
    NoRandomness,
}

impl TokenSecret {
    /// Takes over a secret, wherever it comes from.
    ///
    /// # Errors
    /// When it is too short.
    pub fn new(secret: SecretText) -> Result<Self, TokenSecretError> {
        let length = secret.expose().len();
        if length < TOKEN_SECRET_BYTES_MIN {
            return Err(TokenSecretError::TooShort(length));
        }
        Ok(Self { secret, made: None })
    }

    /// The configured secret, or the one that the daemon made in `store`.
    ///
    /// # Errors
    /// When there is none yet, or it cannot be used.
    pub fn find(configured: Option<&SecretText>, store: &Path) -> Result<Self, TokenSecretError> {
        if let Some(secret) = configured {
            return Self::new(secret.clone());
        }
        read(&store.join(FILE)).and_then(Self::new)
    }

    /// The same; makes one where there is none. For the daemon alone, since what it makes has to
    /// belong to the daemon's user.
    ///
    /// # Errors
    /// When it cannot be used, or not be made.
    pub fn find_or_make(
        configured: Option<&SecretText>,
        store: &Path,
    ) -> Result<Self, TokenSecretError> {
        match Self::find(configured, store) {
            Err(TokenSecretError::NotMade(path)) => {
                make(&path)?;
                Ok(Self { made: Some(path), ..Self::find(None, store)? })
            }
            found => found,
        }
    }

    /// Where it was made, if it was made just now: the operator should know.
    pub fn made(&self) -> Option<&Path> {
        self.made.as_deref()
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.secret.expose().as_bytes()
    }
}

fn read(path: &Path) -> Result<SecretText, TokenSecretError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => TokenSecretError::NotMade(path.to_owned()),
        _ => TokenSecretError::File { path: path.to_owned(), error },
    };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    refuse_exposed(&about, path)?;
    // With room for all of it: a text that grows leaves copies behind.
    let length = usize::try_from(about.len().min(FILE_BYTES_MAX)).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(length + 1));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(SecretText::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Makes the file whole or not at all, and never replaces one that is there.
fn make(path: &Path) -> Result<(), TokenSecretError> {
    let bytes = <[u8; RANDOM_BYTES]>::try_generate();
    let bytes = Zeroizing::new(bytes.map_err(|_| TokenSecretError::NoRandomness)?);
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*bytes)));
    let new = path.with_extension("new");
    let written = write(&new, path, text.as_bytes());
    written.map_err(|error| TokenSecretError::File { path: path.to_owned(), error })
}

fn write(new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text)?;
    file.sync_all()?;
    match fs::hard_link(new, path) {
        // Somebody was first; theirs is as good.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::remove_file(new)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = TokenSecret::find(None, folder.path());
        assert!(matches!(found, Err(TokenSecretError::NotMade(_))));
        // A crash left this behind.
        fs::write(folder.path().join("jwt-secret.new"), "half").unwrap();
        let made = TokenSecret::find_or_make(None, folder.path()).unwrap();
        let path = made.made().unwrap().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made.expose().len(), 64);
        let again = TokenSecret::find_or_make(None, folder.path()).unwrap();
        assert_eq!((again.expose(), again.made()), (made.expose(), None));
        let found = TokenSecret::find(None, folder.path()).unwrap();
        assert_eq!(found.expose(), made.expose());
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn a_configured_secret_wins_and_has_to_be_long() {
        let folder = tempfile::tempdir().unwrap();
        let long = SecretText::new("x".repeat(32));
        let found = TokenSecret::find_or_make(Some(&long), folder.path()).unwrap();
        assert_eq!(found.expose(), "x".repeat(32).as_bytes());
        assert!(!folder.path().join(FILE).exists());
        let short = SecretText::new("swordfish".to_owned());
        let error = TokenSecret::find_or_make(Some(&short), folder.path()).unwrap_err();
        assert!(error.to_string().contains("9 bytes") && !error.to_string().contains("sword"));
        fs::write(folder.path().join(FILE), "short\n").unwrap();
        mode(&folder.path().join(FILE), 0o600);
        let error = TokenSecret::find_or_make(None, folder.path()).unwrap_err();
        assert!(matches!(error, TokenSecretError::TooShort(5)), "{error}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = TokenSecret::find_or_make(None, folder.path()).unwrap().made.unwrap();
        for open in [0o640, 0o604] {
            mode(&path, open);
            let error = TokenSecret::find_or_make(None, folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {open:04o})")), "{error}");
            assert!(error.contains("chmod 600") && error.contains(FILE), "{error}");
        }
        mode(&path, 0o600);
        assert!(TokenSecret::find(None, folder.path()).is_ok());
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}
