//! Tries a Jolt specification out, for the page and for people who write one.
//!
//! What is wrong with a specification or a document is an answer here, not a failure: the
//! page shows it in place. A transformation runs on a thread of its own with a bounded
//! wait; how many run at once is bounded, too, so that nobody can take the machine.
//! Nothing is kept.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{Json, extract::State, http::HeaderMap};
use courant_jolt::{
    Arena, Jolt, Match, ParseError, SpecError, TransformError, locate, parse, parse_with_comments,
    to_serde, to_vec_pretty,
};
use courant_model::limits::{JOLT_SHOWN_BYTES_MAX, JOLT_TRIED_BYTES_MAX, JOLT_TRIED_MS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    context::Shared,
    error::ApiError,
    extract::{Body, is_json, media_type},
    table::Route,
};

/// Matches whose keys are looked up in the text of the specification.
const PLACED_KEYS_MAX: usize = 256;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/jolt", "tries a Jolt specification out", transform)
            .body::<Trial>("a specification and what it is tried on")
            .answers_json(
                "`{\"output\", \"matches\": [{\"operation\", \"name\", \"key\", \"input\", \"action\", \"output\", \"value\"}], \"truncated\", \"errors\": [{\"part\", \"operation\", \"path\", \"message\", \"line\", \"column\"}]}`",
            ),
    ]
}

/// What is tried.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// The list of operations; its text where `text` is set.
    spec: Value,
    /// The document; its text where `text` is set.
    input: Value,
    /// What `^` means in the specification; its text where `text` is set.
    context: Option<Value>,
    /// Whether the parts are texts that hold JSON, comments allowed in the specification.
    /// Errors have lines and columns then, and the output is a text.
    #[serde(default)]
    text: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Null where there are errors.
    output: Value,
    matches: Vec<PlacedMatch>,
    /// Whether there were more matches.
    truncated: bool,
    errors: Vec<Wrong>,
}

#[derive(Debug, Serialize)]
struct PlacedMatch {
    #[serde(flatten)]
    found: Match,
    /// The line of its key in the text of the specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

/// Something wrong with a part.
#[derive(Debug, Serialize)]
struct Wrong {
    part: Part,
    /// Index of the operation that it is about.
    operation: Option<usize>,
    /// Keys from the operation's spec down to the one that is wrong.
    path: Vec<String>,
    message: String,
    /// In the text of the part; the specification's where a transformation failed.
    line: Option<usize>,
    column: Option<usize>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Spec,
    Input,
    Context,
    /// The specification could not transform this document.
    Transform,
}

async fn transform(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Outcome>, ApiError> {
    let found = media_type(&headers);
    if !is_json(&found) {
        return Err(ApiError::UnsupportedMediaType { found, expected: "application/json" });
    }
    if body.len() > JOLT_TRIED_BYTES_MAX {
        let found = body.len();
        return Err(ApiError::invalid_with(
            format!("request has {found} bytes; {JOLT_TRIED_BYTES_MAX} are tried out here"),
            "try a smaller document, or use `courant jolt`",
        ));
    }
    let trial: Trial = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("body does not fit: {error}")))?;
    let permit = shared.begin_trial()?;
    // The thread holds the permit: who waits no longer frees no place.
    let work = tokio::task::spawn_blocking(move || {
        let outcome = run(&trial);
        drop(permit);
        outcome
    });
    match tokio::time::timeout(Duration::from_millis(JOLT_TRIED_MS_MAX), work).await {
        Ok(Ok(outcome)) => Ok(Json(outcome)),
        Ok(Err(stopped)) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process is ending.
            Err(_) => Err(ApiError::TooManyTrials),
        },
        Err(_) => Err(ApiError::invalid_with(
            format!("transformation takes longer than {JOLT_TRIED_MS_MAX} ms"),
            "try a smaller document, or use `courant jolt`",
        )),
    }
}

fn run(trial: &Trial) -> Outcome {
    let mut outcome = Outcome::default();
    let spec = Text::read(&trial.spec, trial.text, Part::Spec, &mut outcome);
    let input = Text::read(&trial.input, trial.text, Part::Input, &mut outcome);
    let context = trial.context.as_ref().map(|context| match (trial.text, context.as_str()) {
        (true, Some(text)) if text.trim().is_empty() => None,
        _ => Text::read(context, trial.text, Part::Context, &mut outcome),
    });
    let jolt = spec.as_ref().and_then(|spec| match Jolt::compile(&spec.json) {
        Ok(jolt) => Some(jolt),
        Err(errors) => {
            outcome.errors.extend(errors.0.into_iter().map(|error| spec.wrong(error)));
            None
        }
    });
    if let (Some(jolt), Some(spec), Some(input), true) =
        (&jolt, &spec, &input, outcome.errors.is_empty())
    {
        let context = context.flatten().map(|context| context.json);
        explain(jolt, spec, input, context.as_ref(), &mut outcome);
    }
    outcome
}

fn explain(
    jolt: &Jolt,
    spec: &Text<'_>,
    input: &Text<'_>,
    context: Option<&Value>,
    outcome: &mut Outcome,
) {
    let explained = match jolt.explain_bytes(&input.bytes(), context) {
        Ok(explained) => explained,
        Err(error) => return outcome.errors.push(input.unread(Part::Input, &error)),
    };
    outcome.truncated = explained.truncated;
    outcome.matches = spec.placed(explained.matches);
    match explained.output {
        Ok(output) if output.len() > JOLT_SHOWN_BYTES_MAX => {
            let found = output.len();
            let what = format!("result has {found} bytes; {JOLT_SHOWN_BYTES_MAX} are shown here");
            outcome.errors.push(Wrong::new(Part::Transform, what));
        }
        Ok(output) => outcome.output = shown(&output, input.text.is_some()),
        Err(error) => outcome.errors.push(spec.failed(error)),
    }
}

/// The result as JSON, or as a text of several lines.
fn shown(output: &[u8], as_text: bool) -> Value {
    if !as_text {
        return serde_json::from_slice(output).unwrap_or_default();
    }
    let arena = Arena::new();
    let text = parse(&arena, output).map(to_vec_pretty).unwrap_or_default();
    String::from_utf8(text).unwrap_or_default().into()
}

/// A part of a trial, with its text where it came as one.
struct Text<'a> {
    json: Value,
    text: Option<&'a str>,
}

impl<'a> Text<'a> {
    fn read(value: &'a Value, as_text: bool, part: Part, outcome: &mut Outcome) -> Option<Self> {
        if !as_text {
            return Some(Self { json: value.clone(), text: None });
        }
        let Some(text) = value.as_str() else {
            outcome.errors.push(Wrong::new(part, "with \"text\" it must be a text".into()));
            return None;
        };
        let mut part_of = Self { json: Value::Null, text: Some(text) };
        let arena = Arena::new();
        let parsed = match part {
            Part::Spec => parse_with_comments(&arena, text.as_bytes()),
            _ => parse(&arena, text.as_bytes()),
        };
        match parsed {
            Ok(parsed) => {
                part_of.json = to_serde(parsed);
                Some(part_of)
            }
            Err(error) => {
                outcome.errors.push(part_of.unread(part, &error));
                None
            }
        }
    }

    /// The JSON as bytes; as they were written where it came as text.
    fn bytes(&self) -> Vec<u8> {
        match self.text {
            Some(text) => text.as_bytes().to_vec(),
            None => self.json.to_string().into_bytes(),
        }
    }

    fn unread(&self, part: Part, error: &ParseError) -> Wrong {
        let message = format!("no JSON: {}", error.what);
        Wrong {
            line: self.text.map(|_| error.line),
            column: self.text.map(|_| error.column),
            ..Wrong::new(part, message)
        }
    }

    fn wrong(&self, error: SpecError) -> Wrong {
        let SpecError { operation, path, what } = error;
        let keys = path.iter().map(String::as_str);
        let place = self.text.map(|text| locate(text, operation, keys));
        let (line, column) = (place.map(|place| place.line), place.map(|place| place.column));
        Wrong { part: Part::Spec, operation, path, message: what, line, column }
    }

    fn failed(&self, error: TransformError) -> Wrong {
        let TransformError { operation, what } = error;
        let failed = SpecError { operation: Some(operation), path: Vec::new(), what };
        Wrong { part: Part::Transform, ..self.wrong(failed) }
    }

    /// Matches with the lines of their keys.
    fn placed(&self, matches: Vec<Match>) -> Vec<PlacedMatch> {
        let mut lines: HashMap<(usize, Vec<String>), usize> = HashMap::new();
        let place = |found: Match| {
            let Some(text) = self.text else { return PlacedMatch { found, line: None } };
            let key = (found.operation, found.key.clone());
            let known = lines.get(&key).copied();
            let line = known.or_else(|| {
                let keys = found.key.iter().map(String::as_str);
                let is_few = lines.len() < PLACED_KEYS_MAX;
                let line = is_few.then(|| locate(text, Some(found.operation), keys).line)?;
                lines.insert(key, line);
                Some(line)
            });
            PlacedMatch { found, line }
        };
        matches.into_iter().map(place).collect()
    }
}

impl Wrong {
    fn new(part: Part, message: String) -> Self {
        Self { part, operation: None, path: Vec::new(), message, line: None, column: None }
    }
}
