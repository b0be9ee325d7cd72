//! Reports are told what people call themselves, and stay harmless. A workbook is read again by an unrelated reader.

use std::collections::BTreeMap;
use std::io::Read as _;

use calamine::{Data, Reader as _, Xlsx};
use uuid::Uuid;

use super::table::COLUMNS;
use super::*;
use crate::protocol::answers::campaign_report::CampaignCounts;
use crate::protocol::campaigns::caps::Caps;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::tally::Tally;
use crate::protocol::campaigns::target::{
    Details, Intent, Reason, Statistics, Step, Target, TargetId, TargetStatus,
};
use crate::protocol::campaigns::task::{Task, TaskId, TaskRequest, TaskType};
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

const AT: UnixMillis = UnixMillis(1_795_262_400_000);
const EVIL: [&str; 8] = [
    "=HYPERLINK(\"http://evil.example\")",
    "</td><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "@SUM(1)",
    "-2+3+cmd|' /C calc'!A0",
    "\t=1;2,3\r\n\"x\"",
    "\0=1",
    "\x0b=1",
];

/// A text as it comes out again: the controls that no file may hold are left out.
fn kept(text: &str) -> String {
    text.chars().filter(|letter| !matches!(letter, '\0' | '\x0b')).collect()
}

fn account() -> AccountId {
    AccountId(Uuid::from_u128(7))
}

fn targets(count: u32) -> Vec<Target> {
    let target = |id: u32| {
        let text = EVIL[id as usize % EVIL.len()];
        let details = Details { first_name: Some(text.into()), ..Details::default() };
        let identifier = match id % 2 {
            0 => Identifier::Phone(79_991_234_567 + u64::from(id)),
            _ => Identifier::Id(9_007_199_254_740_993 + i64::from(id)),
        };
        let mut target = Target::new(TargetId(id), identifier, Some(details));
        if !id.is_multiple_of(3) {
            let (account, step, at) =
                (account(), Step::Send, AT.plus_ms(i64::from(id) * 3_600_000));
            let intent = Intent { account, step, random_id: 1, at, is_repeat: false, wall: None };
            target.intent = Some(Box::new(intent));
            target.status = TargetStatus::Sent;
        }
        if id % 7 == 5 {
            (target.status, target.reason) = (TargetStatus::Refused, Some(Reason::Privacy));
        }
        target
    };
    (0..count).map(target).collect()
}

fn head(targets: &[Target]) -> ReportHead {
    let request = TaskRequest {
        task_type: Some(TaskType::SendMessages),
        title: EVIL[1].to_owned(),
        description: Some(EVIL[2].to_owned()),
        message_template: Some("Hi".to_owned()),
        audience_basis: format!("they asked {}", EVIL[1]),
        account_ids: vec![account()],
        ..TaskRequest::default()
    };
    let names = (TaskId(Uuid::from_u128(0xabc)), UserId::new("ann").unwrap());
    let task = Task::new(names, request, (&Caps::default(), false), AT).unwrap();
    ReportHead {
        task,
        owner: None,
        counts: CampaignCounts {
            statistics: Statistics::of(targets),
            tally: Tally::of(targets),
            attempts: 3,
            last_attempt_at: Some(AT),
        },
        names: BTreeMap::from([(account(), format!("acc {}", EVIL[2]))]),
        link_uses: Some(LinkUses { joined: 12_345, waiting: 1 }),
        made_at: AT,
    }
}

/// The cells of a table in quotes, by a reader of its own.
fn rows(text: &str, sign: char) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                cell.push('"');
                letters.next();
            }
            '"' => is_quoted = !is_quoted,
            letter if is_quoted => cell.push(letter),
            '\r' => {}
            '\n' => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            letter if letter == sign => row.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    assert!(!is_quoted && cell.is_empty() && row.is_empty());
    rows
}

#[test]
fn no_cell_of_a_table_is_a_formula_and_each_row_has_all_columns() {
    let targets = targets(40);
    let head = head(&targets);
    for (delimiter, sign) in [(Delimiter::Comma, ','), (Delimiter::Semicolon, ';')] {
        let report = CsvReport::new(&head, delimiter, true);
        let bytes = [report.head(), report.piece(&targets[..10]), report.piece(&targets[10..])];
        let text = String::from_utf8(bytes.concat()).unwrap();
        let text = text.strip_prefix('\u{feff}').expect("Excel knows UTF-8 by it");
        let rows = rows(text, sign);
        assert_eq!(rows.len(), 41);
        assert_eq!(rows[0], COLUMNS);
        for (row, target) in rows[1..].iter().zip(&targets) {
            assert_eq!(row.len(), COLUMNS.len());
            assert!(!row.iter().any(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r'])));
            // The number is there, and whole.
            let shown = target.identifier.to_string();
            assert_eq!(row[1].trim_start_matches('\''), shown);
            let first = target.details.as_ref().unwrap().first_name.as_deref().unwrap();
            assert_eq!(row[7].trim_start_matches('\''), kept(first));
            let is_plain = first.starts_with(['<', '"']);
            assert_eq!(row[7].starts_with('\''), !is_plain, "{first:?}");
        }
    }
    assert!(CsvReport::new(&head, Delimiter::Comma, false).head().starts_with(b"\"id\""));
}

#[test]
fn a_page_has_the_texts_as_texts_and_says_what_it_leaves_out() {
    let targets = targets(2_100);
    let mut page = PageReport::new(head(&targets));
    targets.chunks(1_000).for_each(|piece| page.piece(piece));
    let page = String::from_utf8(page.finish()).unwrap();
    let lower = page.to_lowercase();
    for tag in
        ["<script", "<img", "<iframe", "<a ", "javascript:", "http:", "https:", "url(", "@import"]
    {
        let found = lower.matches(tag).count();
        let as_text = lower.matches("http://evil.example").count();
        let expected = if tag == "http:" { as_text } else { 0 };
        assert_eq!(found, expected, "{tag}");
    }
    assert!(page.contains("they asked &lt;/td&gt;&lt;script&gt;"));
    assert!(page.contains("100 more people are left out"));
    assert_eq!(
        page.matches("<tr><td>+7999").count() + page.matches("<tr><td>90071992").count(),
        2_000
    );
    // Each picture is whole: as many parts as it has.
    assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (2, 2));
    let progress = head(&targets).counts.statistics.progress();
    assert!(page.contains(&format!("<b>{}</b>reached", progress.succeeded)));
}

#[test]
fn a_workbook_holds_every_target_and_its_numbers_and_no_formula() {
    let targets = targets(3_000);
    let folder = tempfile::tempdir().unwrap();
    let mut book = WorkbookReport::new(head(&targets), folder.path()).unwrap();
    targets.chunks(1_024).for_each(|piece| book.piece(piece).unwrap());
    let (mut file, length) = book.finish(&|| true).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file has a name");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, length);
    let mut book: Xlsx<_> = Xlsx::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(book.worksheet_formula("Targets").unwrap().used_cells().count(), 0);
    assert_eq!(book.worksheet_formula("Summary").unwrap().used_cells().count(), 0);
    let sheet = book.worksheet_range("Targets").unwrap();
    assert_eq!(sheet.rows().count(), 3_001);
    for (row, target) in sheet.rows().skip(1).zip(&targets) {
        assert_eq!(row[1], Data::String(target.identifier.to_string()));
        let first = target.details.as_ref().unwrap().first_name.as_deref().unwrap();
        assert_eq!(row[7].to_string().replace('\r', ""), kept(first).replace('\r', ""));
        if let Identifier::Id(id) = target.identifier {
            assert_eq!(row[11].to_string(), id.to_string(), "no digit is lost");
        }
    }
    let numbers = book.worksheet_range("Summary").unwrap();
    let value = |name: &str| {
        let row = numbers.rows().find(|row| row[0] == Data::String(name.to_owned()));
        row.unwrap_or_else(|| panic!("{name}"))[1].to_string()
    };
    assert_eq!(value("total"), "3000");
    let sent = head(&targets).counts.statistics.count(TargetStatus::Sent);
    assert_eq!(value("sent"), sent.to_string());
    assert!(value("Audience basis").starts_with("they asked"));
}

#[test]
fn a_workbook_lies_in_the_folder_that_is_given_and_is_given_up_when_nobody_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = WorkbookReport::new(head(&[]), &folder.path().join("nowhere"));
    assert!(nowhere.is_err(), "it goes nowhere else");
    let targets = targets(200);
    let mut book = WorkbookReport::new(head(&targets), folder.path()).unwrap();
    book.piece(&targets).unwrap();
    let problem = book.finish(&|| false).unwrap_err();
    assert!(problem.to_string().contains("cannot be written"), "{problem}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_asked_for_most_is_given_and_files_have_plain_names() {
    let accepted = ReportFormat::accepted;
    assert_eq!(accepted("*/*"), ReportFormat::Json);
    assert_eq!(accepted("text/html,application/xhtml+xml,*/*;q=0.8"), ReportFormat::Html);
    assert_eq!(accepted("text/csv;q=0.5, application/json;q=0.4"), ReportFormat::Csv);
    assert_eq!(accepted("text/csv;q=0"), ReportFormat::Json);
    assert_eq!(accepted("image/png"), ReportFormat::Json);
    assert_eq!(accepted("text/*"), ReportFormat::Csv);
    let xlsx = ReportFormat::Xlsx;
    assert_eq!(accepted(xlsx.media_type()), xlsx);
    let name = xlsx.file_name(&head(&[]));
    assert_eq!(name, "campaign-td-script-alert-1-script-00000abc-2026-11-21.xlsx");
    let mut long = head(&[]);
    long.task.title = format!("../../{}\r\nX: y\"", "слово word ".repeat(40));
    let name = ReportFormat::Csv.file_name(&long);
    assert!(name.len() < 100, "{name}");
    assert!(name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter)));
}
