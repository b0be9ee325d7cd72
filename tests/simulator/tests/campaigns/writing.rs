//! Messages to people who do not expect them.

use grammers_client::tl::{enums, functions as f};
use telewarden_simulator::{ContactedKind, Limits, NewContact, Privacy};

use super::steps::*;
use crate::support::{Stage, send};

#[tokio::test]
async fn settings_of_the_receiver_refuse_and_stand_in_the_books() {
    let stage = Stage::with_accounts(2).await;
    let [me, person] = stage.ids()[..] else { panic!("two accounts") };
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let request = send(to(&input), "hello", 1);
    let requirement = async || {
        let id = vec![input.clone().into()];
        client.invoke(&f::users::GetRequirementsToContact { id }).await.unwrap().remove(0)
    };
    assert_eq!(requirement().await, enums::RequirementToContact::Empty);
    let premium = Privacy { premium_required: true, ..Privacy::default() };
    stage.simulator.set_privacy(person, premium).await.unwrap();
    assert_eq!(client.refused(&request).await, "PRIVACY_PREMIUM_REQUIRED");
    assert_eq!(requirement().await, enums::RequirementToContact::Premium);
    let paid = Privacy { paid_messages: 10, ..Privacy::default() };
    stage.simulator.set_privacy(person, paid).await.unwrap();
    // The library cuts the number off.
    assert_eq!(client.refused(&request).await, "ALLOW_PAYMENT_REQUIRED");
    assert!(matches!(
        requirement().await,
        enums::RequirementToContact::PaidMessages(paid) if paid.stars_amount == 10
    ));
    let blocks = Privacy { blocked: [me].into(), ..Privacy::default() };
    stage.simulator.set_privacy(person, blocks).await.unwrap();
    assert_eq!(client.refused(&request).await, "USER_IS_BLOCKED");
    client.invoke(&f::contacts::Block { my_stories_from: false, id: to(&input) }).await.unwrap();
    assert_eq!(client.refused(&request).await, "YOU_BLOCKED_USER");
    let names = [
        "PRIVACY_PREMIUM_REQUIRED",
        "ALLOW_PAYMENT_REQUIRED_10",
        "USER_IS_BLOCKED",
        "YOU_BLOCKED_USER",
    ];
    let expected: Vec<_> = names.map(|name| (person, me, Some(name.to_owned()))).into();
    assert_eq!(stage.reached().await, expected);
    assert!(stage.simulator.inbox(person).await.unwrap().is_empty());
    stage.assert_clean().await;
}

#[tokio::test]
async fn who_is_a_contact_or_was_written_to_needs_neither_premium_nor_stars() {
    let stage = Stage::with_accounts(2).await;
    let [me, person] = stage.ids()[..] else { panic!("two accounts") };
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let closed = Privacy { premium_required: true, paid_messages: 10, ..Privacy::default() };
    stage.simulator.set_privacy(person, closed).await.unwrap();
    assert_ne!(client.refused(&send(to(&input), "one", 1)).await, "accepted");
    let knows = NewContact { user_id: me, ..NewContact::default() };
    stage.simulator.add_contact(person, knows).await.unwrap();
    client.invoke(&send(to(&input), "two", 2)).await.unwrap();
    stage.simulator.remove_contact(person, me).await.unwrap();
    assert_ne!(client.refused(&send(to(&input), "three", 3)).await, "accepted");
    stage.simulator.post_private(me, person, "write to me").await.unwrap();
    client.invoke(&send(to(&input), "four", 4)).await.unwrap();
    let kinds = stage.simulator.contacted().await;
    assert!(kinds.iter().all(|entry| entry.kind == ContactedKind::Message));
    let accepted: Vec<_> = kinds.iter().map(|entry| entry.accepted).collect();
    assert_eq!(accepted, [false, true, false, true]);
    stage.assert_clean().await;
}

#[tokio::test]
async fn paying_is_counted_and_so_is_the_same_text_to_one_person_by_another_account() {
    let stage = Stage::with_accounts(3).await;
    let person = stage.ids()[2];
    let limits = Limits { repeat_seconds: 3600, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    for number in 0..2 {
        let client = stage.client(number).await;
        let input = found(&client, &stage.accounts[2].phone).await;
        let request = send(to(&input), "the same offer", 5);
        client.invoke(&request).await.unwrap();
        // A repetition under its own random id is no second message.
        client.invoke(&request).await.unwrap();
        assert_eq!(stage.violations("written_to_twice").await, number as u64);
    }
    let paid = Privacy { paid_messages: 10, ..Privacy::default() };
    stage.simulator.set_privacy(person, paid).await.unwrap();
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[2].phone).await;
    let rich = f::messages::SendMessage {
        allow_paid_stars: Some(10),
        ..send(to(&input), "here is money", 6)
    };
    client.invoke(&rich).await.unwrap();
    assert_eq!(stage.violations("stars_paid").await, 1);
    assert_eq!(stage.reached().await.len(), 3);
}
