//! `cardinality`: makes a list of one thing, or one thing of a list.
//!
//! `ONE` takes the first of a list; `MANY` puts what is no list into one. A key that `MANY`
//! changes moves to the end of its object, as in the reference. `@` changes the value that
//! it stands in, before the keys beside it run.

use crate::{
    budget::{Budget, Fault},
    error::Report,
    java,
    key::{self, Key},
    star::Star,
    value::{Object, Value},
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
    pub(crate) fn compile(spec: &Value<'_>, report: &mut Report) -> Option<Self> {
        match spec {
            Value::Object(spec) => composite(spec, report).map(|root| Self { root }),
            other => {
                let kind = other.kind();
                report.tell(format!("a cardinality needs an object as its spec, not {kind}"));
                None
            }
        }
    }

    pub(crate) fn apply(&self, value: &mut Value<'_>, budget: &mut Budget) -> Result<(), Fault> {
        if let Some(wanted) = self.root.at {
            match (wanted, &value) {
                (Wanted::One, Value::Array(_)) | (Wanted::Many, _) => {
                    let what = "\"@\" at the top has no key whose value it could change";
                    return Err(Fault(what.to_owned()));
                }
                (Wanted::One, _) => return Ok(()),
            }
        }
        children(&self.root, value, budget)
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
                _ if text.contains('@') && &**text != "@" => {
                    Err(format!("key {:?} has an \"@\", which stands alone", &**text))
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
            Some((Key::Star(star), node)) => stars.push((star, (**text).to_owned(), node)),
            Some((_, node)) => literals.push(((**text).into(), node)),
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

fn node(right: &Value<'_>, report: &mut Report) -> Option<Node> {
    match right {
        Value::Object(spec) => composite(spec, report).map(Node::Composite),
        Value::String(text) if &**text == "ONE" => Some(Node::Leaf(Wanted::One)),
        Value::String(text) if &**text == "MANY" => Some(Node::Leaf(Wanted::Many)),
        other => {
            let found = java::text(other);
            report.tell(format!("a cardinality is ONE or MANY, not {:?}", &*found));
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

fn children(spec: &Composite, value: &mut Value<'_>, budget: &mut Budget) -> Result<(), Fault> {
    let tried = spec.literals.len() + spec.stars.len();
    match value {
        Value::Object(object) => {
            budget.steps(object.len().saturating_mul(tried))?;
            let mut moved = Vec::new();
            for place in 0..object.len() {
                let node = object.at(place).and_then(|(key, _)| spec.find(key));
                if let (Some(node), Some(value)) = (node, object.at_mut(place)) {
                    if apply(node, value, budget)? {
                        moved.push(place);
                    }
                }
            }
            if !moved.is_empty() {
                object.move_to_end(&moved);
            }
            Ok(())
        }
        Value::Array(items) => {
            budget.steps(items.len().saturating_mul(tried))?;
            for (index, item) in items.iter_mut().enumerate() {
                match spec.find(itoa::Buffer::new().format(index)) {
                    None => {}
                    Some(Node::Composite(composite)) if composite.at.is_none() => {
                        children(composite, item, budget)?;
                    }
                    Some(_) => return Err(not_of_an_object("an item of an array")),
                }
            }
            Ok(())
        }
        Value::Null => Ok(()),
        scalar => match spec.find(&java::text(scalar)) {
            Some(Node::Leaf(_)) => Err(not_of_an_object("a scalar")),
            _ => Ok(()),
        },
    }
}

fn not_of_an_object(what: &str) -> Fault {
    Fault(format!("only the value of a key can be changed, not {what}"))
}

/// Changes the value of a key; answers whether the key moves to the end.
fn apply(node: &Node, value: &mut Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    match node {
        Node::Leaf(wanted) => adjust(*wanted, value, budget),
        Node::Composite(spec) => {
            let was_list = matches!(value, Value::Array(_));
            let moved = match spec.at {
                None => false,
                Some(wanted) => adjust(wanted, value, budget)?,
            };
            if spec.at != Some(Wanted::One) || was_list {
                children(spec, value, budget)?;
            }
            Ok(moved)
        }
    }
}

fn adjust(wanted: Wanted, value: &mut Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    match (wanted, value) {
        (Wanted::One, value) => {
            if let Value::Array(items) = value {
                let first = if items.is_empty() { Value::Null } else { items.swap_remove(0) };
                *value = first;
            }
            Ok(false)
        }
        (Wanted::Many, Value::Array(_)) => Ok(false),
        (Wanted::Many, value @ Value::Null) => {
            *value = Value::Array(Vec::new());
            Ok(false)
        }
        (Wanted::Many, value) => {
            budget.nodes(1)?;
            let one = std::mem::take(value);
            *value = Value::Array(vec![one]);
            Ok(true)
        }
    }
}
