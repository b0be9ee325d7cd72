//! Pictures of a report's page: bars as inline SVG, without a script, a style of elsewhere, or text of anybody.

use std::fmt::Write as _;

use crate::protocol::campaigns::tally::DayCounts;
use crate::protocol::campaigns::target::Progress;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::time::rfc3339_ms;

/// Colours of succeeded, refused, failed, skipped and pending; told apart in grey, too.
pub(super) const COLOURS: [(&str, &str); 5] = [
    ("reached", "#2f7d4f"),
    ("refused", "#c98a1b"),
    ("failed", "#a83232"),
    ("left out", "#8d99a6"),
    ("waiting", "#dfe4e9"),
];
/// Bars of a chart, at the most: more days share bars.
const BARS_MAX: usize = 62;
/// The room of the bars, in units of the picture.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;

/// One bar of all targets.
pub(super) fn whole(progress: &Progress) -> String {
    let Progress { total, succeeded, refused, failed, skipped, pending, .. } = *progress;
    let mut svg = String::from(
        "<svg viewBox=\"0 0 720 28\" role=\"img\" aria-label=\"all targets by outcome\">",
    );
    let mut left = 0.0;
    let parts = [succeeded, refused, failed, skipped, pending];
    for (count, (_, colour)) in parts.into_iter().zip(COLOURS) {
        let width = count as f64 * WIDTH / total.max(1) as f64;
        let _ = write!(
            svg,
            "<rect x=\"{left:.2}\" y=\"0\" width=\"{width:.2}\" height=\"28\" fill=\"{colour}\"/>"
        );
        left += width;
    }
    svg.push_str("</svg>");
    svg
}

/// A bar of each day, or of several days where there are many.
pub(super) fn days(days: &[(UnixMillis, DayCounts)]) -> String {
    let per_bar = days.len().div_ceil(BARS_MAX).max(1);
    let bars: Vec<(UnixMillis, [u64; 4])> = days
        .chunks(per_bar)
        .map(|chunk| {
            let sum = |of: fn(&DayCounts) -> u64| chunk.iter().map(|(_, day)| of(day)).sum();
            let parts = [
                sum(|day| day.succeeded),
                sum(|day| day.refused),
                sum(|day| day.failed),
                sum(|day| day.skipped),
            ];
            (chunk[0].0, parts)
        })
        .collect();
    let most = bars.iter().map(|(_, parts)| parts.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    let step = WIDTH / bars.len().max(1) as f64;
    let width = (step * 0.8).min(36.0);
    let mut svg =
        String::from("<svg viewBox=\"0 -14 720 198\" role=\"img\" aria-label=\"outcomes by day\">");
    let _ = write!(
        svg,
        "<line x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\" stroke=\"#8d99a6\"/>"
    );
    for (at, (day, parts)) in bars.iter().enumerate() {
        let left = at as f64 * step + (step - width) / 2.0;
        let mut top = HEIGHT;
        for (count, (_, colour)) in parts.iter().zip(COLOURS) {
            let height = *count as f64 * HEIGHT / most as f64;
            top -= height;
            if *count > 0 {
                let _ = write!(
                    svg,
                    "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{colour}\"/>"
                );
            }
        }
        let centre = left + width / 2.0;
        let sum: u64 = parts.iter().sum();
        let is_named = at % bars.len().div_ceil(10) == 0;
        if is_named {
            let date: String = rfc3339_ms(*day).chars().skip(5).take(5).collect();
            let _ = write!(
                svg,
                "<text x=\"{centre:.2}\" y=\"176\" text-anchor=\"middle\">{date}</text>\
                 <text x=\"{centre:.2}\" y=\"{:.2}\" text-anchor=\"middle\">{sum}</text>",
                top - 3.0
            );
        }
    }
    svg.push_str("</svg>");
    svg
}
