//! History around a message that cannot be read: of a newer layer, or beyond what is read. The library
//! reads an answer as a whole, so one such message makes a page of a hundred unreadable. Ever
//! shorter pages say what lies before it; then it is found out which one it is, to name it and to
//! go on after it. One call makes few of these calls, so that they are paced; how far it got is kept
//! for the next one, and lost with the link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grammers_client::tl;
use grammers_client::tl::enums::Message;
use tokio::time::sleep;

use super::{PAGE, oldest_after, parts};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::telegram::link::RawCaller;
use crate::telegram::outcome::HistoryPage;
use crate::telegram::peers::input_peer;

/// Between two calls that look for it.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// Calls that one call makes to look for it. What it has not found by then is left to the next one.
const CALLS_MAX: u32 = 4;
/// Chats of which a link keeps how far it got.
const CHATS_MAX: usize = 512;

/// How far one link got in each chat that has something unreadable.
#[derive(Clone, Debug, Default)]
pub(in crate::telegram) struct Narrowings(Arc<Mutex<HashMap<MarkedId, Narrowing>>>);

impl Narrowings {
    /// How far it got with what comes after `after_id`. What was kept of another place is forgotten.
    pub(super) fn take(&self, chat: MarkedId, after_id: i32) -> Option<Narrowing> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&chat).filter(|known| known.after_id == after_id)
    }

    fn keep(&self, chat: MarkedId, narrowing: Narrowing) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < CHATS_MAX || all.contains_key(&chat) {
            all.insert(chat, narrowing);
        }
    }
}

/// How far it got in one chat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrowing {
    after_id: i32,
    /// How many messages to ask for.
    limit: i32,
    /// Whether something unreadable is known to lie shortly ahead.
    is_ahead: bool,
    /// It is the next message, whose id is looked for.
    search: Option<Search>,
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// So many messages.
    Page(i32),
    /// The newest message up to this id.
    Newest(i32),
    /// Nothing: the next message has this id, or is gone.
    Done(Option<i32>),
}

impl Narrowing {
    /// A whole page after `after_id` cannot be read.
    pub(super) fn begin(after_id: i32) -> Self {
        Self { after_id, limit: PAGE / 2, is_ahead: true, search: None }
    }

    fn ask(&mut self) -> Ask {
        let Some(search) = &mut self.search else { return Ask::Page(self.limit) };
        search.next().map_or_else(|| Ask::Done(search.found()), Ask::Newest)
    }

    fn page_failed(&mut self) {
        match self.limit {
            ..=1 => self.search = Some(Search::after(self.after_id)),
            _ => (self.limit, self.is_ahead) = (self.limit / 2, true),
        }
    }

    fn saw(&mut self, seen: Seen) {
        self.search.iter_mut().for_each(|search| search.saw(seen));
    }

    /// The page could be read, up to this id: what comes next, unless that is a whole page again.
    fn went_on(self, after_id: i32) -> Option<Self> {
        let is_ahead = self.is_ahead && self.limit > 1;
        let limit = if is_ahead { self.limit / 2 } else { self.limit.saturating_mul(4) };
        (limit < PAGE).then_some(Self { after_id, limit, is_ahead, search: None })
    }

    /// The message with this id is passed over. What cannot be read often comes in a row.
    fn passed(after_id: i32) -> Self {
        Self { after_id, limit: 1, is_ahead: false, search: None }
    }
}

/// Goes on looking. Where it is not found yet, an empty page says that there is more.
pub(super) async fn go_on(
    caller: &RawCaller,
    peer: &PeerRecord,
    mut at: Narrowing,
) -> Result<HistoryPage, Failure> {
    let keep = |narrowing| caller.narrowings().keep(peer.id, narrowing);
    for _ in 0..CALLS_MAX {
        let outcome = match at.ask() {
            Ask::Done(found) => {
                let id = found.ok_or_else(gone)?;
                keep(Narrowing::passed(id));
                return Ok(HistoryPage::unreadable(id));
            }
            Ask::Page(limit) => {
                sleep(PAUSE).await;
                match oldest_after(caller, peer, at.after_id, limit).await {
                    Ok(page) => {
                        page.newest_id.and_then(|id| at.went_on(id)).into_iter().for_each(keep);
                        return Ok(page);
                    }
                    Err(Failure::Unreadable { .. }) if caller.has_ended() => {
                        return Err(caller.why_ended());
                    }
                    Err(Failure::Unreadable { .. }) => {
                        at.page_failed();
                        Ok(())
                    }
                    Err(failure) => Err(failure),
                }
            }
            Ask::Newest(upto) => {
                sleep(PAUSE).await;
                newest_within(caller, peer, at.after_id, upto).await.map(|seen| at.saw(seen))
            }
        };
        if let Err(failure) = outcome {
            keep(at);
            return Err(failure);
        }
    }
    keep(at);
    Ok(HistoryPage { newest_id: Some(at.after_id), more: true, ..HistoryPage::default() })
}

fn gone() -> Failure {
    Failure::transient("a message that could not be read is gone, or can be read now")
}

impl HistoryPage {
    /// One with nothing on it but a message that cannot be read.
    pub(super) fn unreadable(id: i32) -> Self {
        let unreadable = vec![Some(id)];
        Self { newest_id: Some(id), more: true, unreadable, ..Self::default() }
    }
}

/// The id of the message after `after_id`, which cannot be read; `None` where it is not found within
/// `calls_left`.
pub(super) async fn first_unreadable(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
    calls_left: &mut u32,
) -> Result<Option<i32>, Failure> {
    let mut search = Search::after(after_id);
    while let Some(upto) = search.next() {
        let Some(left) = calls_left.checked_sub(1) else { return Ok(None) };
        *calls_left = left;
        sleep(PAUSE).await;
        search.saw(newest_within(caller, peer, after_id, upto).await?);
    }
    search.found().map(Some).ok_or_else(gone)
}

/// What is seen of the messages up to an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// The newest of them can be read.
    Readable(i32),
    /// The newest of them cannot.
    Unreadable,
}

async fn newest_within(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
    upto: i32,
) -> Result<Seen, Failure> {
    let request = tl::functions::messages::GetHistory {
        peer: input_peer(peer),
        offset_id: upto.saturating_add(1),
        offset_date: 0,
        add_offset: 0,
        limit: 1,
        max_id: 0,
        min_id: after_id,
        hash: 0,
    };
    match caller.call(&request).await {
        Ok(answer) => {
            let ids = parts(answer).0.iter().map(Message::id).max();
            Ok(ids.filter(|id| *id > after_id).map_or(Seen::Nothing, Seen::Readable))
        }
        Err(Failure::Unreadable { .. }) if !caller.has_ended() => Ok(Seen::Unreadable),
        Err(failure) => Err(failure),
    }
}

/// Looks for the first message after an id, knowing only what is seen of those up to some other id:
/// with growing steps, since ids mostly follow each other, then by halves. At most 62 looks.
#[derive(Clone, Copy, Debug)]
struct Search {
    /// There is nothing up to here.
    nothing_to: i32,
    /// It is at this id or before.
    at_most: Option<i32>,
    step: i32,
    asked: i32,
}

impl Search {
    fn after(id: i32) -> Self {
        Self { nothing_to: id, at_most: None, step: 1, asked: id }
    }

    /// Up to which id to look next; `None` when it is found, or is not there.
    fn next(&mut self) -> Option<i32> {
        let asked = match self.at_most {
            Some(at_most) if at_most <= self.nothing_to.saturating_add(1) => return None,
            Some(at_most) => self.nothing_to + (at_most - self.nothing_to) / 2,
            None if self.nothing_to == i32::MAX => return None,
            None => self.nothing_to.saturating_add(self.step),
        };
        self.step = self.step.saturating_mul(2);
        self.asked = asked;
        Some(asked)
    }

    fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Nothing => self.nothing_to = self.asked,
            Seen::Unreadable => self.at_most = Some(self.asked),
            // The first one cannot be read, so it comes before this.
            Seen::Readable(id) => self.at_most = Some(id - 1),
        }
    }

    fn found(&self) -> Option<i32> {
        self.at_most.filter(|id| *id == self.nothing_to.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Messages by their ids, and whether they can be read.
    fn seen(messages: &BTreeMap<i32, bool>, after: i32, upto: i32) -> Seen {
        match messages.range(after + 1..=upto).next_back() {
            None => Seen::Nothing,
            Some((id, true)) => Seen::Readable(*id),
            Some((_, false)) => Seen::Unreadable,
        }
    }

    fn look(messages: &BTreeMap<i32, bool>, after: i32) -> (Option<i32>, usize) {
        let (mut search, mut looks) = (Search::after(after), 0);
        while let Some(upto) = search.next() {
            looks += 1;
            search.saw(seen(messages, after, upto));
        }
        (search.found(), looks)
    }

    #[test]
    fn where_ids_follow_each_other_one_look_is_enough() {
        let messages = BTreeMap::from([(8, false), (9, true)]);
        assert_eq!(look(&messages, 7), (Some(8), 1));
    }

    #[test]
    fn one_that_is_gone_meanwhile_is_not_found() {
        assert_eq!(look(&BTreeMap::new(), 7).0, None);
        assert_eq!(look(&BTreeMap::new(), i32::MAX).0, None);
    }

    /// Reads everything after 0 as calls do; answers the ids that could be read, those that could
    /// not, and the calls.
    fn read_all(messages: &BTreeMap<i32, bool>) -> (Vec<i32>, Vec<i32>, u32) {
        let narrowings = Narrowings::default();
        let chat = MarkedId::channel(1);
        let (mut read, mut unreadable, mut calls) = (Vec::new(), Vec::new(), 0);
        let page = |after: i32, limit: i32| {
            let page: Vec<_> = messages.range(after + 1..).take(limit as usize).collect();
            let is_readable = page.iter().all(|(_, is_readable)| **is_readable);
            is_readable.then(|| page.iter().map(|(id, _)| **id).collect::<Vec<_>>())
        };
        let mut after = 0;
        'calls: loop {
            let Some(mut at) = narrowings.take(chat, after).or_else(|| {
                calls += 1;
                let Some(ids) = page(after, PAGE) else { return Some(Narrowing::begin(after)) };
                after = ids.last().copied().unwrap_or(i32::MAX);
                read.extend(ids);
                None
            }) else {
                match after {
                    i32::MAX => return (read, unreadable, calls),
                    _ => continue,
                }
            };
            for _ in 0..CALLS_MAX {
                match at.ask() {
                    Ask::Done(found) => {
                        after = found.expect("nothing vanishes");
                        unreadable.push(after);
                        narrowings.keep(chat, Narrowing::passed(after));
                        continue 'calls;
                    }
                    Ask::Page(limit) => match page(after, limit) {
                        None => at.page_failed(),
                        Some(ids) => {
                            let Some(last) = ids.last() else { return (read, unreadable, calls) };
                            after = *last;
                            read.extend(ids);
                            at.went_on(after).into_iter().for_each(|at| narrowings.keep(chat, at));
                            calls += 1;
                            continue 'calls;
                        }
                    },
                    Ask::Newest(upto) => at.saw(seen(messages, after, upto)),
                }
                calls += 1;
            }
            narrowings.keep(chat, at);
        }
    }

    #[test]
    fn a_row_of_what_cannot_be_read_costs_two_calls_for_each() {
        let messages = (1..=400).map(|id| (id, id <= 30 || id > 330)).collect();
        let (read, unreadable, calls) = read_all(&messages);
        assert_eq!((read.len(), unreadable.len()), (100, 300));
        assert!(calls <= 2 * 300 + 30, "{calls}");
    }

    #[test]
    fn what_was_kept_of_another_place_is_not_gone_on_with() {
        let (narrowings, chat) = (Narrowings::default(), MarkedId::channel(1));
        narrowings.keep(chat, Narrowing::begin(7));
        assert!(narrowings.take(chat, 8).is_none());
        assert!(narrowings.take(chat, 7).is_none(), "it is forgotten");
        for id in 1..=600 {
            narrowings.keep(MarkedId::channel(id), Narrowing::begin(7));
        }
        assert!(narrowings.take(MarkedId::channel(CHATS_MAX as i64), 7).is_some());
        assert!(narrowings.take(MarkedId::channel(600), 7).is_none());
    }

    proptest! {
        /// Wherever they lie, and however few calls a call makes.
        #[test]
        fn everything_is_read_or_named_once_and_in_its_order(
            messages in prop::collection::btree_map(
                prop_oneof![1..300_i32, 1..2_000_000_000_i32], prop::bool::weighted(0.8), 0..300,
            ),
        ) {
            let (read, unreadable, calls) = read_all(&messages);
            let ids = |is_readable| {
                let of = messages.iter().filter(move |(_, it)| **it == is_readable);
                of.map(|(id, _)| *id).collect::<Vec<_>>()
            };
            prop_assert_eq!(read, ids(true));
            prop_assert_eq!(&unreadable, &ids(false));
            prop_assert!(calls as usize <= 96 * unreadable.len() + messages.len() + 3, "{}", calls);
        }

        #[test]
        fn the_first_one_is_found_wherever_it_is(
            after in 0..1_000_i32,
            first in 1..2_000_000_000_i32,
            others in prop::collection::btree_map(1..2_000_000_000_i32, any::<bool>(), 0..20),
        ) {
            let first = after + first.min(i32::MAX - after - 1);
            let mut messages: BTreeMap<i32, bool> =
                others.into_iter().filter(|(id, _)| *id > first || *id <= after).collect();
            messages.insert(first, false);
            let (found, looks) = look(&messages, after);
            prop_assert_eq!(found, Some(first));
            prop_assert!(looks <= 64, "{}", looks);
        }
    }
}
