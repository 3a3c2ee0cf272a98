//! A record's headers in MQTT 5, and a message's in a record.
//!
//! User properties are headers of the same name. What the protocol has a place of its
//! own for has a header with a name of its own, so that it survives a way through the
//! log. The topic and the retained flag go in only: a sink's options say them.

use bytes::Bytes;
use courant_model::{Header, Record, Timestamp};
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::session::Delivery;
use crate::messaging::header_text;

const TOPIC: &str = "mqtt-topic";
const RETAINED: &str = "mqtt-retained";
const RESPONSE_TOPIC: &str = "mqtt-response-topic";
const CORRELATION_DATA: &str = "mqtt-correlation-data";
const CONTENT_TYPE: &str = "content-type";

/// The record of a message; its value is the body.
pub(super) fn record_of(delivery: &Delivery, topic_as_key: bool, now: Timestamp) -> Record {
    let mut record = Record::new(delivery.payload.clone(), now);
    if topic_as_key {
        record = record.with_key(delivery.topic.clone());
    }
    record = record.with_header(TOPIC, delivery.topic.clone());
    if delivery.retained {
        record = record.with_header(RETAINED, "true");
    }
    let Some(properties) = &delivery.properties else { return record };
    let mut header = |name: &str, value: Option<Bytes>| {
        record.headers.extend(value.map(|value| Header::new(name, value)));
    };
    header(CONTENT_TYPE, properties.content_type.clone().map(Bytes::from));
    header(RESPONSE_TOPIC, properties.response_topic.clone().map(Bytes::from));
    header(CORRELATION_DATA, properties.correlation_data.clone());
    for (name, value) in &properties.user_properties {
        header(name, Some(Bytes::from(value.clone())));
    }
    record
}

/// The properties of a record's message.
///
/// # Errors
/// A header whose value MQTT cannot carry.
pub(super) fn properties_of(headers: &[Header]) -> Result<PublishProperties, String> {
    let mut properties = PublishProperties::default();
    for header in headers {
        match header.name.as_str() {
            TOPIC | RETAINED => {}
            CONTENT_TYPE => properties.content_type = Some(text(header)?),
            RESPONSE_TOPIC => properties.response_topic = Some(text(header)?),
            CORRELATION_DATA => properties.correlation_data = header.value.clone(),
            name => properties.user_properties.push((name.into(), text(header)?)),
        }
    }
    Ok(properties)
}

/// A text of at most 65,535 bytes, as the protocol's lengths have two.
fn text(header: &Header) -> Result<String, String> {
    let text = header_text(header)?;
    let longest = text.len().max(header.name.len());
    if longest > usize::from(u16::MAX) {
        return Err(format!("header {:?} has {longest} bytes, at most 65535 fit", header.name));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::session::Receipt;

    proptest! {
        #[test]
        fn headers_survive_the_way_out_and_in(
            headers in prop::collection::vec(("[a-z]{1,8}", ".{0,12}"), 0..8),
            data in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
        ) {
            let mut sent: Vec<Header> =
                data.into_iter().map(|data| Header::new(CORRELATION_DATA, data)).collect();
            sent.extend(headers.into_iter().map(|(name, value)| Header::new(name, value)));
            let delivery = Delivery {
                topic: "a/b".into(),
                payload: Bytes::new(),
                retained: true,
                properties: Some(Box::new(properties_of(&sent).unwrap())),
                receipt: Receipt { qos: 1, packet: 1 },
                _share: None,
            };
            let record = record_of(&delivery, true, Timestamp::from_millis(0));
            prop_assert_eq!(record.key.as_deref(), Some(b"a/b".as_slice()));
            prop_assert_eq!(&record.headers[..2], [
                Header::new(TOPIC, "a/b"),
                Header::new(RETAINED, "true"),
            ]);
            prop_assert_eq!(&record.headers[2..], sent);
        }
    }

    #[test]
    fn a_header_that_is_no_text_is_refused_by_name() {
        let why = properties_of(&[Header::new("x", vec![0xff])]).unwrap_err();
        assert_eq!(why, "value of header \"x\" is not text");
    }
}
