//! The server: sockets around the world.
//!
//! Owns the listener and the one lock around the world. The lock is never held across an await.

mod connection;
pub(crate) mod link;
mod session;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::wire::rsa::RsaKey;
use crate::world::World;
use crate::world::dcs::Dcs;

/// What all connections and the control API share.
pub(crate) struct Server {
    pub(crate) seed: u64,
    world: Mutex<World>,
    next_link: AtomicU64,
    /// Whether a fault that freezes connections may stand; they look here before the world.
    pub(crate) freezing: AtomicBool,
    /// Loads in progress; they end with the server.
    pub(crate) loads: Mutex<JoinSet<()>>,
}

impl Server {
    pub(crate) fn new(seed: u64, dcs: Dcs) -> Self {
        Self {
            seed,
            world: Mutex::new(World::new(seed, dcs)),
            next_link: AtomicU64::new(1),
            freezing: AtomicBool::new(false),
            loads: Mutex::default(),
        }
    }

    /// The world, locked. A handler that panicked leaves it as it was at that moment.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of the key exchange; slow when it is first asked for.
    pub(crate) fn rsa(&self) -> Arc<RsaKey> {
        RsaKey::of_seed(self.seed)
    }

    fn next_link_id(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }
}

/// Accepts connections to a datacenter until it is dropped, which ends them all.
pub(crate) async fn accept(server: Arc<Server>, listener: TcpListener, dc: i32) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(Arc::clone(&server), stream, dc));
                }
                // Out of file descriptors, most likely; the clients see it as a slow server.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(ended) = connections.join_next() => {
                if ended.is_err() {
                    let mut world = server.world();
                    let errors = &mut world.counters.protocol_errors;
                    *errors.entry("the simulator itself panicked".to_owned()).or_default() += 1;
                }
            }
        }
    }
}
