//! A list of the parsing service, page by page: one request at a time, and the same again after a pause where that may
//! help. What is asked next is decided in `paging.rs`.

use std::error::Error as _;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::paging::{Ask, Hints, PAGE_PEOPLE, Seen, after};
use crate::edge::import::{FileProblem, Format, Item, Limits, Options, Rejected, Row, open};
use crate::protocol::campaigns::identity::Country;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::fingerprint::Fingerprint;

/// Longest attempt, from the look-up of the name to the end of the page.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Attempts for one page.
const ATTEMPTS_MAX: u32 = 6;
/// Pauses between them.
const PAUSES: Backoff = Backoff { min_ms: 500, max_ms: 15_000 };
/// Longest pause that is waited for when the service asks for one.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When a list may be asked for again, seconds: at least, and at most, whatever the service says.
const RETRY_AFTER_MIN: u64 = 30;
const RETRY_AFTER_MAX: u64 = 60 * 60;
/// Longest page, bytes: 500 people of 8 KiB.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Pages of one list, at most.
const PAGES_MAX: u64 = 10_000;
/// Redirections within its own host.
const REDIRECTS_MAX: usize = 3;
/// Tells the service for whom a list is fetched.
const FOR_USER: HeaderName = HeaderName::from_static("x-user-id");

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ParsingClientError {
    /// `parsing.url` cannot be used.
    #[error("parsing.url is no address such as https://parsing.example.org")]
    Address,
    /// TLS cannot be set up.
    #[error("the client for the parsing service could not be made: {0}")]
    Client(String),
}

/// Why a list cannot be fetched, or not any further. No message has the service's address.
#[derive(Debug, thiserror::Error)]
pub enum ParsingProblem {
    /// There is no such list.
    #[error("the parsing service knows no such task; name one of its tasks in parsing_task_id")]
    NoSuchTask,
    /// It does not let us in, or not for this.
    #[error(
        "the parsing service refuses ({0}); look there whether this user may have the list, and whether parsing.url \
         has the right address and password"
    )]
    Refused(u16),
    /// The service cannot be told for whom a list is.
    #[error(
        "the parsing service cannot be told whose list it is: the user id of this token cannot stand in a header; \
         use a token whose sub has printable ASCII characters alone and no space at its ends"
    )]
    Unnameable,
    /// It cannot be reached, or does not answer, also when it is asked again.
    #[error(
        "the parsing service does not answer: {why}; ask again later, and if that does not help look whether it runs \
         and whether parsing.url leads to it"
    )]
    Unavailable {
        /// The root of the matter.
        why: String,
        /// When it may be asked again, seconds.
        retry_after: u64,
    },
    /// What it answers is nothing that is read here.
    #[error(
        "the parsing service answers what is no list of people: {0}; look whether parsing.url is the service's own \
         address, or import the list as a file"
    )]
    Unreadable(String),
    /// The list does not end.
    #[error(
        "the parsing service's list does not end: {0}; make a smaller list there, or import it as a file"
    )]
    Endless(&'static str),
    /// It sends us elsewhere.
    #[error(
        "the parsing service leads to another host, which is not followed; set parsing.url to where it leads"
    )]
    OtherHost,
}

/// People of one page.
#[derive(Debug, Default)]
pub struct Listed {
    /// People.
    pub people: Vec<Row>,
    /// Lines that name nobody.
    pub rejected: Vec<Rejected>,
    /// How many there are of these; not all need to be in `rejected`.
    pub rejected_count: u64,
}

/// The parsing service.
#[derive(Clone)]
pub struct ParsingClient {
    http: Client,
    base: Arc<Url>,
    pauses: Backoff,
}

impl ParsingClient {
    /// The service at `base`, to which the contract's path is added.
    ///
    /// # Errors
    /// When the address cannot be used, or TLS cannot be set up.
    pub fn new(base: &str) -> Result<Self, ParsingClientError> {
        Self::with_patience(base, ATTEMPT_MAX, PAUSES)
    }

    pub(super) fn with_patience(
        base: &str,
        patience: Duration,
        pauses: Backoff,
    ) -> Result<Self, ParsingClientError> {
        let base = Url::parse(base).map_err(|_| ParsingClientError::Address)?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(ParsingClientError::Address);
        }
        let client = || {
            Client::builder()
                .no_proxy()
                .redirect(Policy::custom(within_the_host))
                .referer(false)
                .connect_timeout(CONNECT_MAX.min(patience))
                .timeout(patience)
                .user_agent(concat!("telewarden/", env!("CARGO_PKG_VERSION")))
        };
        // On a machine without certificate authorities there is a client all the same, which trusts nobody.
        let http = client().build().or_else(|_| client().tls_certs_only([]).build());
        let http = http.map_err(|error| ParsingClientError::Client(error.to_string()))?;
        Ok(Self { http, base: Arc::new(base), pauses })
    }

    /// The people of a task of the service, for `user`.
    ///
    /// # Errors
    /// When the service cannot be told for whom: nobody is asked in another's name, or in none.
    pub fn listing(
        &self,
        task: &str,
        user: &UserId,
        country: Option<Country>,
    ) -> Result<Listing, ParsingProblem> {
        let user = named(user).ok_or(ParsingProblem::Unnameable)?;
        let mut first = (*self.base).clone();
        if let Ok(mut path) = first.path_segments_mut() {
            path.pop_if_empty().extend(["api", "parsing", "results", task, "users"]);
        }
        Ok(Listing {
            client: self.clone(),
            first,
            user,
            country,
            next: Some(Ask::Page(1)),
            pages: 0,
            lines: 0,
            last: None,
        })
    }
}

/// A user id as a header's value, which has to be the same when it arrives: blanks at its ends go on the way, and what is
/// not ASCII is read in more than one way (RFC 9110 section 5.5).
fn named(user: &UserId) -> Option<HeaderValue> {
    let text = user.as_str();
    let is_same = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
    HeaderValue::from_str(text).ok().filter(|_| is_same)
}

/// A redirection is followed on the same host only, and never back to plain text.
fn within_the_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let is_own = attempt.previous().first().is_some_and(|first| {
        let is_same = first.host_str() == attempt.url().host_str();
        let to_tls = first.scheme() == "http" && attempt.url().scheme() == "https";
        is_same && (to_tls || is_one_origin(first, attempt.url()))
    });
    if !is_own {
        return attempt.error(LeadsElsewhere);
    }
    match attempt.previous().len() {
        0..=REDIRECTS_MAX => attempt.follow(),
        _ => attempt.stop(),
    }
}

fn is_one_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[derive(Debug, thiserror::Error)]
#[error("it leads to another host")]
struct LeadsElsewhere;

/// A list that is being fetched.
pub struct Listing {
    client: ParsingClient,
    first: Url,
    user: HeaderValue,
    country: Option<Country>,
    next: Option<Ask>,
    pages: u64,
    lines: u64,
    /// What the last page said, to know it again.
    last: Option<Fingerprint>,
}

/// Why one attempt did not bring a page.
enum Missed {
    /// It may come when it is asked for again, after so long at least.
    Again {
        why: String,
        pause: Option<Duration>,
    },
    Over(ParsingProblem),
}

impl Listing {
    /// The next page; `None` behind the last. After a problem the same page is asked for again.
    ///
    /// # Errors
    /// When it cannot be had, also not by asking again.
    pub async fn next(&mut self) -> Result<Option<Listed>, ParsingProblem> {
        let Some(asked) = self.next.clone() else { return Ok(None) };
        if self.pages >= PAGES_MAX {
            return Err(ParsingProblem::Endless("it has too many pages"));
        }
        let page = self.fetch(self.address(&asked)?).await?;
        let hints = Hints::of(&page);
        let country = self.country;
        let read = spawn_blocking(move || people_of(&page, country)).await;
        let unreadable = |_| ParsingProblem::Unreadable("it could not be read".to_owned());
        let (listed, fingerprint) = read.map_err(unreadable)??;
        self.pages += 1;
        let lines = listed.people.len() as u64 + listed.rejected_count;
        let is_repeated = self.last.replace(fingerprint) == Some(fingerprint) && lines > 0;
        self.lines += lines;
        let total = self.lines;
        let number = self.pages;
        let seen = Seen { asked: &asked, number, lines, total, is_repeated };
        let stuck = |_| ParsingProblem::Endless("the same page comes again and again");
        self.next = after(seen, &hints).map_err(stuck)?;
        // What came twice because the service knows no pages was told already.
        let is_told = is_repeated && self.next.is_none();
        Ok(Some(if is_told { Listed::default() } else { listed }))
    }

    /// Where a page is. A link may only change the query and the path.
    fn address(&self, ask: &Ask) -> Result<Url, ParsingProblem> {
        let mut url = self.first.clone();
        match ask {
            Ask::Page(number) => {
                url.query_pairs_mut()
                    .append_pair("page", &number.to_string())
                    .append_pair("limit", &PAGE_PEOPLE.to_string());
            }
            Ask::Cursor(cursor) => {
                url.query_pairs_mut()
                    .append_pair("cursor", cursor)
                    .append_pair("limit", &PAGE_PEOPLE.to_string());
            }
            Ask::Link(link) => {
                let broken = |_| ParsingProblem::Unreadable("its next link is none".to_owned());
                let target = self.first.join(link).map_err(broken)?;
                if !is_one_origin(&self.first, &target) {
                    return Err(ParsingProblem::OtherHost);
                }
                // The password of our own address stays, whatever the link says.
                url.set_path(target.path());
                url.set_query(target.query());
            }
        }
        Ok(url)
    }

    /// A page, asked for several times where that may help.
    async fn fetch(&self, url: Url) -> Result<Vec<u8>, ParsingProblem> {
        let mut attempt = 1;
        loop {
            let (why, asked) = match self.attempt(url.clone()).await {
                Ok(page) => return Ok(page),
                Err(Missed::Over(problem)) => return Err(problem),
                Err(Missed::Again { why, pause }) => (why, pause),
            };
            let own = Duration::from_millis(self.client.pauses.delay_ms(attempt, 0.5));
            let pause = asked.unwrap_or_default().max(own);
            if attempt >= ATTEMPTS_MAX || pause > PAUSE_MAX {
                let retry_after = pause.as_secs().clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
                return Err(ParsingProblem::Unavailable { why, retry_after });
            }
            tracing::debug!(attempt, why, "a page of the parsing service is asked for again");
            sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, url: Url) -> Result<Vec<u8>, Missed> {
        let request = self.client.http.get(url).header(ACCEPT, "application/json");
        let request = request.header(FOR_USER, self.user.clone());
        let mut response = request.send().await.map_err(|error| missed(&error))?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(Missed::Over(ParsingProblem::NoSuchTask));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                return Err(again(status, response.headers()));
            }
            status if status.is_server_error() => return Err(again(status, response.headers())),
            status => return Err(Missed::Over(ParsingProblem::Refused(status.as_u16()))),
        }
        let mut page = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| missed(&error))? {
            if page.len() + part.len() > PAGE_BYTES_MAX {
                let detail = format!("a page has more than {PAGE_BYTES_MAX} bytes");
                return Err(Missed::Over(ParsingProblem::Unreadable(detail)));
            }
            page.extend_from_slice(&part);
        }
        Ok(page)
    }
}

/// It asks to come again, perhaps later (RFC 9110 section 10.2.3; a date is as good as nothing here).
fn again(status: StatusCode, headers: &HeaderMap) -> Missed {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|text| text.trim().parse().ok());
    Missed::Again {
        why: format!("it answers {}", status.as_u16()),
        pause: seconds.map(Duration::from_secs),
    }
}

/// What went wrong on the way, without the address.
fn missed(error: &reqwest::Error) -> Missed {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.is::<LeadsElsewhere>() {
            return Missed::Over(ParsingProblem::OtherHost);
        }
        next = cause.source();
    }
    let why = match error {
        error if error.is_timeout() => "it took too long",
        error if error.is_connect() => "it cannot be connected to",
        _ => "the connection broke off",
    };
    Missed::Again { why: why.to_owned(), pause: None }
}

/// The people of a page, and what they are, to know the page again.
fn people_of(
    page: &[u8],
    country: Option<Country>,
) -> Result<(Listed, Fingerprint), ParsingProblem> {
    let unreadable = |problem: FileProblem| ParsingProblem::Unreadable(problem.to_string());
    let mut limits = Limits::for_files_of(PAGE_BYTES_MAX as u64);
    limits.rejected = 100;
    let options = Options { country, limits, ..Options::default() };
    let mut rows = open(Cursor::new(page), options).map_err(unreadable)?;
    if !matches!(rows.summary().format, Format::Json | Format::JsonLines) {
        return Err(ParsingProblem::Unreadable("it is no JSON".to_owned()));
    }
    let mut listed = Listed::default();
    for item in rows.by_ref() {
        match item.map_err(unreadable)? {
            Item::Row(row) => listed.people.push(*row),
            Item::Rejected(rejected) => listed.rejected.push(rejected),
        }
    }
    listed.rejected_count = rows.summary().rejected;
    let mut names: Vec<String> =
        listed.people.iter().map(|row| row.identifier.to_string()).collect();
    names.extend(listed.rejected.iter().map(|rejected| rejected.value.clone()));
    let fingerprint = Fingerprint::of(names.iter().map(String::as_bytes));
    Ok((listed, fingerprint))
}
