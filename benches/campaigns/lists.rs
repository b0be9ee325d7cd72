//! Long lists: adding a million targets, a page of them, a file of people.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::Extent;
use crate::fixture::Fixture;
use crate::processes::Places;
use crate::say;

/// Pages that are looked at.
const PAGES: usize = 40;

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lists {
    pub(crate) long: usize,
    /// Targets a second that were added, 1,000 in a request.
    pub(crate) added: f64,
    /// Milliseconds: the first page of 100, and one far inside; the median.
    pub(crate) first_page: f64,
    pub(crate) later_page: f64,
    pub(crate) rows: usize,
    /// Rows of a CSV file a second, until all of them are durable.
    pub(crate) imported: f64,
}

pub(crate) fn run(runtime: &Arc<Runtime>, places: &Places, extent: Extent) -> Result<Lists> {
    let fixture = Fixture::start(runtime, places, 1)?;
    let accounts = fixture.connect(0, &fixture.members(1)?)?;
    let task = fixture.draft(0, &accounts, &[], &json!({}))?;
    let people: Vec<String> = (0..extent.long).map(|number| format!("listed_{number}")).collect();
    let began = Instant::now();
    fixture.add(0, &task, &people)?;
    let added = extent.long as f64 / began.elapsed().as_secs_f64();
    let first_page = page(&fixture, &task, "")?;
    let later_page = page(&fixture, &task, &format!("&cursor={}", extent.long / 2))?;
    let task = fixture.draft(0, &accounts, &[], &json!({}))?;
    let imported = import(&fixture, &task, extent.rows)?;
    let lists =
        Lists { long: extent.long, added, first_page, later_page, rows: extent.rows, imported };
    say(&serde_json::to_string(&lists)?);
    Ok(lists)
}

/// The median of some pages, milliseconds.
fn page(fixture: &Fixture, task: &str, cursor: &str) -> Result<f64> {
    let path = format!("/api/v1/invite/tasks/{task}/targets?limit=100{cursor}");
    let mut took = Vec::new();
    for _ in 0..PAGES {
        let began = Instant::now();
        let page = fixture.get(0, &path)?;
        took.push(began.elapsed());
        ensure!(page["items"].as_array().is_some_and(|items| items.len() == 100), "{page}");
    }
    took.sort_unstable();
    let middle: Duration = took.get(PAGES / 2).copied().context("no pages")?;
    Ok(middle.as_secs_f64() * 1e3)
}

/// A file of people: rows a second.
fn import(fixture: &Fixture, task: &str, rows: usize) -> Result<f64> {
    let mut file = String::from("username;first_name;last_name\r\n");
    for number in 0..rows {
        write!(file, "@imported_{number};Ann;Example\r\n")?;
    }
    let boundary = "a-boundary-of-the-benchmark";
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"task_id\"\r\n\r\n{task}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"people.csv\"\r\n\
         Content-Type: text/csv\r\n\r\n{file}\r\n--{boundary}--\r\n"
    );
    let mut stream = TcpStream::connect(fixture.daemon.health)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let began = Instant::now();
    write!(
        stream,
        "POST /api/v1/invite/import/file HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        fixture.daemon.health,
        fixture.client.tokens.first().context("no user")?,
        body.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = began.elapsed().as_secs_f64();
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "the file was not taken: {head} {body}");
    let added: serde_json::Value = serde_json::from_str(body)?;
    ensure!(added["accepted"] == rows, "not all rows were taken: {added}");
    Ok(rows as f64 / took)
}
