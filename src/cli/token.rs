//! `telewarden token`: makes a token for the HTTP API with the daemon's own secret. Prints the token and
//! nothing else, so that it can be put into a variable.

use std::process::ExitCode;

use super::{TokenArgs, fail, say};
use crate::clock::Clock;
use crate::config::{ConfigError, duration};
use crate::edge::http::{TokenSecret, TokenSecretError, Tokens};
use crate::protocol::users::owner::{Role, UserId, UserIdError};
use crate::secrets;

#[derive(Debug, thiserror::Error)]
pub(super) enum TokenCommandError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("make a token for --user: {0}")]
    User(#[from] UserIdError),
    #[error("make a token with --role {0}; expected user or admin")]
    Role(String),
    #[error("make a token with --ttl {0}; expected a time such as 12h, 30m, 90s or 7d")]
    Ttl(String),
    #[error(
        "read the secret that signs tokens from Vault: the secret id is wrapped, and reading would \
         use it up"
    )]
    Wrapped,
    #[error("{0}")]
    Secret(#[from] TokenSecretError),
    #[error("sign the token")]
    Signing,
}

/// Prints a token; 1 when there can be none.
pub fn token(args: &TokenArgs) -> ExitCode {
    match make(args) {
        Ok(token) => {
            say(token);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("failed to {error}")),
    }
}

pub(super) fn make(args: &TokenArgs) -> Result<String, TokenCommandError> {
    let user = UserId::new(args.user.as_str())?;
    let role = match args.role.as_str() {
        "user" => Role::User,
        "admin" => Role::Admin,
        other => return Err(TokenCommandError::Role(other.to_owned())),
    };
    let ttl = duration(&args.ttl).ok_or_else(|| TokenCommandError::Ttl(args.ttl.clone()))?;
    let mut config = args.config.load()?;
    config.references.retain(|key, _| *key == "auth.jwt_secret");
    if config.secrets.vault.secret_id_wrapped && !config.references.is_empty() {
        return Err(TokenCommandError::Wrapped);
    }
    secrets::resolve(&mut config)?;
    let secret = TokenSecret::find(config.auth.jwt_secret.as_ref(), &config.store.path)?;
    Tokens::new(&secret, Clock::system())
        .mint(&user, role, ttl)
        .map_err(|_| TokenCommandError::Signing)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::ConfigArgs;

    fn args(state: &std::path::Path) -> TokenArgs {
        let state = Some(state.display().to_string());
        let (user, role, ttl) = ("user-7".to_owned(), "admin".to_owned(), "90s".to_owned());
        TokenArgs { user, role, ttl, config: ConfigArgs { state, ..ConfigArgs::default() } }
    }

    #[test]
    fn a_token_is_made_with_the_secret_of_the_daemon() {
        let state = tempfile::tempdir().unwrap();
        let refused = make(&args(state.path())).unwrap_err().to_string();
        assert!(refused.contains("jwt-secret") && refused.contains("start it once"), "{refused}");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
        let secret = TokenSecret::find_or_make(None, state.path()).unwrap();
        let token = make(&args(state.path())).unwrap();
        let grant = Tokens::new(&secret, Clock::system()).check(&token).unwrap();
        assert_eq!((grant.user.as_str(), grant.role), ("user-7", Role::Admin));
        assert!(grant.left(Clock::system().now()).as_secs() <= 90);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let good = args(state.path());
        for (bad, word) in [
            (TokenArgs { user: String::new(), ..good.clone() }, "--user"),
            (TokenArgs { role: "root".to_owned(), ..good.clone() }, "--role"),
            (TokenArgs { ttl: "soon".to_owned(), ..good.clone() }, "--ttl"),
        ] {
            let refused = make(&bad).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
