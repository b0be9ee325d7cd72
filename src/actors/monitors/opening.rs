//! Opening a chat: resolve it, check membership, find where to start, fetch what was missed.
//! Decides the next call from what is known; the monitor runs it.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatTarget, PeerKind};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::telegram::Call;

/// What the monitor knows of its chat through the account in use.
#[derive(Debug, Default)]
pub(in crate::actors) struct Opening {
    /// The account in use.
    pub(in crate::actors) account: Option<AuthKeyId>,
    /// Bots cannot read history: they ask by difference and by id.
    pub(in crate::actors) is_bot: bool,
    /// How to name the chat, once it is resolved for this account.
    pub(in crate::actors) peer: Option<PeerRecord>,
    /// Whether the known marked id was tried in vain before the command's own spelling.
    pub(in crate::actors) id_in_vain: bool,
    /// What the marked id met, while the spelling is tried.
    pub(in crate::actors) first_failure: Option<Failure>,
    /// Whether membership was checked since the chat was last to be opened.
    pub(in crate::actors) inspected: bool,
    /// The supergroup that the chat has become: it is opened once all that was said before is told.
    pub(in crate::actors) migrated_to: Option<PeerRecord>,
    /// How often a bot has waited for what was said before.
    pub(in crate::actors) waited: u32,
    /// Whether Telegram gives nothing more of what was said before.
    pub(in crate::actors) is_closed: bool,
    /// The highest id of a message that came live while the chat was being opened.
    pub(in crate::actors) known_id: i32,
    /// Up to where history was read since the chat was last to be opened.
    pub(in crate::actors) read_to: Option<i32>,
    /// Whether history brought anything that had not come live since the chat was last to be opened.
    pub(in crate::actors) found_gap: bool,
    /// Whether history was read to its end since the chat was last to be opened.
    pub(in crate::actors) caught_up: bool,
    /// Whether it is opened because something that should have come live may not have, and not
    /// because the account was away.
    pub(in crate::actors) is_gap: bool,
    /// Whether something happened meanwhile for which to look again before it is open.
    pub(in crate::actors) once_more: bool,
    /// Whether a pause before the next look is kept: it will see what happens meanwhile.
    pub(in crate::actors) is_braked: bool,
    /// Whether it is only a look for what may have come before a bot's first message.
    pub(in crate::actors) is_first_look: bool,
    /// Whether the chat has been open through this account.
    pub(in crate::actors) was_open: bool,
    /// How access was lost, as Telegram said when it happened.
    pub(in crate::actors) hint: Option<Failure>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::actors) enum Step {
    /// Run this call.
    Run(Call),
    /// Start with whatever comes, without looking: outside channels a bot cannot look.
    StartBlind,
    /// Everything is done: the chat is open.
    Done,
}

impl Opening {
    /// Another account is in use from now on.
    pub(in crate::actors) fn move_to(&mut self, account: AuthKeyId, is_bot: bool) {
        if self.account != Some(account) {
            *self = Self { account: Some(account), is_bot, ..Self::default() };
        }
    }

    /// The chat is to be opened again: membership and history anew.
    pub(in crate::actors) fn again(&mut self) {
        (self.inspected, self.once_more, self.found_gap) = (false, false, false);
        self.is_braked = false;
        self.read_again();
    }

    /// A pause before a look is over, if there was one.
    pub(in crate::actors) fn release(&mut self) {
        if std::mem::take(&mut self.is_braked) {
            self.once_more = false;
        }
    }

    /// The chat is not where it was: its own spelling may lead somewhere else.
    pub(in crate::actors) fn look_up_anew(&mut self, failure: Failure) {
        self.peer = None;
        self.id_in_vain = true;
        self.first_failure = Some(failure);
    }

    /// History is to be read again.
    pub(in crate::actors) fn read_again(&mut self) {
        self.read_to = None;
        self.caught_up = false;
    }

    /// What comes next.
    pub(in crate::actors) fn step(&self, record: &MonitorRecord, cursor: Option<&Cursor>) -> Step {
        let Some(peer) = self.peer else {
            return Step::Run(Call::Resolve(self.spelling(record)));
        };
        if !self.inspected {
            return Step::Run(Call::Inspect(peer));
        }
        if self.is_closed {
            return Step::Done;
        }
        let Some(cursor) = cursor else {
            if self.is_bot && self.migrated_to.is_some() {
                // What was said before the chat was asked for is of no interest.
                return Step::Done;
            }
            if record.owed_from.is_none() {
                return Step::Run(Call::LearnTime);
            }
            return match (self.is_bot, peer.id.kind()) {
                (true, PeerKind::Channel) => Step::Run(Call::Position(peer)),
                (true, _) => Step::StartBlind,
                (false, _) => {
                    let date = owed_from(record).seconds();
                    Step::Run(Call::NewestBefore { peer, date })
                }
            };
        };
        if self.is_foreign(cursor, peer) {
            return match self.is_bot {
                true => Step::StartBlind,
                false => Step::Run(Call::NewestBefore { peer, date: cursor.last_date }),
            };
        }
        if self.caught_up {
            return Step::Done;
        }
        match (self.read_to, self.is_bot && cursor.last_id == 0, record.start_pts) {
            (None, true, Some(pts)) => Step::Run(Call::Since { peer, pts }),
            // A bot that has published nothing yet knows no id to ask from.
            (None, true, None) => Step::Done,
            (read_to, _, _) => {
                let after_id = read_to.unwrap_or_else(|| cursor.resume_from());
                let known_id = self.known_id.max(cursor.last_id);
                Step::Run(Call::History { peer, after_id, known_id })
            }
        }
    }

    /// Tells a loss of the chat as well as it is known. Asked afterwards, Telegram only answers
    /// that the chat is private; whoever was inside until now was removed.
    pub(in crate::actors) fn explain(&self, failure: &Failure) -> Failure {
        match (failure, &self.hint) {
            (Failure::ChatLost { .. }, Some(hint)) => hint.clone(),
            (Failure::ChatLost { code }, None) if self.was_open && code == "CHANNEL_PRIVATE" => {
                Failure::ChatLost { code: "CHAT_FORBIDDEN".into() }
            }
            _ => failure.clone(),
        }
    }

    /// Whose message ids a cursor made now would count: everyone's in channels, the account's own
    /// elsewhere.
    pub(in crate::actors) fn owner(&self, peer: PeerRecord) -> Option<AuthKeyId> {
        self.account.filter(|_| peer.id.kind() != PeerKind::Channel)
    }

    fn is_foreign(&self, cursor: &Cursor, peer: PeerRecord) -> bool {
        cursor.owner != self.owner(peer)
    }

    /// The chat is a supergroup from now on: nothing is known of it there yet.
    pub(in crate::actors) fn migrate(&mut self, peer: PeerRecord) {
        let (account, is_bot) = (self.account, self.is_bot);
        *self = Self { account, is_bot, peer: Some(peer), ..Self::default() };
    }

    /// A marked id that is known already saves looking a username up, which is tightly limited. What
    /// was a basic group is never looked for there again.
    fn spelling(&self, record: &MonitorRecord) -> ChatTarget {
        match record.marked_id {
            Some(id) if !self.id_in_vain || record.migrated_from.is_some() => {
                ChatTarget::Marked(id)
            }
            _ => record.chat.target.clone(),
        }
    }
}

/// Looks at a chat within [`CALM`] of each other that are taken at once.
const FREE_LOOKS: u32 = 3;
/// After this long without a look the next ones are free again.
const CALM: Duration = Duration::from_secs(60);
/// Pauses between those that follow. What is said meanwhile is held back, so they are short.
const LOOK_BACKOFF: Backoff = Backoff { min_ms: 1_000, max_ms: 15_000 };

/// Slows down looks at one chat that follow each other closely: each costs calls of which the
/// account has only so many, and what happens during a pause is seen by the one look after it.
#[derive(Debug, Default)]
pub(in crate::actors) struct Brake {
    looks: u32,
    last: Option<Instant>,
}

impl Brake {
    /// The pause before a look that is to begin at `now`.
    pub(in crate::actors) fn pause(&mut self, now: Instant) -> Duration {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM) {
            self.looks = 0;
        }
        self.looks = self.looks.saturating_add(1);
        let pause = match self.looks.saturating_sub(FREE_LOOKS) {
            0 => Duration::ZERO,
            extra => Duration::from_millis(LOOK_BACKOFF.delay_ms(extra, 0.5)),
        };
        self.last = Some(now + pause);
        pause
    }
}

/// Since when messages are owed, by Telegram's clock: from the second on in which the chat was first
/// asked for. Telegram dates by whole seconds, and one message too many is better than one too few.
pub(in crate::actors) fn owed_from(record: &MonitorRecord) -> UnixMillis {
    record.owed_from.unwrap_or(record.started_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::monitors::record::MonitorPhase;
    use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, MarkedId};

    const ALICE: AuthKeyId = AuthKeyId(1);
    const BOB: AuthKeyId = AuthKeyId(2);

    fn record(chat: &str) -> MonitorRecord {
        MonitorRecord {
            owner: None,
            chat: ChatRef::parse(ChatSpelling::Text(chat.into())).unwrap(),
            ordered: Vec::new(),
            pool: Vec::new(),
            phase: MonitorPhase::Running,
            started_at: UnixMillis(99_900),
            started_steady: None,
            owed_from: Some(UnixMillis(77_900)),
            marked_id: None,
            migrated_from: None,
            title: None,
            names: Vec::new(),
            start_pts: None,
            exhausted: None,
        }
    }

    fn peer(id: i64) -> PeerRecord {
        PeerRecord { id: MarkedId(id), access_hash: 5, is_bot: false, is_broadcast: false }
    }

    #[test]
    fn a_new_chat_is_resolved_inspected_and_read_from_the_second_it_was_asked_for() {
        let record = record("@name");
        let mut opening = Opening::default();
        opening.move_to(ALICE, false);
        assert_eq!(
            opening.step(&record, None),
            Step::Run(Call::Resolve(record.chat.target.clone()))
        );
        let peer = peer(-1000000000042);
        opening.peer = Some(peer);
        assert_eq!(opening.step(&record, None), Step::Run(Call::Inspect(peer)));
        opening.inspected = true;
        let undated = MonitorRecord { owed_from: None, ..record.clone() };
        assert_eq!(opening.step(&undated, None), Step::Run(Call::LearnTime));
        let step = opening.step(&record, None);
        assert_eq!(step, Step::Run(Call::NewestBefore { peer, date: 77 }));
        let cursor = Cursor::starting_after(12, 77, None);
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::History { peer, after_id: 12, known_id: 12 }));
        opening.caught_up = true;
        assert_eq!(opening.step(&record, Some(&cursor)), Step::Done);
    }

    #[test]
    fn in_a_basic_group_another_account_finds_its_own_place_by_date() {
        let record = record("-42");
        let mut opening = Opening::default();
        opening.move_to(BOB, false);
        let peer = peer(-42);
        (opening.peer, opening.inspected) = (Some(peer), true);
        let cursor = Cursor::starting_after(900, 1_000, Some(ALICE));
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::NewestBefore { peer, date: 1_000 }));
        let channel = Cursor::starting_after(900, 1_000, None);
        let step = Opening { peer: Some(self::peer(-1000000000042)), ..opening }
            .step(&record, Some(&channel));
        assert!(matches!(step, Step::Run(Call::History { after_id: 900, .. })));
    }

    #[test]
    fn a_bot_asks_by_difference_until_it_has_published_and_by_id_from_then_on() {
        let mut record = record("-1000000000042");
        let mut opening = Opening::default();
        opening.move_to(ALICE, true);
        let peer = peer(-1000000000042);
        (opening.peer, opening.inspected) = (Some(peer), true);
        assert_eq!(opening.step(&record, None), Step::Run(Call::Position(peer)));
        record.start_pts = Some(7);
        let cursor = Cursor::starting_after(0, 0, None);
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::Since { peer, pts: 7 }));
        let cursor = Cursor::starting_after(30, 0, None);
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::History { peer, after_id: 30, known_id: 30 }));
        opening.caught_up = true;
        assert_eq!(opening.step(&record, Some(&cursor)), Step::Done);
    }

    #[test]
    fn a_bot_reads_on_to_the_newest_message_that_it_knows_of() {
        let record = record("-1000000000042");
        let mut opening = Opening::default();
        opening.move_to(ALICE, true);
        let peer = peer(-1000000000042);
        (opening.peer, opening.inspected, opening.known_id) = (Some(peer), true, 900);
        let cursor = Cursor::starting_after(30, 0, None);
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::History { peer, after_id: 30, known_id: 900 }));
    }

    #[test]
    fn looks_that_follow_each_other_closely_are_braked_until_it_is_calm_again() {
        let (mut brake, mut now) = (Brake::default(), Instant::now());
        let mut looks = 0;
        let end = now + Duration::from_secs(600);
        while now < end {
            now += brake.pause(now) + Duration::from_millis(50);
            looks += 1;
        }
        assert!((30..70).contains(&looks), "{looks} looks in ten minutes, and without end");
        now += CALM;
        for _ in 0..FREE_LOOKS {
            assert_eq!(brake.pause(now), Duration::ZERO);
        }
        assert!(brake.pause(now) > Duration::ZERO);
    }

    #[test]
    fn the_look_after_a_pause_sees_what_happened_in_it() {
        let mut opening = Opening { is_braked: true, once_more: true, ..Opening::default() };
        opening.release();
        assert!(!opening.once_more);
        opening.once_more = true;
        opening.release();
        assert!(opening.once_more, "this happened during the look");
    }

    #[test]
    fn what_was_said_before_a_chat_became_a_supergroup_is_read_to_its_end() {
        let record = record("-42");
        let mut opening = Opening::default();
        opening.move_to(ALICE, false);
        let (group, supergroup) = (peer(-42), peer(-1000000000042));
        (opening.peer, opening.inspected) = (Some(group), true);
        opening.migrated_to = Some(supergroup);
        assert_eq!(
            opening.step(&record, None),
            Step::Run(Call::NewestBefore { peer: group, date: 77 })
        );
        let cursor = Cursor::starting_after(900, 77, Some(ALICE));
        let step = opening.step(&record, Some(&cursor));
        assert_eq!(step, Step::Run(Call::History { peer: group, after_id: 900, known_id: 900 }));
        opening.caught_up = true;
        assert_eq!(opening.step(&record, Some(&cursor)), Step::Done);
        opening.migrate(supergroup);
        assert_eq!(opening.step(&record, None), Step::Run(Call::Inspect(supergroup)));
    }

    #[test]
    fn a_supergroup_is_not_looked_for_where_it_was_a_basic_group() {
        let (was, is) = (MarkedId(-42), MarkedId(-1000000000042));
        let record =
            MonitorRecord { marked_id: Some(is), migrated_from: Some(was), ..record("-42") };
        for id_in_vain in [false, true] {
            let opening = Opening { id_in_vain, ..Opening::default() };
            let step = opening.step(&record, None);
            assert_eq!(step, Step::Run(Call::Resolve(ChatTarget::Marked(is))));
        }
    }

    #[test]
    fn outside_channels_a_bot_starts_with_what_comes() {
        let record = record("-42");
        let mut opening = Opening::default();
        opening.move_to(ALICE, true);
        (opening.peer, opening.inspected) = (Some(peer(-42)), true);
        assert_eq!(opening.step(&record, None), Step::StartBlind);
        let cursor = Cursor::starting_after(0, 0, Some(ALICE));
        assert_eq!(opening.step(&record, Some(&cursor)), Step::Done);
    }
}
