//! Frames: what a page says, taken apart, and what it is told, encoded.
//!
//! A frame is one JSON object with an event, and mostly a channel and data. Data that
//! goes out is JSON within a string, as the protocol wants it; what comes in may be
//! either. What is told to many is encoded once and shared. Nothing here decides.

use std::collections::BTreeMap;

use axum::extract::ws::Utf8Bytes;
use courant_model::limits::PUSH_USER_BYTES_MAX;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Token, connection::SocketId, error::ErrorCode};

/// What a page asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Ping,
    Pong,
    Subscribe(Subscribe),
    Unsubscribe { channel: String },
    Signin(Signin),
    Resume(Resume),
    ClientEvent { event: String, channel: String, data: Box<RawValue> },
}

/// A wish to subscribe.
#[derive(Debug, Deserialize)]
pub(crate) struct Subscribe {
    pub(crate) channel: String,
    pub(crate) auth: Option<String>,
    pub(crate) channel_data: Option<String>,
}

/// A user who wants to be known on this connection.
#[derive(Debug, Deserialize)]
pub(crate) struct Signin {
    pub(crate) auth: String,
    pub(crate) user_data: String,
}

/// Where a page was on its channels, said before it subscribes to them. A channel without
/// a position asks for a snapshot.
#[derive(Debug, Deserialize)]
pub(crate) struct Resume {
    pub(crate) positions: BTreeMap<String, Option<String>>,
}

/// A frame that asks for nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("message is no JSON object with an \"event\": {0}")]
    NotJson(String),
    #[error("event {event:?} has no data that it needs: {reason}")]
    Data { event: String, reason: String },
    #[error("event {0:?} is not known; events of pages begin with \"client-\"")]
    Unknown(String),
}

impl Request {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no JSON object, or its event or data is not known.
    pub(crate) fn parse(text: &str) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            event: String,
            channel: Option<String>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let envelope: Envelope<'_> =
            serde_json::from_str(text).map_err(|error| FrameError::NotJson(error.to_string()))?;
        let Envelope { event, channel, data } = envelope;
        Ok(match event.as_str() {
            "pusher:ping" => Self::Ping,
            "pusher:pong" => Self::Pong,
            "pusher:subscribe" => Self::Subscribe(data_of(&event, data)?),
            "pusher:unsubscribe" => {
                #[derive(Deserialize)]
                struct Unsubscribe {
                    channel: String,
                }
                let Unsubscribe { channel } = data_of(&event, data)?;
                Self::Unsubscribe { channel }
            }
            "pusher:signin" => Self::Signin(data_of(&event, data)?),
            "courant:resume" => Self::Resume(data_of(&event, data)?),
            name if name.starts_with("client-") => {
                let missing = |what: &str| FrameError::Data {
                    event: event.clone(),
                    reason: format!("{what} is missing"),
                };
                let channel = channel.ok_or_else(|| missing("the channel"))?;
                let data = data.ok_or_else(|| missing("the data"))?.to_owned();
                Self::ClientEvent { event, channel, data }
            }
            _ => return Err(FrameError::Unknown(event)),
        })
    }
}

/// Data that is an object, or the JSON of one within a string.
fn data_of<T: DeserializeOwned>(event: &str, data: Option<&RawValue>) -> Result<T, FrameError> {
    let json = data.map_or("null", RawValue::get);
    let found = if json.starts_with('"') {
        serde_json::from_str::<String>(json).and_then(|inner| serde_json::from_str(&inner))
    } else {
        serde_json::from_str(json)
    };
    found.map_err(|error| FrameError::Data { event: event.into(), reason: error.to_string() })
}

/// A user as presence channels know one.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) info: Option<Box<RawValue>>,
}

impl Member {
    /// Reads `channel_data`. Numbers are taken as ids, because libraries send them.
    pub(crate) fn parse(channel_data: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Data {
            user_id: serde_json::Value,
            user_info: Option<Box<RawValue>>,
        }
        bounded(channel_data, "channel_data")?;
        let data: Data = serde_json::from_str(channel_data).map_err(|error| error.to_string())?;
        let id = match data.user_id {
            serde_json::Value::String(id) => id,
            serde_json::Value::Number(id) => id.to_string(),
            _ => return Err("\"user_id\" is neither a text nor a number".into()),
        };
        Ok(Self { id: user_id(id)?, info: data.user_info })
    }
}

/// Reads the id of `user_data`.
pub(crate) fn signed_in_as(user_data: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Data {
        id: String,
    }
    bounded(user_data, "user_data")?;
    let data: Data = serde_json::from_str(user_data).map_err(|error| error.to_string())?;
    user_id(data.id)
}

fn bounded(text: &str, field: &str) -> Result<(), String> {
    if text.len() > PUSH_USER_BYTES_MAX {
        let found = text.len();
        return Err(format!("{field} has {found} bytes; {PUSH_USER_BYTES_MAX} are allowed"));
    }
    Ok(())
}

fn user_id(id: String) -> Result<String, String> {
    let max = courant_model::limits::PUSH_USER_ID_CHARS_MAX;
    match id.chars().count() {
        found @ 0 => Err(format!("the user's id has {found} characters; expected 1 to {max}")),
        found if found > max => {
            Err(format!("the user's id has {found} characters; expected 1 to {max}"))
        }
        _ => Ok(id),
    }
}

/// A message of a channel, with its place.
pub(crate) fn message(event: &str, channel: &str, data: &str, at: Token) -> Utf8Bytes {
    let at = at.to_string();
    encode(&Frame { position: Some(&at), ..Frame::of(event, Some(channel), Data::Text(data)) })
}

/// An event that a page triggered, for the others.
pub(crate) fn client_event(
    event: &str,
    channel: &str,
    data: &RawValue,
    user_id: Option<&str>,
) -> Utf8Bytes {
    encode(&Frame { user_id, ..Frame::of(event, Some(channel), Data::Json(data)) })
}

/// An event of the protocol on a channel; what pages do not ask for has no place.
pub(crate) fn on_channel<T: Serialize>(
    event: &str,
    channel: &str,
    data: &T,
    at: Option<Token>,
) -> Utf8Bytes {
    let (data, at) = (json(data), at.map(|at| at.to_string()));
    encode(&Frame { position: at.as_deref(), ..Frame::of(event, Some(channel), Data::Text(&data)) })
}

/// An event of the protocol on a channel, without data.
pub(crate) fn bare(event: &str, channel: &str) -> Utf8Bytes {
    encode(&Frame::of(event, Some(channel), Data::None))
}

/// The first frame: the connection's name, and after how many seconds of silence its
/// page should ask whether the server is there.
pub(crate) fn established(socket_id: SocketId, activity_timeout_ms: u64) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Established {
        socket_id: String,
        activity_timeout: u64,
    }
    let data = Established {
        socket_id: socket_id.to_string(),
        activity_timeout: activity_timeout_ms / 1_000,
    };
    encode(&Frame::of("pusher:connection_established", None, Data::Text(&json(&data))))
}

/// The answer to a user who signed in.
pub(crate) fn signed_in(user_data: &str) -> Utf8Bytes {
    #[derive(Serialize)]
    struct SignedIn<'a> {
        user_data: &'a str,
    }
    encode(&Frame::of("pusher:signin_success", None, Data::Text(&json(&SignedIn { user_data }))))
}

/// An error that has a number.
pub(crate) fn error(code: ErrorCode) -> Utf8Bytes {
    complaint(Some(code.number()), code.message())
}

/// An error that has none.
pub(crate) fn complaint(code: Option<u16>, message: &str) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Complaint<'a> {
        event: &'static str,
        data: Said<'a>,
    }
    #[derive(Serialize)]
    struct Said<'a> {
        code: Option<u16>,
        message: &'a str,
    }
    encode(&Complaint { event: "pusher:error", data: Said { code, message } })
}

/// Asks a silent page whether it is there.
pub(crate) const PING: Utf8Bytes = Utf8Bytes::from_static(r#"{"event":"pusher:ping","data":"{}"}"#);

/// Answers a page that asks the same.
pub(crate) const PONG: Utf8Bytes = Utf8Bytes::from_static(r#"{"event":"pusher:pong","data":"{}"}"#);

/// The JSON of a value that has nothing that JSON lacks.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers and maps of texts are JSON")
}

#[derive(Serialize)]
struct Frame<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Data::is_none")]
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
}

impl<'a> Frame<'a> {
    fn of(event: &'a str, channel: Option<&'a str>, data: Data<'a>) -> Self {
        Self { event, channel, data, user_id: None, position: None }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    None,
    Text(&'a str),
    Json(&'a RawValue),
}

impl Data<'_> {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

fn encode<T: Serialize>(frame: &T) -> Utf8Bytes {
    json(frame).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::Position;

    proptest! {
        #[test]
        fn any_text_is_a_request_or_refused(text in ".{0,200}") {
            let _ = Request::parse(&text);
        }

        #[test]
        fn any_known_event_with_any_data_is_a_request_or_refused(
            event in "pusher:(ping|subscribe|unsubscribe|signin)|courant:resume|client-x",
            data in r#"(\{"(channel|auth|positions)":(null|1|"a"|\{\}|\[\])\}|"[^"]{0,9}"|null|7)"#,
        ) {
            let _ = Request::parse(&format!(r#"{{"event":"{event}","channel":"a","data":{data}}}"#));
        }

        #[test]
        fn what_is_published_arrives_as_it_was(event in ".{1,40}", data in ".{0,200}") {
            let at = Token {
                epoch: 7,
                sequence: 9,
                position: Some(Position { generation: 1, sequence: 2 }),
            };
            let text = message(&event, "orders", &data, at);
            let found: Value = serde_json::from_str(text.as_str()).unwrap();
            prop_assert_eq!(&found["event"], &Value::String(event));
            prop_assert_eq!(&found["data"], &Value::String(data));
            prop_assert_eq!(found["position"].as_str().unwrap().parse::<Token>(), Ok(at));
        }
    }

    #[test]
    fn data_may_be_an_object_or_the_json_of_one() {
        for data in [r#"{"channel":"orders"}"#, r#""{\"channel\":\"orders\"}""#] {
            let text = format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#);
            let Ok(Request::Subscribe(subscribe)) = Request::parse(&text) else {
                panic!("{data} was not read")
            };
            assert_eq!(subscribe.channel, "orders");
        }
    }

    #[test]
    fn json_that_is_too_deep_is_refused() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let subscribe = format!(r#"{{"event":"pusher:subscribe","data":{deep}}}"#);
        assert!(matches!(Request::parse(&subscribe), Err(FrameError::Data { .. })));
        assert!(matches!(Request::parse(&deep), Err(FrameError::NotJson(_))));
    }

    #[test]
    fn a_members_id_may_be_a_number_and_must_be_something() {
        let member = Member::parse(r#"{"user_id":10,"user_info":{"name":"Mia"}}"#).unwrap();
        assert_eq!((member.id.as_str(), member.info.unwrap().get()), ("10", r#"{"name":"Mia"}"#));
        for text in ["", "{}", r#"{"user_id":""}"#, r#"{"user_id":[]}"#, r#"{"user_id":null}"#] {
            assert!(Member::parse(text).is_err(), "{text}");
        }
    }
}
