//! What requests may say, and how refusals look.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::protocol::messages::outgoing::ParseMode;

const MESSAGES: &str = "/api/v1/accounts/{id}/messages";

fn message(body: &Value) -> Request {
    Request::to("POST", MESSAGES).by(&alice()).json(body)
}

fn fields(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

/// The names in "… the known ones are a, b".
fn known(answer: &Answer) -> BTreeSet<String> {
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    let message = errors.iter().find(|error| error["field"] == "surprise").expect("it is refused");
    let message = message["message"].as_str().unwrap();
    let names = message.split_once("the known ones are ").map_or("", |(_, names)| names);
    names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn bodies_have_the_fields_of_the_document_and_no_others() {
    let server = Server::start().await;
    let mut bodies = 0;
    for (method, path, operation) in operations() {
        let Some(schema) = body_schema(&operation) else { continue };
        bodies += 1;
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let documented = schema["properties"].as_object().cloned().unwrap_or_default();
        let ask = async |body: Value| {
            server.ask(Request::to(&method, &path).by(&alice()).json(&body)).await
        };
        let answer = ask(json!({"surprise": 1})).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{path}");
        assert_eq!(known(&answer), documented.keys().cloned().collect(), "{path}");
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for name in required {
            let name = name.as_str().unwrap().to_owned();
            assert!(fields(&answer).contains(&name), "{path}: {name}");
        }
        let wrong = documented.iter().map(|(name, form)| match form["type"] == "array" {
            true => (name.clone(), json!({"x": "s3cret"})),
            false => (name.clone(), json!([{"x": "s3cret"}])),
        });
        let answer = ask(Value::Object(wrong.collect())).await;
        let named: BTreeSet<_> = fields(&answer).into_iter().collect();
        assert_eq!(named, documented.keys().cloned().collect(), "{path}: all at once");
        assert!(!answer.body.contains("s3cret"));
    }
    assert_eq!(bodies, 23);
}

#[tokio::test]
async fn queries_have_the_parameters_of_the_document_and_no_others() {
    let server = Server::start().await;
    for (method, path, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let documented: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        if documented.is_empty() {
            continue;
        }
        let who = match operation["x-role"] == "admin" {
            true => token("root", Role::Admin),
            false => alice(),
        };
        let request = Request::to(&method, &path).by(&who).query("surprise=1");
        let answer = server.ask(request).await;
        assert_eq!(known(&answer), documented, "{method} {path}");
        let twice: Vec<_> = documented.iter().map(|name| format!("{name}=1&{name}=1")).collect();
        let answer = server.ask(Request::to(&method, &path).by(&who).query(&twice.join("&"))).await;
        let named: BTreeSet<_> = fields(&answer).into_iter().collect();
        assert_eq!(named, documented, "{method} {path}");
    }
}

#[tokio::test]
async fn headers_of_answers_are_in_the_document_where_they_are_sent() {
    let server = Server::start().await;
    let mut told = [0; 3];
    for (method, path, operation) in operations() {
        let is_looked_at = path.contains("/invite/tasks") || path.contains("/invite/suppression");
        if !is_looked_at && !path.ends_with("/export") && path != MESSAGES {
            continue;
        }
        let request = example(&method, &path, &operation).by(&alice());
        let answer = server.ask(request.header("Idempotency-Key", "again")).await;
        if answer.status >= 300 {
            continue;
        }
        let headers = &operation["responses"][answer.status.to_string()]["headers"];
        assert!(headers["RateLimit-Limit"].is_object(), "{method} {path}");
        let names = ["ETag", "Content-Disposition", "Idempotency-Replayed"];
        for (told, name) in told.iter_mut().zip(names) {
            let is_sent = answer.header(&name.to_ascii_lowercase()).is_some();
            assert_eq!(headers[name].is_object(), is_sent, "{method} {path}: {name}");
            *told += usize::from(is_sent);
        }
    }
    assert!(told[0] >= 7 && told[1] >= 2 && told[2] == 7, "{told:?}");
}

#[test]
fn numbers_and_settings_of_campaigns_have_real_forms() {
    let schemas = &DOCUMENT["components"]["schemas"];
    let types = |form: &str| -> BTreeSet<String> {
        let options = schemas[form]["oneOf"].as_array().cloned().unwrap_or_default();
        options.iter().map(|option| option["type"].as_str().unwrap().to_owned()).collect()
    };
    let both: BTreeSet<String> = ["integer", "string"].map(str::to_owned).into();
    assert_eq!((types("PriorityForm"), types("IdentifierForm")), (both.clone(), both));
    // However a part that may be absent is written, its names stand in it.
    let settings = schemas["PutTask"]["properties"]["settings"].to_string();
    for name in ["weekdays", "holidays", "from", "link_message", "per_hour"] {
        assert!(settings.contains(&format!("\"{name}\":")), "{name}: {settings}");
    }
}

#[tokio::test]
async fn an_empty_parameter_is_as_good_as_none() {
    let server = Server::start().await;
    let query = "platform=telegram&status=&kind=&q=&cursor=&limit=";
    let answer = server.ask(Request::to("GET", "/api/v1/accounts").by(&alice()).query(query)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn a_message_reaches_the_service_as_it_was_meant() {
    let server = Server::start().await;
    let body = json!({"to": -1001234567890_i64, "text": "hello", "parse_mode": "html", "reply_to": 5,
        "silent": true, "timeout": 25});
    let answer = server.ask(message(&body).header("Idempotency-Key", "a-1")).await;
    assert_eq!((answer.status, &answer.json()["message_id"]), (201, &json!(7)));
    assert_eq!(answer.header("idempotency-replayed"), None);
    let sent = server.service.last.lock().unwrap().clone().unwrap();
    assert_eq!((sent.to.as_str(), sent.text.expose()), ("-1001234567890", "hello"));
    assert_eq!(
        (sent.parse_mode, sent.reply_to, sent.silent),
        (Some(ParseMode::Html), Some(5), true)
    );
    assert_eq!((sent.timeout.as_secs(), sent.idempotency_key.as_deref()), (25, Some("a-1")));
    let plain = json!({"to": "me", "text": "x"});
    let answer = server.ask(message(&plain).header("Idempotency-Key", "again")).await;
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (201, Some("true")));
    let sent = server.service.last.lock().unwrap().clone().unwrap();
    assert_eq!((sent.timeout.as_secs(), sent.parse_mode), (10, None));
    for key in ["a b", "ключ", &"x".repeat(256), ""] {
        let answer = server.ask(message(&plain).header("Idempotency-Key", key)).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{key}");
        assert_eq!(fields(&answer), ["Idempotency-Key"], "{key}");
    }
}

#[tokio::test]
async fn a_wait_of_telegram_tells_when_to_try_again() {
    let server = Server::start().await;
    let answer = server.ask(message(&json!({"to": "@wait", "text": "x"}))).await;
    assert_eq!(answer.refusal(), refusal(429, "TG_API_429"));
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["retry_after"]),
        (Some("30"), &json!(30))
    );
    assert_eq!(answer.json()["type"], "/docs/errors#TG_API_429");
    let code = Request::to("POST", "/api/v1/logins/{id}/code").by(&alice());
    let answer = server.ask(code.json(&json!({"code": "99-999"}))).await;
    assert_eq!(answer.refusal(), refusal(422, "TG_CODE_INVALID"));
}

#[tokio::test]
async fn broken_requests_are_problem_documents() {
    let server = Server::start().await;
    let to = || Request::to("POST", MESSAGES).by(&alice());
    let json_type = |request: Request| request.header("Content-Type", "application/json");
    for (request, status) in [
        (json_type(to()).body("{\"to\": \"s3cret"), 400),
        (json_type(to()).body("[]"), 422),
        (json_type(to()).body("\"s3cret\""), 422),
        (to().body("{}"), 415),
        (to().header("Content-Type", "text/plain").body("s3cret"), 415),
        (to(), 422),
        (json_type(to()).body(&format!("{{\"text\": \"{}\"}}", "x".repeat(70_000))), 413),
    ] {
        let answer = server.ask(request).await;
        assert_eq!(answer.refusal(), refusal(status, "VALIDATION"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(!answer.body.contains("s3cret"), "{}", answer.body);
    }
    for (coding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 422)] {
        let packed = json_type(to()).header("Content-Encoding", coding).body("{}");
        let answer = server.ask(packed).await;
        assert_eq!(answer.refusal(), refusal(status, "VALIDATION"), "{coding}");
        let taken = (status == 415).then_some("identity");
        assert_eq!(answer.header("accept-encoding"), taken, "RFC 9110 section 15.5.16");
    }
    let chunked = "{\"to\": \"me\", \"text\": \"x\"}";
    let chunked = format!("{:x}\r\n{chunked}\r\n0\r\n\r\n", chunked.len());
    for (coding, status) in [("chunked", 201), ("gzip, chunked", 501)] {
        let mut request = json_type(to()).header("Transfer-Encoding", coding);
        request.path = format!("/api/v1/accounts/{}/messages", fake::ACCOUNT);
        let answer = server.ask_raw(&format!("{}{chunked}", request.text())).await;
        assert_eq!(answer.status, status, "{coding}: {answer:?}");
    }
    let answer = server.ask(Request::new("PATCH", "/api/v1/accounts").by(&alice())).await;
    assert_eq!(answer.refusal(), refusal(405, "VALIDATION"));
    assert!(answer.header("allow").is_some());
    let answer = server.ask(Request::new("GET", "/api/v1/nothing").by(&alice())).await;
    assert_eq!(answer.refusal(), refusal(404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_name_given_twice_is_refused_at_any_depth() {
    let server = Server::start().await;
    for (body, field) in [
        (r#"{"to": "me", "text": "s3cret", "text": "s3cret"}"#, "text"),
        (r#"{"to": "me", "text": "x", "silent": {"a": 1, "a": 1}}"#, "silent.a"),
    ] {
        let request = Request::to("POST", MESSAGES).by(&alice());
        let request = request.header("Content-Type", "application/json").body(body);
        let answer = server.ask(request).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        let twice = json!({"field": field, "message": "is given more than once"});
        assert!(errors.contains(&twice), "{errors:?}");
        assert!(!answer.body.contains("s3cret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_request_says_once_for_which_host_it_is() {
    let server = Server::start().await;
    for (head, status) in [
        ("GET /health/live HTTP/1.1\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("GET /health/live HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a b\r\n", 400),
        ("GET /nothing HTTP/1.1\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\n", 200),
        ("GET /health/live HTTP/1.1\r\nHost:\r\n", 200),
        ("GET /health/live HTTP/1.0\r\n", 200),
        ("GET http://a/health/live HTTP/1.1\r\nHost: a\r\n", 200),
    ] {
        let answer = server.ask_raw(&format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{head}");
        if status == 400 {
            assert_eq!(answer.refusal(), refusal(400, "VALIDATION"), "{head}");
        }
    }
}

#[tokio::test]
async fn files_come_compressed_to_who_takes_them_so() {
    let server = Server::start().await;
    let get = |file: &str| Request::new("GET", &format!("/docs/{file}"));
    for file in ["", "swagger-ui.css", "swagger-ui-bundle.js"] {
        let packed = server.ask(get(file).header("Accept-Encoding", "br, gzip")).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{file}");
        assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
        for asked in [None, Some("identity"), Some("gzip;q=0, *;q=0.5"), Some("deflate")] {
            let request =
                asked.map_or(get(file), |asked| get(file).header("Accept-Encoding", asked));
            let plain = server.ask(request).await;
            assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{asked:?}");
            assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
            let is_text = plain.body.to_lowercase().contains("swagger");
            assert!(is_text && plain.body.len() > packed.body.len() / 2, "{file}");
        }
    }
}

#[tokio::test]
async fn chats_may_be_spelled_in_every_way() {
    let server = Server::start().await;
    for spelling in [
        "%40some_channel",
        "some_channel",
        "https%3A%2F%2Ft.me%2FSome_Channel",
        "t.me%2Fs%2Fsome_channel",
    ] {
        let mut request = Request::to("GET", "/api/v1/monitors/{chat_id}").by(&alice());
        request.path = format!("/api/v1/monitors/{spelling}");
        assert_eq!(server.ask(request).await.status, 200, "{spelling}");
    }
    let mut request = Request::to("PUT", "/api/v1/monitors/{chat_id}").by(&alice());
    request.path = "/api/v1/monitors/-1001234567890".to_owned();
    let answer = server.ask(request.json(&json!({"accounts": [fake::ACCOUNT]}))).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_kept_by_nobody() {
    let server = Server::start().await;
    for path in ["/health", "/api/v1/accounts", "/nothing", "/docs/", "/openapi.json"] {
        let answer = server.ask(Request::new("GET", path).header("X-Request-Id", "my-1")).await;
        assert_eq!(answer.header("x-request-id"), Some("my-1"), "{path}");
        let answer =
            server.ask(Request::new("GET", path).header("X-Request-Id", "a b\u{e9}")).await;
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    }
}

#[tokio::test]
async fn the_documents_need_nothing_from_elsewhere() {
    let server = Server::start().await;
    let answer = server.ask(Request::new("GET", "/openapi.json")).await;
    assert_eq!(answer.json(), *DOCUMENT);
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    let answer = server.ask(Request::new("GET", "/docs")).await;
    assert_eq!((answer.status, answer.header("location")), (308, Some("/docs/")));
    for file in ["", "swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "errors"] {
        let answer = server.ask(Request::new("GET", &format!("/docs/{file}"))).await;
        assert_eq!(answer.status, 200, "{file}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    }
    let start = server.ask(Request::new("GET", "/docs/swagger-initializer.js")).await;
    assert!(start.body.contains("/openapi.json"), "{}", start.body);
    assert_eq!(server.ask(Request::new("GET", "/docs/other")).await.status, 404);
    let list = server.ask(Request::new("GET", "/docs/errors")).await;
    for code in crate::protocol::answers::refusal::Code::ALL {
        assert!(list.body.contains(&format!("id=\"{}\"", code.name())));
    }
}

#[tokio::test]
async fn the_document_describes_every_route() {
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations() {
        assert!(
            operation["summary"].as_str().is_some_and(|text| text.len() > 5),
            "{method} {path}"
        );
        assert!(names.insert(operation["operationId"].to_string()), "{method} {path}");
        let told = operation["x-codes"].as_array().unwrap();
        assert!(told.len() >= 4, "{method} {path}");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|one| one["name"] == name), "{method} {path}");
        }
        if let Some(schema) = body_schema(&operation) {
            assert!(schema["examples"].is_array(), "{method} {path}");
        }
        assert_eq!(operation["security"], json!([{"token": []}]));
    }
    let text = DOCUMENT.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(DOCUMENT.pointer(pointer).is_some(), "{pointer}");
    }
    for open in ["/health", "/health/live", "/health/ready", "/metrics"] {
        assert!(DOCUMENT["paths"][open]["get"]["security"].is_null(), "{open}");
    }
    let server = Server::start().await;
    for open in ["/health", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(server.ask(Request::to("GET", open)).await.status, 200);
    }
}

/// Gathers what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_routes_and_users_and_never_what_was_sent() {
    // While there is but one subscriber, tracing asks only the thread that reaches a place first
    // whether anybody listens there; that may be another test's.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let password = Request::to("POST", "/api/v1/logins/{id}/password").by(&alice());
    server.ask(password.clone().json(&json!({"password": "s3cret-1"}))).await;
    server.ask(password.json(&json!({"password": ["s3cret-2"], "s3cret-3": 1}))).await;
    let sms = Request::to("POST", "/api/v1/accounts/telegram/connect/sms").by(&alice());
    server.ask(sms.json(&json!({"phone": "+79991234567"}))).await;
    let message = message(&json!({"to": "me", "text": "s3cret-4"}));
    server.ask(message.header("Idempotency-Key", "s3cret-5")).await;
    server.ask(Request::to("GET", "/api/v1/accounts").by(&alice()).query("q=s3cret-6")).await;
    server.ask(Request::new("GET", "/s3cret-7?x=s3cret-8")).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Request::to("GET", "/api/v1/webhooks").by(&alice());
    server.ask(traced.header("traceparent", trace).header("X-Request-Id", "mine")).await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for said in
        ["/api/v1/logins/{id}/password", "alice", "0af7651916cd43dd8448eb211c80319c", "mine"]
    {
        assert!(log.contains(said), "{said} is not in {log}");
    }
    let token = alice();
    for secret in ["s3cret", "9991234567", token.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[tokio::test]
async fn browsers_of_configured_origins_may_call() {
    let server = Server::with(|options| {
        options.cors_origins = vec!["https://console.example.org".to_owned()];
    })
    .await;
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/api/v1/accounts")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization")
    };
    let answer = server.ask(preflight("https://console.example.org")).await;
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!((answer.status, allowed), (200, Some("https://console.example.org")));
    let asked = Request::new("GET", "/api/v1/accounts").by(&alice());
    let answer = server.ask(asked.header("Origin", "https://console.example.org")).await;
    let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    for name in ["etag", "content-disposition", "idempotency-replayed", "retry-after"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
    let answer = server.ask(preflight("https://evil.example.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let server = Server::start().await;
    let answer = server.ask(preflight("https://console.example.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_callers_address_is_believed_only_from_trusted_proxies() {
    let sms = || {
        let request = Request::to("POST", "/api/v1/accounts/telegram/connect/sms").by(&alice());
        request.json(&json!({"phone": "+79991234567"})).header("X-Forwarded-For", "1.2.3.4")
    };
    let server = Server::start().await;
    server.ask(sms()).await;
    assert_eq!(*server.service.addresses.lock().unwrap(), [Some([127, 0, 0, 1].into())]);
    let server = Server::with(|options| {
        options.trusted_proxies = vec![Network::parse("127.0.0.1").unwrap()];
    })
    .await;
    server.ask(sms()).await;
    assert_eq!(*server.service.addresses.lock().unwrap(), [Some([1, 2, 3, 4].into())]);
}
