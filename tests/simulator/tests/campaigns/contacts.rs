//! Address books.

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{Limits, NewContact, Privacy};

use super::steps::*;
use crate::support::{Client, Stage};

async fn listed(client: &Client) -> (Vec<(i64, bool)>, i32, Vec<types::User>) {
    let enums::contacts::Contacts::Contacts(contacts) =
        client.invoke(&f::contacts::GetContacts { hash: 0 }).await.unwrap()
    else {
        panic!("the whole list");
    };
    let all = contacts.contacts.iter().map(|contact| {
        let enums::Contact::Contact(contact) = contact;
        (contact.user_id, contact.mutual)
    });
    let users = contacts.users.into_iter().filter_map(|user| match user {
        enums::User::User(user) => Some(user),
        enums::User::Empty(_) => None,
    });
    (all.collect(), contacts.saved_count, users.collect())
}

#[tokio::test]
async fn phones_are_imported_with_names_and_unknown_or_hidden_ones_lead_to_nobody() {
    let stage = Stage::with_accounts(3).await;
    let [me, friend, hidden] = stage.ids()[..] else { panic!("three accounts") };
    let closed = Privacy { hide_phone: true, ..Privacy::default() };
    stage.simulator.set_privacy(hidden, closed).await.unwrap();
    let client = stage.client(0).await;
    let phones = stage.accounts.iter().map(|account| account.phone.as_str());
    let mut contacts: Vec<_> =
        phones.enumerate().skip(1).map(|(number, phone)| contact(phone, number as i64)).collect();
    contacts.push(contact("+441234567890", 7));
    contacts.push(contact("not a phone", 8));
    let imported = import(&client, contacts).await;
    let [enums::ImportedContact::Contact(one)] = &imported.imported[..] else { panic!("one") };
    assert_eq!((one.user_id, one.client_id), (friend, 1));
    assert!(imported.retry_contacts.is_empty() && imported.popular_invites.is_empty());
    let [enums::User::User(user)] = &imported.users[..] else { panic!("one user") };
    assert!(user.contact && !user.mutual_contact && user.access_hash.is_some());
    assert_eq!(user.first_name.as_deref(), Some("Contact 1"));
    assert_eq!(user.phone.as_deref(), Some(stage.accounts[1].phone.trim_start_matches('+')));
    let request = f::contacts::ResolvePhone { phone: stage.accounts[2].phone.clone() };
    assert_eq!(client.refused(&request).await, "PHONE_NOT_OCCUPIED");
    // Who hides the phone is found by those whom they know.
    let knows = NewContact { user_id: me, ..NewContact::default() };
    stage.simulator.add_contact(hidden, knows).await.unwrap();
    client.invoke(&request).await.unwrap();
    assert_eq!(listed(&client).await.0, [(friend, false)]);
    // The two that were nobody's are saved, and one that is no phone is not.
    assert_eq!(listed(&client).await.1, 2);
    stage.assert_clean().await;
}

#[tokio::test]
async fn more_phones_than_the_limit_are_to_be_tried_again() {
    let stage = Stage::with_accounts(4).await;
    let limits = Limits { contacts_before_retry: 2, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = stage.client(0).await;
    let all = || (1..4).map(|number| contact(&stage.accounts[number].phone, number as i64));
    let imported = import(&client, all().collect()).await;
    assert_eq!((imported.imported.len(), &imported.retry_contacts[..]), (2, &[3][..]));
    let imported = import(&client, all().collect()).await;
    assert_eq!((imported.imported.len(), &imported.retry_contacts[..]), (0, &[1, 2, 3][..]));
    stage.simulator.set_limits(limits).await;
    let imported = import(&client, all().collect()).await;
    assert_eq!(imported.imported.len(), 2);
}

#[tokio::test]
async fn a_contact_is_added_renamed_seen_by_both_and_deleted() {
    let stage = Stage::with_accounts(2).await;
    let [me, friend] = stage.ids()[..] else { panic!("two accounts") };
    let (mine, theirs) = (stage.client(0).await, stage.client(1).await);
    let input = found(&mine, &stage.accounts[1].phone).await;
    assert_eq!(mine.refused(&new_contact(&input, " ")).await, "CONTACT_NAME_EMPTY");
    let borrowed = types::InputUser { access_hash: input.access_hash ^ 2, ..input.clone() };
    assert_eq!(mine.refused(&new_contact(&borrowed, "Ann")).await, "CONTACT_ID_INVALID");
    let enums::Updates::Updates(told) = mine.invoke(&new_contact(&input, "Ann")).await.unwrap()
    else {
        panic!("updates in full");
    };
    assert!(matches!(&told.updates[..], [enums::Update::PeerSettings(_)]));
    let [enums::User::User(user)] = &told.users[..] else { panic!("one user") };
    assert_eq!((user.first_name.as_deref(), user.phone.as_deref()), (Some("Ann"), None));
    // What an account shares is written down, and the other one sees it.
    let [entry] = &stage.simulator.contacts(me).await.unwrap()[..] else { panic!("one") };
    assert!(!entry.shares_phone && !entry.mutual && entry.phone.is_empty());
    let back = found(&theirs, &stage.accounts[0].phone).await;
    let sharing =
        f::contacts::AddContact { add_phone_privacy_exception: true, ..new_contact(&back, "Me") };
    theirs.invoke(&sharing).await.unwrap();
    let [entry] = &stage.simulator.contacts(friend).await.unwrap()[..] else { panic!("one") };
    assert!(entry.shares_phone && entry.mutual && entry.user_id == me);
    let (contacts, _, users) = listed(&mine).await;
    assert_eq!(contacts, [(friend, true)]);
    assert!(users[0].mutual_contact && users[0].phone.is_some());
    let unknown = f::contacts::GetContacts { hash: 12 };
    assert!(matches!(mine.invoke(&unknown).await.unwrap(), enums::contacts::Contacts::Contacts(_)));
    mine.invoke(&f::contacts::DeleteContacts { id: vec![input.into()] }).await.unwrap();
    assert!(listed(&mine).await.0.is_empty());
    assert_eq!(listed(&theirs).await.0, [(me, false)]);
    let phones = vec![stage.accounts[0].phone.clone()];
    assert!(theirs.invoke(&f::contacts::DeleteByPhones { phones }).await.unwrap());
    assert!(stage.simulator.contacts(friend).await.unwrap().is_empty());
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_list_that_did_not_change_is_not_sent_again() {
    let stage = Stage::with_accounts(2).await;
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    client.invoke(&new_contact(&input, "Ann")).await.unwrap();
    // The hash of a list of one, as clients compute it: the count of saved ones first.
    let mix = |hash: u64, id: u64| {
        let hash = hash ^ (hash >> 21);
        let hash = hash ^ (hash << 35);
        (hash ^ (hash >> 4)).wrapping_add(id)
    };
    let hash = [0, input.user_id as u64].into_iter().fold(0, mix) as i64;
    let answer = client.invoke(&f::contacts::GetContacts { hash }).await.unwrap();
    assert_eq!(answer, enums::contacts::Contacts::NotModified);
}

#[tokio::test]
async fn who_looks_up_too_many_phones_finds_nobody_any_more_and_is_not_told() {
    let stage = Stage::with_accounts(3).await;
    let limits = Limits { phones_before_silence: 2, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = stage.client(0).await;
    found(&client, &stage.accounts[1].phone).await;
    let imported = import(&client, vec![contact(&stage.accounts[1].phone, 1)]).await;
    assert_eq!(imported.imported.len(), 1);
    let imported = import(&client, vec![contact(&stage.accounts[2].phone, 2)]).await;
    assert!(imported.imported.is_empty() && imported.retry_contacts.is_empty());
    let request = f::contacts::ResolvePhone { phone: stage.accounts[1].phone.clone() };
    assert_eq!(client.refused(&request).await, "PHONE_NOT_OCCUPIED");
}
