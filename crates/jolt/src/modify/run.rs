//! A specification run over a document, which changes under it.
//!
//! A step is a place in the step above it, because the document cannot be borrowed while
//! it changes; what `@(2,a)` reads is found from the document's top through those places.

use super::{Composite, Entry, Expression, Mode, Node, Shape};
use crate::{
    budget::{Budget, Fault},
    java,
    star::{Captures, Star},
    value::{Object, Text, Value},
    walk::{Matched, MatchedKey, OutOfRange, Walked},
};

static NULL: Value<'static> = Value::Null;

pub(super) fn run<'x>(
    root: &'x Composite,
    value: &mut Value<'x>,
    context: Option<&'x Value<'x>>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let top = || Step {
        place: Place::Here,
        matched: Matched::new(MatchedKey::Text(Text::Borrowed("root")), Captures::None),
    };
    let fits = match (root.shape, &*value) {
        (Shape::Any, found) => !found.is_null(),
        (Shape::Object, found) => matches!(found, Value::Object(_)),
        (Shape::Array { .. }, found) => matches!(found, Value::Array(_)),
    };
    if !fits {
        return Ok(());
    }
    let mut run = Run { root: value, steps: vec![top(), top()], context, budget };
    run.children(root)
}

struct Run<'d, 'x, 'b> {
    root: &'d mut Value<'x>,
    steps: Vec<Step<'x>>,
    context: Option<&'x Value<'x>>,
    budget: &'b mut Budget,
}

struct Step<'x> {
    place: Place,
    matched: Matched<'x>,
}

/// Where a step is within the one above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The same place.
    Here,
    At(usize),
    /// It has no value yet.
    Nowhere,
}

/// The document and the steps, as references see them.
struct View<'v, 'x> {
    root: &'v Value<'x>,
    steps: &'v [Step<'x>],
}

impl<'v, 'x: 'v> Walked<'v, 'x> for View<'v, 'x> {
    fn matched(&self, up: usize) -> Option<&Matched<'x>> {
        let place = self.steps.len().checked_sub(up.checked_add(1)?)?;
        Some(&self.steps[place].matched)
    }

    fn value(&self, up: usize) -> Option<Option<&'v Value<'x>>> {
        let last = self.steps.len().checked_sub(up.checked_add(1)?)?;
        let down = |at: &'v Value<'x>, step: &Step<'x>| match (step.place, at) {
            (Place::Here, at) => Some(at),
            (Place::At(place), Value::Object(object)) => object.at(place).map(|(_, value)| value),
            (Place::At(place), Value::Array(items)) => items.get(place),
            _ => None,
        };
        Some(self.steps[..=last].iter().try_fold(self.root, down))
    }
}

/// What the last step holds.
enum Holds {
    Object,
    Array(usize),
    Scalar,
    Nothing,
}

impl<'x> Run<'_, 'x, '_> {
    /// The value of the last step.
    fn current(&mut self) -> Option<&mut Value<'x>> {
        let mut at = &mut *self.root;
        for step in &self.steps {
            at = match (step.place, at) {
                (Place::Here, at) => at,
                (Place::At(place), Value::Object(object)) => object.at_mut(place)?,
                (Place::At(place), Value::Array(items)) => items.get_mut(place)?,
                _ => return None,
            };
        }
        Some(at)
    }

    fn object(&mut self) -> Option<&mut Object<'x>> {
        match self.current() {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        }
    }

    fn array(&mut self) -> Option<&mut Vec<Value<'x>>> {
        match self.current() {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        }
    }

    fn holds(&mut self) -> Holds {
        match self.current() {
            None | Some(Value::Null) => Holds::Nothing,
            Some(Value::Object(_)) => Holds::Object,
            Some(Value::Array(items)) => Holds::Array(items.len()),
            Some(_) => Holds::Scalar,
        }
    }

    /// Runs what is below the last step.
    fn children(&mut self, spec: &'x Composite) -> Result<(), Fault> {
        match self.holds() {
            Holds::Nothing => Ok(()),
            Holds::Object => self.in_object(spec),
            Holds::Array(original) => {
                if let Shape::Array { length: length @ 1.. } = spec.shape {
                    self.lengthen(length - 1)?;
                }
                self.in_array(spec, original)
            }
            Holds::Scalar => self.in_scalar(spec),
        }
    }

    fn lengthen(&mut self, last: usize) -> Result<(), Fault> {
        let mut items = std::mem::take(self.array().unwrap_or(&mut Vec::new()));
        let grown = self.budget.grow(&mut items, last);
        if let Some(place) = self.array() {
            *place = items;
        }
        grown
    }

    fn in_object(&mut self, spec: &'x Composite) -> Result<(), Fault> {
        for entry in &spec.literals {
            self.budget.steps(1)?;
            let place = self.object().and_then(|object| object.place(&entry.key));
            let key = Text::Borrowed(&*entry.key);
            let matched = Matched::new(MatchedKey::Text(key.clone()), Captures::None);
            self.entry(entry, &Target::Key(key), place, place.is_some(), matched)?;
        }
        if spec.stars.is_empty() {
            return Ok(());
        }
        let length = self.object().map_or(0, |object| object.len());
        for place in 0..length {
            self.budget.steps(spec.stars.len())?;
            let found =
                self.object().and_then(|object| object.at(place).map(|(key, _)| key.clone()));
            let Some(key) = found else { break };
            let matching =
                spec.stars.iter().find_map(|(star, entry)| Some((star.captures(&key)?, entry)));
            if let Some((captures, entry)) = matching {
                let matched = Matched::new(MatchedKey::Text(key.clone()), captures);
                self.entry(entry, &Target::Key(key), Some(place), true, matched)?;
            }
        }
        Ok(())
    }

    fn in_array(&mut self, spec: &'x Composite, original: usize) -> Result<(), Fault> {
        let is_there = |run: &mut Self, index: usize| {
            let null = run.array().is_none_or(|items| items.get(index).is_none_or(Value::is_null));
            !null || index < original
        };
        let literal_wins = spec.mode == Mode::Define
            && matches!(spec.shape, Shape::Array { .. })
            && !spec.stars.is_empty();
        if !literal_wins {
            for entry in &spec.literals {
                self.budget.steps(1)?;
                let length = self.array().map_or(0, |items| items.len());
                let place = (entry.index < length).then_some(entry.index);
                let present = place.is_some_and(|index| is_there(self, index));
                let matched = Matched::new(MatchedKey::Index(entry.index), Captures::None);
                let target = Target::Index { index: entry.index, original };
                self.entry(entry, &target, place, present, matched)?;
            }
        }
        if spec.stars.is_empty() {
            return Ok(());
        }
        let length = self.array().map_or(0, |items| items.len());
        for index in 0..length {
            self.budget.steps(1 + spec.literals.len())?;
            let literal = spec.literals.iter().find(|entry| entry.index == index);
            let star = spec.stars.iter().find(|(star, _)| *star == Star::All);
            let entry = literal.filter(|_| literal_wins).or(star.map(|(_, entry)| entry));
            if let Some(entry) = entry {
                let present = is_there(self, index);
                let matched = Matched::new(MatchedKey::Index(index), Captures::None);
                let target = Target::Index { index, original };
                self.entry(entry, &target, Some(index), present, matched)?;
            }
        }
        Ok(())
    }

    /// A scalar is a key without a value; there is nothing to write to.
    fn in_scalar(&mut self, spec: &'x Composite) -> Result<(), Fault> {
        let Some(key) = self.current().map(|value| java::text(value)) else { return Ok(()) };
        let matching =
            spec.stars.iter().find_map(|(star, entry)| Some((star.captures(&key)?, entry)));
        let Some((captures, entry)) = matching else { return Ok(()) };
        let matched = Matched::new(MatchedKey::Text(key), captures);
        self.entry(entry, &Target::Scalar, None, false, matched)
    }

    fn entry(
        &mut self,
        entry: &'x Entry,
        target: &Target<'x>,
        place: Option<usize>,
        present: bool,
        matched: Matched<'x>,
    ) -> Result<(), Fault> {
        if entry.only_present && !present {
            return Ok(());
        }
        let at = place.map_or(Place::Nowhere, Place::At);
        match &entry.node {
            Node::Leaf(expressions) => {
                self.steps.push(Step { place: at, matched });
                let value = self.first(expressions, present);
                self.steps.pop();
                match value? {
                    Some(value) => self.set(target, entry.mode, value),
                    None => Ok(()),
                }
            }
            Node::Composite(spec) => {
                let Some(at) = self.container(spec, target, at)? else { return Ok(()) };
                self.steps.push(Step { place: at, matched });
                let outcome = self.children(spec);
                self.steps.pop();
                outcome
            }
        }
    }

    /// Where a composite goes on: what is there if it fits, else a new container where
    /// the mode allows one.
    fn container(
        &mut self,
        spec: &Composite,
        target: &Target<'x>,
        at: Place,
    ) -> Result<Option<Place>, Fault> {
        let there = match (at, self.current()) {
            (Place::At(place), Some(Value::Object(object))) => {
                object.at(place).map(|(_, value)| value)
            }
            (Place::At(place), Some(Value::Array(items))) => items.get(place),
            _ => None,
        };
        let missing = there.is_none_or(Value::is_null);
        let fits = match (spec.shape, there) {
            (Shape::Any, _) => !missing,
            (Shape::Object, there) => missing || matches!(there, Some(Value::Object(_))),
            (Shape::Array { .. }, there) => missing || matches!(there, Some(Value::Array(_))),
        };
        if !fits || (missing && matches!(target, Target::Scalar)) {
            return Ok(None);
        }
        if !missing {
            return Ok(Some(at));
        }
        let new = match spec.shape {
            Shape::Array { .. } => Value::Array(Vec::new()),
            Shape::Any | Shape::Object => Value::Object(Object::new()),
        };
        self.set(target, spec.mode, new)?;
        let place = match (target, self.current()) {
            (Target::Key(key), Some(Value::Object(object))) => object.place(key),
            (Target::Index { index, .. }, Some(Value::Array(_))) => Some(*index),
            _ => None,
        };
        Ok(place.map(Place::At))
    }

    fn set(&mut self, target: &Target<'x>, mode: Mode, value: Value<'x>) -> Result<(), Fault> {
        self.budget.nodes(1)?;
        match (target, self.current()) {
            (Target::Key(key), Some(Value::Object(object))) => {
                let found = object.get_mut(key);
                match (mode, found) {
                    (Mode::Overwrite, Some(found)) => *found = value,
                    (Mode::Default, Some(found)) if found.is_null() => *found = value,
                    (Mode::Default | Mode::Define, Some(_)) => {}
                    (_, None) => object.insert(key.clone(), value),
                }
                Ok(())
            }
            (Target::Index { index, original }, Some(Value::Array(items))) => {
                if let Some(item) = items.get_mut(*index) {
                    let writes = match mode {
                        Mode::Overwrite => true,
                        Mode::Default => item.is_null(),
                        Mode::Define => *index >= *original && item.is_null(),
                    };
                    if writes {
                        *item = value;
                    }
                }
                Ok(())
            }
            _ => Err(Fault("a scalar has no keys that could be modified".to_owned())),
        }
    }

    /// The first expression that gives a value.
    fn first(
        &mut self,
        expressions: &'x [Expression],
        present: bool,
    ) -> Result<Option<Value<'x>>, Fault> {
        for expression in expressions {
            if let Some(value) = self.evaluate(expression, present)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn evaluate(
        &mut self,
        expression: &'x Expression,
        present: bool,
    ) -> Result<Option<Value<'x>>, Fault> {
        let view = View { root: self.root, steps: &self.steps };
        let value = match expression {
            Expression::Literal(value) => {
                self.budget.nodes(value.nodes())?;
                return Ok(Some(value.borrowed()));
            }
            Expression::Nothing => None,
            Expression::Document(_) | Expression::Context(_) => {
                match operand(expression, &view, self.context) {
                    Ok(Some(value)) => return self.budget.copy(value).map(Some),
                    Ok(None) | Err(OutOfRange(_)) => None,
                }
            }
            Expression::OnCurrent(call) => {
                let current = view.value(0).flatten().unwrap_or(&NULL);
                let current = [current];
                call.apply(if present { &current } else { &[] }, self.budget)?
            }
            Expression::On(call, operands) => {
                let mut values = Vec::with_capacity(operands.len());
                for expression in operands {
                    match operand(expression, &view, self.context) {
                        Ok(Some(value)) => values.push(value),
                        Ok(None) if operands.len() == 1 => {}
                        Ok(None) => values.push(&NULL),
                        Err(OutOfRange(_)) => return Ok(None),
                    }
                }
                call.apply(&values, self.budget)?
            }
        };
        Ok(value)
    }
}

/// What a value is written to.
#[derive(Debug)]
enum Target<'x> {
    Key(Text<'x>),
    Index { index: usize, original: usize },
    Scalar,
}

/// What a function works on; `None` where it is missing.
fn operand<'v, 'x: 'v>(
    expression: &'x Expression,
    view: &View<'v, 'x>,
    context: Option<&'x Value<'x>>,
) -> Result<Option<&'v Value<'x>>, OutOfRange> {
    match expression {
        Expression::Literal(value) => Ok(Some(value)),
        Expression::Document(transpose) => {
            Ok(transpose.read(view)?.map(|value| value.unwrap_or(&NULL)))
        }
        Expression::Context(path) => path.read(context, view),
        Expression::Nothing | Expression::OnCurrent(_) | Expression::On(..) => Ok(None),
    }
}
