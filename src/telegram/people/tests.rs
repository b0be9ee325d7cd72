use super::*;

fn both(first: &str, last: &str) -> Option<(String, String)> {
    contact_name(first, last)
}

fn parts(first: &str, last: &str) -> Option<(String, String)> {
    Some((first.to_owned(), last.to_owned()))
}

#[test]
fn a_contacts_first_name_is_never_empty() {
    assert_eq!(both(" Ann ", "Lee"), parts("Ann", "Lee"));
    assert_eq!(both("Ann", " "), parts("Ann", ""));
    assert_eq!(both("\t", "Lee"), parts("Lee", ""), "the last name stands for the first");
    assert_eq!(both("", "  "), None);
    let long = "ж".repeat(NAME_MAX + 9);
    let cut = "ж".repeat(NAME_MAX);
    assert_eq!(both(&long, &long), parts(&cut, &cut));
}

#[test]
fn a_person_is_known_by_everything_that_they_can_be_meant_by() {
    let card = PersonCard {
        id: 42,
        usernames: vec!["Ann_Lee".into(), "ann".into()],
        first_name: Some("Ann".into()),
        last_name: None,
        phone: Some(SecretText::new("79991234567".into())),
        is_bot: false,
        is_deleted: false,
        is_contact: true,
        is_mutual_contact: false,
    };
    let name = |name: &str| Identifier::Username(name.into());
    let all = [Identifier::Id(42), name("ann_lee"), name("ann"), Identifier::Phone(79_991_234_567)];
    assert_eq!(card.identifiers(), all);
    assert!(!format!("{card:?}").contains("79991234567"), "phones are not logged");
    let hidden = PersonCard { phone: Some(SecretText::new("hidden".into())), ..card };
    assert_eq!(hidden.identifiers(), all[..3]);
}

#[test]
fn a_contacts_name_is_not_logged() {
    let person = PeerRecord {
        id: crate::protocol::telegram::chat::MarkedId::user(5),
        access_hash: 1,
        is_bot: false,
        is_broadcast: false,
    };
    let (first_name, last_name) = ("Ann".to_owned(), "Lee".to_owned());
    let shown = format!("{:?}", NewContact { person, first_name, last_name });
    assert!(shown.contains('5') && !shown.contains("Ann") && !shown.contains("Lee"), "{shown}");
}
