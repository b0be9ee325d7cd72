//! Logins at the simulator, over TCP.

use telewarden_simulator::NewAccount;

use super::super::sim::{HOME_DC, account, credentials, login_options, simulator};
use super::*;

fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

#[tokio::test]
async fn a_fresh_key_is_nobodys_until_somebody_logs_in_and_can_be_taken_up_again() {
    let sim = simulator().await;
    let options = login_options(&sim);
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let credentials = link.credentials().unwrap();
    let nobody = LoginFailure::SessionEnded { code: "AUTH_KEY_UNREGISTERED".into() };
    assert_eq!(link.who().await, Err(nobody.clone()));
    let slots = link.slots();
    assert_eq!(slots.available_permits(), 0);
    link.close().await;
    assert_eq!(slots.available_permits(), 1);

    let mut again = LoginLink::resume(&options, &credentials, slots).await.unwrap();
    assert_eq!(again.credentials(), Some(credentials));
    assert_eq!(again.who().await, Err(nobody));
    again.close().await;
    assert_eq!(sim.stats().await.violations.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn a_brought_session_says_who_it_is_or_that_it_is_over() {
    let sim = simulator().await;
    let new = NewAccount { phone: Some("79991234512".into()), ..NewAccount::default() };
    let account = account(&sim, new).await;
    let credentials = credentials(account.session_string.as_deref().unwrap());
    let mut link = LoginLink::resume(&login_options(&sim), &credentials, slots()).await.unwrap();
    let who = link.who().await.unwrap();
    assert_eq!(who.me.user_id, account.user_id);
    assert_eq!(who.phone_masked.as_deref(), Some("+7999•••••12"));

    sim.revoke(account.user_id, Some("SESSION_REVOKED".into())).await.unwrap();
    let over = LoginFailure::SessionEnded { code: "SESSION_REVOKED".into() };
    assert_eq!(link.who().await, Err(over));
}

#[tokio::test]
async fn logging_out_ends_the_session_and_is_no_error_twice() {
    let sim = simulator().await;
    let account = account(&sim, NewAccount::default()).await;
    let credentials = credentials(account.session_string.as_deref().unwrap());
    let (options, slots) = (login_options(&sim), slots());
    let mut link = LoginLink::resume(&options, &credentials, Arc::clone(&slots)).await.unwrap();
    link.log_out().await.unwrap();
    link.close().await;
    let mut link = LoginLink::resume(&options, &credentials, slots).await.unwrap();
    let ended = link.who().await.unwrap_err();
    assert!(matches!(ended, LoginFailure::SessionEnded { .. }), "{ended}");
    link.log_out().await.unwrap();
}

#[tokio::test]
async fn without_the_servers_public_key_it_is_said_what_is_missing() {
    let sim = simulator().await;
    let options = LoginOptions { server_key: None, ..login_options(&sim) };
    let failure = LoginLink::open(&options, HOME_DC).await.err().unwrap();
    assert_eq!(failure.code(), "SERVER_KEY_MISSING");
    let failure = LoginLink::open(&login_options(&sim), 77).await.err().unwrap();
    assert_eq!(failure.code(), "DC_UNKNOWN");
}
