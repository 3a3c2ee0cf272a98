//! `cardinality`: makes a list of one thing, or one thing of a list.
//!
//! `ONE` takes the first of a list; `MANY` puts what is no list into one. A key that `MANY`
//! changes moves to the end of its object, as in the reference. `@` changes the value that
//! it stands in, before the keys beside it run.

use crate::{
    arena::Arena,
    budget::{Budget, Fault},
    error::Report,
    java,
    key::{self, Key},
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
    at: Option<Wanted>,
    /// By the key as it is written; stars among them match their own text, too.
    literals: Vec<(Box<str>, Node)>,
    stars: Vec<(Star, Node)>,
}

#[derive(Debug)]
enum Node {
    Leaf(Wanted),
    Composite(Composite),
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

    pub(crate) fn apply<'x>(
        &self,
        arena: &'x Arena,
        slot: &Slot<'x>,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        if let Some(wanted) = self.root.at {
            match (wanted, slot.get()) {
                (Wanted::One, Value::Array(_)) | (Wanted::Many, _) => {
                    let what = "\"@\" at the top has no key whose value it could change";
                    return Err(Fault(what.to_owned()));
                }
                (Wanted::One, _) => return Ok(()),
            }
        }
        Run { arena, budget }.children(&self.root, slot)
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
            let key = match key::parse_plain(text) {
                _ if text.contains('@') && text != "@" => {
                    Err(format!("key {text:?} has an \"@\", which stands alone"))
                }
                _ if text.contains('@') => Ok(Key::At),
                parsed => parsed,
            };
            let key = key.map_err(|why| report.tell(why)).ok()?;
            Some((key, node(right, report)?))
        });
        match entry {
            None => whole = false,
            Some((Key::At, Node::Leaf(wanted))) => at = Some(wanted),
            Some((Key::At, Node::Composite(_))) => {
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
    match right {
        Value::Object(spec) => composite(spec, report).map(Node::Composite),
        Value::String("ONE") => Some(Node::Leaf(Wanted::One)),
        Value::String("MANY") => Some(Node::Leaf(Wanted::Many)),
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

struct Run<'x, 'b> {
    arena: &'x Arena,
    budget: &'b mut Budget,
}

impl<'x> Run<'x, '_> {
    fn children(&mut self, spec: &Composite, slot: &Slot<'x>) -> Result<(), Fault> {
        let tried = spec.literals.len() + spec.stars.len();
        match slot.get() {
            Value::Object(_) => {
                let Some(object) = own_object(slot) else { return Ok(()) };
                self.budget.steps(object.len().saturating_mul(tried))?;
                let mut moved = self.arena.list(0);
                for (place, entry) in object.entries().iter().enumerate() {
                    let Some(node) = spec.find(entry.key()) else { continue };
                    if self.apply(node, &entry.value)? {
                        moved.push(place);
                    }
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
                        Some(Node::Composite(composite)) if composite.at.is_none() => {
                            self.children(composite, slot)?;
                        }
                        Some(_) => return Err(not_of_an_object("an item of an array")),
                    }
                }
                Ok(())
            }
            Value::Null => Ok(()),
            scalar => match spec.find(java::text(self.arena, scalar)) {
                Some(Node::Leaf(_)) => Err(not_of_an_object("a scalar")),
                _ => Ok(()),
            },
        }
    }

    /// Changes the value of a key; answers whether the key moves to the end.
    fn apply(&mut self, node: &Node, slot: &Slot<'x>) -> Result<bool, Fault> {
        match node {
            Node::Leaf(wanted) => self.adjust(*wanted, slot),
            Node::Composite(spec) => {
                let was_list = matches!(slot.get(), Value::Array(_));
                let moved = match spec.at {
                    None => false,
                    Some(wanted) => self.adjust(wanted, slot)?,
                };
                if spec.at != Some(Wanted::One) || was_list {
                    self.children(spec, slot)?;
                }
                Ok(moved)
            }
        }
    }

    fn adjust(&mut self, wanted: Wanted, slot: &Slot<'x>) -> Result<bool, Fault> {
        match (wanted, slot.get()) {
            (Wanted::One, Value::Array(array)) => {
                // Another place can have the array, too, and with it the item.
                slot.set(array.get(0).unwrap_or_default().share());
                Ok(false)
            }
            (Wanted::One, _) | (Wanted::Many, Value::Array(_)) => Ok(false),
            (Wanted::Many, Value::Null) => {
                slot.set(self.arena.array(std::iter::empty()));
                Ok(false)
            }
            (Wanted::Many, value) => {
                self.budget.nodes(1)?;
                slot.set(self.arena.array(std::iter::once(value)));
                Ok(true)
            }
        }
    }
}

fn not_of_an_object(what: &str) -> Fault {
    Fault(format!("only the value of a key can be changed, not {what}"))
}
