//! A report as one page of HTML that can be printed: numbers, pictures, tables, and the first of the targets. Everything
//! that somebody wrote is text: there is no script in it, and nothing is fetched from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::chart::{self, COLOURS};
use super::table::{called, name_of};
use super::words;
use crate::protocol::answers::campaign_report::ReportHead;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::tally::Days;
use crate::protocol::campaigns::target::{Reason, Statistics, Target, TargetStatus};
use crate::protocol::campaigns::task::TaskType;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::time::rfc3339_ms;

/// Targets that stand on the page; of more it says how many are left out.
pub const PAGE_TARGETS_MAX: usize = 2_000;
/// Accounts and outcomes that stand on it.
const LINES_MAX: usize = 200;

const STYLE: &str = "\
body{font:14px/1.45 system-ui,sans-serif;color:#1d2733;max-width:760px;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin:0 0 .2em}h2{font-size:1.15em;margin:1.8em 0 .5em}\
.muted{color:#5b6875}.numbers{display:flex;flex-wrap:wrap;gap:1.6em;margin:1em 0}\
.numbers b{display:block;font-size:1.7em}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25em .5em;border-bottom:1px solid #dfe4e9;\
overflow-wrap:anywhere}td.n,th.n{text-align:right}thead{display:table-header-group}\
svg{width:100%;height:auto}svg text{font:10px system-ui,sans-serif;fill:#5b6875}\
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}\
@page{margin:15mm}@media print{body{margin:0;max-width:none;padding:0;-webkit-print-color-adjust:exact;\
print-color-adjust:exact}h2{break-after:avoid}tr,svg{break-inside:avoid}}";

/// Makes the page. Its targets come piece by piece, and only so many are kept as stand on it.
#[derive(Debug)]
pub struct PageReport {
    head: ReportHead,
    days: Days,
    rows: String,
    kept: usize,
    seen: u64,
}

impl PageReport {
    /// A page of what `head` tells.
    pub fn new(head: ReportHead) -> Self {
        Self { head, days: Days::default(), rows: String::new(), kept: 0, seen: 0 }
    }

    /// Some targets.
    pub fn piece(&mut self, targets: &[Target]) {
        for target in targets {
            self.days.note(target);
            self.seen += 1;
            if self.kept < PAGE_TARGETS_MAX {
                self.kept += 1;
                row(&mut self.rows, target, &self.head.names);
            }
        }
    }

    /// The page.
    pub fn finish(self) -> Vec<u8> {
        let mut page = String::with_capacity(self.rows.len() + 16_384);
        let title = Escaped(&self.head.task.title);
        let _ = write!(
            page,
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\">\
             <title>{title}</title><style>{STYLE}</style></head><body>"
        );
        self.summary(&mut page);
        self.pictures(&mut page);
        self.outcomes(&mut page);
        self.accounts(&mut page);
        self.targets(&mut page);
        page.push_str("</body></html>\n");
        page.into_bytes()
    }

    fn summary(&self, page: &mut String) {
        let ReportHead { task, counts, made_at, .. } = &self.head;
        let what = match task.task_type {
            TaskType::InviteToGroup => "Invitations to a group",
            TaskType::SendMessages => "Direct messages",
        };
        let _ = write!(page, "<h1>{}</h1><p class=\"muted\">{what}", Escaped(&task.title));
        let _ = write!(page, ", {}", Escaped(&name_of(task.status)));
        if let Some(at) = task.started_at {
            let _ = write!(page, "; started {}", moment(at));
        }
        if let Some(at) = task.completed_at {
            let _ = write!(page, ", over {}", moment(at));
        }
        let _ = write!(page, ". As of {}.</p>", moment(*made_at));
        if let Some(description) = &task.description {
            let _ = write!(page, "<p>{}</p>", Escaped(description));
        }
        let progress = counts.statistics.progress();
        let numbers = [
            ("people", progress.total),
            ("reached", progress.succeeded),
            ("refused", progress.refused),
            ("failed", progress.failed),
            ("left out", progress.skipped),
            ("waiting", progress.pending),
        ];
        page.push_str("<div class=\"numbers\">");
        for (name, count) in numbers {
            let _ = write!(page, "<div><b>{count}</b>{name}</div>");
        }
        page.push_str("</div>");
        let requests = counts.statistics.count(TargetStatus::Requested);
        let links = counts.tally.with_reason(Reason::LinkSent);
        if requests > 0 {
            let _ = write!(
                page,
                "<p>{requests} of those reached have asked to join and are let in by an admin.</p>"
            );
        }
        if links > 0 {
            let _ = write!(
                page,
                "<p>{links} who could not be added got the invite link as a message.</p>"
            );
        }
        if let Some(LinkUses { joined, waiting }) = self.head.link_uses {
            let _ = write!(
                page,
                "<p>{joined} have joined by these links, and {waiting} who came by them wait for an admin.</p>"
            );
        }
        let _ = write!(page, "<h2>Why these people</h2><p>{}</p>", Escaped(&task.audience_basis));
    }

    fn pictures(&self, page: &mut String) {
        page.push_str("<h2>Outcome</h2>");
        page.push_str(&chart::whole(&self.head.counts.statistics.progress()));
        page.push_str("<p class=\"key muted\">");
        for (name, colour) in COLOURS {
            let _ = write!(page, "<span style=\"background:{colour}\"></span>{name}");
        }
        page.push_str("</p>");
        let days: Vec<_> = self.days.iter().collect();
        if !days.is_empty() {
            page.push_str("<h2>By day</h2>");
            page.push_str(&chart::days(&days));
            page.push_str("<p class=\"muted\">By the day of the newest attempt, UTC.</p>");
        }
    }

    fn outcomes(&self, page: &mut String) {
        page.push_str("<h2>What became of them</h2><table><thead><tr><th>Outcome<th>Why<th class=\"n\">People</thead>");
        let outcomes = self.head.counts.tally.outcomes();
        for (status, reason, count) in outcomes.iter().take(LINES_MAX) {
            let reason = reason.map(words::reason).unwrap_or_default();
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td class=\"n\">{count}",
                words::status(*status),
                Escaped(&reason)
            );
        }
        page.push_str("</table>");
    }

    fn accounts(&self, page: &mut String) {
        let tally = &self.head.counts.tally;
        page.push_str(
            "<h2>By account</h2><table><thead><tr><th>Account<th class=\"n\">Reached<th class=\"n\">Refused\
             <th class=\"n\">Failed<th class=\"n\">All</thead>",
        );
        let mut line = |name: &str, counts: &Statistics| {
            let progress = counts.progress();
            let _ = write!(
                page,
                "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}",
                Escaped(name),
                progress.succeeded,
                progress.refused,
                progress.failed,
                progress.total
            );
        };
        for (account, counts) in tally.accounts().iter().take(LINES_MAX) {
            line(&called(&self.head.names, *account), counts);
        }
        line("nobody: not tried", &tally.untried());
        page.push_str("</table>");
        if let Some(more) = tally.accounts().len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
            let _ = write!(page, "<p class=\"muted\">{more} more accounts are left out here.</p>");
        }
    }

    fn targets(&self, page: &mut String) {
        page.push_str("<h2>People</h2><table><thead><tr><th>Who<th>Name<th>Outcome<th>Why<th>Account<th>When</thead>");
        page.push_str(&self.rows);
        page.push_str("</table>");
        let left_out = self.seen.saturating_sub(self.kept as u64);
        if left_out > 0 {
            let _ = write!(
                page,
                "<p class=\"muted\">{left_out} more people are left out here; the table (CSV) and the workbook \
                 (XLSX) have all of them.</p>"
            );
        }
    }
}

fn row(rows: &mut String, target: &Target, names: &BTreeMap<AccountId, String>) {
    let details = target.details.as_deref();
    let part = |text: Option<&Option<Box<str>>>| {
        text.and_then(Option::as_deref).unwrap_or_default().to_owned()
    };
    let first = part(details.map(|details| &details.first_name));
    let last = part(details.map(|details| &details.last_name));
    let intent = target.tried();
    let account = intent.map(|intent| called(names, intent.account)).unwrap_or_default();
    let at = intent.map(|intent| moment(intent.at)).unwrap_or_default();
    let _ = write!(
        rows,
        "<tr><td>{}<td>{} {}<td>{}<td>{}<td>{}<td>{at}",
        Escaped(&target.identifier.to_string()),
        Escaped(&first),
        Escaped(&last),
        words::status(target.status),
        Escaped(&target.reason.map(words::reason).unwrap_or_default()),
        Escaped(&account),
    );
}

/// A moment, to the minute.
fn moment(at: UnixMillis) -> String {
    let text = rfc3339_ms(at);
    text.get(..16).unwrap_or(&text).replace('T', " ") + " UTC"
}

/// Text that stays text, between tags and in attributes alike.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '`' => f.write_str("&#96;")?,
                '\n' => f.write_str("<br>")?,
                // Controls, and what turns the direction of the text beside it.
                letter if letter.is_control() => f.write_str(" ")?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_str(" ")?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}
