//! A specification run over a document, which changes under it.
//!
//! A step knows the place of its value, so what `@(2,a)` reads is what the document holds
//! at that moment. The containers of all steps belong to the document alone: they are
//! changed in place, and a value that would put one of them into itself is a copy.

use super::{Composite, Entry, Expression, Mode, Node, Shape};
use crate::{
    arena::{Arena, List},
    budget::{Budget, Fault, Run},
    explain::{Action, Observer, Step},
    java,
    star::{Captures, Star},
    value::{Array, Object, Slot, Value, own_array, own_object},
    walk::{Matched, MatchedKey, OutOfRange, Walked},
};

pub(super) fn run<'x, O: Observer<'x>>(
    root: &'x Composite,
    run: Run<'x, '_, O>,
    slot: &'x Slot<'x>,
    context: Option<Value<'x>>,
) -> Result<(), Fault> {
    let Run { arena, budget, observer } = run;
    let fits = match (root.shape, slot.get()) {
        (Shape::Any, found) => !found.is_null(),
        (Shape::Object, found) => matches!(found, Value::Object(_)),
        (Shape::Array { .. }, found) => matches!(found, Value::Array(_)),
    };
    if !fits {
        return Ok(());
    }
    let mut steps = Steps { arena, steps: arena.list(16) };
    let top = Matched::new(MatchedKey::Text("root"), Captures::None);
    steps.steps.push(Level { slot: Some(slot), matched: top });
    steps.steps.push(Level { slot: Some(slot), matched: top });
    Walk { arena, steps, context, budget, observer }.children(root, slot)
}

struct Walk<'x, 'r, O> {
    arena: &'x Arena,
    steps: Steps<'x>,
    context: Option<Value<'x>>,
    budget: &'r mut Budget<'x>,
    observer: &'r mut O,
}

struct Steps<'x> {
    arena: &'x Arena,
    steps: List<'x, Level<'x>>,
}

struct Level<'x> {
    /// Where its value is; `None` while it has none.
    slot: Option<&'x Slot<'x>>,
    matched: Matched<'x>,
}

impl<'x> Steps<'x> {
    fn step(&self, up: usize) -> Option<&Level<'x>> {
        self.steps.get(self.steps.len().checked_sub(up.checked_add(1)?)?)
    }

    /// A value as it is at this moment, for another place. A container that is being
    /// changed would change there, too.
    fn snapshot(&self, value: Value<'x>) -> Value<'x> {
        let is_changing = |step: &Level<'x>| step.slot.is_some_and(|slot| slot.get().is(value));
        if self.steps.iter().any(is_changing) { value.deep(self.arena) } else { value }
    }
}

impl<'x> Walked<'x> for Steps<'x> {
    fn arena(&self) -> &'x Arena {
        self.arena
    }

    fn matched(&self, up: usize) -> Option<&Matched<'x>> {
        Some(&self.step(up)?.matched)
    }

    fn value(&self, up: usize) -> Option<Option<Value<'x>>> {
        Some(self.step(up)?.slot.map(Slot::get))
    }
}

/// What a value is written to.
#[derive(Clone, Copy)]
enum Target<'x> {
    Key(&'x Object<'x>, &'x str),
    /// `original` is the length before it was grown.
    Index {
        array: &'x Array<'x>,
        index: usize,
        original: usize,
    },
    Scalar,
}

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    /// Runs what is below the last step, whose value is in `slot`.
    fn children(&mut self, spec: &'x Composite, slot: &'x Slot<'x>) -> Result<(), Fault> {
        if let Some(object) = own_object(slot) {
            return self.in_object(spec, object);
        }
        if let Some(array) = own_array(slot) {
            let original = array.len();
            if let Shape::Array { length: length @ 1.. } = spec.shape {
                self.budget.grow(array, length - 1)?;
            }
            return self.in_array(spec, array, original);
        }
        match slot.get() {
            Value::Null => Ok(()),
            scalar => self.in_scalar(spec, scalar),
        }
    }

    fn in_object(&mut self, spec: &'x Composite, object: &'x Object<'x>) -> Result<(), Fault> {
        self.budget.steps(spec.literals.len())?;
        let mut next = 0;
        for entry in &spec.literals {
            let slot = object.slot_from(&mut next, &entry.key);
            let present = slot.is_some();
            if entry.is_tried(present) {
                self.push(slot, MatchedKey::Text(&entry.key), Captures::None);
                self.entry(entry, Target::Key(object, &entry.key), slot, present)?;
            }
        }
        if spec.stars.is_empty() {
            return Ok(());
        }
        // A star's key is there already, so the object does not grow under the loop.
        for found in object.entries() {
            self.budget.steps(spec.stars.len())?;
            let key = found.key();
            let captured =
                |(star, entry): &'x (Star, Entry)| Some((star.captures(self.arena, key)?, entry));
            if let Some((captures, entry)) = spec.stars.iter().find_map(captured) {
                let slot = Some(&found.value);
                self.push(slot, MatchedKey::Text(key), captures);
                self.entry(entry, Target::Key(object, key), slot, true)?;
            }
        }
        Ok(())
    }

    fn in_array(
        &mut self,
        spec: &'x Composite,
        array: &'x Array<'x>,
        original: usize,
    ) -> Result<(), Fault> {
        let slots = array.slots();
        let is_there = |index: usize| {
            index < original || slots.get(index).is_some_and(|slot| !slot.get().is_null())
        };
        let literal_wins = spec.mode == Mode::Define
            && matches!(spec.shape, Shape::Array { .. })
            && !spec.stars.is_empty();
        if !literal_wins {
            self.budget.steps(spec.literals.len())?;
            for entry in &spec.literals {
                let index = entry.index;
                let slot = slots.get(index);
                let present = slot.is_some() && is_there(index);
                if entry.is_tried(present) {
                    self.push(slot, MatchedKey::Index(index), Captures::None);
                    self.entry(entry, Target::Index { array, index, original }, slot, present)?;
                }
            }
        }
        if spec.stars.is_empty() {
            return Ok(());
        }
        let star = spec.stars.iter().find(|(star, _)| *star == Star::All).map(|(_, entry)| entry);
        for (index, slot) in slots.iter().enumerate() {
            self.budget.steps(1 + spec.literals.len())?;
            let literal = spec.literals.iter().find(|entry| entry.index == index);
            let Some(entry) = literal.filter(|_| literal_wins).or(star) else { continue };
            let present = is_there(index);
            if entry.is_tried(present) {
                self.push(Some(slot), MatchedKey::Index(index), Captures::None);
                self.entry(entry, Target::Index { array, index, original }, Some(slot), present)?;
            }
        }
        Ok(())
    }

    /// A scalar is a key without a value; there is nothing to write to.
    fn in_scalar(&mut self, spec: &'x Composite, scalar: Value<'x>) -> Result<(), Fault> {
        let key = java::text(self.arena, scalar);
        let captured =
            |(star, entry): &'x (Star, Entry)| Some((star.captures(self.arena, key)?, entry));
        let Some((captures, entry)) = spec.stars.iter().find_map(captured) else { return Ok(()) };
        if entry.is_tried(false) {
            self.push(None, MatchedKey::Text(key), captures);
            self.entry(entry, Target::Scalar, None, false)?;
        }
        Ok(())
    }

    /// Pushes the step of an entry. It is made where it stays; copied there it would be
    /// read before it is written.
    #[inline(always)]
    fn push(&mut self, slot: Option<&'x Slot<'x>>, key: MatchedKey<'x>, captures: Captures<'x>) {
        self.steps.steps.push(Level { slot, matched: Matched::new(key, captures) });
    }

    /// Runs an entry whose step was pushed, and pops it.
    fn entry(
        &mut self,
        entry: &'x Entry,
        target: Target<'x>,
        slot: Option<&'x Slot<'x>>,
        present: bool,
    ) -> Result<(), Fault> {
        self.observer.enter(match target {
            Target::Key(_, key) => Step::Key(key),
            Target::Index { index, .. } => Step::Index(index),
            Target::Scalar => Step::Same,
        });
        match &entry.node {
            Node::Leaf(expressions) => {
                let found = self.first(expressions, present)?;
                let writes = match found {
                    Some((expression, value)) => {
                        self.set(target, slot, expression.mode(entry.mode), value)?
                    }
                    None => false,
                };
                let action = if writes { Action::Modified } else { Action::Kept };
                self.observer.tell(entry.id, action, found.map(|(_, value)| value));
            }
            Node::Composite(spec) => match self.container(spec, target, slot)? {
                Some(slot) => {
                    self.observer.tell(entry.id, Action::Entered, None);
                    if let Some(step) = self.steps.steps.last_mut() {
                        step.slot = Some(slot);
                    }
                    self.children(spec, slot)?;
                }
                None => self.observer.tell(entry.id, Action::Kept, None),
            },
        }
        self.steps.steps.pop();
        self.observer.leave();
        Ok(())
    }

    /// Where a composite goes on: what is there if it fits, else a new container where
    /// the mode allows one.
    fn container(
        &mut self,
        spec: &Composite,
        target: Target<'x>,
        slot: Option<&'x Slot<'x>>,
    ) -> Result<Option<&'x Slot<'x>>, Fault> {
        let there = slot.map(Slot::get).unwrap_or_default();
        let missing = there.is_null();
        let fits = match spec.shape {
            Shape::Any => !missing,
            Shape::Object => missing || matches!(there, Value::Object(_)),
            Shape::Array { .. } => missing || matches!(there, Value::Array(_)),
        };
        if !fits || (missing && matches!(target, Target::Scalar)) {
            return Ok(None);
        }
        if !missing {
            return Ok(slot);
        }
        let new = match spec.shape {
            Shape::Array { .. } => self.arena.array(std::iter::empty()),
            Shape::Any | Shape::Object => self.arena.object(),
        };
        self.set(target, slot, spec.mode, new)?;
        Ok(match target {
            Target::Key(object, key) => object.slot(key),
            Target::Index { array, index, .. } => array.slots().get(index),
            Target::Scalar => None,
        })
    }

    /// Writes a value where the mode allows it; answers whether it does. The slot is the
    /// target's, where it has one already.
    fn set(
        &mut self,
        target: Target<'x>,
        slot: Option<&'x Slot<'x>>,
        mode: Mode,
        value: Value<'x>,
    ) -> Result<bool, Fault> {
        self.budget.nodes(1)?;
        let Some(slot) = slot else {
            return match target {
                Target::Key(object, key) => {
                    self.budget.text(key.len())?;
                    object.push_new(key, value);
                    Ok(true)
                }
                Target::Index { .. } => Ok(false),
                Target::Scalar => {
                    Err(Fault("a scalar has no keys that could be modified".to_owned()))
                }
            };
        };
        let writes = match (mode, target) {
            (Mode::Overwrite, _) => true,
            (Mode::Default, _) => slot.get().is_null(),
            (Mode::Define, Target::Index { index, original, .. }) => {
                index >= original && slot.get().is_null()
            }
            (Mode::Define, Target::Key(..) | Target::Scalar) => false,
        };
        if writes {
            slot.set(value);
        }
        Ok(writes)
    }

    /// The first expression that gives a value, with it.
    #[inline]
    fn first(
        &mut self,
        expressions: &'x [Expression],
        present: bool,
    ) -> Result<Option<(&'x Expression, Value<'x>)>, Fault> {
        for expression in expressions {
            if let Some(value) = self.evaluate(expression, present)? {
                return Ok(Some((expression, value)));
            }
        }
        Ok(None)
    }

    #[inline]
    fn evaluate(
        &mut self,
        expression: &'x Expression,
        present: bool,
    ) -> Result<Option<Value<'x>>, Fault> {
        match expression {
            Expression::Literal(literal) => {
                self.budget.weight(literal.weight())?;
                Ok(Some(literal.value(self.arena)))
            }
            Expression::Nothing => Ok(None),
            Expression::Document(_) | Expression::Context(_) => match self.operand(expression) {
                Ok(Some(value)) => self.budget.copy(value).map(Some),
                Ok(None) | Err(_) => Ok(None),
            },
            Expression::OnCurrent(call) => {
                let current = [self.steps.value(0).flatten().unwrap_or_default()];
                call.apply(self.arena, if present { &current } else { &[] }, self.budget)
            }
            Expression::On(call, operands) => {
                let mut values = self.arena.list(operands.len());
                for expression in operands {
                    match self.operand(expression) {
                        Ok(Some(value)) => values.push(value),
                        Ok(None) if operands.len() == 1 => {}
                        Ok(None) => values.push(Value::Null),
                        Err(_) => return Ok(None),
                    }
                }
                call.apply(self.arena, &values, self.budget)
            }
        }
    }

    /// What a function works on; `None` where it is missing.
    fn operand(&self, expression: &'x Expression) -> Result<Option<Value<'x>>, OutOfRange> {
        match expression {
            Expression::Literal(literal) => Ok(Some(literal.value(self.arena))),
            Expression::Document(transpose) => {
                let value = transpose.read(&self.steps)?.map(Option::unwrap_or_default);
                Ok(value.map(|value| self.steps.snapshot(value)))
            }
            Expression::Context(path) => path.read(self.context, &self.steps),
            Expression::Nothing | Expression::OnCurrent(_) | Expression::On(..) => Ok(None),
        }
    }
}
