//! What goes wrong, and when: a seed and a duration give a schedule. Pure, so that the same seed
//! always gives the same one.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// What is there to go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Accounts.
    pub(super) accounts: usize,
    /// Chats from which somebody may be removed and come back.
    pub(super) forgiving_chats: usize,
}

/// Something at some time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) event: Event,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// `kill -9`, and a new start after a while.
    Kill { pause_ms: u64 },
    /// `kill -9`, a new start, and `kill -9` again while it starts.
    KillTwice { after_ms: u64 },
    /// SIGTERM, and a new start.
    Terminate { pause_ms: u64 },
    /// The broker is stopped and started again while other things go on.
    StopBroker { pause_ms: u64 },
    /// The account's next connections are reset; it is cut off first.
    Refuse { account: usize, times: u32 },
    /// The account's next connection is accepted and never answered; it is cut off first.
    MuteConnection { account: usize },
    /// The account's connection is closed.
    Cut { account: usize },
    /// Some calls of the account meet this.
    Calls { account: usize, trouble: Trouble, times: u32 },
    /// Telegram asks the account to wait; it is cut off, so that it calls.
    Flood { account: usize, method: &'static str, seconds: u32 },
    /// Updates for the account go astray.
    Updates { account: usize, trouble: UpdateTrouble, times: u32 },
    /// The account's next differences are too long; it is cut off, so that it asks for one.
    TooLong { account: usize, of_channels: bool, times: u32 },
    /// The session that listens to a chat is removed from it.
    Kick { chat: usize, is_ban: bool },
    /// All sessions of a chat are removed from it: nobody is left.
    KickAll { chat: usize },
    /// The account's sessions are ended.
    Revoke { account: usize, error: &'static str },
    /// What was taken away is given back, and the backend names its sessions anew.
    Repair,
    /// A burst of messages in one chat.
    Burst { chat: usize, count: u32 },
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Disconnect,
    Reset,
    LoseAnswer,
    Garbage,
    Mute,
    ServerError,
    Delay,
}

/// What an update meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateTrouble {
    Swallow,
    Duplicate,
    Reorder,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Disconnect,
    Trouble::Reset,
    Trouble::LoseAnswer,
    Trouble::Garbage,
    Trouble::Mute,
    Trouble::ServerError,
    Trouble::Delay,
];
const UPDATE_TROUBLES: [UpdateTrouble; 3] =
    [UpdateTrouble::Swallow, UpdateTrouble::Duplicate, UpdateTrouble::Reorder];
const FLOODED: [&str; 7] = [
    "messages.getHistory",
    "channels.getChannels",
    "contacts.resolveUsername",
    "updates.getDifference",
    "updates.getChannelDifference",
    "updates.getState",
    "users.getUsers",
];
/// How a session may end.
pub(super) const ENDS: [&str; 4] =
    ["AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "SESSION_EXPIRED", "USER_DEACTIVATED_BAN"];

/// Time between two events.
const STEP_MS: RangeInclusive<u64> = 300..=2_500;
/// Time between two repairs.
const REPAIR_MS: RangeInclusive<u64> = 8_000..=16_000;

/// The schedule of `seed` for a run of `duration`.
pub(super) fn plan(seed: u64, duration: Duration, extent: Extent) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut planned = Vec::new();
    let mut at = Duration::ZERO;
    let mut repair_at = Duration::from_millis(random.random_range(REPAIR_MS));
    loop {
        at += Duration::from_millis(random.random_range(STEP_MS));
        if at >= duration {
            return planned;
        }
        if at >= repair_at {
            planned.push(Planned { at, event: Event::Repair });
            repair_at = at + Duration::from_millis(random.random_range(REPAIR_MS));
            continue;
        }
        planned.push(Planned { at, event: draw(&mut random, extent) });
    }
}

fn draw(random: &mut StdRng, extent: Extent) -> Event {
    let account = random.random_range(0..extent.accounts);
    let chat = random.random_range(0..extent.forgiving_chats);
    match random.random_range(0..100) {
        0..14 => Event::Kill { pause_ms: random.random_range(0..1_500) },
        14..18 => Event::KillTwice { after_ms: random.random_range(0..400) },
        18..23 => Event::Terminate { pause_ms: random.random_range(0..1_000) },
        23..26 => Event::StopBroker { pause_ms: random.random_range(0..6_000) },
        26..32 => Event::Refuse { account, times: random.random_range(1..8) },
        32..35 => Event::MuteConnection { account },
        35..43 => Event::Cut { account },
        43..53 => Event::Calls {
            account,
            trouble: one_of(random, &TROUBLES),
            times: random.random_range(1..4),
        },
        53..61 => Event::Flood {
            account,
            method: one_of(random, &FLOODED),
            seconds: random.random_range(1..4),
        },
        61..72 => Event::Updates {
            account,
            trouble: one_of(random, &UPDATE_TROUBLES),
            times: random.random_range(1..12),
        },
        72..78 => Event::TooLong {
            account,
            of_channels: random.random(),
            times: random.random_range(1..4),
        },
        78..84 => Event::Kick { chat, is_ban: random.random_ratio(1, 4) },
        84..87 => Event::KickAll { chat },
        87..92 => Event::Revoke { account, error: one_of(random, &ENDS) },
        _ => Event::Burst { chat, count: random.random_range(50..400) },
    }
}

fn one_of<T: Copy>(random: &mut StdRng, choice: &[T]) -> T {
    *choice.choose(random).expect("there is a choice")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { accounts: 24, forgiving_chats: 12 };

    #[test]
    fn a_seed_always_gives_the_same_plan_and_another_one_another() {
        let minute = Duration::from_secs(60);
        assert_eq!(plan(7, minute, EXTENT), plan(7, minute, EXTENT));
        assert_ne!(plan(7, minute, EXTENT), plan(8, minute, EXTENT));
    }

    #[test]
    fn a_plan_keeps_to_its_time_and_a_long_one_holds_everything() {
        let hour = Duration::from_secs(3_600);
        let planned = plan(1, hour, EXTENT);
        assert!(planned.is_sorted_by_key(|planned| planned.at));
        assert!(planned.iter().all(|planned| planned.at < hour));
        let kinds: std::collections::HashSet<_> =
            planned.iter().map(|planned| std::mem::discriminant(&planned.event)).collect();
        assert_eq!(kinds.len(), 16);
    }
}
