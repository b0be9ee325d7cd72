//! Event streams: what changes, over a WebSocket or as server-sent events. Owns how many may be open;
//! each is bounded, beats, ends with its token, and says where to resume.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroize;

use super::Shared;
use super::changes::StreamEvent;
use super::claims::Grant;
use super::event_ids::EventIds;
use super::extract::Query;
use super::fields::Fields;
use super::parse;
use crate::clock::instant;
use crate::edge::http::metrics::HttpMetrics;
use crate::edge::http::problem::problem;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::feed::event::FeedEntry;
use crate::protocol::users::owner::{Caller, UserId};

/// Streams of one user at once.
pub(super) const USER_STREAMS_MAX: usize = 8;
/// Streams at once, unless somebody says otherwise. A quarter of the connections, at about 30 KiB each:
/// 8 MiB.
pub const STREAMS_MAX: usize = 256;
/// How often something is sent, at least. Less than the connection may be silent.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// How long one message may take to leave.
const SEND_MAX: Duration = Duration::from_secs(15);
/// A socket from which nothing was heard for this long is dead: pings are answered.
const SILENCE_MAX: Duration = Duration::from_secs(50);
/// How long the other side may take to close the socket after it was told to, or has told us to.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Longest message that is taken from a socket, in bytes. None is expected.
const INCOMING_MAX: usize = 4 * 1024;
/// The subprotocol that is chosen where a browser offers it beside its token.
const SUBPROTOCOL: &str = "telewarden";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(events_stream))
}

/// Which streams are open.
pub(super) struct Streams {
    max: usize,
    open: Mutex<HashMap<UserId, usize>>,
    ids: EventIds,
    metrics: HttpMetrics,
    stop: CancellationToken,
}

impl Streams {
    pub(super) fn new(max: usize, metrics: HttpMetrics, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default(), ids: EventIds::new(), metrics, stop })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, user: &UserId) -> Result<StreamPermit, Refusal> {
        let mut open = self.lock();
        if open.values().sum::<usize>() >= self.max {
            let detail = format!("{} event streams are open already; try again later", self.max);
            return Err(Refusal::new(Code::Overloaded, detail).after(10));
        }
        let own = open.entry(user.clone()).or_default();
        if *own >= USER_STREAMS_MAX {
            let detail =
                format!("a user may have {USER_STREAMS_MAX} event streams open; close one of them");
            return Err(Refusal::new(Code::RateLimited, detail).after(10));
        }
        *own += 1;
        self.metrics.streams.inc();
        Ok(StreamPermit { streams: Arc::clone(self), user: user.clone() })
    }
}

/// The right to have a stream open.
struct StreamPermit {
    streams: Arc<Streams>,
    user: UserId,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.streams.metrics.streams.dec();
        let mut open = self.streams.lock();
        match open.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.user);
            }
        }
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopping,
    Expired,
    Behind,
}

impl End {
    /// In a word, for programs.
    fn reason(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Expired => "token_expired",
            Self::Behind => "behind",
        }
    }

    /// The code of a WebSocket's close frame: 4000 and above are ours (RFC 6455 section 7.4.2).
    fn close_code(self) -> u16 {
        match self {
            Self::Stopping => 1001,
            Self::Expired => 4001,
            Self::Behind => 4002,
        }
    }
}

/// What a stream says next.
enum Next {
    Event(StreamEvent),
    Beat,
    End(End),
}

/// One open stream.
struct Follow {
    changes: Receiver<FeedEntry>,
    beat: Interval,
    expires: Pin<Box<Sleep>>,
    stop: CancellationToken,
    place: StreamPermit,
}

impl Follow {
    fn open(
        api: &Shared,
        who: &Caller,
        grant: &Grant,
        after: Option<String>,
    ) -> Result<Self, Refusal> {
        let place = api.streams.enter(&who.user)?;
        let after = after.map(|id| api.streams.ids.open(&who.user, &id));
        let changes = api.services.changes.follow(who, after);
        let mut beat = interval_at(instant() + BEAT_EVERY, BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expires = Box::pin(sleep(grant.left(api.clock.now())));
        let stop = api.streams.stop.clone();
        Ok(Self { changes, beat, expires, stop, place })
    }

    async fn next(&mut self) -> Next {
        loop {
            let entry = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Next::End(End::Stopping),
                () = self.expires.as_mut() => return Next::End(End::Expired),
                entry = self.changes.recv() => entry,
                _ = self.beat.tick() => return Next::Beat,
            };
            let Some(entry) = entry else { return Next::End(End::Behind) };
            let Some(mut event) = StreamEvent::of(entry) else { continue };
            // An event is as good as a beat.
            self.beat.reset();
            event.id = self.place.streams.ids.seal(&self.place.user, &event.id);
            return Next::Event(event);
        }
    }
}

/// Follow changes as server-sent events
///
/// Accounts, logins and monitors of the caller. Each event has an id; after a break resume with it in
/// `Last-Event-ID`. Something comes every 15 seconds. The last event is `end`, with the reason:
/// `token_expired`, `behind` (the reader was too slow) or `stopping`.
#[utoipa::path(
    get,
    path = "/events/stream",
    tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after this event"),
        ("last_event_id" = Option<String>, Query, description = "The same, where no header can be set"),
    ),
    responses((status = 200, description = "The events", body = String,
        content_type = "text/event-stream")),
)]
async fn events_stream(
    State(api): State<Arc<Shared>>,
    who: Caller,
    grant: Grant,
    headers: HeaderMap,
    Query(mut fields): Query,
) -> Result<Response, Refusal> {
    let after = resume_after(&headers, &mut fields);
    let after = fields.finish(Some(after))?;
    let follow = Follow::open(&api, &who, &grant, after)?;
    let events = stream::unfold(Some(follow), async |follow| {
        let mut follow = follow?;
        let (event, rest) = match follow.next().await {
            Next::Event(event) => (sent_event(event), Some(follow)),
            Next::Beat => (Event::default().comment("alive"), Some(follow)),
            Next::End(end) => {
                let reason = format!("{{\"reason\":\"{}\"}}", end.reason());
                (Event::default().event("end").data(reason), None)
            }
        };
        Some((Ok::<_, Infallible>(event), rest))
    });
    let mut response = Sse::new(events).into_response();
    // Proxies that buffer would hold events back.
    let name = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

/// Behind which event to go on: by the header, or by the query where no header can be set.
fn resume_after(headers: &HeaderMap, fields: &mut Fields) -> Option<String> {
    let asked = fields.optional("last_event_id", parse::cursor);
    let Some(id) = headers.get(LAST_EVENT_ID) else { return asked };
    let id = serde_json::Value::from(id.to_str().unwrap_or_default());
    parse::cursor(id).map_err(|wrong| fields.wrong("Last-Event-ID", wrong)).ok()
}

fn sent_event(mut told: StreamEvent) -> Event {
    let is_line = !told.id.contains(['\r', '\n', '\0']);
    let event = if is_line { Event::default().id(&told.id) } else { Event::default() };
    let event = event.event(told.event).data(&told.data);
    told.data.zeroize();
    event
}

/// Follow changes over a WebSocket
///
/// Each message is a JSON object with `id`, `event` and `data`. A browser, which cannot set headers
/// here, offers two subprotocols: `telewarden` and `bearer.<token>`. Pings come every 15 seconds. The
/// socket is closed with 4001 (the token expired), 4002 (the reader was too slow) or 1001 (the daemon
/// stops); resume with `last_event_id`.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after this event"),
        ("last_event_id" = Option<String>, Query, description = "The same, where no header can be set"),
    ),
    responses((status = 101, description = "The socket is open")),
    extensions(("x-upgrade" = json!("websocket"))),
)]
async fn events(
    State(api): State<Arc<Shared>>,
    who: Caller,
    grant: Grant,
    headers: HeaderMap,
    Query(mut fields): Query,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Response> {
    let after = resume_after(&headers, &mut fields);
    let after = fields.finish(Some(after)).map_err(Refusal::into_response)?;
    let upgrade = upgrade.map_err(|_| not_a_socket())?;
    let follow = Follow::open(&api, &who, &grant, after).map_err(Refusal::into_response)?;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(INCOMING_MAX)
        .write_buffer_size(0)
        .max_message_size(INCOMING_MAX)
        .max_frame_size(INCOMING_MAX);
    Ok(upgrade.on_upgrade(move |socket| converse(socket, follow)))
}

fn not_a_socket() -> Response {
    let detail = "open this address as a WebSocket (RFC 6455), or use /api/v1/events/stream";
    let mut response = problem(StatusCode::UPGRADE_REQUIRED, Code::Validation, detail);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

async fn converse(mut socket: WebSocket, mut follow: Follow) {
    let mut heard = instant();
    loop {
        tokio::select! {
            next = follow.next() => {
                let message = match next {
                    Next::Event(event) => Message::Text(written(event).into()),
                    Next::Beat if heard.elapsed() > SILENCE_MAX => return,
                    Next::Beat => Message::Ping(Vec::new().into()),
                    Next::End(end) => {
                        let (code, reason) = (end.close_code(), end.reason().into());
                        let close = Message::Close(Some(CloseFrame { code, reason }));
                        if let Ok(Ok(())) = timeout(SEND_MAX, socket.send(close)).await {
                            close_together(&mut socket).await;
                        }
                        return;
                    }
                };
                if !matches!(timeout(SEND_MAX, socket.send(message)).await, Ok(Ok(()))) {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_))) => return close_together(&mut socket).await,
                Some(Err(error)) => return refuse(&mut socket, &error).await,
                None => return,
                Some(Ok(_)) => heard = instant(),
            },
        }
    }
}

/// Tells a client that did what it may not, so that it does not take it for a fault of the network and do it again
/// (RFC 6455 section 7.4.1). Where the network failed there is nobody to tell.
async fn refuse(socket: &mut WebSocket, error: &axum::Error) {
    let Some((code, reason)) = fault_of_client(&error.to_string()) else { return };
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    if let Ok(Ok(())) = timeout(SEND_MAX, socket.send(close)).await {
        close_together(socket).await;
    }
}

/// What the library says of a client's fault, by how its words begin: it is not to be had in another form.
fn fault_of_client(words: &str) -> Option<(u16, &'static str)> {
    let known = [
        (
            "Space limit exceeded",
            close_code::SIZE,
            "nothing of this size is taken here; only listen",
        ),
        ("UTF-8 encoding error", close_code::INVALID, "a text has to be UTF-8"),
        ("WebSocket protocol error", close_code::PROTOCOL, "this is not the WebSocket protocol"),
    ];
    let known = known.into_iter().find(|(begin, ..)| words.starts_with(begin))?;
    Some((known.1, known.2))
}

/// Ends the closing handshake (RFC 6455 section 5.5.1): reading on sends the Close that answers one, and
/// waits for the one that answers ours. Whoever is cut off before that sees 1006.
async fn close_together(socket: &mut WebSocket) {
    let rest = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(CLOSE_MAX, rest).await;
}

/// `data` is JSON already.
fn written(mut told: StreamEvent) -> String {
    let id = serde_json::Value::from(told.id.as_str());
    let text = format!("{{\"id\":{id},\"event\":\"{}\",\"data\":{}}}", told.event, told.data);
    told.data.zeroize();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_counted_and_given_back() {
        let streams = Streams::new(STREAMS_MAX, HttpMetrics::default(), CancellationToken::new());
        let user = |number: usize| UserId::new(format!("user-{number}")).unwrap();
        let own: Vec<_> = (0..USER_STREAMS_MAX).map(|_| streams.enter(&user(0)).unwrap()).collect();
        let code = |result: Result<StreamPermit, Refusal>| result.err().map(|refusal| refusal.code);
        assert_eq!(code(streams.enter(&user(0))), Some(Code::RateLimited));
        let others: Vec<_> = (USER_STREAMS_MAX..STREAMS_MAX)
            .map(|number| streams.enter(&user(number)).unwrap())
            .collect();
        assert_eq!(code(streams.enter(&user(9999))), Some(Code::Overloaded));
        assert_eq!(streams.metrics.streams.get(), STREAMS_MAX as u64);
        drop((own, others));
        assert!(streams.lock().is_empty());
        assert_eq!(streams.metrics.streams.get(), 0);
        assert!(streams.enter(&user(0)).is_ok());
    }
}
