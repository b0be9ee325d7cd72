//! A request's fields, taken one by one. Finds everything that is wrong with a request at once; what each value
//! may say is in `parse.rs`. Pure. Values may be secrets: no message quotes one, and those that are not taken
//! are wiped.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::protocol::answers::refusal::{Code, FieldError, Refusal};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::json::{shown, wipe_fields};

/// Most unknown fields that are told of.
const UNKNOWN_TOLD_MAX: usize = 16;

/// What is wrong with a field that is there more than once.
pub(super) const GIVEN_TWICE: &str = "is given more than once";

/// What is wrong with one value: a fragment that follows the field's name.
pub(super) type Wrong = String;

/// A request's fields, taken one by one; what is wrong with them is gathered. What nobody takes is
/// wiped, and `Debug` shows none of it.
pub(super) struct Fields {
    given: Map<String, Value>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a body or of a query.
    pub(super) fn new(given: Map<String, Value>) -> Self {
        Self { given, known: Vec::new(), errors: Vec::new() }
    }

    /// Notes that a field is there twice.
    pub(super) fn twice(&mut self, field: &str) {
        self.wrong(shown(field), GIVEN_TWICE);
    }

    /// Notes that `field` is wrong.
    pub(super) fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    /// Tells whether two requests ask for the same: to be taken before any field is.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        // Names of fields come in their order, whatever that of the request was.
        let bytes = Zeroizing::new(serde_json::to_vec(&self.given).unwrap_or_default());
        Fingerprint::of([&bytes[..]])
    }

    /// Takes a field that may be absent; `null` counts as absent.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.known.push(field);
        let value = self.given.remove(field).filter(|value| !value.is_null())?;
        parse(value).map_err(|message| self.wrong(field, message)).ok()
    }

    /// Takes a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.given.get(field).is_none_or(Value::is_null) {
            self.known.push(field);
            self.given.remove(field);
            self.wrong(field, "is missing");
            return None;
        }
        self.optional(field, parse)
    }

    /// The request, if every field was well and none is left over.
    ///
    /// # Errors
    /// `VALIDATION` with everything that is wrong.
    pub(super) fn finish<T>(mut self, request: Option<T>) -> Result<T, Refusal> {
        let known = match self.known.as_slice() {
            [] => "there is none here".to_owned(),
            names => format!("the known ones are {}", names.join(", ")),
        };
        let left = self.given.keys().take(UNKNOWN_TOLD_MAX);
        let left: Vec<String> = left.map(|field| shown(field).to_owned()).collect();
        for field in left {
            self.wrong(&field, format!("is unknown; {known}"));
        }
        match (request, self.errors.as_slice()) {
            (Some(request), []) => Ok(request),
            (_, errors) => {
                let parts: Vec<_> =
                    errors.iter().map(|one| format!("{} {}", one.field, one.message)).collect();
                let refusal = Refusal::new(Code::Validation, parts.join("; "));
                Err(Refusal { errors: std::mem::take(&mut self.errors), ..refusal })
            }
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given: _, known, errors } = self;
        f.debug_struct("Fields")
            .field("known", known)
            .field("errors", errors)
            .finish_non_exhaustive()
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        wipe_fields(std::mem::take(&mut self.given));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::edge::http::api::parse::{limit, message_text, phone, switch};

    pub(in crate::edge::http::api) fn fields(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("not an object") };
        Fields::new(map)
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_no_value_is_quoted() {
        let mut given = fields(json!({"phone": "s3cret", "silent": "s3cret", "colour": "s3cret"}));
        let phone = given.required("phone", phone);
        let text = given.required("text", message_text);
        let silent = given.optional("silent", switch);
        let refusal = given.finish(phone.zip(text).zip(silent)).unwrap_err();
        let named: Vec<_> = refusal.errors.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(named, ["phone", "text", "silent", "colour"]);
        assert_eq!(refusal.errors[3].message, "is unknown; the known ones are phone, text, silent");
        assert!(!format!("{refusal:?}").contains("s3cret"));
    }

    #[test]
    fn names_that_nobody_knows_are_repeated_only_when_they_look_like_names() {
        for (name, is_shown) in [
            ("colour", true),
            ("reply_to", true),
            ("123456:ABC-def", false),
            ("12345", false),
            ("Correct", false),
            ("a_name_that_is_longer_than_any_that_there_is", false),
        ] {
            let refusal = fields(json!({name: 1})).finish(Some(())).unwrap_err();
            assert_eq!(refusal.errors[0].field == name, is_shown, "{name}");
            assert_eq!(format!("{refusal:?}").contains(name), is_shown, "{name}");
            let mut given = fields(json!({}));
            given.twice(name);
            let refusal = given.finish(Some(())).unwrap_err();
            assert_eq!(format!("{refusal:?}").contains(name), is_shown, "{name}");
        }
    }

    #[test]
    fn requests_that_ask_for_the_same_are_told_by_their_fields_and_not_by_their_order() {
        let of = |text: &str| fields(serde_json::from_str(text).unwrap()).fingerprint();
        let one = of(r#"{"title": "a", "settings": {"zones": ["x", "y"], "caps": null}}"#);
        assert_eq!(one, of(r#"{"settings":{"caps":null,"zones":["x","y"]},"title":"a"}"#));
        for other in [
            r#"{"title": "b", "settings": {"zones": ["x", "y"], "caps": null}}"#,
            r#"{"title": "a", "settings": {"zones": ["y", "x"], "caps": null}}"#,
            r#"{"title": "a"}"#,
        ] {
            assert_ne!(one, of(other));
        }
    }

    #[test]
    fn null_counts_as_absent() {
        let mut given = fields(json!({"limit": null, "text": null}));
        assert_eq!(given.optional("limit", limit), None);
        assert!(given.required("text", message_text).is_none());
        assert_eq!(given.finish(Some(())).unwrap_err().errors.len(), 1);
    }
}
