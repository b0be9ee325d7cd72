//! References: what a configuration says instead of a secret that Vault keeps. Pure; reading one is
//! the work of `crate::secrets`.

use std::fmt;

/// How references begin.
pub(super) const PREFIX: &str = "vault:";

/// A field of a secret in a KV v2 engine: `vault:<mount>/<path>#<field>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where the engine is mounted.
    pub mount: String,
    /// The secret's path in it.
    pub path: String,
    /// The field of the secret.
    pub field: String,
}

impl Reference {
    /// Reads a reference; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, field) = text.strip_prefix(PREFIX)?.split_once('#')?;
        let (mount, path) = place.split_once('/')?;
        let is_clean = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            !part.is_empty()
                && part.chars().all(plain)
                && part.split('/').all(|name| !["", ".", ".."].contains(&name))
        };
        let is_field = !field.is_empty() && !field.chars().any(char::is_control);
        (is_clean(mount) && is_clean(path) && is_field).then(|| Self {
            mount: mount.to_owned(),
            path: path.to_owned(),
            field: field.to_owned(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}#{}", self.mount, self.path, self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_mount_path_and_field() {
        let read = Reference::parse("vault:secret/telewarden/api#jwt").unwrap();
        assert_eq!((&*read.mount, &*read.path, &*read.field), ("secret", "telewarden/api", "jwt"));
        assert_eq!(read.to_string(), "vault:secret/telewarden/api#jwt");
        for bad in [
            "vault:",
            "vault:x",
            "vault:a/b",
            "vault:a/b#",
            "vault:/b#c",
            "vault:a/#c",
            "vault:a/../b#c",
            "vault:a//b#c",
            "vault:a/b?x#c",
            "amqp://a/b#c",
        ] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
    }
}
