//! Whatever bytes come in, no request fails inside, and what is refused is refused in form.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// How many requests are made up.
const CASES: u32 = 400;

/// A request as bytes, to be signed by somebody who may.
#[derive(Clone, Debug)]
struct Hostile {
    operation: prop::sample::Index,
    header: (&'static str, Vec<u8>),
    name: Vec<u8>,
    query: Vec<u8>,
    body: Vec<u8>,
}

/// What a header may hold, and now and then what it must not.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let allowed = any::<u8>().prop_filter("no line breaks", |byte| !b"\r\n\0".contains(byte));
    prop_oneof![
        prop::collection::vec(allowed, 0..200),
        "[0-9a-fA-F.:, -]{0,120}".prop_map(String::into_bytes),
        "[0-9a-f]{32}-[0-9]{0,22}".prop_map(String::into_bytes),
    ]
}

fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let word = "(phone|code|password|token|session_string|to|text|chat|accounts|url|events|limit)";
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[+@-]?[0-9a-z_./:?#]{0,40}".prop_map(Value::from),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
        Just(Value::Null),
    ];
    let object = prop::collection::vec((word, value), 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()).to_string().into_bytes());
    let deep = (1usize..4000).prop_map(|depth| "[".repeat(depth).into_bytes());
    prop_oneof![4 => object, 1 => deep, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let header = prop::sample::select(vec![
        "Idempotency-Key",
        "Last-Event-ID",
        "X-Forwarded-For",
        "Traceparent",
        "X-Request-Id",
        "Authorization",
        "Content-Type",
        "Origin",
    ]);
    let name = prop::collection::vec(any::<u8>(), 1..40);
    let query = prop::collection::vec(0x21u8..0x7f, 0..80);
    let index = any::<prop::sample::Index>();
    (index, (header, header_bytes()), name, query, json_like()).prop_map(
        |(operation, header, name, query, body)| Hostile { operation, header, name, query, body },
    )
}

impl Hostile {
    fn bytes(&self, operations: &[(String, String, Value)], token: &str) -> Vec<u8> {
        let (method, template, _) = self.operation.get(operations);
        let name = percent_encoded(&self.name);
        let path = ["{id}", "{delivery_id}", "{target_id}", "{chat_id}", "{user_id}"]
            .iter()
            .fold(template.clone(), |path, parameter| path.replace(parameter, &name));
        // A fragment never gets onto the wire.
        let query: Vec<u8> = self.query.iter().copied().filter(|byte| *byte != b'#').collect();
        let mut bytes = format!("{method} {path}?").into_bytes();
        bytes.extend(query);
        bytes.extend(b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let (header, value) = &self.header;
        if *header != "Authorization" {
            bytes.extend(format!("Authorization: Bearer {token}\r\n").into_bytes());
        }
        if *header != "Content-Type" {
            bytes.extend(b"Content-Type: application/json\r\n");
        }
        bytes.extend(format!("{header}: ").into_bytes());
        bytes.extend(value);
        bytes.extend(format!("\r\nContent-Length: {}\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

async fn sent(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    Answer::read(stream).await
}

#[test]
fn hostile_bytes_are_refused_in_form() {
    let runtime = Runtime::new().unwrap();
    let trusted = crate::protocol::values::network::Network::parse("0.0.0.0/0").unwrap();
    let server = runtime.block_on(Server::with(|options| options.trusted_proxies = vec![trusted]));
    // Streams do not end by themselves.
    let operations: Vec<_> =
        operations().into_iter().filter(|(_, path, _)| !path.ends_with("/stream")).collect();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let token = alice();
    let outcome = TestRunner::new(config).run(&hostile(), |request| {
        let answer = runtime.block_on(sent(&server, &request.bytes(&operations, &token)));
        prop_assert!(answer.status < 500, "{:?}", answer);
        let is_problem = answer.header("content-type") == Some("application/problem+json");
        // The server itself answers what is no HTTP at all, without a body.
        let is_plain = answer.body.is_empty() && matches!(answer.status, 400 | 431);
        prop_assert!(answer.status < 400 || is_problem || is_plain, "{:?}", answer);
        if is_problem {
            prop_assert_eq!(&answer.json()["status"], answer.status);
            prop_assert!(!answer.body.contains(&token));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_last_event_id_opens_the_stream_or_is_refused() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let token = alice();
    let outcome = TestRunner::new(config).run(&header_bytes(), |id| {
        let head = format!("GET {PREFIX}/events/stream HTTP/1.1\r\nHost: x\r\n");
        let mut bytes =
            format!("{head}Authorization: Bearer {token}\r\nLast-Event-ID: ").into_bytes();
        bytes.extend(&id);
        bytes.extend(b"\r\n\r\n");
        let status = runtime.block_on(async {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut start = [0; 12];
            timeout(PATIENCE, stream.read_exact(&mut start)).await.expect("an answer").unwrap();
            String::from_utf8_lossy(&start[9..]).into_owned()
        });
        // The server itself answers 400 to control characters.
        prop_assert!(["200", "400", "422", "429"].contains(&status.as_str()), "{}", status);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
