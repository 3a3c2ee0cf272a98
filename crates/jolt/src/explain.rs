//! What a transform did, key by key: which key of the specification met which place of the
//! document, and what came of it.
//!
//! Operations tell an [`Observer`] as they walk. A transform runs with [`Silent`], whose
//! methods do nothing and leave nothing in the compiled code; an explanation runs the same
//! code with a [`Tracer`]. What it keeps is bounded ([`MATCHES_MAX`], [`EXPLAINED_BYTES_MAX`]);
//! what a document becomes does not depend on it.

use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    chain::{Jolt, with_arena},
    convert::{from_serde, to_serde},
    error::{ParseError, TransformError},
    keys::{KeyId, Keys},
    limits::{EXPLAINED_BYTES_MAX, MATCHES_MAX, SHORT_BYTES_MAX},
    parse::parse,
    path::Segment,
    value::Value,
    write,
};

/// A transform's result and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation<T> {
    /// What the transform gave. After an error the matches lead to where it stopped.
    pub output: Result<T, TransformError>,
    /// In the order in which they happened; at most [`MATCHES_MAX`].
    pub matches: Vec<Match>,
    /// Whether there were more.
    pub truncated: bool,
}

/// A key of the specification that met a place of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Index of the operation in the chain.
    pub operation: usize,
    /// The operation as the specification names it.
    pub name: String,
    /// Keys from the operation's spec down to this one, as they are written there. None
    /// for an operation as a whole.
    pub key: Vec<String>,
    /// The place in the operation's input, as a JSON pointer.
    pub input: String,
    pub action: Action,
    /// The places that were written, as JSON pointers into the operation's output.
    pub output: Vec<String>,
    /// What was written or removed, as JSON, cut after [`SHORT_BYTES_MAX`] bytes.
    pub value: Option<String>,
}

/// What came of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The keys below were tried on it.
    Entered,
    /// `shift` wrote it.
    Wrote,
    /// `shift` wrote it nowhere: the specification says null, a part of the path gave no
    /// key, or something of another shape stood there.
    Dropped,
    /// `default` filled it.
    Defaulted,
    /// `remove` took it out.
    Removed,
    /// A `modify` changed it.
    Modified,
    /// `cardinality` changed it.
    Adjusted,
    /// It stayed as it was: something was there, or nothing gave a value.
    Kept,
    /// An operation without keys, `sort` or a custom one, ran on the whole document.
    Ran,
}

impl Jolt {
    /// Transforms a tree and tells which keys met what. Slower than
    /// [`Jolt::transform_with`], which pays nothing for this.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let spec = json!([{ "operation": "shift", "spec": { "user": { "id": "key" } } }]);
    /// let explained = courant_jolt::Jolt::compile(&spec)?.explain(&json!({ "user": { "id": 7 } }), None);
    /// assert_eq!(explained.output?, json!({ "key": 7 }));
    /// let found = &explained.matches[1];
    /// assert_eq!(found.key, ["user", "id"]);
    /// assert_eq!((&*found.input, &*found.output[0]), ("/user/id", "/key"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain(&self, input: &Json, context: Option<&Json>) -> Explanation<Json> {
        with_arena(|arena| {
            let context = context.map(|context| from_serde(arena, context));
            let mut tracer = Tracer::default();
            let output = self.run(arena, from_serde(arena, input), context, &mut tracer);
            tracer.explanation(output.map(to_serde))
        })
    }

    /// As [`Jolt::explain`], on JSON text.
    ///
    /// # Errors
    /// [`ParseError`] for what is no JSON.
    pub fn explain_bytes(
        &self,
        input: &[u8],
        context: Option<&Json>,
    ) -> Result<Explanation<Vec<u8>>, ParseError> {
        with_arena(|arena| {
            let context = context.map(|context| from_serde(arena, context));
            let mut tracer = Tracer::default();
            let output = self.run(arena, parse(arena, input)?, context, &mut tracer);
            Ok(tracer.explanation(output.map(write::to_vec)))
        })
    }
}

/// Who is told what operations do. A walk enters a step of the document, tells what
/// happened there, and leaves it.
pub(crate) trait Observer<'x> {
    /// Whether anybody listens: what only the observer needs is made where this holds.
    const ON: bool = false;

    fn operation(&mut self, _index: usize, _name: &'x str, _keys: &'x Keys) {}

    fn enter(&mut self, _step: Step<'x>) {}

    fn leave(&mut self) {}

    /// A key met the step that was entered last.
    fn tell(&mut self, _key: KeyId, _action: Action, _value: Option<Value<'x>>) {}

    /// A write begins at the top of the output.
    fn begin_write(&mut self) {}

    /// It went a step down in a container, which has the step by now.
    fn go_down(&mut self, _segment: Segment<'x>, _container: Value<'x>) {}

    /// It ended; what stood there before, and what does now.
    fn wrote(&mut self, _before: Value<'x>, _now: Value<'x>) {}
}

/// Where a walk goes from its last step.
#[derive(Debug, Clone)]
pub(crate) enum Step<'x> {
    /// Nowhere: to the value itself.
    Same,
    Key(&'x str),
    Index(usize),
    /// So many steps back, then down.
    Elsewhere(usize, Vec<Segment<'x>>),
}

/// Nobody.
pub(crate) struct Silent;

impl Observer<'_> for Silent {}

/// Keeps matches until there are too many.
#[derive(Default)]
struct Tracer<'x> {
    operation: Option<(usize, &'x str, &'x Keys)>,
    /// The steps entered, each with the one that it goes on from.
    trail: Vec<(usize, Step<'x>)>,
    /// The place of the write that goes on.
    place: Vec<Segment<'x>>,
    written: Vec<String>,
    matches: Vec<Match>,
    bytes: usize,
    truncated: bool,
}

impl<'x> Observer<'x> for Tracer<'x> {
    const ON: bool = true;

    fn operation(&mut self, index: usize, name: &'x str, keys: &'x Keys) {
        self.operation = Some((index, name, keys));
        // The document stands above itself, as in the walks.
        self.trail.clear();
        self.trail.extend([(0, Step::Same), (0, Step::Same)]);
    }

    fn enter(&mut self, step: Step<'x>) {
        let last = self.trail.len().saturating_sub(1);
        let from = if let Step::Elsewhere(up, _) = step { last.saturating_sub(up) } else { last };
        self.trail.push((from, step));
    }

    fn leave(&mut self) {
        self.trail.pop();
    }

    fn tell(&mut self, key: KeyId, action: Action, value: Option<Value<'x>>) {
        let mut output = std::mem::take(&mut self.written);
        if self.is_full() {
            return;
        }
        let input = self.pointer();
        let action =
            if action == Action::Wrote && output.is_empty() { Action::Dropped } else { action };
        if matches!(action, Action::Defaulted | Action::Modified | Action::Adjusted) {
            output.push(input.clone());
        }
        let Some((operation, name, keys)) = self.operation else { return };
        let key = keys.path(key);
        let value = value.map(|value| write::to_short(value, SHORT_BYTES_MAX));
        let texts = key.iter().chain(&output).chain(&value).map(String::len);
        self.bytes += texts.sum::<usize>() + input.len() + name.len();
        let name = name.to_owned();
        self.matches.push(Match { operation, name, key, input, action, output, value });
    }

    fn begin_write(&mut self) {
        self.place.clear();
    }

    fn go_down(&mut self, segment: Segment<'x>, container: Value<'x>) {
        self.place.push(match (segment, container) {
            (Segment::Append, Value::Array(array)) => Segment::Index(array.len().saturating_sub(1)),
            (segment, _) => segment,
        });
    }

    fn wrote(&mut self, before: Value<'x>, now: Value<'x>) {
        if self.is_full() {
            return;
        }
        if let (false, Value::Array(list)) = (before.is_null(), now) {
            self.place.push(Segment::Index(list.len().saturating_sub(1)));
        }
        let mut pointer = String::new();
        self.place.iter().for_each(|segment| append(&mut pointer, *segment));
        self.bytes += pointer.len();
        self.written.push(pointer);
    }
}

impl Tracer<'_> {
    fn is_full(&mut self) -> bool {
        if self.matches.len() >= MATCHES_MAX || self.bytes >= EXPLAINED_BYTES_MAX {
            self.truncated = true;
        }
        self.truncated
    }

    /// The place of the step that was entered last.
    fn pointer(&self) -> String {
        let (mut steps, mut at) = (Vec::new(), self.trail.len().saturating_sub(1));
        while let Some((from, step)) = self.trail.get(at).filter(|_| at > 0) {
            steps.push(step);
            at = *from;
        }
        let mut pointer = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Same => {}
                Step::Key(key) => append(&mut pointer, Segment::Key(key)),
                Step::Index(index) => append(&mut pointer, Segment::Index(*index)),
                Step::Elsewhere(_, path) => {
                    path.iter().for_each(|segment| append(&mut pointer, *segment));
                }
            }
        }
        pointer
    }

    fn explanation<T>(self, output: Result<T, TransformError>) -> Explanation<T> {
        Explanation { output, matches: self.matches, truncated: self.truncated }
    }
}

/// Appends a step to a JSON pointer (RFC 6901).
fn append(pointer: &mut String, segment: Segment<'_>) {
    pointer.push('/');
    match segment {
        Segment::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
        Segment::Index(index) => pointer.push_str(itoa::Buffer::new().format(index)),
        Segment::Append => pointer.push('-'),
    }
}
