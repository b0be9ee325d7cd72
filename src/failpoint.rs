//! Points at which a test lets the process die as `kill -9` would: before and after every step at
//! which durability changes hands. Owns their names and the dying. Without the cargo feature
//! `fail-points` a point compiles to nothing; never switch it on in a build that serves anybody.
//!
//! With it, `TELEWARDEN_FAIL_POINT=name@N` makes the Nth time the point `name` is reached the last
//! thing the process does: no destructor runs, nothing is flushed. `TELEWARDEN_STUMBLE=actor/key`
//! makes one actor panic whenever it does its work, which only its supervisor may notice.
//! `TELEWARDEN_SYNC_FAILS=folder` makes a sync fail (see `failing_sync`).

/// Every point, by the way of a fact through the process. `tests/wire/tree/failpoints.rs` and, for what
/// users do, `tests/wire/accounts/failpoints.rs`, `tests/wire/campaigns/deaths.rs` and `tests/wire/logins/recovery.rs`
/// kill the daemon at each.
pub const NAMES: [&str; 99] = [
    // The store is made.
    "key.write.before",
    "key.rename.before",
    "key.rename.after",
    "store.open.before",
    "store.open.after",
    "store.marker.before",
    "store.marker.after",
    // It is opened again, and its database kept as it was found meanwhile.
    "store.keep.before",
    "store.keep.after",
    "store.dispose.before",
    "store.dispose.after",
    // A group of submissions becomes durable.
    "store.apply.before",
    "store.apply.after",
    "store.sync.before",
    "store.sync.after",
    "store.tell.before",
    "store.tell.after",
    // Cursors and update states get records of their own, and the outbox is trimmed; the keys rotate.
    "store.checkpoint.before",
    "store.checkpoint.after",
    "store.release.before",
    "store.release.after",
    "store.trim.before",
    "store.trim.after",
    "keys.generation.before",
    "keys.generation.after",
    "keys.rewrap.before",
    "keys.rewrap.after",
    "keys.retire.before",
    "keys.retire.after",
    "store.close.before",
    "store.close.after",
    // A command is taken, carried out and acknowledged.
    "command.effect.before",
    "command.effect.after",
    "command.ack.before",
    "command.ack.after",
    "dead_letter.before",
    "dead_letter.after",
    "session.register.before",
    "session.register.after",
    "monitor.configure.before",
    "monitor.configure.after",
    "monitor.stop.before",
    "monitor.stop.after",
    "job.add.before",
    "job.add.after",
    "job.done.before",
    "job.done.after",
    // A message goes from Telegram into the outbox; a chat changes hands.
    "monitor.start.before",
    "monitor.start.after",
    "monitor.publish.before",
    "monitor.publish.after",
    "update_state.move.before",
    "update_state.move.after",
    "monitor.failover.before",
    "monitor.failover.after",
    "monitor.migrate.before",
    "monitor.migrate.after",
    "account.save.before",
    "account.save.after",
    // A user's login goes from step to step and becomes an account, which then changes.
    "login.stage.before",
    "login.stage.after",
    "login.sign_in.before",
    "login.sign_in.after",
    "login.signed_in",
    // A code is asked for once more; a forgotten password is recovered.
    "login.resend.before",
    "login.resend.after",
    "login.recovery.before",
    "login.recovery.after",
    "login.recover.before",
    "login.recover.after",
    "account.adopt.before",
    "account.adopt.after",
    "owned.keep.before",
    "owned.keep.after",
    // A user's message leaves.
    "send.intent.before",
    "send.intent.after",
    "send.outcome.before",
    "send.outcome.after",
    // A campaign is ordered about and goes from person to person; who wants no more of it says so.
    "campaign.targets.before",
    "campaign.targets.after",
    "campaign.order.before",
    "campaign.order.after",
    "campaign.intent.before",
    "campaign.intent.after",
    "campaign.outcome.before",
    "campaign.outcome.after",
    "campaign.settle.before",
    "campaign.settle.after",
    "campaign.reply.before",
    "campaign.reply.after",
    // An event leaves.
    "publish.before",
    "publish.after",
    "confirm.before",
    "outbox.release.before",
    "outbox.release.after",
    // An event of a user goes to its webhooks.
    "webhook.spool.before",
    "webhook.spool.after",
    "webhook.delivered.before",
    "webhook.delivered.after",
];

/// Passes the point `name`, or dies there.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub(crate) fn reach(_name: &'static str) {}

/// Passes, or panics when the actor `kind/key` is the one that is to stumble.
#[cfg(not(any(feature = "fail-points", test)))]
#[inline(always)]
pub(crate) fn stumble(_kind: &'static str, _key: &dyn std::fmt::Display) {}

#[cfg(feature = "fail-points")]
pub(crate) use armed::reach;
#[cfg(all(feature = "fail-points", not(test)))]
pub(crate) use armed::stumble;
#[cfg(test)]
pub(crate) use tripped::{stumble, trip};

/// A disk on which a sync fails, in the place of the C library's `fdatasync` for the whole process. Once there
/// is a file `fail` in the folder that the variable names, the next sync answers EIO. As on Linux, that is told
/// once: what was written is called clean then, and syncs succeed again that make nothing durable. The
/// database's file as the last honest sync left it is in `durable` there, so that a test can put it in the
/// place of the file, as a cut of the power would. Without the variable every sync is an honest one.
#[cfg(any(test, feature = "fail-points"))]
mod failing_sync {
    use std::ffi::c_int;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    const VARIABLE: &str = "TELEWARDEN_SYNC_FAILS";

    /// Whether a sync has failed.
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);

    /// See the module.
    #[unsafe(no_mangle)]
    pub(super) extern "C" fn fdatasync(file: c_int) -> c_int {
        static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let Some(folder) = folder else { return honest(file) };
        if HAS_FAILED.load(Ordering::SeqCst) {
            return 0;
        }
        if std::fs::remove_file(folder.join("fail")).is_ok() {
            HAS_FAILED.store(true, Ordering::SeqCst);
            // SAFETY: it is this thread's own place for the reason.
            unsafe { *libc::__errno_location() = libc::EIO };
            return -1;
        }
        let outcome = honest(file);
        if outcome == 0 {
            keep(file, folder);
        }
        outcome
    }

    fn honest(file: c_int) -> c_int {
        // SAFETY: the call takes and gives plain numbers, and a wrong one is an error.
        let outcome = unsafe { libc::syscall(libc::SYS_fdatasync, file) };
        if outcome == 0 { 0 } else { -1 }
    }

    /// Copies the database's file, in one step.
    fn keep(file: c_int, folder: &Path) {
        static ONE_BY_ONE: Mutex<()> = Mutex::new(());
        let _one_by_one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let open = format!("/proc/self/fd/{file}");
        if std::fs::read_link(&open).is_ok_and(|path| path.ends_with("sled/db")) {
            let copied = std::fs::copy(&open, folder.join("copying"));
            let kept = copied
                .and_then(|_| std::fs::rename(folder.join("copying"), folder.join("durable")));
            kept.expect("the folder takes a copy of the database");
        }
    }
}

#[cfg(feature = "fail-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Where to die.
    const VARIABLE: &str = "TELEWARDEN_FAIL_POINT";

    /// Who panics.
    #[cfg(not(test))]
    const STUMBLE: &str = "TELEWARDEN_STUMBLE";

    /// Passes, or panics when the actor `kind/key` is the one that is to stumble.
    #[cfg(not(test))]
    pub(crate) fn stumble(kind: &'static str, key: &dyn std::fmt::Display) {
        static WHO: OnceLock<Option<String>> = OnceLock::new();
        let who = WHO.get_or_init(|| std::env::var(STUMBLE).ok());
        let is_it = who.as_ref().is_some_and(|who| *who == format!("{kind}/{key}"));
        assert!(!is_it, "{kind}/{key} stumbles, as it was told to");
    }

    /// The point at which to die, and how often it is passed before.
    struct Armed {
        name: String,
        passes: u64,
        reached: AtomicU64,
    }

    /// So that the linker takes ours.
    #[used]
    static SYNC: extern "C" fn(std::ffi::c_int) -> std::ffi::c_int = super::failing_sync::fdatasync;

    /// Passes the point `name`, or dies there.
    pub(crate) fn reach(name: &'static str) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        assert!(super::NAMES.contains(&name), "fail point `{name}` is not in the table");
        let Some(armed) = ARMED.get_or_init(read) else { return };
        if armed.name == name && armed.reached.fetch_add(1, Ordering::Relaxed) == armed.passes {
            die();
        }
    }

    fn read() -> Option<Armed> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, count) = text.split_once('@').unwrap_or((&text, "1"));
        let count = count.parse().ok().filter(|count| *count > 0);
        let count: u64 = count.expect("the variable ends with a number from 1 on");
        assert!(super::NAMES.contains(&name), "{VARIABLE} names no fail point: {name}");
        Some(Armed { name: name.into(), passes: count - 1, reached: AtomicU64::new(0) })
    }

    fn die() -> ! {
        // SAFETY: both calls take and give plain numbers. The signal cannot be caught, and one that
        // a process sends to itself arrives before the call returns.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        std::process::abort()
    }
}

/// In unit tests, which run side by side, each says for its own thread who stumbles and how often.
#[cfg(test)]
mod tripped {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::fmt::Display;

    thread_local! {
        static LEFT: RefCell<HashMap<String, u32>> = RefCell::default();
    }

    /// Has the actor `kind/key` panic the next `times` times that it comes by.
    pub(crate) fn trip(kind: &str, key: &dyn Display, times: u32) {
        LEFT.with_borrow_mut(|left| left.insert(format!("{kind}/{key}"), times));
    }

    /// Passes, or panics when the actor `kind/key` is the one that is to stumble.
    pub(crate) fn stumble(kind: &'static str, key: &dyn Display) {
        let name = format!("{kind}/{key}");
        let is_it = LEFT.with_borrow_mut(|left| match left.get_mut(&name) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        });
        assert!(!is_it, "{name} stumbles, as it was told to");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_told_apart() {
        let distinct: std::collections::HashSet<_> = super::NAMES.iter().collect();
        assert_eq!(distinct.len(), super::NAMES.len());
    }
}
