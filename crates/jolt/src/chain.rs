//! A chain of operations: compiled once, then applied to documents.
//!
//! Compiling looks at everything and tells all that is wrong. A transform runs the
//! operations one after the other on one document, within one budget.

use std::{cell::Cell, collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value as Json;

use crate::{
    arena::Arena,
    budget::{Budget, Fault, Run},
    cardinality::Cardinality,
    convert::{from_serde, to_serde},
    default::Default as Fill,
    error::{Error, Report, SpecError, SpecErrors, TransformError},
    explain::{Action, Observer, Silent},
    keys::{KeyId, Keys},
    limits::{DEPTH_MAX, OPERATIONS_MAX},
    modify::{Mode, Modify},
    parse::{parse, parse_with_comments},
    remove::Remove,
    shift::Shift,
    sort,
    value::Value,
    write,
};

/// A compiled specification. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Jolt {
    operations: Vec<Stage>,
}

/// An operation of the chain, with what tells people about it.
#[derive(Debug)]
struct Stage {
    name: Box<str>,
    keys: Keys,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    Shift(Shift),
    Default(Fill),
    Remove(Remove),
    Sort,
    Cardinality(Cardinality),
    Modify(Modify),
    Custom(Box<dyn Custom>),
}

/// An operation of one's own, as the reference has Java classes.
pub trait Custom: Send + Sync + fmt::Debug {
    /// Transforms a document.
    ///
    /// # Errors
    /// A text that says what is wrong.
    fn transform(&self, input: Json, context: Option<&Json>) -> Result<Json, String>;
}

type Factory = Arc<dyn Fn(Option<&Json>) -> Result<Box<dyn Custom>, String> + Send + Sync>;

/// Names of custom operations.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}

impl Registry {
    /// Makes a name known. The factory gets the operation's `spec`, where it has one.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        factory: impl Fn(Option<&Json>) -> Result<Box<dyn Custom>, String> + Send + Sync + 'static,
    ) {
        self.factories.insert(name.into(), Arc::new(factory));
    }
}

impl Jolt {
    /// Compiles a chain: a list of `{"operation": …, "spec": …}`.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let spec = json!([{ "operation": "shift", "spec": { "id": "order.id" } }]);
    /// let jolt = courant_jolt::Jolt::compile(&spec)?;
    /// assert_eq!(jolt.transform(json!({ "id": 7 }))?, json!({ "order": { "id": 7 } }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: &Json) -> Result<Self, SpecErrors> {
        Self::compile_with(spec, &Registry::default())
    }

    /// As [`Jolt::compile`], with custom operations.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile_with(spec: &Json, registry: &Registry) -> Result<Self, SpecErrors> {
        chain(from_serde(&Arena::new(), spec), registry)
    }

    /// Compiles a chain from JSON text, in which comments are allowed.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text(spec: &str) -> Result<Self, SpecErrors> {
        Self::from_text_with(spec, &Registry::default())
    }

    /// As [`Jolt::from_text`], with custom operations.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text_with(spec: &str, registry: &Registry) -> Result<Self, SpecErrors> {
        let arena = Arena::new();
        let parsed = parse_with_comments(&arena, spec.as_bytes())
            .map_err(|error| only(None, format!("the specification is no JSON: {error}")))?;
        chain(parsed, registry)
    }

    /// Compiles a single operation with its bare spec; `sort` has none.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn operation(name: &str, spec: Option<&Json>) -> Result<Self, SpecErrors> {
        let arena = Arena::new();
        let spec = spec.map(|spec| from_serde(&arena, spec));
        let mut report = Report::at(0);
        let operation = operation(name, spec, &Registry::default(), &mut report);
        let stage = operation.map(|operation| stage(name, operation, &mut report));
        finish(stage.into_iter().collect(), report.errors)
    }

    /// Transforms a tree.
    ///
    /// # Errors
    /// [`TransformError`] with the operation that cannot go on.
    pub fn transform(&self, input: Json) -> Result<Json, TransformError> {
        self.transform_with(input, None)
    }

    /// Transforms a tree, with a context for `^` and custom operations.
    ///
    /// # Errors
    /// [`TransformError`] with the operation that cannot go on.
    #[allow(clippy::needless_pass_by_value, reason = "a document is given for another")]
    pub fn transform_with(
        &self,
        input: Json,
        context: Option<&Json>,
    ) -> Result<Json, TransformError> {
        with_arena(|arena| {
            let context = context.map(|context| from_serde(arena, context));
            let output = self.apply(arena, from_serde(arena, &input), context)?;
            Ok(to_serde(output))
        })
    }

    /// Transforms JSON text into JSON text.
    ///
    /// ```
    /// let jolt = courant_jolt::Jolt::from_text(r#"[{"operation": "sort"}]"#)?;
    /// assert_eq!(jolt.transform_bytes(br#"{ "b": 1.0, "a": 2 }"#)?, br#"{"a":2,"b":1.0}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for what is no JSON, [`Error::Transform`] for the rest.
    pub fn transform_bytes(&self, input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut output = Vec::with_capacity(input.len());
        self.transform_into(input, None, &mut output)?;
        Ok(output)
    }

    /// As [`Jolt::transform_bytes`], appending to a buffer, with a context. Uses memory
    /// that the thread keeps: after a few documents nothing is allocated any more.
    ///
    /// # Errors
    /// As [`Jolt::transform_bytes`]; then nothing was appended.
    pub fn transform_into(
        &self,
        input: &[u8],
        context: Option<&Json>,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        with_arena(|arena| {
            let context = context.map(|context| from_serde(arena, context));
            let transformed = self.apply(arena, parse(arena, input)?, context)?;
            write::write(transformed, output);
            Ok(())
        })
    }

    /// Transforms each document of a batch; one that fails does not stop the others.
    pub fn transform_batch<'i>(
        &self,
        inputs: impl IntoIterator<Item = &'i [u8]>,
    ) -> Vec<Result<Vec<u8>, Error>> {
        inputs.into_iter().map(|input| self.transform_bytes(input)).collect()
    }

    /// Transforms a document that is parsed already, within its arena.
    ///
    /// ```
    /// use courant_jolt::{Arena, Jolt, parse, to_vec};
    ///
    /// let jolt = Jolt::from_text(r#"[{"operation": "shift", "spec": {"a": "b"}}]"#)?;
    /// let arena = Arena::new();
    /// let output = jolt.apply(&arena, parse(&arena, br#"{"a": [1]}"#)?, None)?;
    /// assert_eq!(to_vec(output), br#"{"b":[1]}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TransformError`] with the operation that cannot go on.
    pub fn apply<'x>(
        &'x self,
        arena: &'x Arena,
        input: Value<'x>,
        context: Option<Value<'x>>,
    ) -> Result<Value<'x>, TransformError> {
        self.run(arena, input, context, &mut Silent)
    }

    /// As [`Jolt::apply`], telling an observer.
    pub(crate) fn run<'x, O: Observer<'x>>(
        &'x self,
        arena: &'x Arena,
        input: Value<'x>,
        context: Option<Value<'x>>,
        observer: &mut O,
    ) -> Result<Value<'x>, TransformError> {
        let mut budget = Budget::of(arena);
        let mut value = input;
        // Parsed documents are no deeper; what operations add is bounded by their specs.
        let mut depth = DEPTH_MAX;
        for (index, Stage { name, keys, operation }) in self.operations.iter().enumerate() {
            observer.operation(index, name, keys);
            let failed = |Fault(what)| TransformError { operation: index, what };
            depth += operation.deepens();
            let run = Run { arena, budget: &mut budget, observer: &mut *observer };
            value = operation.apply(run, value, context).map_err(failed)?;
            if depth > 2 * DEPTH_MAX {
                depth = value.depth();
                if depth > 2 * DEPTH_MAX {
                    let what = format!("the result is nested {depth} levels deep");
                    return Err(TransformError { operation: index, what });
                }
            }
        }
        Ok(value)
    }
}

/// Runs with the thread's arena. A custom operation that transforms something itself
/// finds it taken and gets one of its own.
pub(crate) fn with_arena<T>(run: impl FnOnce(&Arena) -> T) -> T {
    thread_local! {
        static ARENA: Cell<Arena> = Cell::default();
    }
    let mut arena = ARENA.take();
    let outcome = run(&arena);
    arena.reset();
    ARENA.set(arena);
    outcome
}

impl Operation {
    fn apply<'x, O: Observer<'x>>(
        &'x self,
        run: Run<'x, '_, O>,
        value: Value<'x>,
        context: Option<Value<'x>>,
    ) -> Result<Value<'x>, Fault> {
        let arena = run.arena;
        if let Self::Shift(shift) = self {
            return shift.apply(run, value);
        }
        if let Self::Sort | Self::Custom(_) = self {
            run.observer.tell(KeyId::default(), Action::Ran, None);
        }
        if let Self::Custom(custom) = self {
            let context = context.map(to_serde);
            let output = custom.transform(to_serde(value), context.as_ref()).map_err(Fault)?;
            let text = serde_json::to_vec(&output).map_err(|error| Fault(error.to_string()))?;
            let output = parse(arena, arena.bytes(&text));
            let output = output.map_err(|error| Fault(error.to_string()))?;
            run.budget.weight(output.weight())?;
            return Ok(output);
        }
        let slot = arena.put(Cell::new(value));
        match self {
            Self::Default(default) => default.apply(run, slot)?,
            Self::Remove(remove) => remove.apply(run, slot)?,
            Self::Sort => sort::sort(slot),
            Self::Cardinality(cardinality) => cardinality.apply(run, slot)?,
            Self::Modify(modify) => modify.apply(run, slot, context)?,
            Self::Shift(_) | Self::Custom(_) => {}
        }
        Ok(slot.get())
    }

    fn deepens(&self) -> usize {
        match self {
            Self::Shift(shift) => shift.deepens(),
            Self::Default(default) => default.deepens(),
            Self::Modify(modify) => modify.deepens(),
            Self::Custom(_) => DEPTH_MAX,
            // Each level of an object can become a list.
            Self::Cardinality(_) => DEPTH_MAX,
            Self::Remove(_) | Self::Sort => 0,
        }
    }
}

fn only(operation: Option<usize>, what: String) -> SpecErrors {
    SpecErrors(vec![SpecError { operation, path: Vec::new(), what }])
}

fn finish(operations: Vec<Stage>, errors: Vec<SpecError>) -> Result<Jolt, SpecErrors> {
    if errors.is_empty() { Ok(Jolt { operations }) } else { Err(SpecErrors(errors)) }
}

fn stage(name: &str, operation: Operation, report: &mut Report) -> Stage {
    Stage { name: name.into(), keys: std::mem::take(&mut report.keys), operation }
}

fn chain(spec: Value<'_>, registry: &Registry) -> Result<Jolt, SpecErrors> {
    let Value::Array(entries) = spec else {
        let kind = spec.kind();
        return Err(only(None, format!("a specification is a list of operations, not {kind}")));
    };
    if entries.is_empty() {
        return Err(only(None, "a specification needs at least one operation".to_owned()));
    }
    if entries.len() > OPERATIONS_MAX {
        let found = entries.len();
        let what = format!("a specification of {found} operations; {OPERATIONS_MAX} are allowed");
        return Err(only(None, what));
    }
    let (mut operations, mut errors) = (Vec::with_capacity(entries.len()), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let mut report = Report::at(index);
        operations.extend(self::entry(entry, registry, &mut report));
        errors.append(&mut report.errors);
    }
    finish(operations, errors)
}

fn entry(entry: Value<'_>, registry: &Registry, report: &mut Report) -> Option<Stage> {
    let Value::Object(entry) = entry else {
        report.tell(format!(
            "an operation is an object with \"operation\" and \"spec\", not {}",
            entry.kind()
        ));
        return None;
    };
    match entry.get("operation") {
        Some(Value::String(name)) if !name.trim().is_empty() => {
            let operation = operation(name, entry.get("spec"), registry, report)?;
            Some(stage(name, operation, report))
        }
        Some(Value::String(_)) => {
            report.tell("\"operation\" is blank; it names what is done, such as \"shift\"");
            None
        }
        None | Some(Value::Null) => {
            report.tell("\"operation\" is missing; it names what is done, such as \"shift\"");
            None
        }
        Some(other) => {
            report.tell(format!("\"operation\" must be a string, not {}", other.kind()));
            None
        }
    }
}

fn operation(
    name: &str,
    spec: Option<Value<'_>>,
    registry: &Registry,
    report: &mut Report,
) -> Option<Operation> {
    if name == "sort" {
        return Some(Operation::Sort);
    }
    if let Some(factory) = registry.factories.get(name) {
        let spec = spec.map(to_serde);
        return match factory(spec.as_ref()) {
            Ok(custom) => Some(Operation::Custom(custom)),
            Err(why) => {
                report.tell(why);
                None
            }
        };
    }
    type Compile = fn(Value<'_>, &mut Report) -> Option<Operation>;
    let compile: Compile = match name {
        "shift" => |spec, report| Shift::compile(spec, report).map(Operation::Shift),
        "default" => |spec, report| Fill::compile(spec, report).map(Operation::Default),
        "remove" => |spec, report| Remove::compile(spec, report).map(Operation::Remove),
        "cardinality" => {
            |spec, report| Cardinality::compile(spec, report).map(Operation::Cardinality)
        }
        "modify-overwrite-beta" => |spec, report| modify(spec, Mode::Overwrite, report),
        "modify-default-beta" => |spec, report| modify(spec, Mode::Default, report),
        "modify-define-beta" => |spec, report| modify(spec, Mode::Define, report),
        _ => {
            report.tell(format!(
                "unknown operation {name:?}; known are shift, default, remove, sort, cardinality, \
                 modify-overwrite-beta, modify-default-beta, modify-define-beta and what was registered"
            ));
            return None;
        }
    };
    let Some(spec) = spec else {
        report.tell(format!("operation {name:?} needs a \"spec\""));
        return None;
    };
    compile(spec, report)
}

fn modify(spec: Value<'_>, mode: Mode, report: &mut Report) -> Option<Operation> {
    Modify::compile(spec, mode, report).map(Operation::Modify)
}
