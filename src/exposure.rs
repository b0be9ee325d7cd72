//! Whether a file with a secret can be read by others. Owns the rule, the same as that of the key file;
//! reads no secret.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file with a secret can be read by others.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} can be read by others (mode {mode:04o}); run `chmod 600 {path}`, and make a new secret if \
     someone may have read it"
)]
pub struct Exposed {
    path: PathBuf,
    /// Its permission bits.
    mode: u32,
}

/// Refuses a file of our own that its group or all may read, `about` being what the system says of
/// the file at `path`. Files of somebody else are not ours to protect: the credentials that systemd
/// hands over belong to root and are opened to the service by an access list, which shows as a
/// permission of the group.
///
/// # Errors
/// When others can read it.
pub fn refuse_exposed(about: &Metadata, path: &Path) -> Result<(), Exposed> {
    let mode = about.mode() & 0o7777;
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    let us = unsafe { libc::geteuid() };
    match is_exposed(mode, about.uid(), us) {
        true => Err(Exposed { path: path.to_owned(), mode }),
        false => Ok(()),
    }
}

fn is_exposed(mode: u32, owner: u32, us: u32) -> bool {
    mode & 0o077 != 0 && owner == us
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_of_ours_is_closed_to_group_and_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "x").unwrap();
        for (mode, is_fine) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = refuse_exposed(&fs::metadata(&path).unwrap(), &path);
            assert_eq!(found.is_ok(), is_fine, "{mode:o}");
            let Err(error) = found else { continue };
            let text = error.to_string();
            let shown = path.display();
            assert!(text.contains(&format!("(mode {mode:04o})")), "{text}");
            assert!(text.contains(&format!("run `chmod 600 {shown}`")), "{text}");
        }
    }

    #[test]
    fn what_systemd_hands_over_is_fine() {
        // Root's file, with an access list for the service's user.
        assert!(!is_exposed(0o440, 0, 998));
        assert!(is_exposed(0o440, 998, 998));
    }
}
