//! Who may hold how many open files. Owns the budget, which follows from the limit of open files in force
//! (RLIMIT_NOFILE, raised to the hard one at start, see `process.rs`). Pure but for reading that limit.
//!
//! The daemon itself comes first: store, broker, listener, log, name resolution, secrets. Of the rest the
//! HTTP edge, where strangers come, may hold a quarter, at least half of it for those who say something;
//! the others are for accounts and logins, one descriptor each, with room to grow, and a few of them for
//! webhooks. Each of these parts is held to its share where it connects.

use anyhow::{Result, bail};

use crate::edge::http::{CONNECTIONS_MAX, Capacity, QUIET_MAX};
use crate::telegram::Sockets;

/// What the daemon itself may hold. Measured: 22 with a broker, at start as at rest; the rest is for Vault,
/// names that are resolved, certificates that are read, dials to a broker that went away, and files of imports and
/// reports, of which there are 32 at once at the most.
const OWN: u64 = 96;
/// With less nobody would be served well: 105 connections of accounts beside a few of HTTP and webhooks.
const LIMIT_MIN: u64 = 256;
/// More than these webhooks do not need: 64 requests at once, and connections that are kept for a while.
const WEBHOOKS_MAX: u64 = 192;

/// The budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The limit in force.
    limit: u64,
    /// Connections of the HTTP edge on which something was said.
    pub(super) edge: usize,
    /// The same, on which nothing was said.
    quiet: usize,
    /// Connections to Telegram.
    telegram: u64,
    /// Connections to webhooks.
    webhooks: u64,
}

impl Descriptors {
    /// Of this process.
    ///
    /// # Errors
    /// When its limit is too small.
    pub(crate) fn of_process() -> Result<Self> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call gets a valid pointer to a struct that lives through it.
        match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
            0 => Self::within(limit.rlim_cur),
            _ => {
                bail!("failed to read the limit of open files: {}", std::io::Error::last_os_error())
            }
        }
    }

    /// Of a process with this limit.
    ///
    /// # Errors
    /// When it is too small.
    pub(crate) fn within(limit: u64) -> Result<Self> {
        if limit < LIMIT_MIN {
            bail!(
                "the limit of open files is {limit}, and telewarden needs at least {LIMIT_MIN} (every \
                 connection is one): raise the hard limit (LimitNOFILE= in the unit, --ulimit nofile= \
                 of the container, ulimit -Hn in a shell)"
            );
        }
        let rest = limit - OWN;
        let share = usize::try_from(rest / 4).unwrap_or(usize::MAX);
        let edge = (share - share / 2).min(CONNECTIONS_MAX);
        let quiet = (share - edge).min(QUIET_MAX);
        let outward = rest - (edge + quiet) as u64;
        let webhooks = (outward / 8).min(WEBHOOKS_MAX);
        Ok(Self { limit, edge, quiet, telegram: outward - webhooks, webhooks })
    }

    /// What accounts and logins may hold.
    pub(super) fn telegram(self) -> Sockets {
        Sockets::at_most(usize::try_from(self.telegram).unwrap_or(usize::MAX))
    }

    /// What webhooks may hold.
    pub(super) fn webhooks(self) -> usize {
        usize::try_from(self.webhooks).unwrap_or(usize::MAX)
    }

    /// What the HTTP edge may hold.
    pub(super) fn capacity(self) -> Capacity {
        Capacity { connections: self.edge, quiet: self.quiet, open_files: self.limit }
    }

    /// What it means for a daemon that has so many accounts, as far as that is known, in plain words.
    pub(crate) fn advice(self, accounts: Option<u64>) -> String {
        let Self { limit, edge, quiet, telegram, webhooks } = self;
        let shared = format!(
            "the limit of open files is {limit} here: enough for {telegram} connections of accounts and \
             logins at once, {webhooks} to webhooks, and {} of HTTP, {quiet} of them silent",
            edge + quiet
        );
        match accounts {
            Some(accounts) if accounts > telegram => format!(
                "{shared}. The store has {accounts} accounts, and each takes one: they cannot all be \
                 connected at once under this limit. Raise it (LimitNOFILE= in the unit, --ulimit \
                 nofile= of the container, ulimit -Hn in a shell)"
            ),
            Some(accounts) => format!(
                "{shared}; the store has {accounts} accounts. The daemon may run under another limit \
                 (LimitNOFILE= in the unit)"
            ),
            None => {
                format!(
                    "{shared}. The daemon may run under another limit (LimitNOFILE= in the unit)"
                )
            }
        }
    }

    /// Says so, and whether it is enough for the accounts that there are.
    pub(super) fn tell(self, accounts: usize) {
        let Self { limit, edge, quiet, telegram, webhooks } = self;
        tracing::info!(
            limit,
            http_connections = edge,
            http_silent = quiet,
            telegram,
            webhooks,
            accounts,
            "open files are shared out"
        );
        if accounts as u64 > telegram {
            tracing::warn!(
                limit,
                accounts,
                "the limit of open files is too low for all accounts to be connected at once, each \
                 takes one: raise it (LimitNOFILE= in the unit, ulimit -Hn in a shell)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_edge_may_hold_follows_from_the_limit() {
        let edge = |limit| {
            Descriptors::within(limit)
                .map(|files| (files.edge, files.quiet, files.telegram, files.webhooks))
        };
        assert_eq!(edge(65_536).unwrap(), (1024, 4096, 60_128, 192));
        assert_eq!(edge(1024).unwrap(), (116, 116, 609, 87));
        assert_eq!(edge(LIMIT_MIN).unwrap(), (20, 20, 105, 15));
        let refusal = Descriptors::within(LIMIT_MIN - 1).unwrap_err().to_string();
        assert!(refusal.contains("255") && refusal.contains("LimitNOFILE="), "{refusal}");
    }

    #[test]
    fn advice_says_whether_all_accounts_find_room() {
        let files = Descriptors::within(1024).unwrap();
        let (enough, too_few) = (files.advice(Some(609)), files.advice(Some(610)));
        assert!(enough.contains("609 accounts") && !enough.contains("Raise"), "{enough}");
        assert!(too_few.contains("610 accounts") && too_few.contains("Raise"), "{too_few}");
        assert!(files.advice(None).contains("232 of HTTP"), "{}", files.advice(None));
    }

    proptest! {
        #[test]
        fn nobody_is_promised_what_somebody_else_has(limit in LIMIT_MIN..=u64::MAX) {
            let files = Descriptors::within(limit).unwrap();
            let edge = (files.edge + files.quiet) as u64;
            prop_assert_eq!(edge + files.telegram + files.webhooks + OWN, limit);
            prop_assert!(files.edge >= 20 && files.webhooks >= 15);
            prop_assert!(files.telegram + files.webhooks >= edge * 3);
        }
    }
}
