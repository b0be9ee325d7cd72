//! Faults as the tests ask for them.

use std::time::Duration;

use telewarden_simulator::{FaultKind, FaultSpec};
use tokio::time::timeout;

use crate::support::{DEADLINE, Stage};

pub(crate) fn fault(user_id: i64, kind: FaultKind) -> FaultSpec {
    FaultSpec { user_id: Some(user_id), kind: Some(kind), ..FaultSpec::default() }
}

pub(crate) fn error(user_id: i64, method: &str, name: &str, times: u32) -> FaultSpec {
    FaultSpec {
        user_id: Some(user_id),
        method: Some(method.to_owned()),
        error: Some(name.to_owned()),
        times: Some(times),
        ..FaultSpec::default()
    }
}

/// Waits until the server has seen all of an account's connections close.
pub(crate) async fn until_disconnected(stage: &Stage, user_id: i64) {
    let gone = async {
        while stage.simulator.account(user_id).await.unwrap().connections_now > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the connection closes");
}
