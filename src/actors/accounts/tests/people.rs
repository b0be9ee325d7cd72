//! People whom an account has found: kept on the disk, named from there, and looked up under the waits of every class
//! that the method is called under.

use crate::actors::tests::{FleetFixture, TestEnvironment, pass, soon};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
use crate::protocol::values::secret::SecretText;
use crate::store::Op;
use crate::telegram::fake::{Answer, Somebody, Then, channel};
use crate::telegram::{Call, Outcome};

const ANN: i64 = 7;
const BOB: i64 = 20;
const PHONE: u64 = 79_991_234_567;

async fn environment() -> (TestEnvironment, Credentials) {
    let environment = TestEnvironment::new();
    let credentials = environment.telegram.person(1, ANN);
    let (username, phone) = (Some("bob_b".to_owned()), Some(PHONE));
    environment.telegram.somebody(BOB, Somebody { username, phone, ..Somebody::default() });
    environment.telegram.chat(channel(5), "room", None);
    environment.bring(&credentials).await;
    (environment, credentials)
}

async fn find(
    stage: &FleetFixture,
    ann: &Credentials,
    who: Identifier,
) -> Result<Outcome, Failure> {
    stage.ask(ann.account, Call::FindPerson(who)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_was_found_once_is_named_by_id_in_the_next_life() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, channel(5), false).await;
    let unknown = find(&stage, &ann, Identifier::Id(BOB)).await;
    assert_eq!(unknown.unwrap_err().code(), "USER_ID_INVALID");
    let found = find(&stage, &ann, Identifier::Username("bob_b".into())).await.unwrap();
    stage.stop().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, channel(5), false).await;
    assert_eq!(find(&stage, &ann, Identifier::Id(BOB)).await, Ok(found));
}

#[tokio::test(start_paused = true)]
async fn who_is_in_the_store_alone_is_named_too() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, channel(5), false).await;
    soon().await;
    // As if so many others were met since that the peer book holds them no more.
    let peers = vec![environment.telegram.peer_of(ANN, BOB)];
    stage.context.store.commit(vec![Op::PutPeers { account: ann.account, peers }]).await.unwrap();
    let found = find(&stage, &ann, Identifier::Id(BOB)).await.unwrap();
    assert!(matches!(found, Outcome::Person { peer, .. } if peer.id == MarkedId::user(BOB)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_looking_phones_up_holds_whoever_looks_one_up() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, channel(5), false).await;
    soon().await;
    let scope = WaitScope::MethodClass;
    let wait = Failure::Wait { code: "FLOOD_WAIT".into(), seconds: 600, scope };
    environment.telegram.next("find_person", Answer::now(Then::Fail(wait)));
    let _waiting = stage.ask(ann.account, Call::FindPerson(Identifier::Phone(PHONE)));
    soon().await;
    let phone = SecretText::new(PHONE.to_string());
    let mut sending = stage.ask(ann.account, Call::ResolveTarget(Target::Phone(phone)));
    pass(30).await;
    assert!(sending.try_recv().is_err());
    assert_eq!(environment.telegram.count("resolve_target"), 0);
    let kept = environment.kept(ann.account).await.unwrap().flood_waits;
    let scopes: Vec<_> = kept.into_iter().map(|wait| wait.scope).collect();
    let class = FloodWaitScope::Class;
    assert_eq!(scopes, [class(MethodClass::Contacts), class(MethodClass::Resolve)]);
}
