//! What can go wrong with the store, worded so that the operator knows what to do next. Owns the error
//! types of this boundary; never carries a secret or a record's content.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a store is not where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Moved {
    /// Its files were copied, or brought back from a copy.
    #[error("its files are a copy")]
    Copied,
    /// It lies on another machine.
    #[error("it was used on another machine")]
    OtherMachine,
    /// It lies in another folder.
    #[error("it was used under another path")]
    OtherPath,
    /// What was noted of it cannot be read.
    #[error("the note of where it was used cannot be read")]
    Unreadable,
}

/// Why the store could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be made, read or protected.
    #[error("could not {action} {path}: {cause}{}", advice(cause))]
    File {
        /// What was tried, e.g. `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed. (Not a source: the text has it already.)
        cause: io::Error,
    },
    /// There is nothing that could be looked at.
    #[error(
        "there is no store in {path}: no daemon has run on it yet, or it lies elsewhere; name its \
         folder with store.path in the configuration, or with --state"
    )]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
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
    /// The store is not where it was used last.
    #[error(
        "the store in {path} is not opened: {why}. A second copy that runs ends every session of both for good \
         (AUTH_KEY_DUPLICATED). If the first one runs, or ever will again, leave this one alone. If this is the only \
         one from now on, because it was moved or restored, say so once: telewarden run --moved"
    )]
    Copy {
        /// The store's directory.
        path: PathBuf,
        /// How it is not where it was.
        why: Moved,
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
    /// A key that was given as text is none.
    #[error(
        "{name} does not hold a key: expected 32 bytes in base64 (44 characters), as `openssl rand \
         -base64 32` prints them"
    )]
    KeyTextMalformed {
        /// What was given.
        name: &'static str,
    },
    /// The key is not the one this store was sealed with.
    #[error(
        "{origin} is not the one this store was sealed with; put the right one back, or, if it is \
         to replace that one, let secrets.previous_key_file name a file with the old key (no \
         record was changed)"
    )]
    WrongKey {
        /// Where the key comes from.
        origin: String,
    },
    /// A service that keeps the root did not do its part.
    #[error("{origin} does not unlock the store: {cause}")]
    Root {
        /// The service.
        origin: String,
        /// What it said, or why it did not answer, and what to do.
        cause: String,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    NoRandomness,
    /// The store was written by a newer program.
    #[error(
        "this store has format {found}, but this telewarden knows formats up to {known}; start the \
         newer version again (no record was changed)"
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
         newer version again"
    )]
    NewerRecord {
        /// Kind of the record.
        record: &'static str,
        /// The version found.
        found: u8,
    },
    /// A record cannot be understood or its seal is broken.
    #[error(
        "a record ({record}) is damaged: {detail}; restore the store from a backup, or move it \
         aside to start anew"
    )]
    Damaged {
        /// Kind of the record.
        record: &'static str,
        /// What was wrong with it.
        detail: &'static str,
    },
    /// The database under the store does not open, or not all of it can be read.
    #[error(
        "the database in {path} is damaged and cannot be read ({detail}); restore the store from a \
         backup, or move it aside to start anew"
    )]
    Unreadable {
        /// The database's directory.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// The database is empty, although the store was in use: the engine takes a file that it
    /// cannot understand at all for a new one.
    #[error(
        "the database in {path} holds nothing although this store was in use before; restore it \
         from a backup, or move the directory aside to start anew"
    )]
    Emptied {
        /// The store's directory.
        path: PathBuf,
    },
    /// Records do not agree with their checksum.
    #[error(
        "the database opens, but some of its records are missing or older than they were: its file \
         was damaged or changed; restore the store from a backup, or move it aside to start anew"
    )]
    Holes,
    /// The store holds less than it did when the witness was written.
    #[error(
        "the database in {path} ends before what it had promised to keep: it was cut short, or an \
         older copy was put in its place; put the right one back, or restore all of the store from \
         a backup; to go on with this older state on purpose, delete {path}/witness"
    )]
    Behind {
        /// The store's directory.
        path: PathBuf,
    },
    /// The database is not in its place, and a copy that an earlier start made of it is there.
    #[error(
        "the database {database} is not there, but a copy of it as an earlier start found it lies \
         in {copy}; move that to {database}, then start again"
    )]
    Aside {
        /// The database's directory.
        database: PathBuf,
        /// The copy's.
        copy: PathBuf,
    },
    /// The database was opened and then refused as damaged.
    #[error("{refusal} ({files})")]
    Refused {
        /// What is wrong with it.
        refusal: Box<StoreError>,
        /// What became of its files.
        files: DatabaseFiles,
    },
    /// The database failed while it was read.
    #[error("{}", failed_or_damaged(.0))]
    Engine(#[from] EngineError),
    /// What was to be read did not come in time.
    #[error(
        "the disk has not answered for {seconds} s; look after it: what is to be read waits for it"
    )]
    Unanswered {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The store stopped writing, or was closed.
    #[error(transparent)]
    Stopped(#[from] CommitError),
}

/// What became of the files of a database that was opened and refused.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseFiles {
    /// They were not changed, or put back.
    #[error("its files are as they were found")]
    AsFound,
    /// They could not be put back.
    #[error(
        "opening it changed its files and they could not be put back: {why}; as they were found \
         they lie in {copy}"
    )]
    Aside {
        /// Where they lie.
        copy: PathBuf,
        /// Why they were not put back.
        why: String,
    },
    /// An earlier start left a copy, and this one made none.
    #[error(
        "opening it may have changed its files; as an earlier start found them they lie in {copy}"
    )]
    Earlier {
        /// Where they lie.
        copy: PathBuf,
    },
    /// There was no copy.
    #[error("opening it may have changed its files: no copy was made before, because {why}")]
    NoCopy {
        /// Why not.
        why: String,
    },
}

/// What keeps a disk from taking more, which somebody has to mend. Anything else is a fault of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskTrouble {
    /// There is no room left.
    Full,
    /// The user that runs the daemon may have no more of it.
    Quota,
    /// The file may not grow any more: a limit of the process or of the file system.
    FileTooLarge,
    /// It is mounted, or fell back to be, for reading alone.
    ReadOnly,
}

impl DiskTrouble {
    /// What an error of the system's says of the disk.
    pub(in crate::store) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::Full),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::FileTooLarge => Some(Self::FileTooLarge),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => None,
        }
    }

    /// What is the matter.
    pub fn what(self) -> &'static str {
        match self {
            Self::Full => "the disk of the store is full",
            Self::Quota => "the disk quota of the user that runs the daemon is used up",
            Self::FileTooLarge => "the store's file has reached the limit on file sizes",
            Self::ReadOnly => "the file system of the store is read-only",
        }
    }

    /// What somebody has to do about it.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Full => "make room there",
            Self::Quota => "make room there, or raise the quota",
            Self::FileTooLarge => "raise the limit (LimitFSIZE=, ulimit -f)",
            Self::ReadOnly => "mount it so that it can be written",
        }
    }
}

/// A failure below the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The disk takes no more.
    #[error("{cause}")]
    Disk {
        /// Why not.
        trouble: DiskTrouble,
        /// What the system said.
        cause: String,
    },
    /// The disk, or the way to it, failed.
    #[error("{0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("{0}")]
    Damaged(String),
}

fn failed_or_damaged(error: &EngineError) -> String {
    match error {
        EngineError::Failed(cause) | EngineError::Disk { cause, .. } => format!(
            "the database failed ({cause}); free or repair the disk, then start again: nothing \
             that was acknowledged is lost"
        ),
        EngineError::Damaged(cause) => format!(
            "the database is damaged ({cause}); restore the store from a backup, or move it aside \
             to start anew"
        ),
    }
}

/// Why a commit was not made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk or the database failed. The store writes nothing any more; what was confirmed
    /// before stays. The process should end and be started again once the cause is gone.
    #[error(
        "the store{} stopped writing ({cause}); free or repair the disk, then start again: nothing \
         that was acknowledged is lost",
        path.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default()
    )]
    Failed {
        /// What failed.
        cause: Arc<str>,
        /// What keeps the disk from taking more, if that is it.
        trouble: Option<DiskTrouble>,
        /// Whether it was a panic.
        is_panic: bool,
        /// The store's directory, where it has one.
        path: Option<Arc<Path>>,
    },
    /// What was stored is damaged. The store writes nothing any more.
    #[error(
        "the store{} cannot be read on ({cause})",
        path.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default()
    )]
    Damaged {
        /// What was found.
        cause: Arc<str>,
        /// The store's directory, where it has one.
        path: Option<Arc<Path>>,
    },
    /// What is to be changed could not be read, so nothing was handed in; it may be tried again.
    #[error("what is to be changed cannot be read ({cause})")]
    Unread {
        /// Why not.
        cause: Arc<str>,
    },
    /// The store was closed before.
    #[error("the store is closed")]
    Closed,
}

impl CommitError {
    /// Nothing was committed, because what is to be changed could not be read.
    pub fn unread(error: &StoreError) -> Self {
        Self::Unread { cause: error.to_string().into() }
    }

    /// A failure with its cause.
    pub(in crate::store) fn failed(cause: impl std::fmt::Display) -> Self {
        Self::because(None, cause)
    }

    /// A panic, and what it said.
    pub(in crate::store) fn panicked(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string().into();
        Self::Failed { cause, trouble: None, is_panic: true, path: None }
    }

    /// A failure, and whether it is because the disk takes no more.
    pub(in crate::store) fn because(
        trouble: Option<DiskTrouble>,
        cause: impl std::fmt::Display,
    ) -> Self {
        let cause = cause.to_string().into();
        Self::Failed { cause, trouble, is_panic: false, path: None }
    }

    /// What keeps the disk from taking more, if that is it.
    pub fn disk_trouble(&self) -> Option<DiskTrouble> {
        match self {
            Self::Failed { trouble, .. } => *trouble,
            Self::Damaged { .. } | Self::Unread { .. } | Self::Closed => None,
        }
    }

    /// Whether it will come again with every start until somebody acts: it panicked, or what is stored is
    /// damaged. A disk is mended without a word to the process.
    pub fn comes_again(&self) -> bool {
        match self {
            Self::Failed { is_panic, .. } => *is_panic,
            Self::Damaged { .. } => true,
            Self::Unread { .. } | Self::Closed => false,
        }
    }

    /// Adds the directory of the store.
    pub(in crate::store) fn at(self, path: Option<&Arc<Path>>) -> Self {
        match self {
            Self::Failed { cause, trouble, is_panic, .. } => {
                Self::Failed { cause, trouble, is_panic, path: path.cloned() }
            }
            Self::Damaged { cause, .. } => Self::Damaged { cause, path: path.cloned() },
            other @ (Self::Unread { .. } | Self::Closed) => other,
        }
    }
}

/// What to do about a file that cannot be used.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    if is_out_of_files(error) {
        return "; nothing is wrong with the disk: raise the limit of open files (LimitNOFILE= in the \
                unit, ulimit -Hn in a shell), then start again";
    }
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            "; make room there, then start again (nothing was lost)"
        }
        Kind::PermissionDenied => {
            "; let the user that runs telewarden read and write there, or set store.path to a \
             folder where it can"
        }
        Kind::ReadOnlyFilesystem => {
            "; mount it so that it can be written, or set store.path to a folder elsewhere"
        }
        Kind::NotADirectory | Kind::AlreadyExists => {
            "; store.path must be a folder: move the file that is in its place out of the way"
        }
        Kind::IsADirectory => "; a folder is in the place of that file: move it out of the way",
        _ => "",
    }
}

/// Whether the process, or the system, has no descriptor left. The standard library has no kind for it,
/// and the engine on disk hands on the text alone.
pub(in crate::store) fn is_out_of_files(error: &io::Error) -> bool {
    let is_one = |code| matches!(code, libc::EMFILE | libc::ENFILE);
    let said = || error.to_string();
    error.raw_os_error().map_or_else(
        || {
            [libc::EMFILE, libc::ENFILE]
                .iter()
                .any(|code| said().contains(&format!("code: {code},")))
        },
        is_one,
    )
}

impl StoreError {
    /// Whether what is stored is not what was written. Anything else leaves it as good as it was.
    pub(in crate::store) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Unreadable { .. }
                | Self::Emptied { .. }
                | Self::Holes
                | Self::Behind { .. }
                | Self::Refused { .. }
                | Self::Engine(EngineError::Damaged(_))
        )
    }

    /// What keeps the disk from taking more, if that is it.
    pub fn disk_trouble(&self) -> Option<DiskTrouble> {
        match self {
            Self::File { cause, .. } => DiskTrouble::of(cause),
            Self::Engine(EngineError::Disk { trouble, .. }) => Some(*trouble),
            Self::Stopped(error) => error.disk_trouble(),
            Self::Refused { refusal, .. } => refusal.disk_trouble(),
            _ => None,
        }
    }

    /// Names the database in which damage was found.
    pub(in crate::store) fn in_database(self, path: &Path) -> Self {
        match self {
            Self::Engine(EngineError::Damaged(detail)) => {
                Self::Unreadable { path: path.into(), detail }
            }
            other => other,
        }
    }

    /// A folder that cannot be written.
    pub fn unwritable(path: &Path, cause: io::Error) -> Self {
        Self::File { action: "write to", path: path.into(), cause }
    }

    /// For `map_err` on file operations.
    pub(in crate::store) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }
}

/// What a panic said.
pub(in crate::store) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the database panicked: {}", text.unwrap_or("it did not say why"))
}
