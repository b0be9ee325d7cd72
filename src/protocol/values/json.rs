//! JSON that says everything once. RFC 8259 section 4 leaves open what a name means that an object has twice,
//! and readers differ; so it is told where that happens, and whoever asked decides. Pure. Values may be
//! secrets: those that another one displaces are wiped.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use zeroize::Zeroize;

/// Names given twice that are told of.
const TWICE_TOLD_MAX: usize = 16;
/// Longest unknown name that is repeated, in bytes.
const UNKNOWN_NAME_MAX: usize = 32;

/// A value, and the names that were given more than once, each as the way to it: `accounts.id`.
#[derive(Debug)]
pub struct Read {
    /// The value; of a name given twice the last one.
    pub value: Value,
    /// The names.
    pub twice: Vec<String>,
}

/// Reads one value.
///
/// # Errors
/// When it is no JSON, nested too deep, or something follows it.
pub fn read(bytes: &[u8]) -> Result<Read, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (mut way, mut twice) = (Vec::new(), Vec::new());
    let value = Reader { way: &mut way, twice: &mut twice }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Read { value, twice })
}

struct Reader<'a> {
    way: &'a mut Vec<String>,
    twice: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn again(&mut self) -> Reader<'_> {
        Reader { way: self.way, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number without a value"));
        number.map(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut given: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = given.next_element_seed(self.again())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut given: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = given.next_key::<String>()? {
            self.way.push(shown(&name).to_owned());
            let value = given.next_value_seed(self.again())?;
            if let Some(before) = fields.insert(name, value) {
                wipe(before);
                if self.twice.len() < TWICE_TOLD_MAX {
                    self.twice.push(self.way.join("."));
                }
            }
            self.way.pop();
        }
        Ok(Value::Object(fields))
    }
}

/// A name that nobody knows may be anything, also a token or a code that slipped: only what looks like
/// the name of a field is repeated.
pub fn shown(field: &str) -> &str {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if field.len() <= UNKNOWN_NAME_MAX && field.bytes().all(is_part) { field } else { "?" }
}

/// Lets a value go, which may be a secret, or hold one anywhere.
pub fn wipe(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(items) => items.into_iter().for_each(wipe),
        Value::Object(fields) => wipe_fields(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Lets the fields of an object go, with their names.
pub fn wipe_fields(fields: Map<String, Value>) {
    for (mut name, value) in fields {
        name.zeroize();
        wipe(value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn twice(text: &str) -> Vec<String> {
        read(text.as_bytes()).unwrap().twice
    }

    #[test]
    fn a_name_given_twice_is_told_wherever_it_is() {
        assert_eq!(twice(r#"{"to": 1, "text": 2}"#), [""; 0]);
        assert_eq!(twice(r#"{"to": 1, "text": 2, "to": 3}"#), ["to"]);
        assert_eq!(twice(r#"{"to": 1, "t\u006f": 1}"#), ["to"], "however it is spelled");
        assert_eq!(twice(r#"{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": 1}]}"#), ["a.b", "c.d"]);
        assert_eq!(twice(r#"{"a": {"b": 1}, "c": {"b": 2}}"#), [""; 0]);
        assert_eq!(twice(r#"{"123:AAEsecret": 1, "123:AAEsecret": 2}"#), ["?"]);
        let many = format!("{{{}}}", vec![r#""a": 1"#; 100].join(","));
        assert_eq!(twice(&many).len(), TWICE_TOLD_MAX);
        assert_eq!(read(br#"{"a": 1, "a": 2}"#).unwrap().value["a"], 2);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{} {}", "{'a': 1}", &"[".repeat(1_000_000), "1e999", "\u{1}"] {
            assert!(read(text.as_bytes()).is_err(), "{}", &text[..text.len().min(20)]);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_else_is_read_as_it_always_was(value in any_value()) {
            let found = read(value.to_string().as_bytes()).unwrap();
            let expected: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!((found.value, found.twice.len()), (expected, 0));
        }

        #[test]
        fn any_bytes_are_read_or_refused_as_they_always_were(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let known = serde_json::from_slice::<Value>(&bytes).ok();
            prop_assert_eq!(read(&bytes).ok().map(|read| read.value), known);
        }
    }
}
