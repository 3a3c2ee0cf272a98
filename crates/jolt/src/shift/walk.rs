//! Specification and document side by side.
//!
//! The stack has two steps for the document itself, as the reference has, and one for
//! each match below. A composite pushes its step, runs its specials on the value that it
//! got, then its other keys on what is in the value.

use std::cell::Cell;

use super::{
    Composite, Computed, Leaf, Literal, Node, Order, Place, Special, Then,
    output::{self, Container},
};
use crate::{
    arena::{Arena, List},
    budget::{Budget, Fault, Run},
    explain::{Action, Observer, Step},
    java,
    keys::KeyId,
    path::{self, Element},
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
        fronts: arena.list(16),
        fronts_from: 0,
        budget,
        observer,
    };
    let top = Matched::new(MatchedKey::Text("root"), Captures::None);
    walk.stack.push(Some(input), top);
    walk.stack.push(Some(input), top);
    walk.enter(root, Some(input))?;
    Ok(walk.output.get())
}

struct Walk<'x, 'r, O> {
    stack: Stack<'x>,
    output: &'x Slot<'x>,
    /// Containers that fronts of paths led to: those of each composite that is entered.
    fronts: List<'x, Option<Container<'x>>>,
    /// Where the last composite's begin.
    fronts_from: usize,
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

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    /// Runs what is below a step that was pushed.
    fn enter(&mut self, spec: &'x Composite, input: Option<Value<'x>>) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.fronts_from, self.fronts.len());
        self.fronts.resize(self.fronts_from + spec.fronts, None);
        self.composite(spec, input)?;
        self.fronts.truncate(self.fronts_from);
        self.fronts_from = before;
        Ok(())
    }

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
                    let mut next = 0;
                    for literal in &spec.literals {
                        if let Some(slot) = object.slot_from(&mut next, &literal.key) {
                            self.observer.enter(Step::Key(&literal.key));
                            self.literal(literal, Some(slot.get()))?;
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
                return self.matched(node, key, captures, value);
            }
        }
        Ok(())
    }

    fn literal(&mut self, literal: &'x Literal, value: Option<Value<'x>>) -> Result<(), Fault> {
        let key = MatchedKey::Text(&literal.key);
        self.matched(&literal.node, key, Captures::None, value)
    }

    /// In its callers: a key and its captures are made where they stay.
    #[inline(always)]
    fn matched(
        &mut self,
        node: &'x Node,
        key: MatchedKey<'x>,
        captures: Captures<'x>,
        value: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        match &node.then {
            Then::Write(leaf) if !leaf.steps => {
                self.write(node.key, leaf, value.unwrap_or_default())?;
            }
            Then::Write(leaf) => {
                self.stack.push(value, Matched::new(key, captures));
                self.write(node.key, leaf, value.unwrap_or_default())?;
                self.stack.pop();
            }
            Then::Enter(spec) => {
                self.observer.tell(node.key, Action::Entered, None);
                self.stack.push(value, Matched::new(key, captures));
                self.enter(spec, value)?;
                self.stack.pop();
            }
        }
        self.stack.count_child();
        Ok(())
    }

    fn special(
        &mut self,
        special: &'x Special,
        node: &'x Node,
        input: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        // What is there to go on with, and the text of those that give one.
        let (found, text) = match special {
            Special::At => {
                self.observer.enter(Step::Same);
                (input, None)
            }
            Special::Transpose(transpose) => {
                let Some(found) = transpose.read(&self.stack)? else { return Ok(()) };
                if O::ON {
                    let path = transpose.segments(&self.stack)?;
                    self.observer.enter(Step::Elsewhere(transpose.up, path));
                }
                (found, None)
            }
            Special::Dollar(reference) => {
                let text = self.stack.key(*reference)?;
                self.observer.enter(Step::Elsewhere(reference.up, Vec::new()));
                (input, Some(text))
            }
            Special::Hash(text) => {
                self.observer.enter(Step::Same);
                (input, Some(&**text))
            }
        };
        let steps = match &node.then {
            Then::Write(leaf) => leaf.steps,
            Then::Enter(_) => true,
        };
        let value = if let Then::Enter(_) = node.then { found } else { input };
        match text {
            _ if !steps => {}
            Some(text) => {
                self.stack.push(value, Matched::new(MatchedKey::Text(text), Captures::None));
            }
            // One without a key of its own goes on with the one before.
            None => self.stack.push_shared(value),
        }
        match &node.then {
            Then::Write(leaf) => {
                let written = text.map_or(found.unwrap_or_default(), Value::String);
                self.write(node.key, leaf, written)?;
            }
            Then::Enter(spec) => {
                self.observer.tell(node.key, Action::Entered, None);
                self.enter(spec, value)?;
            }
        }
        if steps {
            self.stack.pop();
        }
        if let Then::Enter(_) = node.then {
            self.stack.count_child();
        }
        self.observer.leave();
        Ok(())
    }

    fn write(&mut self, key: KeyId, leaf: &'x Leaf, value: Value<'x>) -> Result<(), Fault> {
        for place in &leaf.places {
            // Each part of a path is work, also of one that leads nowhere.
            self.budget.steps(1 + place.path.elements.len())?;
            self.observer.begin_write();
            let Some(slot) = self.slot(place)? else { continue };
            let before = slot.get();
            let value = self.budget.copy(value)?;
            if output::write(slot, value, self.stack.arena, self.budget)? {
                self.fronts.fill(None);
            }
            self.observer.wrote(before, slot.get());
        }
        self.observer.tell(key, Action::Wrote, Some(value));
        Ok(())
    }

    /// The place in the new document, made if it is not there. `None` where a part of the
    /// path gives no key, and then nothing is made either, or where it is barred.
    #[inline]
    fn slot(&mut self, place: &'x Place) -> Result<Option<&'x Slot<'x>>, Fault> {
        let Some((last, front)) = place.path.elements.split_last() else {
            return Ok(Some(self.output));
        };
        // An observer is told each step.
        let known = place.front.filter(|_| !O::ON).map(|front| self.fronts_from + front);
        let container = match known.and_then(|front| self.fronts[front]) {
            Some(container) => container,
            None => {
                if !place.certain && place.path.is_void(&self.stack)? {
                    return Ok(None);
                }
                let Some(container) = self.container(front, last)? else {
                    // A reference out of range is an error in a write that is dropped, too.
                    place.path.is_void(&self.stack)?;
                    return Ok(None);
                };
                if let Some(front) = known {
                    self.fronts[front] = Some(container);
                }
                container
            }
        };
        let Some(segment) = last.evaluate(&self.stack)? else { return Ok(None) };
        let slot = container.below(segment, self.budget)?;
        self.observer.go_down(segment, container.value());
        Ok(slot)
    }

    /// The container that the front of a path leads to, of the kind that the last part
    /// asks for.
    fn container(
        &mut self,
        front: &'x [Element],
        last: &'x Element,
    ) -> Result<Option<Container<'x>>, Fault> {
        let arena = self.stack.arena;
        let mut slot = self.output;
        for element in front {
            let Some(container) = Container::of(slot, element.is_of_array(), arena) else {
                return Ok(None);
            };
            let Some(segment) = element.evaluate(&self.stack)? else { return Ok(None) };
            let Some(below) = container.below(segment, self.budget)? else { return Ok(None) };
            self.observer.go_down(segment, container.value());
            slot = below;
        }
        Ok(Container::of(slot, last.is_of_array(), arena))
    }
}
