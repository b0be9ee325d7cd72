//! One field of a secret in KV. Owns reading it so that a text is wiped; keeps nothing else.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::protocol::values::secret::SecretText;

/// What a field holds.
pub(super) enum Field {
    /// A text.
    Text(SecretText),
    /// Something else, which is of no use.
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(SecretText::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(SecretText::new(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Field, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_texts_are_kept() {
        let json = br#"{"a":"x","b":5,"c":-5,"d":0.5,"e":null,"f":true,"g":["x",{}],"h":{"i":"x"},
            "j":"\u0041"}"#;
        let fields: BTreeMap<String, Field> = serde_json::from_slice(json).unwrap();
        assert_eq!(fields.len(), 9);
        let texts = fields.iter().filter_map(|(name, field)| match field {
            Field::Text(text) => Some((name.as_str(), text.expose())),
            Field::Other => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), [("a", "x"), ("j", "A")]);
    }
}
