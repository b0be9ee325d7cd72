//! A file that is sent: spooled to the disk as it comes, under no name, so that nothing of it is left whatever happens.
//! Owns the form of the request and how long it may take.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use uuid::Uuid;

use crate::edge::http::api::fields::GIVEN_TWICE;
use crate::edge::http::api::multipart::{Parts, PartsProblem};
use crate::edge::http::problem::problem;
use crate::edge::http::strict::wrapped;
use crate::protocol::answers::refusal::{Code, FieldError, Refusal};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::values::json::shown;

/// What files are called where they must have a name for a moment.
const NAMED: (&str, &str) = ("import-", ".tmp");
/// How long a file may take to arrive. The connection may be silent for 30 s, and there is something left to be done.
const UPLOAD_MAX: Duration = Duration::from_secs(20);
/// Bytes of a body beside the file.
const AROUND_MAX: u64 = 16 * 1024;
/// Pieces between the connection and the disk.
const PIECES_WAITING: usize = 4;
/// Longest `task_id`, bytes.
const ID_BYTES_MAX: usize = 64;
/// Longest name of a file that is looked at, characters.
const FILE_NAME_MAX: usize = 255;

/// What was sent.
pub(super) struct Upload {
    /// The task, if one was named.
    pub(super) task: Option<TaskId>,
    /// The file, from its beginning.
    pub(super) file: File,
    /// What it is called.
    pub(super) name: Option<String>,
}

/// Files that are being sent at once: each is an open file and a thread that writes, beside its connection.
const UPLOADS_AT_ONCE: usize = 16;

/// The room for files that are being sent.
#[derive(Clone, Debug)]
pub struct UploadRoom(Arc<Semaphore>);

impl Default for UploadRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UPLOADS_AT_ONCE)))
    }
}

impl UploadRoom {
    /// A place for one, until it goes.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.0.try_acquire().map_err(|_| {
            let detail = format!("{UPLOADS_AT_ONCE} files are being sent already; try again soon");
            Refusal::new(Code::Overloaded, detail).after(5)
        })
    }
}

/// Takes in a request of the parts `task_id` and `file`, in any order. The file has at most `max` bytes.
///
/// # Errors
/// A problem document.
pub(super) async fn receive(request: Request, spool: &Path, max: u64) -> Result<Upload, Response> {
    if let Some(refusal) = wrapped(request.headers()) {
        return Err(refusal);
    }
    if length(request.headers()).is_some_and(|length| length > max + AROUND_MAX) {
        return Err(too_large(max));
    }
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let body = request.into_body().into_data_stream();
    let parts = Parts::new(&kind, body, max + AROUND_MAX).map_err(|why| refused(why, max))?;
    let taken = timeout(UPLOAD_MAX, take(parts, spool, max)).await;
    taken.map_err(|_| too_slow())?
}

async fn take<S, E>(mut parts: Parts<S>, spool: &Path, max: u64) -> Result<Upload, Response>
where
    S: futures_util::Stream<Item = Result<axum::body::Bytes, E>> + Unpin,
{
    let (mut task, mut file) = (None, None);
    let mut errors: Vec<FieldError> = Vec::new();
    let mut wrong = |field: &str, message: &str| {
        errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
    };
    while let Some(head) = parts.next().await.map_err(|why| refused(why, max))? {
        match head.name.as_str() {
            "task_id" if task.is_none() => {
                let text = parts.short(ID_BYTES_MAX).await.map_err(|why| refused(why, max))?;
                let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
                let id = Uuid::parse_str(text.trim()).ok().map(TaskId);
                if id.is_none() {
                    wrong("task_id", "must be the UUID of a task");
                }
                task = Some(id);
            }
            "file" if file.is_none() => {
                let name = head.file_name.filter(|name| !name.is_empty());
                let name = name.map(|name| name.chars().take(FILE_NAME_MAX).collect());
                file = Some((spooled(&mut parts, spool, max).await?, name));
            }
            name @ ("task_id" | "file") => wrong(name, GIVEN_TWICE),
            name => wrong(shown(name), "is unknown; the known ones are task_id, file"),
        }
    }
    if file.is_none() {
        wrong("file", "is missing");
    }
    match file {
        Some((file, name)) if errors.is_empty() => Ok(Upload { task: task.flatten(), file, name }),
        _ => {
            let told: Vec<String> =
                errors.iter().map(|one| format!("{} {}", one.field, one.message)).collect();
            let refusal = Refusal::new(Code::Validation, told.join("; "));
            Err(Refusal { errors, ..refusal }.into_response())
        }
    }
}

/// Writes a part to the disk as it comes.
async fn spooled<S, E>(parts: &mut Parts<S>, spool: &Path, max: u64) -> Result<File, Response>
where
    S: futures_util::Stream<Item = Result<axum::body::Bytes, E>> + Unpin,
{
    let (pieces, mut taken) = mpsc::channel::<Vec<u8>>(PIECES_WAITING);
    let folder = spool.to_owned();
    let writing = spawn_blocking(move || -> io::Result<File> {
        let mut file = nameless(&folder)?;
        while let Some(piece) = taken.blocking_recv() {
            file.write_all(&piece)?;
        }
        file.rewind()?;
        Ok(file)
    });
    let mut length = 0;
    while let Some(piece) = parts.piece().await.map_err(|why| refused(why, max))? {
        length += piece.len() as u64;
        if length > max {
            return Err(too_large(max));
        }
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let written = writing.await.map_err(io::Error::other).and_then(|written| written);
    written.map_err(|error| unkept(&error).into_response())
}

/// Removes what a death in the moment between making a file and taking its name away has left behind.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(NAMED.0)?.strip_suffix(NAMED.1));
        let is_ours = id.is_some_and(|id| Uuid::parse_str(id).is_ok());
        if is_ours && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(kind = %error.kind(), "a file of an import that broke off is left");
        }
    }
}

/// A file that only we can reach, and that is gone when it is closed. It has a name for a moment where the file system
/// knows none without ([`sweep`] sees to what is left of that).
fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        Err(error) if is_not_offered(&error) => named(folder, options),
        opened => opened,
    }
}

/// The same where no file is without a name.
fn named(folder: &Path, mut options: OpenOptions) -> io::Result<File> {
    let (before, behind) = NAMED;
    let path: PathBuf = folder.join(format!("{before}{}{behind}", crate::chance::id()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Not every file system has files without a name (open(2)).
fn is_not_offered(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}

/// The file could not be written.
fn unkept(error: &io::Error) -> Refusal {
    let is_out_of_files = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    match error.kind() {
        _ if is_out_of_files => {
            let detail = "too many files are open just now; nothing was added";
            Refusal::new(Code::Overloaded, detail).after(10)
        }
        // A limit on the size of files is a disk without room, too (setrlimit(2), RLIMIT_FSIZE).
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            let detail = "the disk has no room for the file; nothing was added";
            Refusal::new(Code::Overloaded, detail).after(60)
        }
        kind => {
            tracing::warn!(%kind, "a file that was sent could not be kept");
            Refusal::new(Code::Internal, "the file could not be kept; nothing was added")
        }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max: u64) -> Response {
    let detail = format!("the file has more than {max} bytes; send it in smaller files");
    problem(StatusCode::PAYLOAD_TOO_LARGE, Code::Validation, &detail)
}

fn too_slow() -> Response {
    let seconds = UPLOAD_MAX.as_secs();
    let detail = format!(
        "the file did not arrive within {seconds} s; send it over a faster connection, or in smaller files"
    );
    problem(StatusCode::REQUEST_TIMEOUT, Code::Validation, &detail)
}

fn refused(why: PartsProblem, max: u64) -> Response {
    let status = match why {
        PartsProblem::OtherType | PartsProblem::NoBoundary => {
            let detail = format!("{why}; send task_id and file as multipart/form-data");
            return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Validation, &detail);
        }
        PartsProblem::TooLarge(_) => return too_large(max),
        PartsProblem::Broken(_) | PartsProblem::BrokenOff => StatusCode::BAD_REQUEST,
    };
    problem(status, Code::Validation, &why.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[test]
    fn a_spooled_file_has_no_name_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = nameless(folder.path()).unwrap();
        file.write_all(b"content").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        let known = file.metadata().unwrap();
        assert_eq!((known.nlink(), known.permissions().mode() & 0o777), (0, 0o600));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(nameless(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_the_system_has_no_room_for_comes_again_and_is_no_bug() {
        for code in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG, libc::EMFILE, libc::ENFILE] {
            let refusal = unkept(&io::Error::from_raw_os_error(code));
            assert_eq!(refusal.code, Code::Overloaded, "{code}");
            assert!(refusal.retry_after.is_some(), "{code}");
        }
        assert_eq!(unkept(&io::Error::from_raw_os_error(libc::EIO)).code, Code::Internal);
    }

    #[test]
    fn beyond_the_room_a_file_is_refused_until_one_has_come() {
        let room = UploadRoom::default();
        let mut held: Vec<_> = (0..UPLOADS_AT_ONCE).map(|_| room.enter().unwrap()).collect();
        assert_eq!(room.enter().unwrap_err().code, Code::Overloaded);
        drop(held.pop());
        assert!(room.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_in_time_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let part = "--edge\r\nContent-Disposition: form-data; name=";
        for begun in
            [String::new(), format!("{part}task_id\r\n\r\n01"), format!("{part}file\r\n\r\nx")]
        {
            let begun =
                stream::iter([Ok::<_, io::Error>(axum::body::Bytes::from(begun.into_bytes()))]);
            let request = Request::post("/")
                .header("Content-Type", "multipart/form-data; boundary=edge")
                .body(axum::body::Body::from_stream(begun.chain(stream::pending())))
                .unwrap();
            let spool = folder.path().to_owned();
            let receiving = tokio::spawn(async move { receive(request, &spool, 100).await });
            // Each turn it comes as far as it can.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert!(!receiving.is_finished());
            tokio::time::advance(UPLOAD_MAX).await;
            let refused = receiving.await.unwrap().err().expect("it is refused");
            assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
            let told = axum::body::to_bytes(refused.into_body(), 4_096).await.unwrap();
            let told = String::from_utf8_lossy(&told);
            assert!(told.contains("20 s") && told.contains("in smaller files"), "{told}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_a_death_left_is_swept_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let file = named(folder.path(), options).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0, "its name is gone at once");
        let left = format!("import-{}.tmp", crate::chance::id());
        for name in [left.as_str(), "import-people.tmp", "import-.tmp", "jwt-secret"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        sweep(folder.path());
        sweep(&folder.path().join("nowhere"));
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["import-.tmp", "import-people.tmp", "jwt-secret"]);
    }

    #[test]
    fn a_full_disk_is_no_fault_of_ours_and_may_be_tried_later() {
        let full = unkept(&ErrorKind::StorageFull.into());
        assert_eq!((full.code, full.retry_after), (Code::Overloaded, Some(60)));
        assert_eq!(unkept(&ErrorKind::PermissionDenied.into()).code, Code::Internal);
    }
}
