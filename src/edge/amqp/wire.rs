//! A message's properties as they are on the wire: what of them cannot be used, and how much room
//! they take in a frame (AMQP 0-9-1, section 4.2). Pure.

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, MAX_NESTING, ShortString};
use lapin::{BasicProperties, SKIPPED_HEADERS};

use super::room::PROPERTIES_MAX;

/// Type, channel, length and end of a frame.
const FRAME_BYTES: usize = 1 + 2 + 4 + 1;
/// What a content header holds before its properties: class, weight and size of the body.
const CONTENT_HEADER_BYTES: usize = 2 + 2 + 8;

/// What of a delivery's own texts and tables nobody can use, in words.
pub(super) fn flaw(delivery: &Delivery) -> Option<String> {
    let not_utf8 = |name: &str| format!("{name} is not UTF-8");
    let address =
        [("the routing key", &delivery.routing_key), ("the exchange", &delivery.exchange)];
    if let Some((name, _)) = address.into_iter().find(|(_, text)| !text.is_utf8()) {
        return Some(not_utf8(name));
    }
    let properties = texts(&delivery.properties);
    let foreign = properties.iter().find(|(_, text)| text.is_some_and(|text| !text.is_utf8()));
    if let Some((name, _)) = foreign {
        return Some(not_utf8(&format!("the property `{name}`")));
    }
    delivery
        .properties
        .headers()
        .as_ref()
        .and_then(flaw_of_size)
        .or_else(|| {
            let memory = memory_of_properties(&delivery.properties);
            (memory > PROPERTIES_MAX).then(|| {
                format!(
                    "they take {memory} bytes of memory, of which they may take {PROPERTIES_MAX}"
                )
            })
        })
        .or_else(|| delivery.properties.headers().as_ref().and_then(flaw_of_table))
}

/// Headers that the library has passed over.
fn flaw_of_size(headers: &FieldTable) -> Option<String> {
    let bytes = headers.inner().get(SKIPPED_HEADERS)?.as_long_long_int()?;
    Some(format!(
        "its headers have {bytes} bytes, which is more than is read; they are left out here"
    ))
}

fn flaw_of_table(table: &FieldTable) -> Option<String> {
    table.into_iter().find_map(|(name, value)| {
        if !name.is_utf8() {
            return Some("the name of a header is not UTF-8".to_owned());
        }
        flaw_of_value(value)
    })
}

/// The parser has bounded how deep this goes.
fn flaw_of_value(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::Unparsed(..) => Some(format!(
            "a header is nested deeper than {MAX_NESTING} tables and arrays within one another"
        )),
        AMQPValue::FieldTable(table) => flaw_of_table(table),
        AMQPValue::FieldArray(array) => array.as_slice().iter().find_map(flaw_of_value),
        _ => None,
    }
}

/// The properties that are short strings, by their names.
fn texts(properties: &BasicProperties) -> [(&'static str, Option<&ShortString>); 10] {
    [
        ("content_type", properties.content_type().as_ref()),
        ("content_encoding", properties.content_encoding().as_ref()),
        ("correlation_id", properties.correlation_id().as_ref()),
        ("reply_to", properties.reply_to().as_ref()),
        ("expiration", properties.expiration().as_ref()),
        ("message_id", properties.message_id().as_ref()),
        ("type", properties.kind().as_ref()),
        ("user_id", properties.user_id().as_ref()),
        ("app_id", properties.app_id().as_ref()),
        ("cluster_id", properties.cluster_id().as_ref()),
    ]
}

/// How many bytes of properties a frame of `frame_max` bytes has room for.
pub(super) fn room_for_properties(frame_max: u32) -> usize {
    (frame_max as usize).saturating_sub(FRAME_BYTES + CONTENT_HEADER_BYTES)
}

/// How many bytes a message's properties take.
pub(super) fn size_of_properties(properties: &BasicProperties) -> usize {
    let texts = texts(properties).into_iter().filter_map(|(_, text)| text).map(size_of_text);
    let headers = properties.headers().as_ref().map_or(0, size_of_table);
    let flags = 2;
    let numbers = usize::from(properties.delivery_mode().is_some())
        + usize::from(properties.priority().is_some())
        + 8 * usize::from(properties.timestamp().is_some());
    flags + texts.sum::<usize>() + headers + numbers
}

/// How many bytes a header takes.
pub(super) fn size_of_header(name: &ShortString, value: &AMQPValue) -> usize {
    size_of_text(name) + size_of_value(value)
}

fn size_of_text(text: &ShortString) -> usize {
    1 + text.to_wire().len()
}

fn size_of_table(table: &FieldTable) -> usize {
    4 + table.into_iter().map(|(name, value)| size_of_header(name, value)).sum::<usize>()
}

fn size_of_value(value: &AMQPValue) -> usize {
    let type_id = 1;
    type_id
        + match value {
            AMQPValue::Void => 0,
            AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
            AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
            AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
            AMQPValue::DecimalValue(_) => 5,
            AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
            AMQPValue::ShortString(text) => size_of_text(text),
            AMQPValue::LongString(bytes) | AMQPValue::Unparsed(_, bytes) => 4 + bytes.len(),
            AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
            AMQPValue::FieldArray(array) => {
                4 + array.as_slice().iter().map(size_of_value).sum::<usize>()
            }
            AMQPValue::FieldTable(table) => size_of_table(table),
        }
}

/// How much memory a message's properties take, about.
pub(super) fn memory_of_properties(properties: &BasicProperties) -> usize {
    let texts = texts(properties).into_iter().filter_map(|(_, text)| text).map(memory_of_text);
    texts.sum::<usize>() + properties.headers().as_ref().map_or(0, memory_of_table)
}

/// What the allocator takes for a piece of memory, at the least.
const PIECE: usize = 32;
/// The smallest node of a table, which has room for 11 entries.
const NODE: usize = 11 * (size_of::<ShortString>() + size_of::<AMQPValue>()) + PIECE;

fn memory_of_text(text: &ShortString) -> usize {
    text.as_str().len().max(PIECE)
}

/// With the nodes of the table, which are at least half full.
fn memory_of_table(table: &FieldTable) -> usize {
    let entries = table.inner().len();
    let nodes = entries.div_ceil(5) * NODE;
    let contents = table.into_iter().map(|(name, value)| memory_of_text(name) + beyond(value));
    nodes + contents.sum::<usize>()
}

/// What a value takes besides its own place.
fn beyond(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::ShortString(text) => memory_of_text(text),
        AMQPValue::LongString(bytes) | AMQPValue::Unparsed(_, bytes) => bytes.len().max(PIECE),
        AMQPValue::ByteArray(bytes) => bytes.len().max(PIECE),
        AMQPValue::FieldArray(array) => {
            let own = size_of_val(array.as_slice());
            own.max(PIECE) + array.as_slice().iter().map(beyond).sum::<usize>()
        }
        AMQPValue::FieldTable(table) => memory_of_table(table),
        _ => 0,
    }
}

/// Values and properties of every kind, for tests.
#[cfg(test)]
pub(super) mod made {
    use lapin::types::{AMQPType, DecimalValue};
    use proptest::prelude::*;

    use super::*;

    pub(in crate::edge::amqp) fn text() -> impl Strategy<Value = ShortString> {
        "[a-zé]{0,60}".prop_map(ShortString::from)
    }

    fn value() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            Just(AMQPValue::Void),
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i8>().prop_map(AMQPValue::ShortShortInt),
            any::<u8>().prop_map(AMQPValue::ShortShortUInt),
            any::<i16>().prop_map(AMQPValue::ShortInt),
            any::<u16>().prop_map(AMQPValue::ShortUInt),
            any::<i32>().prop_map(AMQPValue::LongInt),
            any::<u32>().prop_map(AMQPValue::LongUInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<f32>().prop_map(AMQPValue::Float),
            any::<f64>().prop_map(AMQPValue::Double),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            any::<(u8, u32)>().prop_map(|(scale, value)| {
                AMQPValue::DecimalValue(DecimalValue { scale, value })
            }),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| AMQPValue::Unparsed(AMQPType::FieldArray, bytes.into())),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| AMQPValue::FieldArray(values.into())),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|fields| AMQPValue::FieldTable(fields.into())),
            ]
        })
    }

    pub(in crate::edge::amqp) fn headers() -> impl Strategy<Value = FieldTable> {
        prop::collection::btree_map(text(), value(), 0..12).prop_map(FieldTable::from)
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::generation::{gen_field_table, gen_short_string};
    use lapin::types::parsing::{parse_field_table, parse_short_string};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sizes_are_those_that_the_library_writes(headers in made::headers(), id in made::text()) {
            let (table, _) = gen_field_table(&headers)(Vec::new().into()).unwrap().into_inner();
            let (text, _) = gen_short_string(id.as_str())(Vec::new().into()).unwrap().into_inner();
            let properties = BasicProperties::default()
                .with_headers(headers)
                .with_correlation_id(id)
                .with_priority(1)
                .with_delivery_mode(2)
                .with_timestamp(3);
            prop_assert_eq!(size_of_properties(&properties), 2 + table.len() + text.len() + 1 + 1 + 8);
        }
    }

    /// A table of headers with `levels` arrays within one another.
    fn nested(levels: usize) -> Vec<u8> {
        let long = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let arrays =
            (0..levels).fold(Vec::new(), |inner, _| [b"A".to_vec(), long(&inner)].concat());
        long(&[b"\x01x".to_vec(), arrays].concat())
    }

    #[test]
    fn headers_of_any_depth_need_little_of_the_stack_and_go_back_as_they_came() {
        let passed = std::thread::Builder::new().stack_size(512 * 1024).spawn(|| {
            for (levels, is_usable) in
                [(1, true), (MAX_NESTING - 1, true), (MAX_NESTING, false), (26_000, false)]
            {
                let bytes = nested(levels);
                let (rest, table) = parse_field_table(&bytes[..]).unwrap();
                assert!(rest.is_empty());
                assert_eq!(flaw_of_table(&table).is_none(), is_usable, "{levels}");
                assert_eq!(size_of_table(&table), bytes.len());
                assert!(table.clone() == table && !format!("{table:?}").is_empty());
                let (again, _) = gen_field_table(&table)(Vec::new().into()).unwrap().into_inner();
                assert!(again == bytes, "{levels}");
            }
        });
        passed.unwrap().join().unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_table_or_an_error(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(b'A'), Just(b'F')], 0..300),
        ) {
            let table = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
            if let Ok((_, table)) = parse_field_table(&table[..]) {
                let _ = flaw_of_table(&table);
            }
        }

        #[test]
        fn any_bytes_are_a_text_that_goes_back_as_it_came(
            bytes in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let wire = [&[bytes.len() as u8][..], &bytes].concat();
            let (_, text) = parse_short_string(&wire[..]).unwrap();
            prop_assert_eq!(&text.to_wire()[..], &bytes[..]);
            prop_assert_eq!(text.is_utf8(), std::str::from_utf8(&bytes).is_ok());
            let (again, _) = gen_short_string(text.as_str())(Vec::new().into()).unwrap().into_inner();
            prop_assert_eq!(again, wire);
        }
    }

    #[test]
    fn a_frame_has_eight_bytes_of_its_own_and_twelve_before_the_properties() {
        assert_eq!(room_for_properties(4096), 4076);
        assert_eq!(room_for_properties(0), 0);
    }
}
