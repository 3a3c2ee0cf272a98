//! Endpoints over a view's store: rows as a list or an object, once or again and again.
//!
//! With `last` the windows count that lie within that time before a moment: the last one at
//! which a window ended, as far as the view has seen everything up to it. A view that hears
//! nothing is not waited for longer than one window.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use courant_model::Span;
use courant_pipeline::{plan::ViewEndpointPlan, runtime::ViewScan};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::Mutex;

use crate::{api::views::rows, context::Shared, error::ApiError, stream::ticks, views::ViewState};

/// The last message of a stream and its number; one for all who listen.
pub(crate) type Latest = Arc<Mutex<Option<(i64, Arc<Answer>)>>>;

/// An endpoint with the values of its path.
#[derive(Debug, Clone)]
pub(crate) struct ViewEndpoint {
    pub(crate) plan: ViewEndpointPlan,
    /// Values of the first key columns, as the path has them.
    pub(crate) parts: Vec<String>,
    pub(crate) latest: Latest,
}

/// What an endpoint answers at a moment.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) json: String,
    /// The moment up to which windows count, in microseconds since the epoch.
    pub(crate) until_micros: i64,
}

impl ViewEndpoint {
    /// Answers a request.
    ///
    /// # Errors
    /// Those of [`crate::Views::scan`]; [`ApiError::UnknownRow`] where the path is a whole
    /// key and no row has it.
    pub(crate) async fn answer(self, shared: &Arc<Shared>) -> Result<Response, ApiError> {
        if let Some(every) = self.plan.stream {
            return ticks::open(shared, self, every).await;
        }
        let view = shared.view(&self.plan.view)?;
        let is_whole = view.key.as_ref().is_some_and(|key| key.len() == self.parts.len());
        if is_whole && !self.parts.is_empty() {
            return self.one(shared, &view).await;
        }
        let Answer { json, .. } = self.now(shared).await?;
        let content_type = HeaderValue::from_static("application/json");
        Ok(([(header::CONTENT_TYPE, content_type)], json).into_response())
    }

    /// The row of a whole key.
    async fn one(&self, shared: &Shared, view: &ViewState) -> Result<Response, ApiError> {
        let prefix = view.key_of_parts(&self.parts)?;
        let scan = ViewScan { prefix, limit: Some(1), ..ViewScan::default() };
        let page = shared.context.views.scan(&view.name, &scan).await?;
        match rows(&page.rows).into_iter().next() {
            Some(row) => Ok(Json(row).into_response()),
            None => {
                let (view, key) = (view.name.clone(), self.parts.join(", "));
                Err(ApiError::UnknownRow { view, key })
            }
        }
    }

    /// The message of this number; it is made once for all who ask for the same path.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(crate) async fn at_tick(
        &self,
        shared: &Shared,
        number: i64,
    ) -> Result<Arc<Answer>, ApiError> {
        if !self.parts.is_empty() {
            return self.now(shared).await.map(Arc::new);
        }
        let mut latest = self.latest.lock().await;
        if let Some((made, answer)) = latest.as_ref()
            && *made >= number
        {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(self.now(shared).await?);
        *latest = Some((number, Arc::clone(&answer)));
        Ok(answer)
    }

    async fn now(&self, shared: &Shared) -> Result<Answer, ApiError> {
        let view = shared.view(&self.plan.view)?;
        let until_micros = until(&view, shared.context.clock.now_micros());
        let from = self.plan.last.map(|last| until_micros.saturating_sub(micros(last)));
        let scan = ViewScan {
            prefix: view.key_of_parts(&self.parts)?,
            window_from_micros: from,
            window_to_micros: from.map(|_| until_micros),
            limit: Some(self.plan.limit),
            ..ViewScan::default()
        };
        let page = shared.context.views.scan(&view.name, &scan).await?;
        let mut rows = rows(&page.rows);
        if let (Some(window), Some(_)) = (&view.window, from) {
            rows.retain(|row| ends_by(row, &window.end, until_micros));
        }
        let json = match &self.plan.object {
            Some((name, value)) => Value::Object(object(&rows, name, value)).to_string(),
            None => json!({ "count": rows.len(), "data": rows }).to_string(),
        };
        Ok(Answer { json, until_micros })
    }
}

/// The moment up to which windows count: the last end of a window that the view has passed;
/// where it hears nothing, the one before the last of the clock. Results that come once
/// come a grace later.
fn until(view: &ViewState, now: i64) -> i64 {
    let slide = view.window.as_ref().and_then(|window| window.slide_micros);
    let Some(slide) = slide.filter(|slide| *slide > 0) else { return now };
    let waits = if view.emit == "final" { view.grace_millis.saturating_mul(1_000) } else { 0 };
    let whole = |time: i64| time.saturating_sub(waits).div_euclid(slide) * slide;
    let clock = whole(now);
    let seen = view.watermark_micros.map_or(i64::MIN, whole);
    clock.min(seen.max(clock - slide))
}

/// Whether a row's window has ended by a moment.
fn ends_by(row: &RawValue, end: &str, until_micros: i64) -> bool {
    let fields: Map<String, Value> = serde_json::from_str(row.get()).unwrap_or_default();
    let end = fields.get(end).and_then(Value::as_str).unwrap_or_default();
    let end = end.parse().map(jiff::Timestamp::as_microsecond);
    end.is_ok_and(|end| end <= until_micros)
}

/// One column's values by the other's; of several rows the last counts, which is of the
/// newest window.
fn object(rows: &[Box<RawValue>], name: &str, value: &str) -> Map<String, Value> {
    let mut object = Map::new();
    for row in rows {
        let mut fields: Map<String, Value> = serde_json::from_str(row.get()).unwrap_or_default();
        let name = match fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            other => other.cloned().unwrap_or_default().to_string(),
        };
        object.insert(name, fields.remove(value).unwrap_or_default());
    }
    object
}

fn micros(span: Span) -> i64 {
    span.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn of_several_rows_of_a_name_the_last_counts() {
        let rows = [
            row(r#"{"name": "P1", "visits": 3}"#),
            row(r#"{"name": "P1", "visits": 4}"#),
            row(r#"{"name": "P2", "visits": 1}"#),
        ];
        let object = Value::Object(object(&rows, "name", "visits"));
        assert_eq!(object.to_string(), r#"{"P1":4,"P2":1}"#);
    }

    #[test]
    fn a_name_that_is_no_text_is_written_as_json() {
        let rows = [row(r#"{"page": 7, "visits": 3}"#), row(r#"{"visits": 1}"#)];
        let object = Value::Object(object(&rows, "page", "visits"));
        assert_eq!(object.to_string(), r#"{"7":3,"null":1}"#);
    }

    #[test]
    fn a_window_counts_once_it_has_ended() {
        let row = row(r#"{"window_end": "1970-01-01T00:00:05Z"}"#);
        assert!(ends_by(&row, "window_end", 5_000_000));
        assert!(!ends_by(&row, "window_end", 4_999_999));
        assert!(!ends_by(&row, "nothing", 5_000_000));
    }
}
