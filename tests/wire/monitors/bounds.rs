//! Queues at their bounds: whoever stands there is told or waits, and nothing that was taken is lost.

use telewarden_simulator::FaultSpec;

use crate::support::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_messages_beyond_what_is_held_while_a_chat_is_opened_are_read_from_history() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let (chat, fence) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await);
    stage.monitor(&fence, &alice, &[]).await;
    // Opening the chat takes long, while 600 messages come live: 512 are held.
    let slow = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("messages.getHistory".into()),
        delay_ms: Some(5_000),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(slow).await.unwrap();
    stage.backend.start(chat.chat_id.into(), &alice, &[]).await;
    stage.say(&chat, 1..=600).await;
    // What is said in another chat over the same link comes through meanwhile.
    stage.say(&fence, 1..=5).await;
    stage.expect_all(&fence).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}
