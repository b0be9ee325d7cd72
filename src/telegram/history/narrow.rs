//! History around a message that cannot be read: of a newer layer, or beyond what is read. The library
//! reads an answer as a whole, so one such message makes a page of a hundred unreadable. Ever
//! shorter pages say what lies before it; then it is found out which one it is, to name it and to
//! go on after it.

use std::time::Duration;

use grammers_client::tl;
use grammers_client::tl::enums::Message;
use tokio::time::sleep;

use super::{PAGE, oldest_after, parts};
use crate::protocol::failure::Failure;
use crate::protocol::model::PeerRecord;
use crate::telegram::errand::HistoryPage;
use crate::telegram::link::Caller;
use crate::telegram::peers::input_peer;

/// Between two calls that look for it.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// What is readable of the page after `after_id`, from its beginning.
pub(super) async fn after(
    caller: &Caller,
    peer: &PeerRecord,
    after_id: i32,
) -> Result<HistoryPage, Failure> {
    let mut limit = PAGE / 2;
    loop {
        sleep(PAUSE).await;
        match oldest_after(caller, peer, after_id, limit).await {
            Err(Failure::Unreadable { .. }) if caller.has_ended() => {
                return Err(caller.why_ended());
            }
            Err(Failure::Unreadable { .. }) if limit > 1 => limit /= 2,
            Err(Failure::Unreadable { .. }) => {
                let id = first_unreadable(caller, peer, after_id).await?;
                return Ok(HistoryPage::unreadable(id));
            }
            page => return page,
        }
    }
}

impl HistoryPage {
    /// One with nothing on it but a message that cannot be read.
    pub(super) fn unreadable(id: i32) -> Self {
        let unreadable = vec![Some(id)];
        Self { newest_id: Some(id), more: true, unreadable, ..Self::default() }
    }
}

/// The id of the message after `after_id`, which cannot be read.
pub(super) async fn first_unreadable(
    caller: &Caller,
    peer: &PeerRecord,
    after_id: i32,
) -> Result<i32, Failure> {
    let mut search = Search::after(after_id);
    while let Some(upto) = search.next() {
        sleep(PAUSE).await;
        search.saw(newest_within(caller, peer, after_id, upto).await?);
    }
    search.found().ok_or_else(|| {
        Failure::transient("a message that could not be read is gone, or can be read now")
    })
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
    caller: &Caller,
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
#[derive(Debug)]
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

    proptest! {
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
