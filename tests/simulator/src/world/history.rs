//! Paging through a history exactly as `messages.getHistory` does.
//!
//! Source: <https://core.telegram.org/api/offsets>: the list runs from newest to oldest; the page
//! starts `add_offset` after the place of `offset_id` (or `offset_date`), is `limit` long, and is
//! thinned by `max_id` and `min_id` afterwards.

/// Most messages one page holds.
const MAX_LIMIT: i32 = 100;

/// Where a page lies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page {
    pub(crate) offset_id: i32,
    pub(crate) offset_date: i32,
    pub(crate) add_offset: i32,
    pub(crate) limit: i32,
    pub(crate) max_id: i32,
    pub(crate) min_id: i32,
}

/// The page's items, newest first, out of `items` in rising order of id and date; `key` gives both.
pub(crate) fn select<T: Copy>(items: &[T], key: impl Fn(&T) -> (i32, i32), page: Page) -> Vec<T> {
    let total = items.len() as i64;
    // How many items, counted from the newest, come before the page's anchor.
    let anchor = if page.offset_id > 0 {
        total - items.partition_point(|item| key(item).0 < page.offset_id) as i64
    } else if page.offset_date > 0 {
        total - items.partition_point(|item| key(item).1 < page.offset_date) as i64
    } else {
        0
    };
    let start = anchor + i64::from(page.add_offset);
    let end = start + i64::from(page.limit.clamp(0, MAX_LIMIT));
    let oldest = (total - end).clamp(0, total) as usize;
    let newest = (total - start).clamp(0, total) as usize;
    items[oldest..newest]
        .iter()
        .rev()
        .copied()
        .filter(|item| page.max_id <= 0 || key(item).0 < page.max_id)
        .filter(|item| page.min_id <= 0 || key(item).0 > page.min_id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ids 1 to 250, one message every ten seconds from 1000 on.
    fn history() -> Vec<(i32, i32)> {
        (1..=250).map(|id| (id, 990 + id * 10)).collect()
    }

    fn ids(page: Page) -> Vec<i32> {
        select(&history(), |item| *item, page).into_iter().map(|(id, _)| id).collect()
    }

    fn falling(from: i32, to: i32) -> Vec<i32> {
        (to..=from).rev().collect()
    }

    #[test]
    fn without_an_offset_the_newest_come_first() {
        assert_eq!(ids(Page { limit: 3, ..Page::default() }), [250, 249, 248]);
        assert_eq!(ids(Page { limit: 1000, ..Page::default() }), falling(250, 151));
    }

    #[test]
    fn an_offset_id_means_older_than_it() {
        let page = Page { offset_id: 100, limit: 3, ..Page::default() };
        assert_eq!(ids(page), [99, 98, 97]);
        assert_eq!(ids(Page { offset_id: 1, ..page }), [0; 0]);
    }

    #[test]
    fn a_negative_add_offset_reads_forward_from_a_cursor() {
        // The oldest hundred messages after the cursor c = 40.
        let page = Page { offset_id: 41, add_offset: -100, limit: 100, ..Page::default() };
        assert_eq!(ids(page), falling(140, 41));
        // Fewer than a hundred are left.
        assert_eq!(ids(Page { offset_id: 201, ..page }), falling(250, 201));
        assert_eq!(ids(Page { offset_id: 251, ..page }), [0; 0]);
    }

    #[test]
    fn an_offset_date_means_strictly_before_it() {
        let page = Page { offset_date: 1500, limit: 1, ..Page::default() };
        assert_eq!(ids(page), [50]);
        assert_eq!(ids(Page { offset_date: 1501, ..page }), [51]);
        assert_eq!(ids(Page { offset_date: 1000, ..page }), [0; 0]);
        assert_eq!(ids(Page { offset_date: i32::MAX, ..page }), [250]);
    }

    #[test]
    fn the_bounds_thin_the_page_after_it_was_cut() {
        let page = Page { limit: 10, max_id: 249, min_id: 245, ..Page::default() };
        assert_eq!(ids(page), [248, 247, 246]);
        assert_eq!(ids(Page { limit: 2, max_id: 100, ..Page::default() }), [0; 0]);
    }

    proptest! {
        #[test]
        fn reading_forward_page_by_page_visits_every_message_once(
            gaps in proptest::collection::vec(1i32..5, 0..300),
            limit in 1i32..100,
        ) {
            let mut id = 0;
            let items: Vec<(i32, i32)> =
                gaps.iter().map(|gap| { id += gap; (id, id) }).collect();
            let mut cursor = 0;
            let mut seen = Vec::new();
            loop {
                let page = Page { offset_id: cursor + 1, add_offset: -limit, limit, ..Page::default() };
                let got = select(&items, |item| *item, page);
                let Some(newest) = got.first() else { break };
                cursor = newest.0;
                seen.extend(got.into_iter().rev());
            }
            prop_assert_eq!(seen, items);
        }
    }
}
