//! The OpenAPI document: generated from the handlers' own words, and completed here with what is true
//! of all of them: the token, the limits, and the refusals with their codes.

use serde_json::{Map, Value, json};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::edge::http::problem::{PROBLEM_JSON, Problem, ProblemField};
use crate::protocol::answers::refusal::Code;

const ABOUT: &str = "The HTTP API of telewarden, a session supervisor for Telegram accounts and \
    bots. Every request needs a bearer token; what belongs to somebody else does not exist for you. \
    Refusals are problem documents (RFC 9457) with a stable `code`; see [the codes](/docs/errors).";

/// Headers by which every answer tells what is left of the limit: the user's, or, without a valid
/// token, the address's.
const LIMIT_HEADERS: [(&str, &str); 3] = [
    ("RateLimit-Limit", "Requests of this kind that a user may make in a minute"),
    ("RateLimit-Remaining", "How many are left now"),
    ("RateLimit-Reset", "Seconds until all are there again"),
];

/// Completes what was gathered from the handlers. `open` needs no token.
pub(super) fn complete(open: OpenApi, api: OpenApi) -> Value {
    let info = InfoBuilder::new()
        .title("telewarden")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT));
    let mut schemas = Vec::new();
    Problem::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .schema("Problem", Problem::schema())
        .schema("ProblemField", ProblemField::schema())
        .schemas_from_iter(schemas)
        .build();
    let mut document = OpenApiBuilder::new().info(info).components(Some(components)).build();
    document.merge(api);
    // Neither has anything that serde could not write.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let open = serde_json::to_value(open).unwrap_or_default();
    each_operation(&mut document, |_, operation| describe(operation));
    if let Some(Value::Object(paths)) = open.get("paths").cloned()
        && let Some(all) = document["paths"].as_object_mut()
    {
        all.extend(paths);
    }
    document["components"]["securitySchemes"] = json!({
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "HS256; `telewarden token --user …` makes one"}
    });
    for (name, words) in LIMIT_HEADERS {
        document["components"]["headers"][name] =
            json!({"description": words, "schema": {"type": "integer", "minimum": 0}});
    }
    for code in Code::ALL {
        document["components"]["examples"][code.name()] = example(code.status(), code);
    }
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    document["components"]["schemas"]["Problem"]["properties"]["code"] =
        json!({"type": "string", "enum": codes, "description": "For programs."});
    document
}

fn each_operation(document: &mut Value, mut visit: impl FnMut(&str, &mut Map<String, Value>)) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                visit(path, operation);
            }
        }
    }
}

/// Adds what is true of every operation that needs a token.
fn describe(operation: &mut Map<String, Value>) {
    operation.insert("security".to_owned(), json!([{"token": []}]));
    let refusals = refusals(operation);
    let names: Vec<_> = refusals.iter().map(|(_, code)| code.name()).collect();
    operation.insert("x-codes".to_owned(), json!(names));
    let mut responses = operation.remove("responses").unwrap_or_default();
    let is_keyed = has_parameter(operation, "Idempotency-Key");
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        if is_keyed && status.starts_with('2') {
            response["headers"]["Idempotency-Replayed"] =
                header("`true` where the answer is that to an earlier request of the same key");
        }
        add_limit_headers(response);
    }
    for (status, code) in refusals {
        let response = &mut responses[status.to_string()];
        add_refusal(response, status, code);
    }
    operation.insert("responses".to_owned(), responses);
}

/// What an operation may refuse with, its own codes and those of all.
fn refusals(operation: &Map<String, Value>) -> Vec<(u16, Code)> {
    let mut found = vec![
        (400, Code::Validation),
        (401, Code::Unauthorized),
        (429, Code::RateLimited),
        (500, Code::Internal),
        (503, Code::Overloaded),
    ];
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let is_in = |place: &str| {
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["in"] == place))
    };
    if is_in("path") || operation.contains_key("x-role") {
        found.push((404, Code::NotFound));
    }
    if is_in("query") || is_in("header") || operation.contains_key("requestBody") {
        found.push((422, Code::Validation));
    }
    if operation.contains_key("requestBody") {
        found.extend([408, 413, 415, 501].map(|status| (status, Code::Validation)));
    }
    if operation.contains_key("x-upgrade") {
        found.push((426, Code::Validation));
    }
    let own = operation.get("x-codes").and_then(Value::as_array).into_iter().flatten();
    let own = own.filter_map(|name| Code::ALL.into_iter().find(|code| *name == code.name()));
    found.extend(own.map(|code| (code.status(), code)));
    found.sort_by_key(|(status, code)| (*status, code.name()));
    found.dedup();
    found
}

fn add_refusal(response: &mut Value, status: u16, code: Code) {
    if response.is_null() {
        *response = json!({
            "description": "",
            "content": {PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {},
            }},
        });
        add_limit_headers(response);
        if matches!(status, 429 | 503) {
            response["headers"]["Retry-After"] = header("Seconds until it may be tried again");
        }
        if status == 401 {
            response["headers"]["WWW-Authenticate"] = header("Bearer");
        }
    }
    let before = response["description"].as_str().unwrap_or_default();
    let comma = if before.is_empty() { "" } else { "; " };
    response["description"] = json!(format!("{before}{comma}`{}`: {}", code.name(), code.title()));
    response["content"][PROBLEM_JSON]["examples"][code.name()] = if status == code.status() {
        json!({"$ref": format!("#/components/examples/{}", code.name())})
    } else {
        example(status, code)
    };
}

fn example(status: u16, code: Code) -> Value {
    let mut problem = json!({
        "type": format!("/docs/errors#{}", code.name()),
        "title": code.title(),
        "status": status,
        "code": code.name(),
        "detail": code.title(),
    });
    if matches!(status, 429 | 503) {
        problem["retry_after"] = json!(30);
    }
    json!({"value": problem})
}

fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

/// The headers of [`LIMIT_HEADERS`] by reference, beside those that a response has.
fn add_limit_headers(response: &mut Value) {
    for (name, _) in LIMIT_HEADERS {
        response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
    }
}

fn has_parameter(operation: &Map<String, Value>, name: &str) -> bool {
    let parameters = operation.get("parameters").and_then(Value::as_array);
    parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
}
