//! JSON.

use proptest::prelude::*;

use super::{people, problem, read};
use crate::edge::import::sniff::{Found, sniff};
use crate::edge::import::{FileProblem, Format};

#[test]
fn all_usual_shapes_are_read() {
    let person = r#"{"username": "@anna1", "first_name": "Анна", "age": 30, "tags": ["a"]}"#;
    for text in [
        format!("[{person}]"),
        person.to_owned(),
        format!("\u{feff}{person}\n"),
        format!(r#"{{"users": [{person}]}}"#),
        format!(r#"{{"id": "t1", "total": 1, "users": [{person}], "next": null}}"#),
        format!(r#"{{"ok": true, "data": {{"page": {{"n": 1}}, "results": [{person}]}}}}"#),
        format!(r#"{{"contacts": {{"about": "…", "list": [{person}]}}}}"#),
        format!(r#"{{"account": "main", "users": [{person}]}}"#),
    ] {
        let read = read(&text);
        assert_eq!(read.people(), people(&[(1, "@anna1")]), "{text}");
        let details = &read.rows[0].details;
        assert_eq!(details.first_name.as_deref(), Some("Анна"));
        assert_eq!(details.data.as_deref(), Some(r#"{"age":30}"#), "{text}");
        assert_eq!(read.summary.format, Format::Json);
    }
}

#[test]
fn a_person_with_lists_is_no_wrapper() {
    for text in [
        r#"{"username": "anna1", "values": [{"a": 1}], "phones": ["+79991234567"]}"#,
        r#"{"identifier": "@anna1", "data": {"items": [{"id": 7}]}}"#,
    ] {
        let read = read(format!("{text}\n{{\"username\": \"bobby\"}}\n"));
        assert_eq!(read.people(), people(&[(1, "@anna1"), (2, "@bobby")]), "{text}");
    }
}

#[test]
fn lines_of_json_are_read_and_broken_ones_rejected() {
    let read = read(
        "{\"phone\":\"+79991234567\"}\n\n{\"phone\":\"+7999123\n{\"phone\": oops}\n{\"phone\":\"+79991234568\",\"data\":{\"city\":\"Тверь\"}}\n\"@anna1\"\n",
    );
    assert_eq!(read.people(), people(&[(1, "+79991234567"), (5, "+79991234568"), (6, "@anna1")]));
    assert_eq!(read.rejected.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(read.rows[1].details.data.as_deref(), Some("{\"city\":\"Тверь\"}"));
    assert_eq!(read.summary.format, Format::JsonLines);
    let read = super::read("{\"phone\": oops}\n{\"phone\":\"+79991234568\"}\n");
    assert_eq!((read.rows.len(), read.rejected.len()), (1, 1));
}

#[test]
fn plain_values_are_identifiers_and_numbers_stay_exact() {
    let read = read(
        "[\"@anna1\",\n 9007199254740993,\n \"+7 999 123-45-67\", 7.9991234567E10, null, [1], {}, 12.5]",
    );
    assert_eq!(
        read.people(),
        people(&[(1, "@anna1"), (2, "9007199254740993"), (3, "+79991234567"), (3, "79991234567")])
    );
    assert_eq!(read.rejected.len(), 4);
    assert!(read.rejected[0].reason.ends_with("(element 5)"), "{}", read.rejected[0].reason);
    let read =
        super::read(r#"[{"id": 9007199254740993, "balance": 123456789012345678901234567890.5}]"#);
    assert_eq!(read.people(), people(&[(1, "9007199254740993")]));
    assert_eq!(
        read.rows[0].details.data.as_deref(),
        Some(r#"{"balance":123456789012345678901234567890.5}"#)
    );
}

#[test]
fn keys_that_are_there_twice_name_one_person_or_nobody() {
    let read = read(
        r#"[{"phone":"+79991234567","phone":"+79991234567"},{"phone":"+79991234567","phone":"+79991234568"},{"phone":"+79991234569","x":1,"x":2}]"#,
    );
    assert_eq!(read.people(), people(&[(1, "+79991234567"), (1, "+79991234569")]));
    assert_eq!(read.rejected[0].reason, "a key is there twice with different values (element 2)");
    assert_eq!(read.rows[1].details.data.as_deref(), Some(r#"{"x":1}"#));
}

#[test]
fn people_of_the_contract_are_read_with_their_data_before_or_behind() {
    for text in [
        r#"{"identifier":"@anna1","data":{"city":"Тверь","n":{"a":1}},"last_name":"Ли"}"#,
        r#"{"data":{"city":"Тверь"},"last_name":"Ли","identifier":"@anna1"}"#,
        r#"{"targets":[{"identifier":"@anna1","data":{"city":"Тверь"},"last_name":"Ли"}]}"#,
    ] {
        let read = read(text);
        assert_eq!(read.people(), people(&[(1, "@anna1")]), "{text}");
        assert_eq!(read.rows[0].details.last_name.as_deref(), Some("Ли"));
        assert_eq!(read.rows[0].details.data.as_deref(), Some("{\"city\":\"Тверь\"}"));
    }
}

#[test]
fn nesting_without_end_stops_early() {
    for open in ["[", "{\"a\":", "[{\"a\":", "{\"data\":", "{\"users\":["] {
        let text = open.repeat(100_000);
        let found = problem(&text);
        let is_early =
            matches!(found, FileProblem::TooDeep { .. } | FileProblem::BrokenJson { line: 1, .. });
        assert!(is_early, "{open}: {found}");
    }
    assert!(matches!(problem("[".repeat(100_000)), FileProblem::TooDeep { limit: 64 }));
}

#[test]
fn damage_is_named_with_its_line() {
    for (text, line) in [
        ("[\n{\"phone\":\"+79991234567\"}\n{\"phone\":1}]", 3),
        ("[\n1,\n", 3),
        ("[{\"a\":1,}]", 1),
        ("[01]", 1),
        ("[\"a\nb\"]", 2),
        ("[\"\\x\"]", 1),
    ] {
        let found = problem(text);
        assert!(
            matches!(found, FileProblem::BrokenJson { line: at, .. } if at == line),
            "{text}: {found}"
        );
    }
    assert!(
        matches!(problem(r#"{"city": "Tver"}"#), FileProblem::NoPeople { found } if found == ["city"])
    );
    assert_eq!(read("[]").summary.rows, 0);
    assert_eq!(read("{\"users\": []}").summary.rows, 0);
}

#[test]
fn texts_are_unescaped() {
    let read = read(
        r#"[{"username":"anna1","first_name":"\u0410\u043d\n\"\ud83d\ude00\ud83d","last_name":"\/\\"}]"#,
    );
    assert_eq!(read.rows[0].details.first_name.as_deref(), Some("Ан\n\"😀\u{fffd}"));
    assert_eq!(read.rows[0].details.last_name.as_deref(), Some("/\\"));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>()
            .prop_filter("JSON has no infinity", |number| number.is_finite())
            .prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is JSON is read to its end, beside a person who is found in it.
    #[test]
    fn whatever_is_json_is_no_damage(value in value(), is_pretty in any::<bool>()) {
        let person = serde_json::json!({"username": "anna1"});
        let list = serde_json::json!([value, person]);
        let text = if is_pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
        let read = read(text.unwrap());
        prop_assert_eq!(read.rows.last().unwrap().identifier.to_string(), "@anna1");
        prop_assert_eq!(read.summary.rows, 2);
    }

    /// A list that a strict parser refuses is refused here, too.
    #[test]
    fn what_is_no_json_is_damage(text in "[{\"1-][\\[{}:,\"a0-9.eE+ \\\\-]{0,12}") {
        // Without an end of a list in it: what follows would be a value of its own.
        let whole = format!("[{text}]");
        prop_assume!(matches!(sniff(&mut std::io::Cursor::new(&whole)), Ok(Found::Json)));
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok();
        let is_damaged = matches!(
            super::read_within(whole.as_bytes(), None, super::Limits::default()),
            Err(FileProblem::BrokenJson { .. })
        );
        prop_assert_eq!(is_json, !is_damaged, "{}", whole);
    }
}
