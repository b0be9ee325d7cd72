//! Who is never contacted, in memory: one entry of one user, and none of the installation's.

use async_trait::async_trait;
use serde_json::json;

use super::fake::{T, owner, row};
use super::imports::form;
use super::*;
use crate::actors::{
    NewSuppression, SuppressionList, SuppressionQuery, SuppressionService, Suppressions,
};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::answers::suppression::{Suppressed, SuppressionCheck};
use crate::protocol::campaigns::creation::CreationKey;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::respect::{
    Covers, List, Source, Suppression, SuppressionId, SuppressionKey,
};
use crate::protocol::users::owner::Caller;
use crate::protocol::values::page::Page;

/// One entry of one user. Keys are known that begin with "again".
pub(super) struct SuppressionLists;

fn entry(identifier: Identifier) -> Suppression {
    Suppression {
        id: SuppressionId(fake::ENTRY),
        key: SuppressionKey([1; 32]),
        list: List::User(owner()),
        covers: Covers::Everything,
        group: None,
        source: Source::Manual,
        is_doubtful: false,
        since: T,
        identifier: Some(identifier),
    }
}

fn list_of(who: &Caller, list: SuppressionList) -> Result<(), Refusal> {
    let is_there = list == SuppressionList::Own || who.role == Role::Admin;
    is_there.then_some(()).ok_or_else(|| Refusal::new(Code::NotFound, "no such list"))
}

pub(super) fn is_known(key: &Option<CreationKey>) -> bool {
    key.as_ref().is_some_and(|key| key.key.starts_with("again"))
}

#[async_trait]
impl SuppressionService for SuppressionLists {
    async fn list(
        &self,
        who: &Caller,
        query: SuppressionQuery,
    ) -> Result<Page<Suppression>, Refusal> {
        list_of(who, query.list)?;
        let mut erased = entry(Identifier::Id(7));
        erased.erase();
        let items = row(who, true, "entry", [entry(Identifier::Id(7)), erased]);
        Ok(Page { items: items.into_iter().flatten().collect(), next_cursor: None })
    }

    async fn add(
        &self,
        who: &Caller,
        list: SuppressionList,
        new: NewSuppression,
        key: Option<CreationKey>,
    ) -> Result<Suppressed, Refusal> {
        list_of(who, list)?;
        let is_new = new.identifier != Identifier::Id(7);
        Ok(Suppressed { entry: entry(new.identifier), is_new, is_replayed: is_known(&key) })
    }

    async fn import(
        &self,
        who: &Caller,
        list: SuppressionList,
        identifiers: Vec<Identifier>,
        key: Option<CreationKey>,
    ) -> Result<Suppressions, Refusal> {
        list_of(who, list)?;
        let (accepted, is_replayed) = (identifiers.len() as u64, is_known(&key));
        Ok(Suppressions { accepted, duplicates: 0, is_replayed })
    }

    async fn remove(
        &self,
        who: &Caller,
        list: SuppressionList,
        id: SuppressionId,
        reason: String,
    ) -> Result<(), Refusal> {
        list_of(who, list)?;
        assert!(!reason.is_empty());
        row(who, id.0 == fake::ENTRY, "entry", ())
    }

    async fn check(&self, _: &Caller, _: Identifier) -> Result<Vec<SuppressionCheck>, Refusal> {
        let (covers, source) = (Covers::ThisGroup, Source::Privacy);
        let group = Some(crate::protocol::telegram::chat::MarkedId(-1_001));
        Ok(vec![SuppressionCheck { id: None, is_own: false, covers, group, source, since: T }])
    }
}

const LIST: &str = "/api/v1/invite/suppression";

#[tokio::test]
async fn an_erased_entry_shows_nobody_and_a_repetition_says_that_it_is_one() {
    let server = Server::start().await;
    let page = server.ask(Request::to("GET", LIST).by(&alice())).await.json();
    assert_eq!(page["items"][0]["identifier"], "7");
    assert_eq!(
        (&page["items"][1]["identifier"], &page["items"][1]["source"]),
        (&json!(null), &json!("erased"))
    );
    let add = |body: Value, key: &str| {
        let request = Request::to("POST", LIST).by(&alice()).json(&body);
        server.ask(request.header("Idempotency-Key", key))
    };
    let made = add(json!({"identifier": "@Durov"}), "first").await;
    assert_eq!((made.status, made.header("idempotency-replayed")), (201, None));
    assert_eq!(made.json()["identifier"], "@durov");
    let again = add(json!({"identifier": "@Durov"}), "again").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(add(json!({"identifier": 7}), "there").await.status, 200);
    for (body, field) in [
        (json!({}), "identifier"),
        (json!({"identifier": "no name at all"}), "identifier"),
        (json!({"identifier": "@durov", "covers": "this_group"}), "covers"),
        (json!({"identifier": "@durov", "erased": 2}), "erased"),
    ] {
        let answer = add(body, "bad").await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
    let bad_key = add(json!({"identifier": "@durov"}), "a b").await;
    assert_eq!(bad_key.json()["errors"][0]["field"], "Idempotency-Key");
}

#[tokio::test]
async fn the_installations_list_is_for_admins_and_nothing_is_lifted_without_a_reason() {
    let server = Server::start().await;
    let (alice, root) = (alice(), token("root", Role::Admin));
    let list = |who: &str| server.ask(Request::to("GET", LIST).by(who).query("scope=installation"));
    assert_eq!(list(&alice).await.refusal(), refusal(404, "NOT_FOUND"));
    assert_eq!(list(&root).await.status, 200);
    let remove = |query: &str| {
        let request = Request::to("DELETE", "/api/v1/invite/suppression/{id}").by(&alice);
        server.ask(if query.is_empty() { request } else { request.query(query) })
    };
    let long = format!("reason={}", "x".repeat(501));
    for query in ["", "reason=", "reason=%20", "reason=a%0Ab", &*long] {
        let answer = remove(query).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], "reason", "{query}");
    }
    assert_eq!(remove("reason=they%20called").await.status, 204);
}

#[tokio::test]
async fn a_file_of_people_is_put_on_a_list() {
    let server = Server::start().await;
    let path = format!("{LIST}/import");
    let send = async |parts: &[(&str, Option<&str>, &[u8])]| {
        server.send_form("POST", &path, &alice(), &form(parts)).await
    };
    let people: &[u8] = b"username;phone\n@durov;+79991234567\nno name!;\n;+79991234568\n";
    let answer = send(&[("file", Some("people.csv"), people)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!((&told["accepted"], &told["rejected_left_out"]), (&json!(3), &json!(0)), "{told:#}");
    let rejected = told["rejected"].as_array().unwrap();
    assert_eq!((rejected.len(), &rejected[0]["line"]), (1, &json!(3)));
    let of_a_task = [("task_id", None, &b"x"[..]), ("file", Some("people.csv"), people)];
    let broken: &[u8] = b"PK\x03\x04 this is no workbook";
    for (parts, field) in [
        (&of_a_task[..], "task_id"),
        (&[("file", Some("people.xlsx"), broken)][..], "file"),
        (&[][..], "file"),
    ] {
        let answer = send(parts).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{answer:?}");
    }
}

#[tokio::test]
async fn lines_that_cannot_be_read_are_told_and_the_others_are_taken() {
    let server = Server::start().await;
    let import = |body: Value| {
        server.ask(Request::to("POST", &format!("{LIST}/import")).by(&alice()).json(&body))
    };
    let answer =
        import(json!({"identifiers": ["@durov", "no name at all", 777000, {"a": 1}]})).await;
    let told = answer.json();
    assert_eq!((&told["accepted"], &told["duplicates"]), (&json!(2), &json!(0)));
    let lines: Vec<_> =
        told["rejected"].as_array().unwrap().iter().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [json!(2), json!(4)]);
    assert_eq!(told["rejected"][0]["value"], "no name at all");
    for wrong in [json!([]), json!("@durov"), json!(vec!["@durov"; 1_001])] {
        let answer = import(json!({"identifiers": wrong})).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
    }
    let check = Request::to("GET", &format!("{LIST}/check")).by(&alice());
    let told = server.ask(check.query("identifier=%2B7%20999%20123-45-67")).await.json();
    assert_eq!(
        (&told["identifier"], &told["is_suppressed"]),
        (&json!("+79991234567"), &json!(true))
    );
    assert_eq!(told["refusals"][0]["scope"], "installation");
    assert!(told["refusals"][0].get("id").is_none());
}
