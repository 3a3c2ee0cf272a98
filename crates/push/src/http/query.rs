//! Questions about channels and users, and the end of a user's connections.
//!
//! Only occupied channels exist for those who ask; what is kept for pages that come back
//! does not show.

use axum::{Json, extract::Path};
use serde_json::{Map, Value, json};

use super::{ApiError, Asked, Wanted};
use crate::{ChannelName, Kind, channel::Info};

pub(super) async fn channels(
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, ApiError> {
    let (hub, parameters) = asked.by(&id)?;
    let prefix = parameters.get("filter_by_prefix").map_or("", String::as_str);
    let wanted = Wanted::parse(parameters.get("info").map_or("", String::as_str))?;
    if wanted.user_count && !prefix.starts_with("presence-") {
        return Err(ApiError::Invalid(
            "user_count is known of presence channels only; add filter_by_prefix=presence-".into(),
        ));
    }
    let occupied = hub.occupied(prefix).into_iter();
    let channels: Map<_, _> = occupied
        .map(|(name, info)| (name.to_string(), described(&name, Some(info), wanted)))
        .collect();
    Ok(Json(json!({ "channels": channels })))
}

pub(super) async fn channel(
    Path((id, channel)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, ApiError> {
    let (hub, parameters) = asked.by(&id)?;
    let name = ChannelName::parse(&channel)?;
    let wanted = Wanted::parse(parameters.get("info").map_or("", String::as_str))?;
    if wanted.user_count && name.kind() != Kind::Presence {
        return Err(ApiError::Invalid(format!(
            "channel {channel:?} is no presence channel; only those have a user_count"
        )));
    }
    let info = hub.info(&name);
    let occupied = info.as_ref().is_some_and(|info| info.subscriptions > 0);
    let mut answer = described(&name, info, wanted);
    answer["occupied"] = occupied.into();
    Ok(Json(answer))
}

pub(super) async fn users(
    Path((id, channel)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, ApiError> {
    let (hub, _) = asked.by(&id)?;
    let name = ChannelName::parse(&channel)?;
    if name.kind() != Kind::Presence {
        return Err(ApiError::Invalid(format!(
            "channel {channel:?} is no presence channel; only those know their users"
        )));
    }
    let members = hub.info(&name).map(|info| info.members).unwrap_or_default();
    let users: Vec<_> = members.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(Json(json!({ "users": users })))
}

pub(super) async fn terminate(
    Path((id, user)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, ApiError> {
    let (hub, _) = asked.by(&id)?;
    hub.terminate(&user);
    Ok(Json(json!({})))
}

/// What is asked of a channel; one that is not in memory has nobody.
pub(super) fn described(name: &ChannelName, info: Option<Info>, wanted: Wanted) -> Value {
    let mut described = Map::new();
    let (subscriptions, members, cached) = match info {
        Some(info) => (info.subscriptions, info.members.len(), info.cached),
        None => (0, 0, None),
    };
    if wanted.subscription_count {
        described.insert("subscription_count".into(), subscriptions.into());
    }
    if wanted.user_count && name.kind() == Kind::Presence {
        described.insert("user_count".into(), members.into());
    }
    if wanted.cache
        && let Some((data, ttl)) = cached
    {
        described.insert("cache".into(), json!({ "data": data, "ttl": ttl }));
    }
    Value::Object(described)
}
