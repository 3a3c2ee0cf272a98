//! Publishing over HTTP: one event to several channels, or several events.
//!
//! Everything is checked before anything is published, so a request that is refused has
//! had no effect.

use axum::{Json, extract::Path};
use courant_model::limits::{PUSH_BATCH_EVENTS_MAX, PUSH_EVENT_CHANNELS_MAX};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json, value::RawValue};

use super::{ApiError, Asked, Wanted, query::described};
use crate::{ChannelName, channel::Outgoing, connection::SocketId, hub::Hub};

/// An event for some channels.
#[derive(Debug, Deserialize)]
struct Event {
    name: String,
    data: Box<RawValue>,
    #[serde(default)]
    channels: Vec<String>,
    channel: Option<String>,
    socket_id: Option<String>,
    info: Option<String>,
}

/// An event that was checked.
#[derive(Debug)]
struct Checked {
    name: String,
    data: String,
    channels: Vec<ChannelName>,
    except: Option<SocketId>,
    /// Absent when nothing is asked.
    wanted: Option<Wanted>,
}

pub(super) async fn event(Path(id): Path<String>, asked: Asked) -> Result<Json<Value>, ApiError> {
    let (hub, _) = asked.by(&id)?;
    let event = Checked::of(&hub, read(&asked.body)?)?;
    let infos = event.publish(&hub);
    Ok(Json(match event.wanted {
        Some(_) => json!({ "channels": infos.into_iter().collect::<Map<_, _>>() }),
        None => json!({}),
    }))
}

pub(super) async fn batch(Path(id): Path<String>, asked: Asked) -> Result<Json<Value>, ApiError> {
    #[derive(Deserialize)]
    struct Batch {
        batch: Vec<Event>,
    }
    let (hub, _) = asked.by(&id)?;
    let Batch { batch } = read(&asked.body)?;
    if batch.len() > PUSH_BATCH_EVENTS_MAX {
        return Err(ApiError::Invalid(format!(
            "batch has {} events; {PUSH_BATCH_EVENTS_MAX} are allowed",
            batch.len()
        )));
    }
    let checked = batch.into_iter().map(|event| Checked::of(&hub, event));
    let events: Vec<_> = checked.collect::<Result<_, _>>()?;
    let wanted = events.iter().any(|event| event.wanted.is_some());
    let infos: Vec<Value> =
        events.iter().flat_map(|event| event.publish(&hub)).map(|(_, info)| info).collect();
    Ok(Json(if wanted { json!({ "batch": infos }) } else { json!({}) }))
}

impl Checked {
    fn of(hub: &Hub, event: Event) -> Result<Self, ApiError> {
        let Event { name, data, mut channels, channel, socket_id, info } = event;
        channels.extend(channel);
        if channels.is_empty() || channels.len() > PUSH_EVENT_CHANNELS_MAX {
            return Err(ApiError::Invalid(format!(
                "event {name:?} is for {} channels; expected 1 to {PUSH_EVENT_CHANNELS_MAX}",
                channels.len()
            )));
        }
        // A text is sent as it is, anything else as its JSON.
        let data = serde_json::from_str(data.get()).unwrap_or_else(|_| data.get().to_owned());
        let mut names = Vec::with_capacity(channels.len());
        for channel in channels {
            let channel = ChannelName::parse(&channel)?;
            hub.check(&channel, &name, &data)?;
            names.push(channel);
        }
        let except = socket_id.map(|id| {
            id.parse().map_err(|()| {
                ApiError::Invalid(format!(
                    "socket_id {id:?} is not valid; expected two numbers with a dot"
                ))
            })
        });
        let wanted = info.as_deref().map(Wanted::parse).transpose()?;
        Ok(Self { name, data, channels: names, except: except.transpose()?, wanted })
    }

    /// Publishes, and gives what was asked of each channel.
    fn publish(&self, hub: &Hub) -> Vec<(String, Value)> {
        let Self { name, data, except, .. } = self;
        let message = Outgoing { event: name, data, position: None, except: *except };
        let mut infos = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            hub.publish(channel, message);
            let described = described(channel, hub.info(channel), self.wanted.unwrap_or_default());
            infos.push((channel.to_string(), described));
        }
        infos
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::Invalid(format!("request's body cannot be read: {error}")))
}
