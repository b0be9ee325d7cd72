//! What the tree is made of: a row for everything that lives as long as the daemon, and for each kind of what comes and
//! goes. Nothing long-lived runs without one; what follows an end is the kind's policy ([`ChildKind::policy`]).

use super::restart::ChildKind;

/// One member, or one kind of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// What it is, which says what follows its end.
    pub kind: ChildKind,
    /// Its name within its kind, as in the ledger; `None`: there are many, each with a name of its own.
    pub name: Option<&'static str>,
    /// Who starts it.
    pub under: &'static str,
    /// What it does.
    pub does: &'static str,
}

const fn part(name: &'static str, does: &'static str) -> TableRow {
    TableRow { kind: ChildKind::Part, name: Some(name), under: "root", does }
}

const fn helper(name: &'static str, under: &'static str, does: &'static str) -> TableRow {
    TableRow { kind: ChildKind::Helper, name: Some(name), under, does }
}

const fn many(kind: ChildKind, under: &'static str, does: &'static str) -> TableRow {
    TableRow { kind, name: None, under, does }
}

/// Above all others; the process ends with it.
pub const ROOT: TableRow = TableRow {
    kind: ChildKind::Part,
    name: Some("root"),
    under: "app",
    does: "starts the parts, and ends the process when one of them ends",
};
/// Starts and stops accounts; sees to it that no key is connected twice.
pub const FLEET: TableRow = part("fleet", "accounts");
/// Starts and stops monitors.
pub const MONITORS: TableRow = part("monitors", "monitors of chats");
/// Joins that commands ask for.
pub const JOBS: TableRow = part("jobs", "joins that commands ask for");
/// Starts and ends logins.
pub const LOGINS: TableRow = part("logins", "logins");
/// Starts and stops what calls webhooks.
pub const WEBHOOKS: TableRow = part("webhooks", "endpoints of webhooks");
/// Starts and stops campaigns.
pub const CAMPAIGNS: TableRow = part("campaigns", "campaigns, and who acts for them");
/// Starts and stops the links to the broker.
pub const BRIDGE: TableRow = part("bridge", "links to the broker");
/// Gives events to the broker.
pub const PUBLISHER: TableRow = TableRow {
    kind: ChildKind::Bridge,
    name: Some("publisher"),
    under: "part/bridge",
    does: "gives events to the broker",
};
/// Takes commands from the broker.
pub const CONSUMER: TableRow = TableRow {
    kind: ChildKind::Bridge,
    name: Some("consumer"),
    under: "part/bridge",
    does: "takes commands from the broker",
};
/// Gives events to the endpoints of webhooks.
pub const DISPATCHER: TableRow = TableRow {
    kind: ChildKind::Webhook,
    name: Some("dispatcher"),
    under: "part/webhooks",
    does: "puts events into the queues of endpoints",
};
/// Tells those who follow what changed. (Its name in the ledger is an older one.)
pub const CHANGE_FEED: TableRow = helper("herald", "root", "tells those who follow what changed");
/// Deletes what is kept for a time only. (Its name in the ledger is an older one.)
pub const RETENTION: TableRow = helper("caretaker", "root", "deletes what is kept for a time only");
/// Has monitors follow accounts that log in anew.
pub const REKEYING: TableRow =
    helper("rekeying", "root", "has monitors follow accounts that log in anew");
/// Looks how much waits for the broker.
pub const BACKLOG: TableRow = helper("backlog", "root", "looks how much waits for the broker");
/// Renews the keys when they are due.
pub const KEY_TIMER: TableRow = helper("key-timer", "app", "renews the keys when they are due");
/// Samples what health tells.
pub const HEALTH: TableRow = helper("health", "app", "samples what health tells");

/// Serves HTTP, on a thread of its own; the process ends with it.
pub const HTTP: TableRow = TableRow {
    kind: ChildKind::Part,
    name: Some("http"),
    under: "app",
    does: "serves HTTP on a thread of its own; the process ends with it",
};
/// Tells the service manager how the daemon fares; without it the watchdog ends the process.
pub const SERVICE_MANAGER: TableRow = TableRow {
    kind: ChildKind::Part,
    name: Some("systemd"),
    under: "app",
    does: "tells the service manager, whose watchdog ends the process when it is told no more",
};

/// The whole table.
pub const TABLE: [TableRow; 25] = [
    ROOT,
    FLEET,
    MONITORS,
    JOBS,
    LOGINS,
    WEBHOOKS,
    CAMPAIGNS,
    BRIDGE,
    PUBLISHER,
    CONSUMER,
    DISPATCHER,
    CHANGE_FEED,
    RETENTION,
    REKEYING,
    BACKLOG,
    KEY_TIMER,
    HEALTH,
    HTTP,
    SERVICE_MANAGER,
    many(ChildKind::Account, "part/fleet", "one key: its connection, its calls, its waits"),
    many(ChildKind::Monitor, "part/monitors", "one chat of one owner: its cursor, its sessions"),
    many(ChildKind::Login, "part/logins", "one attempt to connect an account"),
    many(ChildKind::Webhook, "part/webhooks", "one endpoint: its queue, its retries"),
    many(ChildKind::Campaign, "part/campaigns", "one task: its targets, what becomes of them"),
    many(ChildKind::Allocator, "part/campaigns", "whose turn it is, of one user's tasks"),
];

impl TableRow {
    /// As the ledger calls it; of many, what their names begin with.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.name(), self.name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_hangs_under_another() {
        let names: BTreeSet<String> = TABLE.iter().map(TableRow::path).collect();
        assert_eq!(names.len(), TABLE.len());
        for row in TABLE {
            let is_known = ["root", "app"].contains(&row.under) || names.contains(row.under);
            assert!(is_known, "{} hangs under {}", row.path(), row.under);
        }
    }
}
