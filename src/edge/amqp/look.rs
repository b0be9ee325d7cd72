//! A look at the broker for `telewarden check`: as the daemon would, up to where something would be
//! made. Must never change anything that exists, nor take or publish a message.

use std::time::Duration;

use lapin::Connection;
use tokio::time::timeout;

use super::AmqpOptions;
use super::link::{LinkError, greet};
use super::topology::{self, Found};

/// How long all of it may take.
const LOOK_MAX: Duration = Duration::from_secs(15);

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nobody answers: it may be better later.
    Away(String),
    /// The broker answers, and the bridge cannot work with what it says.
    Refused(String),
    /// The bridge can work.
    Open(Found),
}

/// Looks.
pub async fn look(options: &AmqpOptions) -> Look {
    let looking = async {
        let connection = match greet(options.url.expose(), "check").await {
            Ok(connection) => connection,
            Err(error) => return of_error(error),
        };
        let found = topology::look(&connection, options).await;
        goodbye(&connection).await;
        found.map_or_else(of_error, Look::Open)
    };
    match timeout(LOOK_MAX, looking).await {
        Ok(look) => look,
        Err(_) => Look::Away(format!("no answer within {} seconds", LOOK_MAX.as_secs())),
    }
}

fn of_error(error: LinkError) -> Look {
    match error {
        LinkError::Connect(_) | LinkError::Timeout(_) | LinkError::Lost => {
            Look::Away(error.to_string())
        }
        error => Look::Refused(error.to_string()),
    }
}

async fn goodbye(connection: &Connection) {
    let _ = timeout(Duration::from_secs(2), connection.close(200, "OK".into())).await;
}
