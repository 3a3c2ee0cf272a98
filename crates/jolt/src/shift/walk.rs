//! Specification and document side by side.
//!
//! The stack has two steps for the document itself, as the reference has, and one for
//! each match below. A composite pushes its step, runs its specials on the value that it
//! got, then its other keys on what is in the value.

use super::{Composite, Computed, Literal, Node, Order, Special, output};
use crate::{
    budget::{Budget, Fault},
    java,
    key::Key,
    path::{self, Path, Segment},
    star::Captures,
    value::{Text, Value},
    walk::{Matched, MatchedKey, Walked},
};

pub(super) fn run<'x>(
    root: &'x Composite,
    input: &Value<'x>,
    budget: &mut Budget,
) -> Result<Value<'x>, Fault> {
    let mut walk = Walk {
        stack: Stack { steps: Vec::with_capacity(16), matched: Vec::with_capacity(16) },
        output: Value::Null,
        segments: Vec::with_capacity(8),
        budget,
    };
    let name = || MatchedKey::Text(Text::Borrowed("root"));
    walk.stack.push(Some(input), Matched::new(name(), Captures::None));
    walk.stack.push(Some(input), Matched::new(name(), Captures::None));
    walk.composite(root, Some(input))?;
    Ok(walk.output)
}

struct Walk<'v, 'x, 'b> {
    stack: Stack<'v, 'x>,
    output: Value<'x>,
    segments: Vec<Segment<'x>>,
    budget: &'b mut Budget,
}

struct Stack<'v, 'x> {
    steps: Vec<Step<'v, 'x>>,
    matched: Vec<Matched<'x>>,
}

#[derive(Clone, Copy)]
struct Step<'v, 'x> {
    value: Option<&'v Value<'x>>,
    /// Its place among the matched keys.
    matched: usize,
    /// Whether the matched key goes with the step.
    owns: bool,
}

impl<'v, 'x> Stack<'v, 'x> {
    fn push(&mut self, value: Option<&'v Value<'x>>, matched: Matched<'x>) {
        let step = Step { value, matched: self.matched.len(), owns: true };
        self.matched.push(matched);
        self.steps.push(step);
    }

    /// Pushes a step that shares the last one's key.
    fn push_shared(&mut self, value: Option<&'v Value<'x>>) {
        let matched = self.steps.last().map_or(0, |step| step.matched);
        self.steps.push(Step { value, matched, owns: false });
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

    fn step(&self, up: usize) -> Option<&Step<'v, 'x>> {
        self.steps.get(self.steps.len().checked_sub(up.checked_add(1)?)?)
    }
}

impl<'v, 'x: 'v> Walked<'v, 'x> for Stack<'v, 'x> {
    fn matched(&self, up: usize) -> Option<&Matched<'x>> {
        Some(&self.matched[self.step(up)?.matched])
    }

    fn value(&self, up: usize) -> Option<Option<&'v Value<'x>>> {
        Some(self.step(up)?.value)
    }
}

/// What a leaf writes.
enum Data<'v, 'x> {
    Value(Option<&'v Value<'x>>),
    Text(Text<'x>),
}

impl<'v, 'x: 'v> Walk<'v, 'x, '_> {
    /// Runs what is below a step that was pushed.
    fn composite(
        &mut self,
        spec: &'x Composite,
        input: Option<&'v Value<'x>>,
    ) -> Result<(), Fault> {
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
                            self.literal(literal, Some(value))?;
                        }
                    }
                }
                if spec.order != Order::Literals {
                    for (key, value) in object.iter() {
                        let key = MatchedKey::Text(key.clone());
                        self.entry(spec, key, Some(value))?;
                    }
                }
                Ok(())
            }
            Some(Value::Array(items)) => self.array(spec, items),
            Some(scalar) => self.scalar(spec, java::text(scalar)),
        }
    }

    fn array(&mut self, spec: &'x Composite, items: &'v [Value<'x>]) -> Result<(), Fault> {
        if matches!(spec.order, Order::Literals | Order::LiteralsThenComputed) {
            self.budget.steps(spec.literals.len())?;
            for literal in &spec.literals {
                let Some(index) = literal.index else { continue };
                let index = usize::try_from(index)
                    .map_err(|_| Fault(format!("index {index} of an array is negative")))?;
                if let Some(item) = items.get(index) {
                    self.literal(literal, Some(item))?;
                }
            }
        }
        if spec.order != Order::Literals {
            for (index, item) in items.iter().enumerate() {
                self.entry(spec, MatchedKey::Index(index), Some(item))?;
            }
        }
        Ok(())
    }

    /// A scalar is a key without a value.
    fn scalar(&mut self, spec: &'x Composite, key: Text<'x>) -> Result<(), Fault> {
        if matches!(spec.order, Order::Literals | Order::LiteralsThenComputed) {
            self.budget.steps(spec.literals.len())?;
            if let Some(literal) = spec.literals.iter().find(|literal| *literal.key == *key) {
                self.literal(literal, None)?;
            }
        }
        if spec.order != Order::Literals {
            self.entry(spec, MatchedKey::Text(key), None)?;
        }
        Ok(())
    }

    /// An entry of the document, compared with the specification's keys.
    fn entry(
        &mut self,
        spec: &'x Composite,
        key: MatchedKey<'x>,
        value: Option<&'v Value<'x>>,
    ) -> Result<(), Fault> {
        self.budget.steps(1 + spec.computed.len())?;
        if spec.order == Order::Document {
            let text = key.text();
            self.budget.steps(spec.literals.len())?;
            if let Some(literal) = spec.literals.iter().find(|literal| *literal.key == *text) {
                return self.literal(literal, value);
            }
        }
        for (computed, node) in &spec.computed {
            let captures = match computed {
                Computed::Star(star @ crate::star::Star::All) => star.captures(""),
                Computed::Star(star) => star.captures(&key.text()),
                Computed::Amp(Key::Amp(tokens)) => {
                    let made = path::join(tokens, &self.stack)?;
                    (*made == *key.text()).then_some(Captures::None)
                }
                Computed::Amp(_) | Computed::Never => None,
            };
            if let Some(captures) = captures {
                return self.matched(node, Matched::new(key, captures), value);
            }
        }
        Ok(())
    }

    fn literal(&mut self, literal: &'x Literal, value: Option<&'v Value<'x>>) -> Result<(), Fault> {
        let key = MatchedKey::Text(Text::Borrowed(&literal.key));
        self.matched(&literal.node, Matched::new(key, Captures::None), value)
    }

    fn matched(
        &mut self,
        node: &'x Node,
        matched: Matched<'x>,
        value: Option<&'v Value<'x>>,
    ) -> Result<(), Fault> {
        self.stack.push(value, matched);
        match node {
            Node::Leaf(paths) => self.write(paths, &Data::Value(value))?,
            Node::Composite(spec) => self.composite(spec, value)?,
        }
        self.stack.pop();
        self.stack.count_child();
        Ok(())
    }

    fn special(
        &mut self,
        special: &'x Special,
        node: &'x Node,
        input: Option<&'v Value<'x>>,
    ) -> Result<(), Fault> {
        let data = match special {
            Special::At => {
                self.stack.push_shared(input);
                Data::Value(input)
            }
            Special::Transpose(transpose) => {
                let Some(found) = transpose.read(&self.stack)? else { return Ok(()) };
                let below = matches!(node, Node::Composite(_));
                self.stack.push_shared(if below { found } else { input });
                Data::Value(found)
            }
            Special::Dollar(reference) => {
                let text = self.stack.key(*reference)?;
                let key = MatchedKey::Text(text.clone());
                self.stack.push(input, Matched::new(key, Captures::None));
                Data::Text(text)
            }
            Special::Hash(text) => {
                let key = MatchedKey::Text(Text::Borrowed(text));
                self.stack.push(input, Matched::new(key, Captures::None));
                Data::Text(Text::Borrowed(text))
            }
        };
        match (node, data) {
            (Node::Leaf(paths), data) => {
                self.write(paths, &data)?;
                self.stack.pop();
            }
            (Node::Composite(spec), data) => {
                let value = if let Data::Value(value) = data { value } else { input };
                self.composite(spec, value)?;
                self.stack.pop();
                self.stack.count_child();
            }
        }
        Ok(())
    }

    fn write(&mut self, paths: &'x [Path], data: &Data<'v, 'x>) -> Result<(), Fault> {
        for path in paths {
            if !path.evaluate(&self.stack, &mut self.segments)? {
                continue;
            }
            let value = match data {
                Data::Value(Some(value)) => self.budget.copy(value)?,
                Data::Value(None) => Value::Null,
                Data::Text(text) => {
                    self.budget.nodes(1)?;
                    Value::String(text.clone())
                }
            };
            output::set(&mut self.output, &mut self.segments, value, self.budget)?;
        }
        Ok(())
    }
}
