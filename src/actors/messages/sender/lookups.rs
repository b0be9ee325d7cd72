//! Who recipients are. One lookup of a name is under way at a time for an account, however many messages
//! to that name wait for it: each call counts with Telegram. Owns what was found of late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::actors::accounts::asking::{Asked, Unmet, begin_asking, busy};
use crate::actors::accounts::calls::Asker;
use crate::actors::accounts::fleet::FleetMsg;
use crate::actors::tree::actor::ActorRef;
use crate::clock::instant;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::ChatTarget;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::AuthKeyId;
use crate::tasks;
use crate::telegram::{Call, Outcome};

/// How long it is believed who a recipient is: names change hands.
const PEERS_KEPT: Duration = Duration::from_secs(10 * 60);
/// Looked-up recipients that are remembered: about 100 bytes each.
const PEERS_MAX: usize = 50_000;

/// A recipient as one account names it, however it was spelled.
type Name = (AuthKeyId, Fingerprint);

/// What a lookup came to; nothing if its time was over before it began.
type LookupOutcome = Option<Result<PeerRecord, Failure>>;

/// The lookups.
pub(super) struct Lookups {
    fleet: ActorRef<FleetMsg>,
    known: Mutex<HashMap<Name, (PeerRecord, Instant)>>,
    open: Mutex<HashMap<Name, Flight>>,
}

/// A lookup under way.
#[derive(Clone)]
struct Flight {
    /// When the last of those gives up who wait for it.
    deadline: Arc<watch::Sender<Instant>>,
    /// Whether Telegram was asked.
    has_begun: Arc<dyn Fn() -> bool + Send + Sync>,
    outcome: watch::Receiver<Option<LookupOutcome>>,
}

impl Lookups {
    pub(super) fn new(fleet: ActorRef<FleetMsg>) -> Arc<Self> {
        Arc::new(Self { fleet, known: Mutex::default(), open: Mutex::default() })
    }

    /// Who `target` is for `account`. Who gives up at `deadline` leaves the lookup to the others who
    /// wait for it; who would wait longer than whoever began it has it go on.
    pub(super) async fn find(
        self: &Arc<Self>,
        account: AuthKeyId,
        asker: &Asker,
        target: &Target,
        deadline: Instant,
    ) -> Result<PeerRecord, Refusal> {
        let name = (account, name_of(target));
        loop {
            if let Some(peer) = self.remembered(&name) {
                return Ok(peer);
            }
            let (mut flight, is_first) = self.join(name, asker, target, deadline);
            let seen = timeout_at(deadline, flight.outcome.wait_for(Option::is_some)).await;
            let outcome = match seen {
                Ok(Ok(outcome)) => outcome.clone().flatten(),
                Ok(Err(_)) => Some(Err(Failure::transient("the daemon is stopping"))),
                Err(_) => return Err(late((flight.has_begun)())),
            };
            match outcome {
                Some(Ok(peer)) => return Ok(peer),
                // Whoever began it would not wait for so long.
                Some(Err(Failure::Wait { seconds, .. }))
                    if !is_first && fits(seconds, deadline) => {}
                Some(Err(failure)) => return Err(failure.into()),
                None if instant() >= deadline => return Err(late(false)),
                None => {}
            }
        }
    }

    /// A name may belong to somebody else by now.
    pub(super) fn forget(&self, account: AuthKeyId, peer: PeerRecord) {
        let mut known = self.known();
        known.retain(|(owner, _), (known, _)| *owner != account || known.id != peer.id);
    }

    fn remembered(&self, name: &Name) -> Option<PeerRecord> {
        let known = self.known().get(name).copied();
        known.filter(|(_, since)| since.elapsed() < PEERS_KEPT).map(|(peer, _)| peer)
    }

    /// The lookup under way, or one that begins, and whether it does.
    fn join(
        self: &Arc<Self>,
        name: Name,
        asker: &Asker,
        target: &Target,
        deadline: Instant,
    ) -> (Flight, bool) {
        let mut open = self.open();
        if let Some(flight) = open.get(&name) {
            flight.deadline.send_if_modified(|last| {
                let is_later = deadline > *last;
                *last = deadline.max(*last);
                is_later
            });
            return (flight.clone(), false);
        }
        let call = Call::ResolveTarget(target.clone());
        let patience = deadline.saturating_duration_since(instant());
        let asked = begin_asking(&self.fleet, name.0, asker.clone(), call, patience);
        let (tell, outcome) = watch::channel(None);
        let (deadline, cancellation) =
            (Arc::new(watch::Sender::new(deadline)), asked.cancellation());
        let has_begun = Arc::new(move || cancellation.has_begun());
        let flight = Flight { deadline: Arc::clone(&deadline), has_begun, outcome };
        open.insert(name, flight.clone());
        let lookups = Arc::clone(self);
        tasks::brief(async move {
            let landing = Landing { lookups: &lookups, name };
            let outcome = run(asked, deadline.subscribe()).await;
            if let Some(Ok(peer)) = &outcome {
                lookups.remember(name, *peer);
            }
            drop(landing);
            tell.send_replace(Some(outcome));
        });
        (flight, true)
    }

    fn remember(&self, name: Name, peer: PeerRecord) {
        let mut known = self.known();
        if known.len() >= PEERS_MAX {
            known.clear();
        }
        known.insert(name, (peer, instant()));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Name, (PeerRecord, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Name, Flight>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lookup out of those under way, however it ends. Before its end is told: whoever hears of it and
/// looks again begins another one.
struct Landing<'a> {
    lookups: &'a Lookups,
    name: Name,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.lookups.open().remove(&self.name);
    }
}

/// Waits for a lookup as long as anybody does. One that has begun is waited for to its end: what comes of
/// it spares whoever asks next a call.
async fn run(asked: Asked, deadline: watch::Receiver<Instant>) -> LookupOutcome {
    let found = match asked.until_last(deadline).await {
        Err(Unmet::Unclear(answer)) => {
            let ended = |_| Err(Failure::transient("the daemon is stopping"));
            answer.await.unwrap_or_else(ended)
        }
        Err(Unmet::TakenBack) => return None,
        Err(Unmet::Refused(failure) | Unmet::Failed(failure)) => Err(failure),
        Ok(outcome) => Ok(outcome),
    };
    Some(found.and_then(|outcome| match outcome {
        Outcome::Resolved { peer, .. } => Ok(peer),
        _ => Err(Failure::transient("the recipient was not looked up")),
    }))
}

/// Whether a wait is over before `deadline`.
fn fits(seconds: u32, deadline: Instant) -> bool {
    instant() + Duration::from_secs(seconds.into()) < deadline
}

fn late(has_begun: bool) -> Refusal {
    if !has_begun {
        return busy(15);
    }
    let detail = "telegram did not say in time who the recipient is; nothing was sent";
    Refusal::new(Code::TelegramUnavailable, detail).after(5)
}

fn name_of(target: &Target) -> Fingerprint {
    match target {
        Target::Me => Fingerprint::of([&b"me"[..]]),
        Target::Phone(phone) => Fingerprint::of([&b"phone"[..], phone.expose().as_bytes()]),
        Target::Chat(ChatTarget::Marked(id)) => Fingerprint::of([&b"id"[..], &id.0.to_be_bytes()]),
        Target::Chat(ChatTarget::Username(name)) => {
            Fingerprint::of([&b"name"[..], name.as_bytes()])
        }
        Target::Chat(ChatTarget::Invite(hash)) => {
            Fingerprint::of([&b"invite"[..], hash.as_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::mpsc;

    use super::*;
    use crate::actors::accounts::calls::Request;
    use crate::actors::accounts::fleet::stand_in;
    use crate::protocol::telegram::chat::MarkedId;

    const KEY: AuthKeyId = AuthKeyId(7);
    const SOON: Duration = Duration::from_millis(50);
    const LATER: Duration = Duration::from_secs(30);

    fn friend() -> PeerRecord {
        PeerRecord { id: MarkedId(5), access_hash: 6, is_bot: false, is_broadcast: false }
    }

    fn named(name: &str) -> Target {
        Target::Chat(ChatTarget::Username(name.into()))
    }

    fn found() -> Result<Outcome, Failure> {
        Ok(Outcome::Resolved { peer: friend(), title: None })
    }

    async fn stage() -> (Arc<Lookups>, mpsc::UnboundedReceiver<Request>, ActorRef<FleetMsg>) {
        let (fleet, asked) = stand_in(|message| match message {
            FleetMsg::Request { request, .. } => Some(request),
            _ => None,
        })
        .await;
        (Lookups::new(fleet.clone()), asked, fleet)
    }

    #[tokio::test]
    async fn twelve_who_look_for_one_name_at_once_share_one_call_and_others_do_not() {
        let (lookups, mut asked, fleet) = stage().await;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(SOON).await;
                request.reply.send(found());
            }
        });
        let deadline = Instant::now() + LATER;
        let target = named("friend");
        let twelve =
            join_all((0..12).map(|_| lookups.find(KEY, &Asker::Account, &target, deadline))).await;
        assert!(twelve.iter().all(|one| one.as_ref() == Ok(&friend())), "{twelve:?}");
        assert_eq!(count.load(Ordering::Relaxed), 1);
        lookups.find(KEY, &Asker::Account, &target, deadline).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1, "it is remembered");
        lookups.find(AuthKeyId(8), &Asker::Account, &target, deadline).await.unwrap();
        lookups.find(KEY, &Asker::Account, &named("other"), deadline).await.unwrap();
        lookups.forget(KEY, friend());
        lookups.find(KEY, &Asker::Account, &target, deadline).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 4);
        assert_eq!(lookups.open().len(), 0);
        fleet.stop(None);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_lookup_to_those_who_wait_longer() {
        let (lookups, mut asked, fleet) = stage().await;
        let target = named("friend");
        let now = Instant::now();
        let hasty = lookups.find(KEY, &Asker::Account, &target, now + SOON);
        let patient = lookups.find(KEY, &Asker::Account, &target, now + LATER);
        let answer = async {
            let request = asked.recv().await.unwrap();
            tokio::time::sleep(SOON * 3).await;
            request.reply.send(found());
        };
        let (hasty, patient, ()) = tokio::join!(hasty, patient, answer);
        assert_eq!(hasty.unwrap_err().code, Code::RateLimited);
        assert_eq!(patient, Ok(friend()));
        assert!(asked.try_recv().is_err(), "one call was enough");
        fleet.stop(None);
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_any_more_is_taken_back_and_the_next_begins_anew() {
        let (lookups, mut asked, fleet) = stage().await;
        let target = named("friend");
        lookups.find(KEY, &Asker::Account, &target, Instant::now() + SOON).await.unwrap_err();
        let first = asked.recv().await.unwrap();
        let taken_back = async {
            while first.is_wanted() {
                tokio::task::yield_now().await;
            }
        };
        timeout_at(Instant::now() + LATER, taken_back).await.expect("nobody waits for it");
        let answer = async { asked.recv().await.unwrap().reply.send(found()) };
        let deadline = Instant::now() + LATER;
        let (second, ()) =
            tokio::join!(lookups.find(KEY, &Asker::Account, &target, deadline), answer);
        assert_eq!(second, Ok(friend()));
        fleet.stop(None);
    }

    #[tokio::test]
    async fn what_fails_fails_for_all_but_a_wait_only_for_who_cannot_wait_for_so_long() {
        let (lookups, mut asked, fleet) = stage().await;
        let (now, target) = (Instant::now(), named("friend"));
        let hasty = lookups.find(KEY, &Asker::Account, &target, now + Duration::from_secs(5));
        let patient = lookups.find(KEY, &Asker::Account, &target, now + LATER);
        let answers = async {
            let wait = Failure::from_rpc(420, "FLOOD_WAIT", Some(10));
            asked.recv().await.unwrap().reply.send(Err(wait));
            asked.recv().await.unwrap().reply.send(found());
        };
        let (hasty, patient, ()) = tokio::join!(hasty, patient, answers);
        assert_eq!((hasty.unwrap_err().code, patient), (Code::TelegramWait, Ok(friend())));
        let nobody = named("nobody");
        let both =
            join_all((0..2).map(|_| lookups.find(KEY, &Asker::Account, &nobody, now + LATER)));
        let answer = async {
            let gone = Failure::from_rpc(400, "USERNAME_NOT_OCCUPIED", None);
            asked.recv().await.unwrap().reply.send(Err(gone));
        };
        let (both, ()) = tokio::join!(both, answer);
        assert!(both.iter().all(Result::is_err) && asked.try_recv().is_err());
        fleet.stop(None);
    }
}
