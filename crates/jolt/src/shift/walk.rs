//! Specification and document side by side.
//!
//! The stack has two steps for the document itself, as the reference has, and one for
//! each match below. A composite pushes its step, runs its specials on the value that it
//! got, then its other keys on what is in the value.

use std::cell::Cell;

use super::{Composite, Computed, Literal, Node, Order, Place, Special, Then, output};
use crate::{
    arena::{Arena, List},
    budget::{Budget, Fault, Run},
    explain::{Action, Observer, Step},
    java,
    keys::KeyId,
    path,
    star::{Captures, Star},
    value::{Array, Slot, Value},
    walk::{Matched, MatchedKey, Walked},
};

pub(super) fn run<'x, O: Observer<'x>>(
    root: &'x Composite,
    run: Run<'x, '_, O>,
    input: Value<'x>,
) -> Result<Value<'x>, Fault> {
    let Run { arena, budget, observer } = run;
    let mut walk = Walk {
        stack: Stack { arena, steps: arena.list(16), matched: arena.list(16) },
        output: arena.put(Cell::new(Value::Null)),
        budget,
        observer,
    };
    let top = Matched::new(MatchedKey::Text("root"), Captures::None);
    walk.stack.push(Some(input), top);
    walk.stack.push(Some(input), top);
    walk.composite(root, Some(input))?;
    Ok(walk.output.get())
}

struct Walk<'x, 'r, O> {
    stack: Stack<'x>,
    output: &'x Slot<'x>,
    budget: &'r mut Budget<'x>,
    observer: &'r mut O,
}

struct Stack<'x> {
    arena: &'x Arena,
    steps: List<'x, Level<'x>>,
    matched: List<'x, Matched<'x>>,
}

#[derive(Clone, Copy)]
struct Level<'x> {
    value: Option<Value<'x>>,
    /// Its place among the matched keys.
    matched: usize,
    /// Whether the matched key goes with the step.
    owns: bool,
}

impl<'x> Stack<'x> {
    fn push(&mut self, value: Option<Value<'x>>, matched: Matched<'x>) {
        let step = Level { value, matched: self.matched.len(), owns: true };
        self.matched.push(matched);
        self.steps.push(step);
    }

    /// Pushes a step that shares the last one's key.
    fn push_shared(&mut self, value: Option<Value<'x>>) {
        let matched = self.steps.last().map_or(0, |step| step.matched);
        self.steps.push(Level { value, matched, owns: false });
    }

    fn pop(&mut self) {
        if self.steps.pop().is_some_and(|step| step.owns) {
            self.matched.pop();
        }
    }

    fn count_child(&mut self) {
        if let Some(step) = self.steps.last() {
            self.matched[step.matched].count += 1;
        }
    }

    fn step(&self, up: usize) -> Option<&Level<'x>> {
        self.steps.get(self.steps.len().checked_sub(up.checked_add(1)?)?)
    }
}

impl<'x> Walked<'x> for Stack<'x> {
    fn arena(&self) -> &'x Arena {
        self.arena
    }

    fn matched(&self, up: usize) -> Option<&Matched<'x>> {
        Some(&self.matched[self.step(up)?.matched])
    }

    fn value(&self, up: usize) -> Option<Option<Value<'x>>> {
        Some(self.step(up)?.value)
    }
}

/// What a leaf writes.
#[derive(Clone, Copy)]
enum Data<'x> {
    Value(Option<Value<'x>>),
    Text(&'x str),
}

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    /// Runs what is below a step that was pushed.
    fn composite(&mut self, spec: &'x Composite, input: Option<Value<'x>>) -> Result<(), Fault> {
        for (special, node) in &spec.specials {
            self.budget.steps(1)?;
            self.special(special, node, input)?;
        }
        match input {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(object)) => {
                if matches!(spec.order, Order::Literals | Order::LiteralsThenComputed) {
                    self.budget.steps(spec.literals.len())?;
                    for literal in &spec.literals {
                        if let Some(value) = object.get(&literal.key) {
                            self.observer.enter(Step::Key(&literal.key));
                            self.literal(literal, Some(value))?;
                            self.observer.leave();
                        }
                    }
                }
                if spec.order != Order::Literals {
                    for (key, value) in object.iter() {
                        self.observer.enter(Step::Key(key));
                        self.entry(spec, MatchedKey::Text(key), Some(value))?;
                        self.observer.leave();
                    }
                }
                Ok(())
            }
            Some(Value::Array(array)) => self.array(spec, array),
            Some(scalar) => self.scalar(spec, java::text(self.stack.arena, scalar)),
        }
    }

    fn array(&mut self, spec: &'x Composite, array: &'x Array<'x>) -> Result<(), Fault> {
        if matches!(spec.order, Order::Literals | Order::LiteralsThenComputed) {
            self.budget.steps(spec.literals.len())?;
            for literal in &spec.literals {
                let Some(index) = literal.index else { continue };
                let index = usize::try_from(index)
                    .map_err(|_| Fault(format!("index {index} of an array is negative")))?;
                if let Some(item) = array.get(index) {
                    self.observer.enter(Step::Index(index));
                    self.literal(literal, Some(item))?;
                    self.observer.leave();
                }
            }
        }
        if spec.order != Order::Literals {
            for (index, item) in array.iter().enumerate() {
                self.observer.enter(Step::Index(index));
                self.entry(spec, MatchedKey::Index(index), Some(item))?;
                self.observer.leave();
            }
        }
        Ok(())
    }

    /// A scalar is a key without a value.
    fn scalar(&mut self, spec: &'x Composite, key: &'x str) -> Result<(), Fault> {
        self.observer.enter(Step::Same);
        if matches!(spec.order, Order::Literals | Order::LiteralsThenComputed) {
            self.budget.steps(spec.literals.len())?;
            if let Some(literal) = spec.literals.iter().find(|literal| *literal.key == *key) {
                self.literal(literal, None)?;
            }
        }
        if spec.order != Order::Literals {
            self.entry(spec, MatchedKey::Text(key), None)?;
        }
        self.observer.leave();
        Ok(())
    }

    /// An entry of the document, compared with the specification's keys.
    fn entry(
        &mut self,
        spec: &'x Composite,
        key: MatchedKey<'x>,
        value: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        self.budget.steps(1 + spec.computed.len())?;
        if spec.order == Order::Document {
            self.budget.steps(spec.literals.len())?;
            if let Some(literal) = spec.literals.iter().find(|literal| key.is(&literal.key)) {
                return self.literal(literal, value);
            }
        }
        let arena = self.stack.arena;
        for (computed, node) in &spec.computed {
            let captures = match computed {
                Computed::Star(Star::All) => Some(Captures::None),
                Computed::Star(star) => star.captures(arena, key.text(arena)),
                Computed::Amp(tokens) => {
                    key.is(path::join(tokens, &self.stack)?).then_some(Captures::None)
                }
                Computed::Index(element) => {
                    let missing = || Fault("a key in brackets has no index here".to_owned());
                    element.evaluate(&self.stack)?.ok_or_else(missing)?;
                    None
                }
            };
            if let Some(captures) = captures {
                return self.matched(node, Matched::new(key, captures), value);
            }
        }
        Ok(())
    }

    fn literal(&mut self, literal: &'x Literal, value: Option<Value<'x>>) -> Result<(), Fault> {
        let key = MatchedKey::Text(&literal.key);
        self.matched(&literal.node, Matched::new(key, Captures::None), value)
    }

    fn matched(
        &mut self,
        node: &'x Node,
        matched: Matched<'x>,
        value: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        self.stack.push(value, matched);
        match &node.then {
            Then::Write(places) => self.write(node.key, places, Data::Value(value))?,
            Then::Enter(spec) => {
                self.observer.tell(node.key, Action::Entered, None);
                self.composite(spec, value)?;
            }
        }
        self.stack.pop();
        self.stack.count_child();
        Ok(())
    }

    fn special(
        &mut self,
        special: &'x Special,
        node: &'x Node,
        input: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        let data = match special {
            Special::At => {
                self.observer.enter(Step::Same);
                self.stack.push_shared(input);
                Data::Value(input)
            }
            Special::Transpose(transpose) => {
                let Some(found) = transpose.read(&self.stack)? else { return Ok(()) };
                if O::ON {
                    let path = transpose.segments(&self.stack)?;
                    self.observer.enter(Step::Elsewhere(transpose.up, path));
                }
                let below = matches!(node.then, Then::Enter(_));
                self.stack.push_shared(if below { found } else { input });
                Data::Value(found)
            }
            Special::Dollar(reference) => {
                let text = self.stack.key(*reference)?;
                self.observer.enter(Step::Elsewhere(reference.up, Vec::new()));
                self.stack.push(input, Matched::new(MatchedKey::Text(text), Captures::None));
                Data::Text(text)
            }
            Special::Hash(text) => {
                self.observer.enter(Step::Same);
                self.stack.push(input, Matched::new(MatchedKey::Text(text), Captures::None));
                Data::Text(text)
            }
        };
        match &node.then {
            Then::Write(places) => {
                self.write(node.key, places, data)?;
                self.stack.pop();
            }
            Then::Enter(spec) => {
                self.observer.tell(node.key, Action::Entered, None);
                let value = if let Data::Value(value) = data { value } else { input };
                self.composite(spec, value)?;
                self.stack.pop();
                self.stack.count_child();
            }
        }
        self.observer.leave();
        Ok(())
    }

    fn write(&mut self, key: KeyId, places: &'x [Place], data: Data<'x>) -> Result<(), Fault> {
        for place in places {
            // Each part of a path is work, also of one that leads nowhere.
            self.budget.steps(1 + place.path.elements.len())?;
            let Some(slot) = self.slot(place)? else { continue };
            let value = match data {
                Data::Value(Some(value)) => self.budget.copy(value)?,
                Data::Value(None) => Value::Null,
                Data::Text(text) => self.budget.copy(Value::String(text))?,
            };
            let before = slot.get();
            output::write(slot, value, self.stack.arena, self.budget)?;
            self.observer.wrote(before, slot.get());
        }
        if O::ON {
            let value = match data {
                Data::Value(value) => value.unwrap_or_default(),
                Data::Text(text) => Value::String(text),
            };
            self.observer.tell(key, Action::Wrote, Some(value));
        }
        Ok(())
    }

    /// The place in the new document, made if it is not there. `None` where a part of the
    /// path gives no key: then nothing is made either.
    fn slot(&mut self, place: &'x Place) -> Result<Option<&'x Slot<'x>>, Fault> {
        let arena = self.stack.arena;
        if !place.certain && place.path.is_void(&self.stack)? {
            return Ok(None);
        }
        let mut slot = self.output;
        self.observer.begin_write();
        let mut elements = place.path.elements.iter();
        while let Some(element) = elements.next() {
            let Some(segment) = element.evaluate(&self.stack)? else { return Ok(None) };
            match output::below(slot, segment, arena, self.budget)? {
                Some(below) => {
                    self.observer.go_down(segment, slot.get());
                    slot = below;
                }
                None => {
                    // A reference out of range is an error in a write that is dropped, too.
                    elements.try_for_each(|element| element.evaluate(&self.stack).map(drop))?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(slot))
    }
}
