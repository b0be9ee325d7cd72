//! How a login ends whose key is only in memory: what the fleet refused to take in.

use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::actors::accounts::fleet::stand_in;
use crate::actors::tree::actor::ActorProcessingErr;
use crate::actors::tree::actor::spawn_alone;
use crate::protocol::accounts::record::Me;
use crate::protocol::users::owner::UserId;
use crate::store::gated::GatedDisk;
use crate::store::{AuditLogQuery, Store};

const PATIENCE: Duration = Duration::from_secs(30);

/// Takes what the login sends itself.
struct Sink;

impl Actor for Sink {
    type Msg = LoginMsg;
    type State = mpsc::UnboundedSender<LoginMsg>;
    type Arguments = Self::State;

    async fn pre_start(
        &self,
        _: ActorRef<LoginMsg>,
        tell: Self::State,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(tell)
    }

    async fn handle(
        &self,
        _: ActorRef<LoginMsg>,
        message: LoginMsg,
        tell: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let _ = tell.send(message);
        Ok(())
    }
}

type Asked = (AuthKeyId, RpcReplyPort<(ConnectionLease, Option<Me>)>);

/// Whose key is asked for, and who asks.
fn of_lease(message: FleetMsg) -> Option<Asked> {
    match message {
        FleetMsg::Owned(OwnedMsg::Lease { key, reply }) => Some((key, reply)),
        _ => None,
    }
}

fn credentials(number: u8) -> Credentials {
    let auth_key = AuthKey::new([number; AUTH_KEY_LEN]);
    Credentials { account: AuthKeyId::of(&auth_key), dc_id: 2, auth_key }
}

/// A login that Telegram has let in.
struct LetIn {
    login: LoginActor,
    myself: ActorRef<LoginMsg>,
    sent: mpsc::UnboundedReceiver<LoginMsg>,
    fleet: ActorRef<FleetMsg>,
    asked: mpsc::UnboundedReceiver<Asked>,
    told: tokio::sync::oneshot::Receiver<LoginAnswer>,
}

impl LetIn {
    /// With the key 7 in memory. Of an earlier step the store has the key 3: the account lives at another
    /// datacenter than the one that was asked first.
    async fn set(store: &Store, method: LoginMethod) -> Self {
        let context = LoginsContext::for_tests(store.clone());
        let (fleet, asked) = stand_in(of_lease).await;
        let (tell, sent) = mpsc::unbounded_channel();
        let myself = spawn_alone(Sink, tell).await;
        let user = UserId::new("ann").unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let args = LoginArgs {
            fleet: fleet.clone(),
            id: LoginId(Uuid::from_u128(1)),
            who: Caller { user: user.clone(), role: Default::default(), address: None },
            method,
            reply: Some(tell.into()),
            busy: context.erasing.enter(&user).unwrap(),
            context,
        };
        let mut login = Login.pre_start(myself.clone(), args).await.unwrap();
        let earlier = login.record_of(&credentials(3));
        store.commit(vec![Op::put_row(&earlier)]).await.unwrap();
        let me = Me { user_id: 5, is_bot: false, username: None, first_name: None };
        let finishing = Finishing {
            signed_in: SignedIn { me, phone_masked: None },
            credentials: credentials(7),
            lease: ConnectionLease::new(),
        };
        login.stage = Stage::Finishing(Box::new(finishing));
        Self { login, myself, sent, fleet, asked, told }
    }

    async fn is_refused(&mut self) {
        let refusal = Refusal::new(Code::Conflict, "it is connected by somebody else");
        self.login.not_adopted(&self.myself, refusal.clone()).await;
        let told = timeout(PATIENCE, &mut self.told).await.unwrap().unwrap();
        assert_eq!(told.unwrap_err().code, refusal.code);
    }

    fn kept(&self, store: &Store) -> Option<LoginRecord> {
        store.row::<LoginRecord>(&self.login.who.user, self.login.id).unwrap()
    }

    fn close(self) {
        self.myself.stop(None);
        self.fleet.stop(None);
    }
}

/// What became of the attempt to end the session.
async fn left(sent: &mut mpsc::UnboundedReceiver<LoginMsg>) -> Result<(), LoginFailure> {
    loop {
        let message = timeout(PATIENCE, sent.recv()).await.expect("it is tried").unwrap();
        if let LoginMsg::Left(outcome) = message {
            return outcome;
        }
    }
}

fn audit_events(store: &Store) -> Vec<String> {
    let page = store.audit_log(&AuditLogQuery { limit: 10, ..AuditLogQuery::default() }).unwrap();
    page.entries.into_iter().map(|entry| entry.link.action).collect()
}

#[tokio::test]
async fn the_session_that_only_memory_knows_is_noted_ended_and_wiped() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let mut stage = LetIn::set(&store, LoginMethod::Qr).await;
    stage.is_refused().await;
    let noted = stage.kept(&store).expect("it is to be ended");
    assert!(noted.is_leaving && noted.auth_key == [7; AUTH_KEY_LEN], "the key that was let in");
    let (key, reply) = timeout(PATIENCE, stage.asked.recv()).await.unwrap().unwrap();
    assert_eq!(key, credentials(7).account);
    // There is no datacenter to dial.
    reply.send((ConnectionLease::new(), None)).unwrap();
    let failed = left(&mut stage.sent).await;
    assert!(failed.is_err());
    stage.login.left(&stage.myself, Ok(())).await;
    assert_eq!(stage.kept(&store), None, "nothing of it is kept once it is ended");
    assert!(audit_events(&store).contains(&"login.leave".to_owned()));
    stage.close();
}

/// The disk takes writes, and does not answer what is read: the key in memory needs no read.
#[tokio::test]
async fn the_session_that_only_memory_knows_is_noted_also_while_nothing_can_be_read() {
    let disk = GatedDisk::default();
    let (store, _outbox, gate) = disk.open();
    let mut stage = LetIn::set(&store, LoginMethod::Qr).await;
    gate.hang_reads(true);
    let mut refused = Box::pin(stage.is_refused());
    let noted = async {
        loop {
            let (after, _outbox, _) = disk.after_a_power_cut().open();
            let user = UserId::new("ann").unwrap();
            let noted = after.row::<LoginRecord>(&user, LoginId(Uuid::from_u128(1))).unwrap();
            match noted.filter(|noted| noted.is_leaving) {
                Some(noted) => break noted,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let noted = tokio::select! {
        noted = noted => noted,
        () = &mut refused => panic!("it is read before its session is ended"),
        () = tokio::time::sleep(PATIENCE) => panic!("it is not noted"),
    };
    assert_eq!(noted.auth_key, [7; AUTH_KEY_LEN]);
    gate.hang_reads(false);
    refused.await;
    let (key, _) = timeout(PATIENCE, stage.asked.recv()).await.unwrap().unwrap();
    assert_eq!(key, credentials(7).account);
    stage.close();
}

#[tokio::test]
async fn a_session_that_was_brought_is_wiped_here_and_not_ended() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let method = LoginMethod::Session { credentials: credentials(7), api_id: None };
    let mut stage = LetIn::set(&store, method).await;
    stage.is_refused().await;
    assert_eq!(stage.kept(&store), None);
    assert!(stage.asked.try_recv().is_err(), "it is not ours to end");
    stage.close();
}
