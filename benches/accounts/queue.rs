//! Many sends at one moment: how long the last of them waits. An account has four under way at once
//! and the rest in its queue, so what one account alone is given shows the queue.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::sends::{Order, Sender, quantile};
use crate::stage::Stage;

/// Sends at one moment.
const AT_ONCE: usize = 100;

/// From the first request until its answer, which bounds the wait in the queue. Milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Waits {
    /// Over how many accounts they are spread.
    pub(crate) accounts: usize,
    pub(crate) bursts: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) failed: usize,
    /// One that is alone: the median.
    pub(crate) alone: f64,
}

/// So many bursts over so many accounts.
pub(crate) fn run(stage: &Stage, accounts: usize, bursts: usize, first: u64) -> Result<Waits> {
    let api = Arc::clone(&stage.api);
    let order = move |number: u64| Order {
        number: first + number,
        account: number as usize % accounts,
        to_chat: true,
        is_keyed: true,
        is_marked: false,
        is_reply: false,
    };
    stage.runtime.block_on(async move {
        let (mut took, mut alone, mut failed) = (Vec::new(), Vec::<Duration>::new(), 0);
        let mut number = 0;
        for _ in 0..bursts {
            alone.push(api.send(order(number)).await?);
            number += 1;
            let mut burst = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (api, order) = (Arc::clone(&api), order(number));
                number += 1;
                burst.spawn(async move { api.send(order).await });
            }
            while let Some(sent) = burst.join_next().await {
                match sent? {
                    Ok(one) => took.push(one),
                    Err(_) => failed += 1,
                }
            }
        }
        took.sort_unstable();
        alone.sort_unstable();
        let at = |share| quantile(&took, share);
        let (median, p99, max) = (at(0.5), at(0.99), at(1.0));
        Ok(Waits { accounts, bursts, median, p99, max, failed, alone: quantile(&alone, 0.5) })
    })
}
