//! A proxy before the broker, whose connections can be cut, and behind which the broker can be made not to be
//! heard.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Stands between a link and the broker.
pub(crate) struct Proxy {
    pub(crate) url: String,
    cut: CancellationToken,
    connections: Arc<Mutex<(usize, CancellationToken)>>,
    is_heard: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn before(url: &str) -> Self {
        let (head, path) = url.rsplit_once('/').unwrap();
        let (login, target) = head.rsplit_once('@').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let proxy = Self {
            url: format!("{login}@{here}/{path}"),
            cut: CancellationToken::new(),
            connections: Arc::new(Mutex::new((0, CancellationToken::new()))),
            is_heard: watch::Sender::new(true),
        };
        let (target, connections) = (target.to_owned(), Arc::clone(&proxy.connections));
        let is_heard = proxy.is_heard.subscribe();
        let accepting = async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, connections) = (target.clone(), Arc::clone(&connections));
                let is_heard = is_heard.clone();
                let carried = async move { carry(client, &target, &connections, is_heard).await };
                tokio::spawn(Box::pin(carried));
            }
        };
        tokio::spawn(proxy.cut.clone().run_until_cancelled_owned(accepting));
        proxy
    }

    /// Whether what the broker says gets through; what it says meanwhile gets through later.
    pub(crate) fn set_heard(&self, is_heard: bool) {
        self.is_heard.send_replace(is_heard);
    }

    /// Closes every connection; new ones are accepted.
    pub(crate) fn cut(&self) {
        let mut connections = self.connections.lock().unwrap();
        std::mem::take(&mut connections.1).cancel();
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut.cancel();
        self.cut();
    }
}

async fn carry(
    mut client: TcpStream,
    target: &str,
    connections: &Mutex<(usize, CancellationToken)>,
    mut is_heard: watch::Receiver<bool>,
) {
    let cut = {
        let mut connections = connections.lock().unwrap();
        connections.0 += 1;
        connections.1.clone()
    };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let said = async {
        let mut some = vec![0; 4096];
        loop {
            let length = from_server.read(&mut some).await.unwrap_or(0);
            let heard = is_heard.wait_for(|is_heard| *is_heard).await.is_ok();
            if length == 0 || !heard || to_client.write_all(&some[..length]).await.is_err() {
                return;
            }
        }
    };
    let both = async {
        tokio::select! {
            () = said => {}
            _ = copy(&mut from_client, &mut to_server) => {}
        }
    };
    let _ = cut.run_until_cancelled(Box::pin(both)).await;
}
