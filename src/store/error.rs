//! What can go wrong with the store, told so that the reader knows what to do next. Owns the error
//! types of this boundary; never carries a secret or a record's content.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be made, read or protected.
    #[error("could not {action} {path}: {source}")]
    File {
        /// What was tried, e.g. `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory is somebody else's.
    #[error(
        "{path} is open to others and holds what is not ours; give store.path a directory of its \
         own, or close this one (chmod 700)"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another process holds the store.
    #[error(
        "another telewarden runs on this store ({path}); stop it first, or give this one a \
         store.path of its own"
    )]
    Busy {
        /// The store's directory.
        path: PathBuf,
    },
    /// The key file can be read by others.
    #[error(
        "the key file {path} can be read by others (mode {mode:04o}); run `chmod 600 {path}`, and \
         make a new key if someone may have read it"
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is gone, although records were sealed with it.
    #[error(
        "the key file {path} does not exist, but this store was sealed with a key; put the file \
         back, the sessions cannot be read without it"
    )]
    KeyMissing {
        /// The key file.
        path: PathBuf,
    },
    /// A key file was configured and does not exist.
    #[error(
        "the configured key file {path} does not exist; make one with \
         `(umask 077; openssl rand -base64 32 > {path})`"
    )]
    KeyNotMade {
        /// The key file.
        path: PathBuf,
    },
    /// The key file does not hold a key.
    #[error(
        "the key file {path} does not hold a key: expected 32 bytes in base64 (44 characters), as \
         `openssl rand -base64 32` prints them"
    )]
    KeyMalformed {
        /// The key file.
        path: PathBuf,
    },
    /// The key is not the one this store was sealed with.
    #[error(
        "the key in {path} is not the one this store was sealed with; put the right key file back \
         (nothing was changed)"
    )]
    WrongKey {
        /// The key file.
        path: PathBuf,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    NoRandomness,
    /// The store was written by a newer program.
    #[error(
        "this store has format {found}, but this telewarden knows formats up to {known}; start the \
         newer version again (nothing was changed)"
    )]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format that is understood.
        known: u32,
    },
    /// A record was written by a newer program.
    #[error(
        "a {record} record has version {found}, which this telewarden does not know; start the \
         newer version again (nothing was changed)"
    )]
    NewerRecord {
        /// Kind of the record.
        record: &'static str,
        /// The version found.
        found: u8,
    },
    /// A record cannot be understood or its seal is broken.
    #[error(
        "a {record} record is damaged ({detail}); restore the store from a backup, or move it \
         aside to start anew"
    )]
    Damaged {
        /// Kind of the record.
        record: &'static str,
        /// What was wrong with it.
        detail: &'static str,
    },
    /// The database under the store does not open.
    #[error(
        "the database in {path} does not open ({detail}); restore it from a backup, or move the \
         directory aside to start anew"
    )]
    Unreadable {
        /// The database's directory.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// The database is empty, although the store was in use: sled takes a file that it cannot
    /// understand at all for a new one.
    #[error(
        "the database in {path} holds nothing although this store was in use before; restore it \
         from a backup, or move the directory aside to start anew"
    )]
    Emptied {
        /// The store's directory.
        path: PathBuf,
    },
    /// The database failed while it was read.
    #[error("the database failed: {0}")]
    Engine(#[from] EngineError),
    /// The store stopped writing, or was closed.
    #[error(transparent)]
    Stopped(#[from] CommitError),
}

/// A failure below the store: the disk, or the database itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Why a commit was not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk or the database failed. The store writes nothing any more; what was confirmed
    /// before stays. The process should end and be started again once the cause is gone.
    #[error("the store stopped writing ({cause}); free or repair the disk, then start again")]
    Failed {
        /// What failed.
        cause: Arc<str>,
    },
    /// The store was closed before.
    #[error("the store is closed")]
    Closed,
}

impl CommitError {
    /// A failure with its cause.
    pub(super) fn failed(cause: impl std::fmt::Display) -> Self {
        Self::Failed { cause: cause.to_string().into() }
    }
}

impl StoreError {
    /// For `map_err` on file operations.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
