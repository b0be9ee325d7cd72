//! Who may ask what: a table made from the OpenAPI document, so that no route can be forgotten.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::*;

fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// Everything that is no valid token, and what it is.
fn bad_tokens() -> Vec<(&'static str, Option<String>)> {
    let later = 4_000_000_000_u64;
    let claims = json!({"sub": "alice", "exp": later, "role": "admin"});
    let good = alice();
    let mut parts = good.split('.').map(str::to_owned).collect::<Vec<_>>();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!("{none}.{}.", parts[1]);
    parts[1] = URL_SAFE_NO_PAD.encode(claims.to_string());
    let hs256 =
        |claims: &Value| Some(format!("Bearer {}", signed(claims, Algorithm::HS256, SECRET)));
    vec![
        ("none", None),
        ("expired", hs256(&json!({"sub": "alice", "exp": 1_000_000_000}))),
        ("changed", Some(format!("Bearer {}", parts.join(".")))),
        ("unsigned", Some(format!("Bearer {unsigned}"))),
        (
            "of another algorithm",
            Some(format!("Bearer {}", signed(&claims, Algorithm::HS384, SECRET))),
        ),
        ("of another secret", Some(format!("Bearer {}", signed(&claims, Algorithm::HS256, "x")))),
        ("for another audience", hs256(&json!({"sub": "alice", "exp": later, "aud": "other"}))),
        ("not valid yet", hs256(&json!({"sub": "alice", "exp": later, "nbf": later - 1}))),
        ("without exp", hs256(&json!({"sub": "alice"}))),
        ("without sub", hs256(&json!({"exp": later}))),
        ("of an unknown role", hs256(&json!({"sub": "alice", "exp": later, "role": "root"}))),
        ("garbage", Some("Bearer garbage".to_owned())),
        ("empty", Some("Bearer ".to_owned())),
        ("of another scheme", Some(format!("Basic {good}"))),
    ]
}

#[tokio::test]
async fn without_a_valid_token_every_route_is_closed() {
    let server = Server::start().await;
    for (method, path, operation) in operations() {
        for (what, token) in bad_tokens() {
            let mut request = example(&method, &path, &operation);
            if let Some(token) = &token {
                request = request.header("Authorization", token);
            }
            let answer = server.ask(request).await;
            assert_eq!(answer.refusal(), refusal(401, "UNAUTHORIZED"), "{method} {path}: {what}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            let shown = token.as_deref().and_then(|token| token.split(' ').nth(1));
            let is_shown =
                shown.is_some_and(|token| token.len() > 8 && answer.body.contains(token));
            assert!(!is_shown, "{what}: {}", answer.body);
        }
    }
    assert_eq!(server.service.sent.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_belongs_to_somebody_else_does_not_exist() {
    let server = Server::start().await;
    let bob = token("bob", Role::User);
    let mut asked = 0;
    for (method, path, operation) in
        operations().into_iter().filter(|(_, path, _)| path.contains('{'))
    {
        let answer = server.ask(example(&method, &path, &operation).by(&bob)).await;
        assert_eq!(answer.refusal(), refusal(404, "NOT_FOUND"), "{method} {path}");
        asked += 1;
    }
    assert!(asked >= 43, "{asked}");
    for list in
        ["/accounts", "/monitors", "/audit", "/webhooks", "/invite/tasks", "/invite/suppression"]
    {
        let answer = server.ask(Request::to("GET", &format!("{PREFIX}{list}")).by(&bob)).await;
        assert_eq!((answer.status, &answer.json()["items"]), (200, &json!([])), "{list}");
    }
}

#[tokio::test]
async fn the_owner_and_admins_see_it_and_only_admins_what_is_for_admins() {
    for (user, role) in [("alice", Role::User), ("carol", Role::Admin)] {
        let server = Server::start().await;
        for (method, path, operation) in operations() {
            // Streams do not end by themselves.
            if path.ends_with("/events/stream") {
                continue;
            }
            let answer =
                server.ask(example(&method, &path, &operation).by(&token(user, role))).await;
            let expected = match operation["x-role"].as_str() {
                Some(_) if role == Role::User => 404,
                _ if path.ends_with("/events") => 426,
                _ => answer.status.clamp(200, 299),
            };
            assert_eq!(answer.status, expected, "{user}: {method} {path}: {answer:?}");
            assert!(answer.header("ratelimit-remaining").is_some(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_an_id_names_nothing() {
    let server = Server::start().await;
    for (method, path, operation) in
        operations().into_iter().filter(|(_, path, _)| path.contains('{'))
    {
        for id in
            ["x", "0", "%00", "%ff", "..%2F..", "00000000-0000-0000-0000-000000000000", "a%20b!"]
        {
            let mut request = example(&method, &path, &operation).by(&alice());
            let asked = request.path.clone();
            let query = asked.split_once('?').map_or("", |(_, query)| query);
            for name in ["{id}", "{delivery_id}", "{chat_id}", "{user_id}"] {
                request.path = path.replace(name, id);
                if request.path != path {
                    break;
                }
            }
            request.path = request
                .path
                .replace("{delivery_id}", id)
                .replace("{target_id}", id)
                .replace("{import_id}", id);
            if !query.is_empty() {
                request = request.query(query);
            }
            let is_new = method == "PUT" && path.ends_with("{chat_id}") && id != "%ff";
            let expected =
                if is_new { refusal(422, "VALIDATION") } else { refusal(404, "NOT_FOUND") };
            assert_eq!(server.ask(request).await.refusal(), expected, "{method} {path} {id}");
        }
    }
}
