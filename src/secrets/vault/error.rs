//! What can go wrong with Vault, and what to do about it. Never holds a secret; what Vault says is
//! shown in short.

use std::path::PathBuf;

/// Longest text of Vault's that is shown, in characters.
const SAID_MAX: usize = 200;

/// Why Vault did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// A setting is missing.
    #[error("{key} is needed to log in to Vault; set it")]
    Missing {
        /// The key of the setting.
        key: &'static str,
    },
    /// The authority's file cannot be used.
    #[error(
        "secrets.vault.ca_file {path} cannot be used ({why}); it must hold certificates in PEM"
    )]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Nobody answers.
    #[error("Vault at {address} does not answer ({why}); {}", advice(why))]
    Unreachable {
        /// Its address.
        address: String,
        /// What the network said.
        why: String,
    },
    /// It is sealed, starting, or on standby.
    #[error("Vault at {address} is not ready ({said}); unseal it, or let it become active")]
    NotReady {
        /// Its address.
        address: String,
        /// What it said.
        said: String,
    },
    /// The AppRole was refused.
    #[error(
        "Vault refused the login ({said}); check secrets.vault.role_id and secret_id: the secret id \
         may have expired or been used up"
    )]
    Login {
        /// What it said.
        said: String,
    },
    /// The secret id was wrapped, and the wrapping token is no longer good.
    #[error(
        "the wrapped secret id cannot be unwrapped ({said}); a wrapping token can be used once and \
         for a short time only: give a new one. If nobody of yours has used it, somebody else has"
    )]
    Unwrap {
        /// What it said.
        said: String,
    },
    /// The policy does not allow it.
    #[error("Vault does not allow {path} ({said}); let the policy of the AppRole allow it")]
    Denied {
        /// What was asked for.
        path: String,
        /// What it said.
        said: String,
    },
    /// There is nothing.
    #[error("Vault has nothing at {path}; check the mount and the path (KV must be version 2)")]
    NotFound {
        /// What was asked for.
        path: String,
    },
    /// It sends somewhere else, where no secret is sent.
    #[error("Vault at {address} sends us elsewhere; set secrets.vault.address to the active node")]
    Redirected {
        /// Its address.
        address: String,
    },
    /// Too many requests.
    #[error("Vault has too much to do now ({said}); it is asked again later")]
    Busy {
        /// What it said.
        said: String,
    },
    /// It says no for another reason.
    #[error("Vault refused {path} with status {status} ({said})")]
    Refused {
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// The answer is not one of Vault's.
    #[error(
        "the answer to {path} is not one of Vault's; check that secrets.vault.address leads to a \
         Vault, and not to a proxy or another service"
    )]
    Garbage {
        /// What was asked for.
        path: String,
    },
    /// The call could not be made at all.
    #[error("the call to Vault could not be made ({0})")]
    NoRuntime(String),
}

fn advice(why: &str) -> &'static str {
    if why.contains("certificate") {
        "let secrets.vault.ca_file name the authority that signed its certificate, if it is the right \
         Vault"
    } else {
        "see that it runs and can be reached from here"
    }
}

/// What Vault says, in short and on one line.
pub(super) fn in_short(said: &str) -> String {
    let plain = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = plain.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect();
    if short.is_empty() {
        short.push_str("it gives no reason");
    }
    short
}
