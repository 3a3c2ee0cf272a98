//! From a change of a collection to the message on its channel.
//!
//! Pure. A change that becomes none is either not wished for, or cannot be said: its
//! channel's name or its data breaks a bound. The latter is told, because a page waits
//! for it in vain.

use courant_model::limits::{PUSH_CHANNEL_NAME_CHARS_MAX, PUSH_EVENT_BYTES_DEFAULT};
use courant_pipeline::plan::ChannelPlan;
use courant_stores::{Change, Document};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::stream::changes::narrow;

/// A message, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) channel: String,
    pub(super) event: String,
    /// JSON.
    pub(super) data: String,
}

/// Why a change cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LeftOut {
    #[error(
        "the channel's name cannot be filled from it; its fields must be there, with at most {PUSH_CHANNEL_NAME_CHARS_MAX} of the characters that a name may hold"
    )]
    Name,
    #[error(
        "its data has {found_bytes} bytes, and {PUSH_EVENT_BYTES_DEFAULT} are allowed; choose fields with \"data\""
    )]
    TooLarge { found_bytes: usize },
}

/// The message of a change; `None` where the channel does not push it.
///
/// # Errors
/// [`LeftOut`]: it should be pushed, and cannot.
pub(super) fn of(plan: &ChannelPlan, change: Change) -> Result<Option<Told>, LeftOut> {
    let Some(Change { kind, id, document, .. }) = narrow(change, &plan.filter) else {
        return Ok(None);
    };
    let Some(event) = plan.events.of(kind) else { return Ok(None) };
    let document = document.map(Value::Object);
    let channel = plan.name.fill(&id, document.as_ref()).ok_or(LeftOut::Name)?;
    let data = match document {
        Some(Value::Object(document)) => Value::Object(chosen(document, &plan.data)).to_string(),
        _ => json!({ "_id": id }).to_string(),
    };
    if data.len() > PUSH_EVENT_BYTES_DEFAULT {
        return Err(LeftOut::TooLarge { found_bytes: data.len() });
    }
    Ok(Some(Told { channel, event: event.to_owned(), data }))
}

/// The fields that are sent, in the document's order.
fn chosen(mut document: Document, fields: &[String]) -> Document {
    if !fields.is_empty() {
        document.retain(|name, _| name == "_id" || fields.contains(name));
    }
    document
}

#[cfg(test)]
mod tests {
    use courant_pipeline::plan::ChannelEvents;
    use courant_stores::{ChangeKind, Filter, ResumeToken};

    use super::*;

    fn plan(name: &str) -> ChannelPlan {
        ChannelPlan {
            name: name.parse().unwrap(),
            collection: "orders".into(),
            events: ChannelEvents {
                insert: Some("NewOrder".into()),
                update: None,
                delete: Some("Gone".into()),
            },
            filter: Filter::parse(&json!({ "status": "Open" })).unwrap(),
            data: vec!["n".into()],
        }
    }

    fn change(kind: ChangeKind, document: &Value) -> Change {
        Change {
            token: ResumeToken("t".into()),
            kind,
            id: "7".into(),
            document: document.as_object().cloned(),
            before: None,
            committed_micros: 1,
        }
    }

    fn told(channel: &str, event: &str, data: &str) -> Option<Told> {
        let (channel, event, data) = (channel.into(), event.into(), data.into());
        Some(Told { channel, event, data })
    }

    #[test]
    fn a_change_says_what_the_channel_says_of_it() {
        let open = json!({ "_id": "7", "status": "Open", "n": 1, "secret": true });
        let closed = json!({ "_id": "7", "status": "Closed", "n": 1 });
        let of =
            |kind, document: &Value| of(&plan("orders.{_id}"), change(kind, document)).unwrap();
        let new = told("orders.7", "NewOrder", r#"{"_id":"7","n":1}"#);
        assert_eq!(of(ChangeKind::Insert, &open), new);
        assert_eq!(of(ChangeKind::Insert, &closed), None);
        assert_eq!(of(ChangeKind::Update, &open), None);
        let gone = told("orders.7", "Gone", r#"{"_id":"7"}"#);
        assert_eq!(of(ChangeKind::Update, &closed), gone);
        assert_eq!(of(ChangeKind::Delete, &Value::Null), gone);
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        let without = change(ChangeKind::Insert, &json!({ "status": "Open" }));
        assert_eq!(of(&plan("orders.{customer}"), without), Err(LeftOut::Name));
        let document = json!({ "status": "Open", "n": "x".repeat(PUSH_EVENT_BYTES_DEFAULT) });
        let large = of(&plan("orders"), change(ChangeKind::Insert, &document));
        assert!(matches!(large, Err(LeftOut::TooLarge { .. })), "{large:?}");
    }
}
