//! From a specification to the tree that is walked.

use std::collections::BTreeMap;

use super::{Composite, Computed, FRONTS_MAX, Leaf, Literal, Node, Order, Place, Special, Then};
use crate::{
    error::Report,
    java,
    key::{self, Key},
    limits::DEPTH_MAX,
    path::{Element, Path},
    value::{Array, Object, Value},
};

pub(super) fn root(spec: Value<'_>, report: &mut Report) -> Option<Composite> {
    match spec {
        Value::Object(object) => composite(object, report),
        other => {
            report.tell(format!("a shift needs an object as its spec, not {}", other.kind()));
            None
        }
    }
}

fn composite(spec: &Object<'_>, report: &mut Report) -> Option<Composite> {
    if spec.is_empty() {
        report.tell("an empty {} says nothing; leave it out, or say where the value goes");
        return None;
    }
    let (mut specials, mut literals, mut computed) =
        (Vec::new(), Vec::<Literal>::new(), Vec::new());
    let (mut seen, mut fronts) = (Vec::new(), Fronts::default());
    let mut whole = true;
    for (keys, right) in spec.iter() {
        for text in key::java_split(keys, '|') {
            let entry = report.below(keys, |report| {
                let (key, canonical) = key::parse(text).map_err(|why| report.tell(why)).ok()?;
                if seen.contains(&canonical) {
                    report.tell(format!("key {canonical:?} is there twice"));
                    return None;
                }
                seen.push(canonical.clone());
                let node = node(&key, right, &mut fronts, report)?;
                Some((key, canonical, node))
            });
            let Some((key, canonical, node)) = entry else {
                whole = false;
                continue;
            };
            match key {
                Key::Literal(key) => {
                    literals.push(Literal { index: java::parse_int(&key), key, node });
                }
                Key::At => specials.push((Special::At, node)),
                Key::Transpose(transpose) => specials.push((Special::Transpose(transpose), node)),
                Key::Dollar(reference) => specials.push((Special::Dollar(reference), node)),
                Key::Hash(text) => specials.push((Special::Hash(text), node)),
                Key::Amp(tokens) => computed.push((1, canonical, Computed::Amp(tokens), node)),
                Key::Star(star) => {
                    computed.push((star.priority(), canonical, Computed::Star(star), node));
                }
                Key::Array(element) => {
                    computed.push((0, canonical, Computed::Index(element), node));
                }
            }
        }
    }
    if whole && specials.is_empty() && literals.is_empty() && computed.is_empty() {
        report.tell("a key of nothing but \"|\" names nothing");
        return None;
    }
    let index = computed.iter().find(|(_, _, key, _)| matches!(key, Computed::Index(_)));
    if let Some((_, key, ..)) = index.filter(|_| computed.len() > 1) {
        report.tell(format!(
            "key {key:?} cannot stand beside keys with \"*\" or \"&\"; an item of a list is named by its number alone"
        ));
        return None;
    }
    computed.sort_by(|(a, a_key, ..), (b, b_key, ..)| {
        let longer_first = java::length(b_key).cmp(&java::length(a_key));
        a.cmp(b).then(longer_first).then_with(|| java::compare(a_key, b_key))
    });
    let computed: Vec<_> = computed.into_iter().map(|(_, _, key, node)| (key, node)).collect();
    let order = order(&literals, &computed);
    let fronts = fronts.0.len();
    whole.then_some(Composite { specials, literals, computed, order, fronts })
}

fn order(literals: &[Literal], computed: &[(Computed, Node)]) -> Order {
    if computed.is_empty() {
        return Order::Literals;
    }
    if literals.is_empty() {
        return Order::Computed;
    }
    let meets = |(key, _): &(Computed, Node)| match key {
        Computed::Star(star) => literals.iter().any(|literal| star.matches(&literal.key)),
        Computed::Amp(_) | Computed::Index(_) => true,
    };
    if computed.iter().any(meets) { Order::Document } else { Order::LiteralsThenComputed }
}

fn node(key: &Key, right: Value<'_>, fronts: &mut Fronts, report: &mut Report) -> Option<Node> {
    let then = match right {
        Value::Object(_) if matches!(key, Key::At | Key::Dollar(_)) => {
            report.tell("\"@\" and \"$\" cannot have keys below them");
            return None;
        }
        Value::Object(object) => Then::Enter(composite(object, report)?),
        Value::Null => Then::Write(leaf(Vec::new(), fronts)),
        Value::String(text) => Then::Write(leaf(vec![place(text, report)?], fronts)),
        Value::Array(items) => Then::Write(leaf(places(items, report)?, fronts)),
        other => {
            let kind = other.kind();
            report.tell(format!(
                "a place is a string, a list of strings, null or an object, not {kind}"
            ));
            return None;
        }
    };
    Some(Node { key: report.here(), then })
}

/// The fronts of a composite's paths, by their canonical form.
#[derive(Default)]
struct Fronts(BTreeMap<String, usize>);

impl Fronts {
    fn of(&mut self, path: &Path) -> Option<usize> {
        let (_, front) = path.elements.split_last()?;
        if !front.iter().all(Element::is_steady) {
            return None;
        }
        // The last part says what the front leads to.
        let array = path.elements.last().is_some_and(Element::is_of_array);
        let form = format!("{} {array}", Path { elements: front.to_vec() }.canonical());
        let next = self.0.len();
        match self.0.get(&form) {
            Some(known) => Some(*known),
            None if next == FRONTS_MAX => None,
            None => Some(*self.0.entry(form).or_insert(next)),
        }
    }
}

fn leaf(mut places: Vec<Path>, fronts: &mut Fronts) -> Leaf {
    let place_of = |path: &Path| fronts.of(path);
    let found: Vec<_> = places.iter().map(place_of).collect();
    let above =
        |path: &Path| path.elements.iter().map(Element::seen_above).collect::<Option<Vec<_>>>();
    let seen_above: Option<Vec<_>> = places.iter().map(above).collect();
    let steps = seen_above.is_none();
    if let Some(seen_above) = seen_above {
        places = seen_above.into_iter().map(|elements| Path { elements }).collect();
    }
    let places = places.into_iter().zip(found).map(|(path, front)| {
        let certain = !path.elements.iter().any(Element::is_uncertain);
        Place { path, certain, front }
    });
    Leaf { places: places.collect(), steps }
}

fn places(items: &Array<'_>, report: &mut Report) -> Option<Vec<Path>> {
    let places = items.iter().map(|item| match item {
        Value::String(text) => place(text, report),
        other => {
            report.tell(format!("a list of places holds strings, not {}", other.kind()));
            None
        }
    });
    // Each is looked at, so that all that is wrong is told.
    let places: Vec<_> = places.collect();
    places.into_iter().collect()
}

fn place(text: &str, report: &mut Report) -> Option<Path> {
    match Path::parse(text) {
        Ok(path) if path.elements.len() > DEPTH_MAX => {
            report.tell(format!("path has {} parts, {DEPTH_MAX} are allowed", path.elements.len()));
            None
        }
        Ok(path) => Some(path),
        Err(why) => {
            report.tell(why);
            None
        }
    }
}
