//! Holds answers against the OpenAPI document: the part of JSON Schema that the document uses.

use serde_json::Value;

/// What an answer lacks of what the document says of it.
pub(super) fn faults(
    document: &Value,
    method: &str,
    template: &str,
    answer: &super::Answer,
) -> Vec<String> {
    let operation = &document["paths"][template][method.to_ascii_lowercase()];
    if operation.is_null() {
        return vec![format!("{method} {template} is not in the document")];
    }
    let response = &operation["responses"][answer.status.to_string()];
    if response.is_null() {
        return vec![format!("{method} {template}: {} is not in the document", answer.status)];
    }
    let mut faults = Vec::new();
    let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or("");
    match &response["content"] {
        Value::Null if !answer.body.is_empty() => {
            faults.push("a body that is not told of".to_owned())
        }
        Value::Null => {}
        content
            if answer.header("content-type").is_some_and(|kind| content.get(kind).is_some())
                && !kind.ends_with("json") => {}
        content if content[kind].is_null() => faults.push(format!("content type {kind}")),
        content if kind.ends_with("json") => {
            check(document, &content[kind]["schema"], &answer.json(), "", &mut faults);
        }
        _ => {}
    }
    if answer.status >= 400 && template.starts_with("/api") {
        let code = answer.json()["code"].clone();
        if operation["x-codes"].as_array().is_none_or(|codes| !codes.contains(&code)) {
            faults.push(format!("code {code}"));
        }
    }
    faults
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        let found = document.pointer(pointer).unwrap_or_else(|| panic!("{name} is missing"));
        return check(document, found, value, at, faults);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(document, part, value, at, faults);
    }
    for several in ["oneOf", "anyOf"] {
        let Some(options) = schema[several].as_array() else { continue };
        let fits = options.iter().any(|option| {
            let mut faults = Vec::new();
            check(document, option, value, at, &mut faults);
            faults.is_empty()
        });
        if !fits {
            faults.push(format!("{at}: fits nothing of {several}"));
        }
    }
    let is_type = |name: &Value| match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: type {other} is not known here"),
    };
    match &schema["type"] {
        Value::Null => {}
        Value::Array(names) if names.iter().any(is_type) => {}
        name if name.is_string() && is_type(name) => {}
        name => faults.push(format!("{at}: {value} is no {name}")),
    }
    if schema["enum"].as_array().is_some_and(|names| !names.contains(value)) {
        faults.push(format!("{at}: {value} is not one of {}", schema["enum"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            faults.push(format!("{at}.{name} is missing"));
        }
    }
    check_properties(document, schema, value, at, faults);
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        if !schema["items"].is_null() {
            check(document, &schema["items"], item, &format!("{at}[{place}]"), faults);
        }
    }
}

fn check_properties(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    faults: &mut Vec<String>,
) {
    let properties = (schema["properties"].as_object(), value.as_object());
    let (Some(known), Some(given)) = properties else { return };
    for (name, schema) in known {
        if let Some(value) = given.get(name) {
            check(document, schema, value, &format!("{at}.{name}"), faults);
        }
    }
    for name in given.keys().filter(|name| !known.contains_key(*name)) {
        // Parts of an `allOf` know only their own.
        if !at.is_empty() && schema["allOf"].is_null() {
            faults.push(format!("{at}.{name} is not told of"));
        }
    }
}

#[test]
fn the_check_itself_finds_faults() {
    let document = serde_json::json!({"components": {"schemas": {"X": {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "integer"}, "b": {"type": ["string", "null"], "enum": ["x", null]}},
    }}}});
    let schema = serde_json::json!({"type": "array", "items": {"$ref": "#/components/schemas/X"}});
    let found = |value: Value| {
        let mut faults = Vec::new();
        check(&document, &schema, &value, "", &mut faults);
        faults.len()
    };
    assert_eq!(found(serde_json::json!([{"a": 1}, {"a": 1, "b": null}, {"a": 2, "b": "x"}])), 0);
    assert_eq!(found(serde_json::json!([{"a": "1"}])), 1);
    assert_eq!(found(serde_json::json!([{}])), 1);
    assert_eq!(found(serde_json::json!([{"a": 1, "b": "y"}])), 1);
    assert_eq!(found(serde_json::json!([{"a": 1, "c": 1}])), 1);
    assert_eq!(found(serde_json::json!({})), 1);
}
