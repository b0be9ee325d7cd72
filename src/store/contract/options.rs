//! Where a store is, how it is opened, and where its root key comes from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::protocol::values::secret::SecretText;

/// Page cache unless configured otherwise, in bytes.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Where a store is and how it is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The directory; made with mode 0700.
    pub path: PathBuf,
    /// Where the root comes from, the key that wraps all others.
    pub key: KeyOrigin,
    /// Where roots came from that it replaces; looked at only when they are needed.
    pub previous_keys: Vec<KeyOrigin>,
    /// Bound of the page cache, in bytes.
    pub cache_bytes: u64,
    /// What records and entries are dated by.
    pub clock: Clock,
    /// Whether the operator says that the store moved: it may be opened where it was not before.
    pub has_moved: bool,
}

impl StoreOptions {
    /// The defaults for a store in `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            key: KeyOrigin::Own,
            previous_keys: vec![],
            cache_bytes: CACHE_BYTES_DEFAULT,
            clock: Clock::system(),
            has_moved: false,
        }
    }
}

/// Where the key comes from that wraps all others.
#[derive(Clone, Default)]
pub enum KeyOrigin {
    /// The file `key` in the store's directory, made on first start.
    #[default]
    Own,
    /// A file that the operator provides.
    File {
        /// What it is to the operator, e.g. `the systemd credential telewarden-key`; without the path.
        name: &'static str,
        /// Where it lies.
        path: PathBuf,
    },
    /// A text that the operator provides: 32 bytes in base64.
    Text {
        /// What it is to the operator, e.g. `the variable TELEWARDEN_KEY`.
        name: &'static str,
        /// The text.
        text: SecretText,
    },
    /// A service that wraps keys and never gives its own away.
    Remote(Arc<dyn RemoteRoot>),
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the file key in the store's directory"),
            Self::File { name, path } => write!(f, "{name} ({})", path.display()),
            Self::Text { name, .. } => f.write_str(name),
            Self::Remote(root) => f.write_str(&root.name()),
        }
    }
}

impl fmt::Debug for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyOrigin({self})")
    }
}

/// Why a service did not wrap or unwrap a key: what happened, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RootError(pub String);

/// A service that wraps keys and never gives its own away, such as Vault's Transit. Its calls may
/// block for as long as the network takes; none runs on the store's writer.
pub trait RemoteRoot: Send + Sync {
    /// What it is to the operator, e.g. `Vault's Transit key telewarden`.
    fn name(&self) -> String;

    /// What tells its key from others, for as long as the key exists; not a secret.
    fn identity(&self) -> String;

    /// Wraps `plain`.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn wrap(&self, plain: &[u8]) -> Result<Vec<u8>, RootError>;

    /// Unwraps what [`RemoteRoot::wrap`] made.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn unwrap(&self, wrapped: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, RootError>;

    /// Whether logging in there uses something up, so that nobody should do it only to see whether
    /// it works.
    fn is_spent_by_asking(&self) -> bool {
        false
    }

    /// Whether it could be used now. Changes nothing.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn check(&self) -> Result<(), RootError> {
        let told = self.unwrap(&self.wrap(b"telewarden")?)?;
        let wrong = || RootError("it does not give back what it wrapped".to_owned());
        (told.as_slice() == b"telewarden").then_some(()).ok_or_else(wrong)
    }
}
