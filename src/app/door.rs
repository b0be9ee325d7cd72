//! The HTTP edge as the daemon holds it: opened last, closed last. Owns what the configuration says of it
//! and what ends it; never what is answered.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::actors::{Root, said_by};
use crate::clock::Clock;
use crate::config::Config;
use crate::edge::http::{
    self, ApiOptions, ChangeLimit, HttpMetrics, ImportOptions, RequestLimits, TokenSecret,
};
use crate::edge::parsing::ParsingClient;

use super::descriptors::Descriptors;

/// It serves nobody any more, although nobody closed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the http edge ended: {0}")]
pub(super) struct DoorEnded(pub(super) String);

/// The open edge. It stays open until it is closed, whatever becomes of this.
pub(super) struct Door {
    stop: CancellationToken,
    /// Why it serves nobody any more, although nobody closed it.
    ended: watch::Sender<Option<DoorEnded>>,
    /// Ends the event streams, whose followers are told that it is for a restart.
    streams_stop: CancellationToken,
}

impl Door {
    /// The door of an edge that is not open yet.
    pub(super) fn new() -> Self {
        let stop = CancellationToken::new();
        Self { streams_stop: stop.child_token(), stop, ended: watch::Sender::new(None) }
    }

    /// Serves `router` from now on, on a thread of its own.
    pub(super) fn open(
        &self,
        listener: TcpListener,
        router: Router,
        files: Descriptors,
    ) -> Result<()> {
        let (stop, ended) = (self.stop.clone(), self.ended.clone());
        let tell = move |outcome: std::thread::Result<std::io::Result<()>>| {
            let why = match outcome {
                _ if stop.is_cancelled() => return,
                Ok(Ok(())) => "nobody told it to".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => said_by(&*panic),
            };
            ended.send_replace(Some(DoorEnded(why)));
        };
        // The thread ends within its own deadline; nothing of it needs to be waited for.
        let thread = http::spawn(listener, router, files.capacity(), self.stop.clone(), tell);
        thread.map(drop).context("failed to start the http edge")
    }

    /// Waits until it serves nobody any more without having been closed, and tells why.
    pub(super) async fn ended(&self) -> DoorEnded {
        let mut ended = self.ended.subscribe();
        let seen = ended.wait_for(Option::is_some).await;
        let why = seen.ok().and_then(|seen| seen.clone());
        why.unwrap_or_else(|| DoorEnded("nobody knows why".to_owned()))
    }

    /// Sends the followers of events away.
    pub(super) fn end_streams(&self) {
        self.streams_stop.cancel();
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.stop.cancel();
    }

    /// How the API in front of `root` is served.
    pub(super) fn api_options(
        &self,
        config: &Config,
        root: &Root,
        secret: TokenSecret,
        clock: Clock,
        (metrics, parsing): (HttpMetrics, Option<ParsingClient>),
        files: Descriptors,
    ) -> ApiOptions {
        let limits = &config.http.limits;
        ApiOptions {
            services: root.services(),
            runtime: tokio::runtime::Handle::current(),
            secret,
            clock,
            limits: RequestLimits {
                connect: limits.connect_per_minute,
                send: limits.send_per_minute,
                change: ChangeLimit {
                    burst: limits.change_burst,
                    per_minute: limits.change_per_minute,
                },
                other: limits.other_per_minute,
                unauthorized: limits.unauthorized_per_minute,
            },
            in_hand_max: http::IN_HAND_MAX.min(files.edge / 2),
            streams_max: http::STREAMS_MAX.min(files.edge / 4),
            cors_origins: config.http.cors_origins.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            imports: ImportOptions {
                spool: config.store.path.clone(),
                file_bytes_max: http::IMPORT_BYTES_MAX,
                parsing,
                room: http::UploadRoom::default(),
            },
            metrics,
            stop: self.streams_stop.clone(),
        }
    }
}

/// Takes the address, before anything else is done that would be in vain without it.
pub(super) fn listen(config: &Config) -> Result<TcpListener> {
    let listen = config.http.listen;
    bind(listen).with_context(|| {
        format!(
            "failed to listen on {listen}; stop what listens there, or choose another address \
             (http.listen, --listen)"
        )
    })
}

/// With room for many who come at once: whom the kernel turns away tries again a second later, and health
/// has two. It takes less where `net.core.somaxconn` is smaller.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 4096;
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)?.into_std()
}

/// The parsing service that lists of people are imported from, if there is one.
pub(super) fn parsing_service(config: &Config) -> Result<Option<ParsingClient>> {
    let url = config.parsing.url.as_ref();
    Ok(url.map(|url| ParsingClient::new(url.expose())).transpose()?)
}

/// What signs the tokens of the API.
pub(super) fn token_secret(config: &Config) -> Result<TokenSecret> {
    let configured = config.auth.jwt_secret.as_ref();
    let secret = TokenSecret::find_or_make(configured, &config.store.path)
        .context("failed to find the secret that signs tokens")?;
    if let Some(path) = secret.made() {
        tracing::info!(
            path = %path.display(),
            "made the secret that signs tokens of the API; telewarden token --user NAME makes one"
        );
    }
    Ok(secret)
}
