//! What a request is answered: positions and records, or a refusal.
//!
//! A refusal is `{"error": {"code", "message", "at"?}}`; codes are stable, and the
//! log's are the log's own. `at` is `{"line", "column"}` where the body is no JSON,
//! `{"index"}` where a record of several is refused.

use courant_log::{ErrorCode, LogError};
use courant_model::Position;
use courant_pipeline::{connector::EmitError, routes::RouteResponse};
use serde_json::{Value, json};

use super::{Answer, Method, Settings};

/// Why a request is refused; nothing of it was appended, unless the code says so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) at: Option<Value>,
}

impl Refusal {
    /// A fault of the request.
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into(), at: None }
    }

    /// Names the record, where there are several.
    pub(super) fn at_record(self, index: usize, many: bool) -> Self {
        Self { at: many.then(|| json!({ "index": index })), ..self }
    }

    pub(super) fn at_place(self, line: usize, column: usize) -> Self {
        Self { at: Some(json!({ "line": line, "column": column })), ..self }
    }

    /// What the log said.
    pub(super) fn of(error: &EmitError, many: bool) -> Self {
        match error {
            EmitError::Rejected { index, why } => {
                Self::bad("record_refused", why.clone()).at_record(*index, many)
            }
            EmitError::Log(error) => Self {
                status: status(error),
                code: error.code().as_str(),
                message: error.to_string(),
                at: None,
            },
        }
    }

    pub(super) fn response(&self) -> RouteResponse {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(at) = &self.at {
            error["at"] = at.clone();
        }
        RouteResponse::json(self.status, &json!({ "error": error }))
    }
}

/// The answer of a success: 201, or 200 to a GET.
pub(super) fn success(
    Settings { method, answer, .. }: &Settings,
    many: bool,
    mut records: Vec<Value>,
    positions: &[Position],
) -> RouteResponse {
    let body = match (answer, many) {
        (Answer::Stored, true) => json!({ "records": records, "positions": positions }),
        (Answer::Positions, true) => json!({ "positions": positions }),
        (Answer::Record, true) => Value::Array(records),
        (Answer::Stored, false) => {
            json!({ "record": records.pop(), "position": positions.first() })
        }
        (Answer::Positions, false) => json!({ "position": positions.first() }),
        (Answer::Record, false) => records.pop().unwrap_or_default(),
    };
    RouteResponse::json(if *method == Method::Get { 200 } else { 201 }, &body)
}

const fn status(error: &LogError) -> u16 {
    match error.code() {
        ErrorCode::UnknownTopicOrPartition => 404,
        ErrorCode::MessageTooLarge => 413,
        ErrorCode::InvalidTopic | ErrorCode::InvalidRecord => 400,
        ErrorCode::StorageError | ErrorCode::ClusterError | ErrorCode::Closed => 503,
        _ => 500,
    }
}
