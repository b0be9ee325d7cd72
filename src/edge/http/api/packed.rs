//! Files that are kept compressed, for those who take them so and for those who do not. Owns the choice
//! (RFC 9110 section 12.5.3) and the unpacking, piece by piece, of a few at a time.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::read::GzDecoder;
use futures_util::stream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

use crate::tasks;

/// Files that are unpacked at once, each with some 60 KiB of memory. Nobody needs more: browsers take
/// them compressed.
const UNPACKED_AT_ONCE: usize = 8;
/// Bytes that are unpacked at a time: a fraction of a millisecond of work.
const PIECE: usize = 16 * 1024;
/// How long one file may take. The largest is some 1.5 MB: 25 KB a second.
const UNPACKING_MAX: Duration = Duration::from_secs(60);

/// The room for unpacking.
#[derive(Clone, Debug)]
pub(super) struct Unpacker(Arc<Semaphore>);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(UNPACKED_AT_ONCE)))
    }

    /// The content of a file; `None` when too many are being unpacked. Whoever takes it too slowly is
    /// cut off, whether it reads or not: the room is everybody's.
    pub(super) fn unpack(&self, packed: Bytes) -> Option<Body> {
        let room = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let (pieces, mut taken) = mpsc::channel(1);
        let is_whole = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_whole);
        tasks::brief(async move {
            let all = timeout(UNPACKING_MAX, hand_over(packed, &pieces)).await;
            is_whole.store(all.is_ok(), Ordering::Release);
            // Only now does the other end see that nothing more comes.
            drop((pieces, room));
        });
        let mut is_over = false;
        Some(Body::from_stream(stream::poll_fn(move |context| {
            taken.poll_recv(context).map(|piece| match piece {
                None if !is_over && !told.load(Ordering::Acquire) => {
                    is_over = true;
                    Some(Err(io::ErrorKind::TimedOut.into()))
                }
                piece => piece,
            })
        })))
    }
}

async fn hand_over(packed: Bytes, pieces: &Sender<io::Result<Bytes>>) {
    let mut file = GzDecoder::new(io::Cursor::new(packed));
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let piece = match file.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => Ok(piece.into()),
            Err(error) => Err(error),
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Whether an answer may be compressed with gzip. Who says nothing of it gets it as it is: whoever unpacks
/// says so.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let mut any = None;
    let mut gzip = None;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
        });
        let is_taken = weight.unwrap_or(1.0) > 0.0;
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(is_taken),
            "*" => any = Some(is_taken),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_who_takes_gzip_gets_it() {
        let takes = |lists: &[&str]| {
            let values = lists.iter().map(|list| list.parse().unwrap());
            takes_gzip(&values.map(|value| (header::ACCEPT_ENCODING, value)).collect())
        };
        for yes in [
            &["gzip"][..],
            &["GZip"],
            &["x-gzip"],
            &["*"],
            &["deflate, gzip;q=0.5, br"],
            &["identity;q=1, *;q=0.5"],
            &["br", "gzip; q=1.0"],
            &["gzip;q=0.001"],
        ] {
            assert!(takes(yes), "{yes:?}");
        }
        for no in [
            &[][..],
            &[""],
            &["identity"],
            &["gzip;q=0"],
            &["gzip; q=0.000"],
            &["GZIP;Q=0"],
            &["*;q=0"],
            &["gzip;q=0, *"],
            &["*, gzip;q=0"],
            &["br, deflate, zstd"],
            &["gzip;q=x"],
            &["gzipped"],
        ] {
            assert!(!takes(no), "{no:?}");
        }
    }

    fn packed(content: &[u8]) -> Bytes {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(content).unwrap();
        packer.finish().unwrap().into()
    }

    #[tokio::test]
    async fn a_few_are_unpacked_at_once_and_no_more() {
        let unpacker = Unpacker::new();
        let file = packed(b"content");
        let open: Vec<_> = (0..UNPACKED_AT_ONCE).map(|_| unpacker.unpack(file.clone())).collect();
        assert!(open.iter().all(Option::is_some));
        assert!(unpacker.unpack(file.clone()).is_none());
        drop(open);
        all_room(&unpacker).await;
        let body = unpacker.unpack(file).unwrap();
        assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "content");
        // Whoever has read all of it has given its room back.
        all_room(&unpacker).await;
    }

    async fn all_room(unpacker: &Unpacker) {
        let all = unpacker.0.acquire_many(UNPACKED_AT_ONCE as u32);
        drop(timeout(Duration::from_secs(10), all).await.expect("all of it comes back").unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_it_too_slowly_is_cut_off_and_makes_room() {
        let unpacker = Unpacker::new();
        let file = packed(&[7; PIECE * 5]);
        let mut slow: Vec<_> = (0..UNPACKED_AT_ONCE)
            .map(|_| unpacker.unpack(file.clone()).unwrap().into_data_stream())
            .collect();
        let mut first = slow.remove(0);
        assert_eq!(first.next().await.unwrap().unwrap().len(), PIECE);
        let all = unpacker.0.acquire_many(UNPACKED_AT_ONCE as u32);
        drop(timeout(UNPACKING_MAX * 2, all).await.expect("its time is over").unwrap());
        let rest: Vec<_> = first.collect().await;
        let (last, taken) = rest.split_last().unwrap();
        assert!(
            last.is_err() && taken.iter().all(Result::is_ok),
            "an answer cut off is no whole one"
        );
        assert!(taken.len() < 4, "{}", taken.len());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(content in prop::collection::vec(any::<u8>(), 0..60_000)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let pieces = runtime.block_on(async {
                let body = Unpacker::new().unpack(packed(&content)).unwrap();
                body.into_data_stream().map(Result::unwrap).collect::<Vec<_>>().await
            });
            prop_assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
            prop_assert_eq!(pieces.concat(), content);
        }
    }
}
