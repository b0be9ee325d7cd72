//! Imports over HTTP: files in parts and lists of the parsing service, before a core in memory.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::json;
use uuid::Uuid;

use super::fake::{IMPORT, T, TASK, owner, row};
use super::*;
use crate::actors::{
    Import, ImportGate, ImportOrder, ImportPermit, ImportService, ImportedPerson, Undone,
};
use crate::edge::parsing::ParsingClient;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::identity::Country;
use crate::protocol::campaigns::import::{ImportId, ImportRecord, ImportSource};
use crate::protocol::campaigns::target::TargetId;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::Caller;
use crate::protocol::values::page::{Page, PageQuery};

/// Bytes of a file in these tests.
pub(super) const FILE_MAX: u64 = 256 * 1024;
const FILE: &str = "/api/v1/invite/import/file";
const PARSING: &str = "/api/v1/invite/import/parsing";
const CHECK: &str = "/api/v1/invite/import/validate";
const IMPORTS: &str = "/api/v1/invite/tasks/{id}/imports";

/// Imports into the one task there is.
#[derive(Default)]
pub(super) struct Imports {
    gate: Arc<ImportGate>,
    listed: Mutex<HashSet<String>>,
    /// How large the pieces were.
    pieces: Mutex<Vec<usize>>,
}

fn record(source: ImportSource) -> ImportRecord {
    ImportRecord::new((ImportId(IMPORT), owner(), TaskId(TASK)), source, T)
}

#[async_trait]
impl ImportService for Imports {
    fn admit(&self, who: &Caller) -> Result<ImportPermit, Refusal> {
        self.gate.enter(&who.user)
    }

    fn country(&self) -> Option<Country> {
        None
    }

    async fn begin(&self, who: &Caller, order: ImportOrder) -> Result<Import, Refusal> {
        match order.task {
            Some(task) => row(who, task.0 == TASK, "task", ())?,
            None if order.is_trial => {}
            None => return Err(Refusal::field("task_id", "is missing")),
        }
        let record = record(order.source);
        Ok(match order.is_trial {
            true => Import::trial_for_tests(record),
            false => Import::for_tests(record),
        })
    }

    async fn add(
        &self,
        _: &Caller,
        import: &mut Import,
        people: Vec<ImportedPerson>,
    ) -> Result<(), Refusal> {
        let mut listed = self.listed.lock().unwrap();
        self.pieces.lock().unwrap().push(people.len());
        for person in people {
            let name = person.target.identifier.to_string();
            if name == "@the_store_fails" {
                return Err(Refusal::new(Code::Internal, "the store failed"));
            }
            import.record.suppressed += u64::from(name == "@refuses_all");
            let is_new =
                if import.is_trial() { !listed.contains(&name) } else { listed.insert(name) };
            let record = &mut import.record;
            *(if is_new { &mut record.accepted } else { &mut record.duplicates }) += 1;
        }
        Ok(())
    }

    async fn finish(&self, _: &Caller, import: &mut Import, rejected: u64) -> Result<(), Refusal> {
        import.record.rejected = rejected;
        import.record.finished_at = Some(T);
        Ok(())
    }

    async fn list(
        &self,
        who: &Caller,
        task: TaskId,
        _: PageQuery,
    ) -> Result<Page<ImportRecord>, Refusal> {
        let mut import = record(ImportSource::File);
        import.made(TargetId(0), 1);
        import.finished_at = Some(T);
        row(who, task.0 == TASK, "task", Page { items: vec![import], next_cursor: None })
    }

    async fn find(
        &self,
        who: &Caller,
        task: TaskId,
        import: ImportId,
    ) -> Result<Option<ImportRecord>, Refusal> {
        row(who, task.0 == TASK, "task", ())?;
        Ok((import.0 == IMPORT).then(|| record(ImportSource::File)))
    }

    async fn undo(&self, who: &Caller, task: TaskId, import: ImportId) -> Result<Undone, Refusal> {
        row(who, task.0 == TASK, "task", ())?;
        row(who, import.0 == IMPORT, "import", Undone { removed: 3, kept: 1 })
    }
}

/// A parsing service of two pages.
pub(super) async fn parsing_service() -> ParsingClient {
    let page = |Path(task): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap| async move {
        let query = query.unwrap_or_default();
        assert!(headers.contains_key("x-user-id"), "it is told for whom");
        match task.as_str() {
            "404" => (StatusCode::NOT_FOUND, "no").into_response(),
            "junk" => "<html><body>sign in".into_response(),
            _ if query.contains("page=1") => Json(json!({
                "users": [
                    {"id": 7, "username": "durov", "first_name": "Pavel"},
                    {"id": 8, "phone": "+79991234567"},
                    {"username": "no such name!"},
                ],
                "total": 4,
            }))
            .into_response(),
            _ => Json(json!({"users": [{"username": "refuses_all"}], "total": 4})).into_response(),
        }
    };
    let router = axum::Router::new().route("/api/parsing/results/{task}/users", get(page));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    ParsingClient::new(&format!("http://{address}")).unwrap()
}

/// A body in parts: names with contents, and the name of a file where there is one.
pub(super) fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        let head = format!("Content-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend(format!("--edge\r\n{head}").bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

fn task() -> String {
    TASK.to_string()
}

fn upload(file: &[u8]) -> Vec<u8> {
    form(&[("task_id", None, task().as_bytes()), ("file", Some("people.csv"), file)])
}

/// The head of a request in parts.
fn head(method: &str, template: &str, token: &str, length: usize) -> Request {
    Request::to(method, template)
        .by(token)
        .header("Content-Type", "multipart/form-data; boundary=edge")
        .header("Content-Length", &length.to_string())
}

impl Server {
    pub(super) async fn send_form(
        &self,
        method: &str,
        template: &str,
        token: &str,
        body: &[u8],
    ) -> Answer {
        let request = head(method, template, token, body.len());
        let mut stream = self.send(&request).await;
        // Who is refused may be cut off.
        let _ = stream.write_all(body).await;
        let answer = Answer::read(stream).await;
        let faults = schema::faults(&DOCUMENT, method, template, &answer);
        assert!(faults.is_empty(), "{faults:?}\n{answer:?}");
        answer
    }

    async fn upload(&self, file: &[u8]) -> Answer {
        self.send_form("POST", FILE, &alice(), &upload(file)).await
    }
}

const PEOPLE: &[u8] =
    b"username;first_name;city\r\n@durov;Pavel;SPb\r\nrefuses_all;;\r\nno name!;;\r\n@durov;;\r\n";

#[tokio::test]
async fn a_file_adds_its_people_and_the_same_file_nobody() {
    let server = Server::start().await;
    let first = server.upload(PEOPLE).await;
    assert_eq!(first.status, 200, "{first:?}");
    let told = first.json();
    let counts = |told: &Value| {
        ["accepted", "duplicates", "suppressed", "rejected_left_out"].map(|name| told[name].clone())
    };
    assert_eq!(counts(&told), [json!(2), json!(1), json!(1), json!(0)]);
    assert_eq!(told["import_id"], json!(IMPORT));
    let rejected = told["rejected"].as_array().unwrap();
    assert_eq!((rejected.len(), &rejected[0]["line"]), (1, &json!(4)));
    assert_eq!(told["columns"], json!({"username": "username", "first_name": "first_name"}));
    assert_eq!(told["data_columns"], json!(["city"]));
    assert_eq!((&told["format"], &told["delimiter"]), (&json!("csv"), &json!(";")));
    // The fields in the other order, and the same people.
    let other = form(&[("file", Some("p.csv"), PEOPLE), ("task_id", None, task().as_bytes())]);
    let again = server.send_form("POST", FILE, &alice(), &other).await.json();
    assert_eq!(counts(&again), [json!(0), json!(3), json!(1), json!(0)]);
    assert_eq!(again["import_id"], Value::Null, "there is nothing to undo");
}

#[tokio::test]
async fn an_import_is_found_again_and_nobody_elses() {
    let server = Server::start().await;
    let ask = |token: String, task: Uuid, import: Uuid| {
        let path = format!("/api/v1/invite/tasks/{task}/imports/{import}");
        let request =
            Request { path, ..Request::to("GET", "/api/v1/invite/tasks/{id}/imports/{import_id}") };
        server.ask(request.by(&token))
    };
    let found = ask(alice(), TASK, IMPORT).await;
    assert_eq!(found.status, 200, "{found:?}");
    let told = found.json();
    assert_eq!((&told["id"], &told["status"]), (&json!(IMPORT), &json!("unfinished")));
    let other = Uuid::from_u128(99);
    for (token, task, import) in
        [(alice(), TASK, other), (alice(), other, IMPORT), (token("bob", Role::User), TASK, IMPORT)]
    {
        assert_eq!(ask(token, task, import).await.refusal(), refusal(404, "NOT_FOUND"));
    }
    // Whether its sender was told nobody can be sure of.
    let told = server.upload(PEOPLE).await.json();
    assert_eq!(ask(alice(), TASK, IMPORT).await.json()["result"], told);
}

#[tokio::test]
async fn people_come_to_the_core_in_bounded_pieces() {
    let server = Server::start().await;
    let rows: String = (0..4_234).map(|number| format!("person_{number:05}\n")).collect();
    let answer = server.upload(format!("username\n{rows}").as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(4_234)));
    assert_eq!(*server.service.imports.pieces.lock().unwrap(), [2_000, 2_000, 234]);
    let broken: String = (0..1_500).map(|number| format!("no name {number}\n")).collect();
    let told = server.upload(format!("username\n{broken}").as_bytes()).await.json();
    let count = told["rejected"].as_array().unwrap().len();
    assert_eq!((count, &told["rejected_left_out"]), (1_000, &json!(500)));
}

#[tokio::test]
async fn what_is_wrong_with_the_parts_is_told_by_field() {
    let server = Server::start().await;
    let id = task();
    let id = ("task_id", None, id.as_bytes());
    let file = ("file", Some("a.csv"), &b"username\n@durov\n"[..]);
    for (parts, fields) in [
        (vec![id], vec!["file"]),
        (vec![file], vec!["task_id"]),
        (vec![], vec!["file"]),
        (vec![id, file, id], vec!["task_id"]),
        (vec![id, file, file], vec!["file"]),
        (vec![("task_id", None, b"s3cret"), file], vec!["task_id"]),
        (vec![("task_id", None, &[b'5'; 500]), file], vec!["task_id"]),
        (vec![id, file, ("colour", None, b"s3cret")], vec!["colour"]),
        (vec![id, ("file", None, b"")], vec!["file"]),
    ] {
        let answer = server.send_form("POST", FILE, &alice(), &form(&parts)).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{answer:?}");
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        let named: Vec<_> =
            errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect();
        assert_eq!(named, fields);
        assert!(!answer.body.contains("s3cret"), "{}", answer.body);
    }
    assert!(server.service.imports.listed.lock().unwrap().is_empty(), "nobody was added");
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let server = Server::start().await;
    let body = upload(PEOPLE);
    let wrong_boundary = String::from_utf8(body.clone()).unwrap().replace("--edge", "--other");
    for (kind, body, status) in [
        ("multipart/form-data; boundary=edge", wrong_boundary.into_bytes(), 400),
        ("multipart/form-data; boundary=edge", body[..60].to_vec(), 400),
        ("multipart/form-data", body.clone(), 415),
        ("text/csv", PEOPLE.to_vec(), 415),
        ("application/json", b"{}".to_vec(), 415),
    ] {
        let mut request = Request::to("POST", FILE).by(&alice()).header("Content-Type", kind);
        request.body = Some(String::from_utf8(body).unwrap());
        assert_eq!(server.ask(request).await.refusal(), refusal(status, "VALIDATION"), "{kind}");
    }
    // It ends before it should.
    let mut stream = server.send(&head("POST", FILE, &alice(), body.len() + 99)).await;
    stream.write_all(&body[..body.len() - 40]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an end");
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    assert!(server.service.imports.listed.lock().unwrap().is_empty(), "nobody was added");
    // Nothing of it stays in the way.
    assert_eq!(server.upload(PEOPLE).await.status, 200);
}

#[tokio::test]
async fn too_large_a_file_is_refused_as_soon_as_it_is_seen() {
    let server = Server::start().await;
    let large = vec![b'x'; FILE_MAX as usize + 1];
    assert_eq!(server.upload(&large).await.refusal(), refusal(413, "VALIDATION"));
    // Whoever says that it has a gigabyte need not send it.
    let stream = server.send(&head("POST", FILE, &alice(), 1 << 30)).await;
    assert_eq!(Answer::read(stream).await.refusal(), refusal(413, "VALIDATION"));
    // Whoever does not say how much it is is cut off.
    let chunked = Request::to("POST", FILE)
        .by(&alice())
        .header("Content-Type", "multipart/form-data; boundary=edge")
        .header("Transfer-Encoding", "chunked");
    let mut stream = server.send(&chunked).await;
    let body = upload(&large);
    for piece in body.chunks(8_000) {
        let piece = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    assert_eq!(Answer::read(stream).await.refusal(), refusal(413, "VALIDATION"));
    let exact = [b"username\n@durov\n", &[b'\n'; FILE_MAX as usize - 16][..]].concat();
    assert_eq!(server.upload(&exact).await.status, 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_adds_nobody_and_says_why() {
    let server = Server::start().await;
    let bomb = crate::edge::import::tests::bomb(64);
    assert!(bomb.len() < FILE_MAX as usize, "{}", bomb.len());
    for (file, words) in [
        (&bomb[..], "the archive is refused"),
        (b"%PDF-1.7 x", "PDF"),
        (b"", "empty"),
        (b"[{\"username\": \"durov\"}, {\"username\": \"pa", "the JSON is damaged"),
        (b"colour,size\nred,1\n", "no column names people"),
    ] {
        let answer = server.upload(file).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"), "{words}");
        let told = answer.json();
        assert_eq!(told["errors"][0]["field"], "file");
        let message = told["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        let detail = told["detail"].as_str().unwrap();
        assert!(!detail.contains("colour"), "what stands in a file is not for the log: {detail}");
    }
    assert!(server.service.imports.listed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_was_added_before_a_failure_is_told() {
    let server = Server::start().await;
    let mut rows: String = (0..700).map(|number| format!("person_{number:05}\n")).collect();
    rows.push_str("the_store_fails\n");
    let answer = server.upload(format!("username\n{rows}").as_bytes()).await;
    assert_eq!(answer.refusal(), refusal(500, "INTERNAL"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("700 people") && detail.contains(&IMPORT.to_string()), "{detail}");
}

#[tokio::test]
async fn a_user_has_one_import_at_a_time_and_others_theirs() {
    let server = Server::start().await;
    let body = upload(PEOPLE);
    let mut slow = server.send(&head("POST", FILE, &alice(), body.len())).await;
    slow.write_all(&body[..90]).await.unwrap();
    let is_refused = async || {
        let answer = server.send_form("POST", CHECK, &alice(), &body).await;
        let is_waiting = answer.refusal() == refusal(429, "RATE_LIMITED");
        assert!(is_waiting || answer.status == 200, "{answer:?}");
        assert!(!is_waiting || answer.header("retry-after") == Some("5"));
        is_waiting
    };
    // The first may not have been let in yet.
    let refused = async {
        while !is_refused().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the second is refused");
    let carol = token("carol", Role::Admin);
    assert_eq!(server.send_form("POST", FILE, &carol, &body).await.status, 200);
    slow.write_all(&body[90..]).await.unwrap();
    assert_eq!(Answer::read(slow).await.status, 200);
    assert!(!is_refused().await);
}

#[tokio::test]
async fn a_check_adds_nobody_by_either_method_and_with_or_without_a_task() {
    let server = Server::start().await;
    for method in ["GET", "POST"] {
        for body in [upload(PEOPLE), form(&[("file", Some("p.csv"), PEOPLE)])] {
            let answer = server.send_form(method, CHECK, &alice(), &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let told = answer.json();
            assert_eq!((&told["suppressed"], &told["import_id"]), (&json!(1), &Value::Null));
            assert_eq!(told["rejected"][0]["line"], 4);
        }
        let answer = server.send_form(method, CHECK, &alice(), &upload(b"%PDF-1.7 x")).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
    }
    assert!(server.service.imports.listed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_imported_into_what_is_anothers() {
    let server = Server::start().await;
    let bob = token("bob", Role::User);
    let missing = form(&[
        ("task_id", None, Uuid::from_u128(77).to_string().as_bytes()),
        ("file", Some("p.csv"), PEOPLE),
    ]);
    for template in [FILE, CHECK] {
        let answer = server.send_form("POST", template, &bob, &upload(PEOPLE)).await;
        assert_eq!(answer.refusal(), refusal(404, "NOT_FOUND"), "{template}");
        let never = server.send_form("POST", template, &bob, &missing).await;
        assert_eq!(answer.json()["detail"], never.json()["detail"], "as what never was");
    }
    let list = |task: Uuid| {
        let body = json!({"task_id": task, "parsing_task_id": "77"});
        Request::to("POST", PARSING).by(&bob).json(&body)
    };
    for task in [TASK, Uuid::from_u128(77)] {
        assert_eq!(server.ask(list(task)).await.refusal(), refusal(404, "NOT_FOUND"));
    }
    let undo = Request::to("DELETE", &format!("{IMPORTS}/{{import_id}}")).by(&alice());
    assert_eq!(server.ask(undo).await.json(), json!({"removed": 3, "kept": 1}));
}

#[tokio::test]
async fn a_list_of_the_parsing_service_is_imported_page_by_page() {
    let server = Server::start().await;
    let ask = |body: Value| Request::to("POST", PARSING).by(&alice()).json(&body);
    let answer = server.ask(ask(json!({"task_id": TASK, "parsing_task_id": 77}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(
        (&told["accepted"], &told["suppressed"], told["rejected"].as_array().unwrap().len()),
        (&json!(3), &json!(1), 1)
    );
    // The campaign's own id where no other is named.
    let again = server.ask(ask(json!({"task_id": TASK}))).await.json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(3)));
    let answer = server.ask(ask(json!({"task_id": TASK, "parsing_task_id": "404"}))).await;
    assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
    assert_eq!(answer.json()["errors"][0]["field"], "parsing_task_id");
    let answer = server.ask(ask(json!({"task_id": TASK, "parsing_task_id": "junk"}))).await;
    assert_eq!(answer.refusal(), refusal(409, "CONFLICT"));
    let answer = server.ask(ask(json!({"task_id": TASK, "parsing_task_id": "../../x"}))).await;
    assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
    let nameless = Request::to("POST", PARSING).by(&token("анна", Role::Admin));
    let answer = server.ask(nameless.json(&json!({"task_id": TASK}))).await;
    assert_eq!(answer.refusal(), refusal(409, "CONFLICT"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("user id"), "{answer:?}");
    let without = Server::with(|options| options.imports.parsing = None).await;
    let answer = without.ask(ask(json!({"task_id": TASK}))).await;
    assert_eq!(answer.refusal(), refusal(409, "CONFLICT"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("parsing.url"));
    assert_eq!(server.service.sent.load(Ordering::SeqCst), 0);
}
