//! JSON lines with the field names of the Elastic Common Schema. Renders, never filters.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::Write;

use jiff::Timestamp;
use serde::Serializer as _;
use serde::ser::SerializeMap;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::protocol::values::printable::PrintableJson;

/// Version of the schema whose names are used
/// (<https://www.elastic.co/guide/en/ecs/8.11/index.html>).
const ECS_VERSION: &str = "8.11.0";

/// The longest text of one field, in bytes. Longer ones are cut, so that no event can make a
/// line that a collector refuses.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// Writes each event as one JSON object, with the fields of the spans around it.
pub(super) struct EcsLayer<W> {
    writer: W,
}

impl<W> EcsLayer<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for EcsLayer<W>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in
            context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev()
        {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.named.extend(outer.named.clone());
            }
        }
        event.record(&mut fields);
        if let Some(line) = line(event.metadata(), &fields) {
            // A log that cannot be written must not stop the daemon.
            let _ = self.writer.make_writer_for(event.metadata()).write_all(&line);
        }
    }
}

/// One line, its end included. The schema wants the first three names in this order.
#[expect(
    clippy::disallowed_methods,
    reason = "a log is dated by the machine, whatever a tree is told"
)]
fn line(metadata: &Metadata<'_>, fields: &Fields) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    let mut json = serde_json::Serializer::with_formatter(&mut line, PrintableJson);
    let mut map = json.serialize_map(None).ok()?;
    let level = metadata.level().as_str().to_ascii_lowercase();
    map.serialize_entry("@timestamp", &format!("{:.3}", Timestamp::now())).ok()?;
    map.serialize_entry("log.level", &level).ok()?;
    map.serialize_entry("message", &fields.message).ok()?;
    map.serialize_entry("ecs.version", ECS_VERSION).ok()?;
    map.serialize_entry("log.logger", metadata.target()).ok()?;
    map.serialize_entry("service.name", "telewarden").ok()?;
    map.serialize_entry("service.version", env!("CARGO_PKG_VERSION")).ok()?;
    for (name, value) in &fields.named {
        map.serialize_entry(name, value).ok()?;
    }
    map.end().ok()?;
    line.push(b'\n');
    Some(line)
}

/// Fields of an event or a span, under the names they are written with.
#[derive(Default)]
struct Fields {
    message: String,
    named: BTreeMap<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "error" => "error.message".to_owned(),
            "error_code" => "error.code".to_owned(),
            // A dotted name was chosen from the schema by whoever wrote it.
            dotted if dotted.contains('.') => dotted.to_owned(),
            // The schema keeps names of one's own under the name of the product.
            own => format!("telewarden.{own}"),
        };
        self.named.insert(name, value);
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        if text.len() > FIELD_BYTES_MAX {
            text.truncate(text.floor_char_boundary(FIELD_BYTES_MAX));
            text.push('…');
        }
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, Value::String(text));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put_text(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }
}
