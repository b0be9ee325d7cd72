//! Looking up names. Owns how many are looked up at once: the system's resolver takes a thread for each and
//! cannot be stopped, and users name the names; must never let slow ones take all threads.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::guard::Refused;

/// Names that are looked up at once, in the whole process. Far fewer than there are threads for what
/// blocks (512), of which the store needs some.
const AT_ONCE_MAX: usize = 32;
/// Longest that somebody waits for a name, its turn included.
const WAIT_MAX: Duration = Duration::from_secs(5);

static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(AT_ONCE_MAX, WAIT_MAX));

/// The addresses that `name` has.
///
/// # Errors
/// When it has none, or they are not known in time.
pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, Refused> {
    let name = name.to_owned();
    LOOKUPS.run(move || (name.as_str(), 0).to_socket_addrs().map(Iterator::collect)).await
}

struct Lookups {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl Lookups {
    fn new(at_once_max: usize, patience: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once_max)), patience }
    }

    /// Runs `look` on a thread. It counts until it has really ended, also when nobody waits for it any
    /// more.
    async fn run(
        &self,
        look: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let found = async {
            let turn = Arc::clone(&self.free).acquire_owned().await;
            let turn = turn.map_err(|_| Refused::Slow)?;
            let found = spawn_blocking(move || {
                let found = look();
                drop(turn);
                found
            });
            match found.await {
                Ok(Ok(found)) if !found.is_empty() => Ok(found),
                _ => Err(Refused::Unresolved),
            }
        };
        timeout(self.patience, found).await.unwrap_or(Err(Refused::Slow))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const HERE: &str = "127.0.0.1:0";

    #[tokio::test]
    async fn slow_names_take_a_bounded_number_of_threads_until_they_end() {
        let lookups = Lookups::new(2, Duration::from_millis(100));
        let begun = Arc::new(AtomicUsize::new(0));
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let slow = || {
            let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                let _ = wait.lock().unwrap().recv();
                Ok(vec![HERE.parse().unwrap()])
            }
        };
        for asked in 0..6 {
            assert_eq!(lookups.run(slow()).await, Err(Refused::Slow), "{asked}");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert_eq!(lookups.free.available_permits(), 0);
        drop(release);
        let back = Arc::clone(&lookups.free).acquire_many_owned(2);
        let back = timeout(Duration::from_secs(10), back).await.expect("they have ended").unwrap();
        drop(back);
        assert_eq!(lookups.run(slow()).await, Ok(vec![HERE.parse().unwrap()]));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told_from_a_slow_one() {
        let lookups = Lookups::new(1, Duration::from_secs(10));
        assert_eq!(lookups.run(|| Ok(Vec::new())).await, Err(Refused::Unresolved));
        let failed = || Err(io::ErrorKind::NotFound.into());
        assert_eq!(lookups.run(failed).await, Err(Refused::Unresolved));
        assert_eq!(lookups.run(|| panic!("on purpose")).await, Err(Refused::Unresolved));
        assert_eq!(lookups.free.available_permits(), 1);
    }
}
