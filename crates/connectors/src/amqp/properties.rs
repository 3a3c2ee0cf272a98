//! A record's headers in AMQP, and a message's in a record.
//!
//! Headers keep their names; values that are no text come in as their text, tables and
//! lists as JSON, and go out as texts. What the protocol has a place of its own for has
//! a header with a name of its own, so that it survives a way through the log. Where the
//! broker says something about a delivery, it comes in and never goes out.

use bytes::Bytes;
use courant_model::{Header, Record, Timestamp, limits::AMQP_SHORT_TEXT_BYTES_MAX};
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use serde_json::Value;

use crate::messaging::header_text;

const ROUTING_KEY: &str = "amqp-routing-key";
const EXCHANGE: &str = "amqp-exchange";
const REDELIVERED: &str = "amqp-redelivered";

/// What RabbitMQ writes into a message that it delivers again or as a dead letter.
const BROKERS_OWN: [&str; 2] = ["x-delivery-count", "x-death"];

/// What routes a message to further places, which the file does not name.
const ROUTING: [&str; 2] = ["CC", "BCC"];

type Get = fn(&BasicProperties) -> &Option<ShortString>;
type Set = fn(BasicProperties, ShortString) -> BasicProperties;

/// Properties that are texts, as headers.
const TEXTS: [(&str, Get, Set); 7] = [
    ("content-type", BasicProperties::content_type, BasicProperties::with_content_type),
    ("content-encoding", BasicProperties::content_encoding, BasicProperties::with_content_encoding),
    ("amqp-message-id", BasicProperties::message_id, BasicProperties::with_message_id),
    ("amqp-correlation-id", BasicProperties::correlation_id, BasicProperties::with_correlation_id),
    ("amqp-reply-to", BasicProperties::reply_to, BasicProperties::with_reply_to),
    ("amqp-type", BasicProperties::kind, BasicProperties::with_type),
    ("amqp-app-id", BasicProperties::app_id, BasicProperties::with_app_id),
];

/// The record of a message; its value is the body.
pub(super) fn record_of(
    delivery: &mut Delivery,
    routing_key_as_key: bool,
    now: Timestamp,
) -> Record {
    let properties = &delivery.properties;
    let at = properties.timestamp().and_then(|at| i64::try_from(at).ok()?.checked_mul(1_000));
    let at = at.map_or(now, Timestamp::from_millis);
    let routing_key = delivery.routing_key.as_str().to_owned();
    let mut record = Record::new(std::mem::take(&mut delivery.data), at);
    if routing_key_as_key {
        record = record.with_key(routing_key.clone());
    }
    record = record.with_header(ROUTING_KEY, routing_key);
    if !delivery.exchange.as_str().is_empty() {
        record = record.with_header(EXCHANGE, delivery.exchange.as_str().to_owned());
    }
    if delivery.redelivered {
        record = record.with_header(REDELIVERED, "true");
    }
    for (name, get, _) in TEXTS {
        if let Some(text) = get(properties) {
            record = record.with_header(name, text.as_str().to_owned());
        }
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        record.headers.push(Header { name: name.as_str().into(), value: bytes_of(value) });
    }
    record
}

/// The properties of a record's message; `id` unless the record has one of its own.
///
/// # Errors
/// A header that AMQP cannot carry.
pub(super) fn properties_of(headers: &[Header], id: &str) -> Result<BasicProperties, String> {
    let mut properties = BasicProperties::default();
    let mut table = FieldTable::default();
    if let Ok(id) = ShortString::try_new(id) {
        properties = properties.with_message_id(id);
    }
    for header in headers {
        let name = header.name.as_str();
        if let Some((_, _, set)) = TEXTS.iter().find(|(text, ..)| *text == name) {
            properties = set(properties, short(name, header_text(header)?)?);
        } else if ROUTING.contains(&name) {
            return Err(format!("header {name:?} would send the message to further places"));
        } else if ![ROUTING_KEY, EXCHANGE, REDELIVERED].contains(&name)
            && !BROKERS_OWN.contains(&name)
        {
            let value = match &header.value {
                Some(value) => AMQPValue::LongString(LongString::from(value.to_vec())),
                None => AMQPValue::Void,
            };
            table.insert(short(name, name)?, value);
        }
    }
    Ok(properties.with_headers(table))
}

fn short(header: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| {
        let bytes = text.len();
        format!("header {header:?} has {bytes} bytes, at most {AMQP_SHORT_TEXT_BYTES_MAX} fit")
    })
}

/// A header's value as bytes; nothing is null.
fn bytes_of(value: &AMQPValue) -> Option<Bytes> {
    match value {
        AMQPValue::Void => None,
        AMQPValue::LongString(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Some(Bytes::copy_from_slice(bytes.as_slice())),
        other => match json_of(other) {
            Value::String(text) => Some(text.into()),
            other => Some(other.to_string().into()),
        },
    }
}

fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::DecimalValue(value) => {
            (f64::from(value.value) / 10_f64.powi(i32::from(value.scale))).into()
        }
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(json_of).collect(),
        AMQPValue::FieldTable(table) => {
            let fields = table.inner().iter();
            Value::Object(
                fields.map(|(name, value)| (name.as_str().into(), json_of(value))).collect(),
            )
        }
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapin::types::FieldArray;
    use proptest::prelude::*;

    use super::*;

    fn delivered(properties: BasicProperties) -> Record {
        let mut delivery = Delivery::mock(1, "ex".into(), "a.b".into(), true, b"{}".to_vec());
        delivery.properties = properties;
        record_of(&mut delivery, true, Timestamp::from_millis(5))
    }

    proptest! {
        #[test]
        fn headers_survive_the_way_out_and_in(
            table in prop::collection::btree_map(
                "[a-b]{1,8}",
                prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
                0..6,
            ),
            texts in prop::collection::vec("[a-z]{0,9}", TEXTS.len()),
        ) {
            let mut sent: Vec<Header> = TEXTS
                .iter()
                .zip(texts)
                .map(|((name, ..), text)| Header::new(*name, text))
                .collect();
            let table: BTreeMap<String, Option<Vec<u8>>> = table;
            sent.extend(
                table.into_iter().map(|(name, value)| Header { name, value: value.map(Bytes::from) }),
            );
            let record = delivered(properties_of(&sent, "id").unwrap());
            prop_assert_eq!(&record.headers[..3], [
                Header::new(ROUTING_KEY, "a.b"),
                Header::new(EXCHANGE, "ex"),
                Header::new(REDELIVERED, "true"),
            ]);
            prop_assert_eq!(&record.headers[3..], sent);
        }
    }

    #[test]
    fn values_that_are_no_text_come_in_as_text_and_the_time_as_the_records() {
        let mut table = FieldTable::default();
        table.insert("a".into(), AMQPValue::LongInt(-7));
        let list = FieldArray::from(vec![AMQPValue::Boolean(true), AMQPValue::Void]);
        table.insert("b".into(), AMQPValue::FieldArray(list));
        let properties = BasicProperties::default().with_headers(table).with_timestamp(1_700);
        let record = delivered(properties);
        assert_eq!(record.timestamp, Timestamp::from_millis(1_700_000));
        assert_eq!(record.key.as_deref(), Some(b"a.b".as_slice()));
        let value = |name: &str| record.header(name).unwrap().value.clone().unwrap();
        assert_eq!((value("a"), value("b")), ("-7".into(), "[true,null]".into()));
    }

    #[test]
    fn headers_that_would_do_something_are_left_out_or_refused() {
        let own = Header::new("x-death", "x");
        let properties = properties_of(&[own, Header::new(EXCHANGE, "x")], "id").unwrap();
        assert!(properties.headers().as_ref().unwrap().inner().is_empty());
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "id");
        assert!(properties_of(&[Header::new("CC", "x")], "id").unwrap_err().contains("\"CC\""));
        let long = "x".repeat(256);
        assert!(properties_of(&[Header::new("amqp-type", long)], "id").is_err());
    }
}
