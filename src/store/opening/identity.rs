//! Which copy of a store this is. A copy that runs beside its original connects the same sessions a second time, and
//! Telegram ends them for good (`AUTH_KEY_DUPLICATED`). So a store notes where it lies, and opens nowhere else unless it
//! is said that it moved. Owns the file `identity`; knows nothing of what else is in the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::contract::{Moved, StoreError};

/// The file's name in the store's folder.
const NAME: &str = "identity";
/// Length of a slot: check sum and text, filled up with blanks.
const SLOT_LEN: usize = 4096;
/// The bytes of a slot's check sum.
const CHECK_LEN: usize = 32;
/// Names the machine, where its operator has it so (<https://www.freedesktop.org/software/systemd/man/machine-id.html>).
const MACHINE_ID: &str = "/etc/machine-id";
/// Sets the hash of a machine's id apart from all other uses of it, as that page wants it.
const MACHINE_CONTEXT: &[u8] = b"telewarden store identity\0";

/// Where a store lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The number of the file itself. A copy of the folder has another one; a volume that is mounted elsewhere has not.
    inode: u64,
    /// When the file was made, nanoseconds since 1970, where the file system knows: numbers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born_ns: Option<u64>,
    /// The machine, hashed. In containers there is none: there the volume alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    /// The folder, without symbolic links.
    path: PathBuf,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// How often the store was opened.
    starts: u64,
    #[serde(flatten)]
    place: Place,
}

/// A store that may be opened where it lies.
#[must_use = "a start that is not noted does not count"]
pub(in crate::store) struct Confirmed {
    folder: PathBuf,
    machine_id: PathBuf,
    starts: u64,
    /// Where the next note goes.
    slot: u64,
}

/// Sees to it that the store in `folder` is opened where it was opened last, unless its operator says that it
/// `has_moved`. One that has never noted where it lies may be opened anywhere. Changes nothing; the store has to be
/// locked.
///
/// # Errors
/// [`StoreError::Copy`] when it is not where it was. When the file cannot be read.
pub(in crate::store) fn confirm(folder: &Path, has_moved: bool) -> Result<Confirmed, StoreError> {
    confirm_on(folder, has_moved, Path::new(MACHINE_ID))
}

fn confirm_on(folder: &Path, has_moved: bool, machine_id: &Path) -> Result<Confirmed, StoreError> {
    let Noting { noted, slot, moved } = look_on(folder, machine_id)?;
    match moved {
        Some(why) if !has_moved => return Err(StoreError::Copy { path: folder.into(), why }),
        Some(why) => tracing::warn!(
            path = %folder.display(), %why,
            "the store was opened elsewhere before; it is said that it moved, so it runs here from now on. Start it nowhere else: Telegram ends sessions that are used twice"
        ),
        None => {}
    }
    let starts = noted.map_or(0, |noted| noted.starts);
    Ok(Confirmed { folder: folder.into(), machine_id: machine_id.into(), starts, slot })
}

impl Confirmed {
    /// It has opened: notes where it lies, and counts the start. Answers how often it was opened, with this time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(in crate::store) fn note(self) -> Result<u64, StoreError> {
        let Self { folder, machine_id, starts, slot } = self;
        let name = folder.join(NAME);
        let note = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let file = options.open(&name)?;
            let place = place(&file, &folder, &machine_id)?;
            let noted = Noted { starts: starts.saturating_add(1), place };
            write(&file, &noted, slot)?;
            // The file may be new.
            File::open(&folder)?.sync_all()?;
            Ok(noted.starts)
        };
        note().map_err(StoreError::file("write", &name))
    }
}

/// Whether [`confirm`] would refuse the store in `folder`, and why; changes nothing.
///
/// # Errors
/// When the file cannot be read.
pub(in crate::store) fn look(folder: &Path) -> Result<Option<Moved>, StoreError> {
    Ok(look_on(folder, Path::new(MACHINE_ID))?.moved)
}

/// What was found of a store's note.
struct Noting {
    noted: Option<Noted>,
    /// The slot that is written next.
    slot: u64,
    moved: Option<Moved>,
}

fn look_on(folder: &Path, machine_id: &Path) -> Result<Noting, StoreError> {
    let name = folder.join(NAME);
    let file = match File::open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Noting { noted: None, slot: 0, moved: None });
        }
        Err(error) => return Err(StoreError::file("open", &name)(error)),
    };
    let look = || {
        let (noted, slot) = read(&file)?;
        let moved = match &noted {
            Some(noted) => moved(&noted.place, &place(&file, folder, machine_id)?),
            // It was made and not written when the process died.
            None if is_blank(&file)? => None,
            None => Some(Moved::Unreadable),
        };
        Ok(Noting { noted, slot, moved })
    };
    look().map_err(StoreError::file("read", &name))
}

/// Where the store lies whose identity `file` is.
fn place(file: &File, folder: &Path, machine_id: &Path) -> io::Result<Place> {
    let found = file.metadata()?;
    let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok(Place {
        inode: found.ino(),
        born_ns: born.and_then(|born| u64::try_from(born.as_nanos()).ok()),
        machine: machine(machine_id),
        path: fs::canonicalize(folder)?,
    })
}

/// The machine, so that nobody learns its id from the hash.
fn machine(machine_id: &Path) -> Option<String> {
    let text = fs::read_to_string(machine_id).ok()?;
    let id = text.trim();
    // Before the first start of an image it is empty, or says that it is not set yet.
    let is_set = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = || Sha256::new().chain_update(MACHINE_CONTEXT).chain_update(id).finalize();
    is_set.then(|| hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// How the store at `here` is not where it was; `None`: it is.
fn moved(noted: &Place, here: &Place) -> Option<Moved> {
    fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one != other)
    }
    // No copy is born when its original was. Where the file system does not know, its number has to do: there are some,
    // mounted over a network or into a container, that give another one after a restart.
    let is_copied = match (noted.born_ns, here.born_ns) {
        (Some(noted), Some(here)) => noted != here,
        _ => noted.inode != here.inode,
    };
    if is_copied {
        return Some(Moved::Copied);
    }
    if differ(&noted.machine, &here.machine) {
        return Some(Moved::OtherMachine);
    }
    (noted.path != here.path).then_some(Moved::OtherPath)
}

/// The newest of what the file says, and the slot that is written next.
fn read(file: &File) -> io::Result<(Option<Noted>, u64)> {
    let mut newest: Option<(Noted, u64)> = None;
    for slot in [0, 1] {
        let Some(noted) = read_slot(file, slot)? else { continue };
        if newest.as_ref().is_none_or(|(known, _)| noted.starts > known.starts) {
            newest = Some((noted, slot));
        }
    }
    Ok(match newest {
        Some((noted, slot)) => (Some(noted), 1 - slot),
        None => (None, 0),
    })
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<Noted>> {
    let mut bytes = [0; SLOT_LEN];
    match file.read_exact_at(&mut bytes, slot * SLOT_LEN as u64) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (check, text) = bytes.split_at(CHECK_LEN);
    if Sha256::digest(text).as_slice() != check {
        return Ok(None);
    }
    Ok(serde_json::from_slice(text.trim_ascii_end()).ok())
}

/// Whether nothing was ever written into the file.
fn is_blank(file: &File) -> io::Result<bool> {
    let mut bytes = [0; 2 * SLOT_LEN];
    let mut read = 0;
    loop {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => return Ok(bytes[..read].iter().all(|byte| *byte == 0)),
            more => read += more,
        }
    }
}

/// In place: a file that takes its name would have another number.
fn write(file: &File, noted: &Noted, slot: u64) -> io::Result<()> {
    let mut text = serde_json::to_vec(noted)?;
    if text.len() > SLOT_LEN - CHECK_LEN {
        return Err(io::Error::new(ErrorKind::InvalidFilename, "the path is too long to be noted"));
    }
    text.resize(SLOT_LEN - CHECK_LEN, b' ');
    let mut bytes = Sha256::digest(&text).to_vec();
    bytes.append(&mut text);
    file.write_all_at(&bytes, slot * SLOT_LEN as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        machine_id: PathBuf,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let machine_id = folder.path().join("machine-id");
            fs::write(&machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
            fs::create_dir(folder.path().join("store")).unwrap();
            Self { folder, machine_id }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn open(&self, name: &str) -> Result<u64, Moved> {
            self.open_or_move(name, false)
        }

        fn open_or_move(&self, name: &str, has_moved: bool) -> Result<u64, Moved> {
            match confirm_on(&self.at(name), has_moved, &self.machine_id) {
                Ok(confirmed) => Ok(confirmed.note().unwrap()),
                Err(StoreError::Copy { path, why }) => {
                    assert_eq!(path, self.at(name));
                    Err(why)
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_store_opens_where_it_was_and_counts_its_starts() {
        let fixture = Fixture::new();
        for starts in 1..=5 {
            assert_eq!(fixture.open("store"), Ok(starts));
        }
        let text = fs::read(fixture.at("store").join(NAME)).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("0123456789abcdef"), "the machine's id is not told");
        assert_eq!(look(&fixture.at("nowhere")).unwrap(), None);
        // A start that comes to nothing changes nothing.
        let before = fs::read(fixture.at("store").join(NAME)).unwrap();
        drop(confirm_on(&fixture.at("store"), false, &fixture.machine_id).unwrap());
        assert_eq!(fs::read(fixture.at("store").join(NAME)).unwrap(), before);
    }

    #[test]
    fn a_copy_does_not_open_and_its_original_goes_on() {
        let fixture = Fixture::new();
        fixture.open("store").unwrap();
        let (from, to) = (fixture.at("store"), fixture.at("copy"));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        assert_eq!(fixture.open("copy"), Err(Moved::Copied));
        assert_eq!(fixture.open("copy"), Err(Moved::Copied), "nor the second time");
        assert_eq!(fixture.open("store"), Ok(2));
        assert_eq!(fixture.open_or_move("copy", true), Ok(2));
        assert_eq!(fixture.open("copy"), Ok(3), "it is said once");
    }

    #[test]
    fn a_store_that_lies_elsewhere_opens_when_it_is_said_that_it_moved() {
        let fixture = Fixture::new();
        fixture.open("store").unwrap();
        fs::rename(fixture.at("store"), fixture.at("moved")).unwrap();
        assert_eq!(fixture.open("moved"), Err(Moved::OtherPath));
        // Through a link it is the same place.
        std::os::unix::fs::symlink(fixture.at("moved"), fixture.at("store")).unwrap();
        assert_eq!(fixture.open("store"), Err(Moved::OtherPath));
        assert_eq!(fixture.open_or_move("store", true), Ok(2));
        assert_eq!(fixture.open("moved"), Ok(3));
    }

    #[test]
    fn another_machine_is_told_apart_and_a_container_has_none() {
        let fixture = Fixture::new();
        fixture.open("store").unwrap();
        for none in ["", "uninitialized\n"] {
            fs::write(&fixture.machine_id, none).unwrap();
            assert!(fixture.open("store").is_ok(), "{none:?}: the volume is the same");
        }
        fs::write(&fixture.machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
        fixture.open("store").unwrap();
        fs::write(&fixture.machine_id, "ffffffffffffffffffffffffffffffff\n").unwrap();
        assert_eq!(fixture.open("store"), Err(Moved::OtherMachine));
        assert!(fixture.open_or_move("store", true).is_ok());
        assert!(fixture.open("store").is_ok());
    }

    #[test]
    fn a_torn_note_leaves_the_one_before_and_an_unreadable_one_opens_nothing() {
        let fixture = Fixture::new();
        assert_eq!((fixture.open("store"), fixture.open("store")), (Ok(1), Ok(2)));
        let name = fixture.at("store").join(NAME);
        let file = OpenOptions::new().write(true).open(&name).unwrap();
        // The newest is in the second slot.
        file.write_all_at(b"torn", SLOT_LEN as u64 + 100).unwrap();
        assert_eq!(fixture.open("store"), Ok(2));
        file.write_all_at(b"torn", SLOT_LEN as u64 + 100).unwrap();
        file.write_all_at(b"torn", 100).unwrap();
        assert_eq!(fixture.open("store"), Err(Moved::Unreadable));
        assert_eq!(fixture.open_or_move("store", true), Ok(1));
        assert_eq!(fixture.open("store"), Ok(2));
        // The process died before it wrote anything.
        file.set_len(0).unwrap();
        assert_eq!(fixture.open("store"), Ok(1));
    }

    #[test]
    fn a_file_is_known_by_when_it_was_made_and_by_its_number_where_nobody_knows_that() {
        let place = |inode, born_ns| Place {
            inode,
            born_ns,
            machine: None,
            path: PathBuf::from("/var/lib/telewarden"),
        };
        assert_eq!(moved(&place(1, Some(5)), &place(2, Some(5))), None, "numbers may change");
        assert_eq!(moved(&place(1, Some(5)), &place(1, Some(6))), Some(Moved::Copied));
        assert_eq!(moved(&place(1, None), &place(1, Some(6))), None);
        for born in [None, Some(6)] {
            assert_eq!(moved(&place(1, None), &place(2, born)), Some(Moved::Copied));
        }
    }
}
