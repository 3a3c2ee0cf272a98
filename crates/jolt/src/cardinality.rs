//! `cardinality`: makes a list of one thing, or one thing of a list.
//!
//! `ONE` takes the first of a list; `MANY` puts what is no list into one. A key that `MANY`
//! changes moves to the end of its object, as in the reference. `@` changes the value that
//! it stands in, before the keys beside it run.

use crate::{
    arena::Arena,
    budget::{Budget, Fault, Run},
    error::Report,
    explain::{Action, Observer, Step},
    java,
    key::Key,
    keys::KeyId,
    star::Star,
    value::{Object, Slot, Value, own_array, own_object},
    write::to_vec,
};

/// A compiled `cardinality`.
#[derive(Debug)]
pub(crate) struct Cardinality {
    root: Composite,
}

#[derive(Debug)]
struct Composite {
    at: Option<Leaf>,
    /// By the key as it is written; `@` is found in a document by its own text, too.
    literals: Vec<(Box<str>, Node)>,
    stars: Vec<(Star, Node)>,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Composite(KeyId, Composite),
}

#[derive(Debug, Clone, Copy)]
struct Leaf {
    key: KeyId,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    One,
    Many,
}

impl Cardinality {
    pub(crate) fn compile(spec: Value<'_>, report: &mut Report) -> Option<Self> {
        match spec {
            Value::Object(spec) => composite(spec, report).map(|root| Self { root }),
            other => {
                let kind = other.kind();
                report.tell(format!("a cardinality needs an object as its spec, not {kind}"));
                None
            }
        }
    }

    pub(crate) fn apply<'x, O: Observer<'x>>(
        &self,
        run: Run<'x, '_, O>,
        slot: &Slot<'x>,
    ) -> Result<(), Fault> {
        if let Some(at) = self.root.at {
            match (at.wanted, slot.get()) {
                (Wanted::One, Value::Array(_)) | (Wanted::Many, _) => {
                    let what = "\"@\" at the top has no key whose value it could change";
                    return Err(Fault(what.to_owned()));
                }
                (Wanted::One, _) => return Ok(()),
            }
        }
        let Run { arena, budget, observer } = run;
        Walk { arena, budget, observer }.children(&self.root, slot)
    }
}

fn composite(spec: &Object<'_>, report: &mut Report) -> Option<Composite> {
    if spec.is_empty() {
        report.tell("an empty {} says nothing; leave it out, or say ONE or MANY");
        return None;
    }
    let (mut at, mut literals, mut stars) = (None, Vec::new(), Vec::new());
    let mut whole = true;
    for (text, right) in spec.iter() {
        let entry = report.below(text, |report| {
            let key = match text {
                "@" => Key::At,
                _ if text.contains('@') => {
                    report.tell(format!("key {text:?} has an \"@\", which stands alone"));
                    return None;
                }
                _ if text.contains('*') => Key::Star(Star::lazy(text)),
                _ => Key::Literal(text.into()),
            };
            Some((key, node(right, report)?))
        });
        match entry {
            None => whole = false,
            Some((Key::At, Node::Leaf(leaf))) => {
                at = Some(leaf);
                literals.push((text.into(), Node::Leaf(leaf)));
            }
            Some((Key::At, Node::Composite(..))) => {
                report.below(text, |report| report.tell("\"@\" cannot have keys below it"));
                whole = false;
            }
            Some((Key::Star(star), node)) => stars.push((star, text.to_owned(), node)),
            Some((_, node)) => literals.push((text.into(), node)),
        }
    }
    stars.sort_by(|(a, a_key, _), (b, b_key, _)| {
        let longer_first = java::length(b_key).cmp(&java::length(a_key));
        let by_text = longer_first.then_with(|| java::compare(a_key, b_key));
        a.priority().cmp(&b.priority()).then(by_text)
    });
    let stars = stars.into_iter().map(|(star, _, node)| (star, node)).collect();
    whole.then_some(Composite { at, literals, stars })
}

fn node(right: Value<'_>, report: &mut Report) -> Option<Node> {
    let key = report.here();
    match right {
        Value::Object(spec) => composite(spec, report).map(|spec| Node::Composite(key, spec)),
        Value::String("ONE") => Some(Node::Leaf(Leaf { key, wanted: Wanted::One })),
        Value::String("MANY") => Some(Node::Leaf(Leaf { key, wanted: Wanted::Many })),
        other => {
            let found = to_vec(other);
            let found = String::from_utf8_lossy(&found);
            report.tell(format!("a cardinality is ONE or MANY, not {found}"));
            None
        }
    }
}

impl Composite {
    fn find(&self, key: &str) -> Option<&Node> {
        let literal = self.literals.iter().find(|(literal, _)| **literal == *key);
        let star = || self.stars.iter().find(|(star, _)| star.matches(key));
        literal.map(|(_, node)| node).or_else(|| star().map(|(_, node)| node))
    }
}

struct Walk<'x, 'r, O> {
    arena: &'x Arena,
    budget: &'r mut Budget<'x>,
    observer: &'r mut O,
}

impl<'x, O: Observer<'x>> Walk<'x, '_, O> {
    fn children(&mut self, spec: &Composite, slot: &Slot<'x>) -> Result<(), Fault> {
        let tried = spec.literals.len() + spec.stars.len();
        match slot.get() {
            Value::Object(_) => {
                let Some(object) = own_object(slot) else { return Ok(()) };
                self.budget.steps(object.len().saturating_mul(tried))?;
                let mut moved = self.arena.list(0);
                for (place, entry) in object.entries().iter().enumerate() {
                    let Some(node) = spec.find(entry.key()) else { continue };
                    self.observer.enter(Step::Key(entry.key()));
                    if self.apply(node, &entry.value)? {
                        moved.push(place);
                    }
                    self.observer.leave();
                }
                if !moved.is_empty() {
                    object.move_to_end(&moved);
                }
                Ok(())
            }
            Value::Array(_) => {
                let Some(array) = own_array(slot) else { return Ok(()) };
                self.budget.steps(array.len().saturating_mul(tried))?;
                for (index, slot) in array.slots().iter().enumerate() {
                    match spec.find(itoa::Buffer::new().format(index)) {
                        None => {}
                        Some(Node::Composite(key, composite)) if composite.at.is_none() => {
                            self.observer.enter(Step::Index(index));
                            self.observer.tell(*key, Action::Entered, None);
                            self.children(composite, slot)?;
                            self.observer.leave();
                        }
                        Some(_) => return Err(not_of_an_object("an item of an array")),
                    }
                }
                Ok(())
            }
            Value::Null => Ok(()),
            scalar => match spec.find(java::text(self.arena, scalar)) {
                Some(Node::Composite(_, composite)) if composite.at.is_none() => Ok(()),
                Some(_) => Err(not_of_an_object("a scalar")),
                None => Ok(()),
            },
        }
    }

    /// Changes the value of a key; answers whether the key moves to the end.
    fn apply(&mut self, node: &Node, slot: &Slot<'x>) -> Result<bool, Fault> {
        match node {
            Node::Leaf(leaf) => self.adjust(*leaf, slot),
            Node::Composite(key, spec) => {
                self.observer.tell(*key, Action::Entered, None);
                let was_list = matches!(slot.get(), Value::Array(_));
                let moved = match spec.at {
                    None => false,
                    Some(leaf) => self.adjust(leaf, slot)?,
                };
                if spec.at.is_none_or(|leaf| leaf.wanted == Wanted::Many) || was_list {
                    self.children(spec, slot)?;
                }
                Ok(moved)
            }
        }
    }

    /// Makes one or many; answers whether the key moves to the end.
    fn adjust(&mut self, leaf: Leaf, slot: &Slot<'x>) -> Result<bool, Fault> {
        let (action, moves) = match (leaf.wanted, slot.get()) {
            (Wanted::One, Value::Array(array)) => {
                // Another place can have the array, too, and with it the item.
                slot.set(array.get(0).unwrap_or_default().share());
                (Action::Adjusted, false)
            }
            (Wanted::One, _) | (Wanted::Many, Value::Array(_)) => (Action::Kept, false),
            (Wanted::Many, Value::Null) => {
                slot.set(self.arena.array(std::iter::empty()));
                (Action::Adjusted, false)
            }
            (Wanted::Many, value) => {
                self.budget.nodes(1)?;
                slot.set(self.arena.array(std::iter::once(value)));
                (Action::Adjusted, true)
            }
        };
        self.observer.tell(leaf.key, action, Some(slot.get()));
        Ok(moves)
    }
}

fn not_of_an_object(what: &str) -> Fault {
    Fault(format!("only the value of a key can be changed, not {what}"))
}
