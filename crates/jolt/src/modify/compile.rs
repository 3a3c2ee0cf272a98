//! From a specification to the tree that is run.

use super::{Composite, Entry, Expression, Mode, Node, Shape, functions::Call};
use crate::{
    error::Report,
    java,
    key::{self, Key, java_split},
    limits::INDEX_MAX,
    path::{Element, Path},
    star::Star,
    value::{Literal, Object, Value},
};

pub(super) fn composite(
    spec: &Object<'_>,
    operation: Mode,
    mode: Mode,
    report: &mut Report,
) -> Option<Composite> {
    let (mut literals, mut stars) = (Vec::new(), Vec::new());
    let (mut whole, mut seen) = (true, Vec::new());
    let (mut length, mut indexed, mut named) = (0, None::<String>, None::<String>);
    for (keys, right) in spec.iter() {
        for text in java_split(keys, '|') {
            let parsed = report.below(keys, |report| {
                let left = Left::parse(text, operation, report)?;
                if seen.contains(&left.canonical) {
                    report.tell(format!("key {:?} is there twice", left.canonical));
                    return None;
                }
                seen.push(left.canonical.clone());
                let node = node(right, operation, left.mode, report)?;
                Some((report.here(), left, node))
            });
            let Some((id, left, node)) = parsed else {
                whole = false;
                continue;
            };
            let Left { key, canonical, mode, only_present } = left;
            let entry =
                |key: &str, index| Entry { id, key: key.into(), index, mode, only_present, node };
            match key {
                LeftKey::Index(index) => {
                    indexed = Some(canonical);
                    if !only_present {
                        length = length.max(index + 1);
                    }
                    // `[0]` and `[00]` are one place, which keeps its turn.
                    match literals.iter_mut().find(|entry: &&mut Entry| entry.index == index) {
                        Some(before) => *before = entry("", index),
                        None => literals.push(entry("", index)),
                    }
                }
                LeftKey::Literal(key) => {
                    named = Some(canonical);
                    literals.push(entry(&key, 0));
                }
                LeftKey::Star(star) => {
                    if star != Star::All {
                        named = Some(canonical.clone());
                    }
                    stars.push((canonical, star, entry("", 0)));
                }
            }
        }
    }
    let shape = match (indexed, named) {
        (Some(index), Some(key)) => {
            report.tell(format!("index {index:?} and key {key:?} stand beside each other"));
            return None;
        }
        (Some(_), None) => Shape::Array { length },
        (None, Some(_)) => Shape::Object,
        (None, None) => Shape::Any,
    };
    stars.sort_by(|(a_key, a, _), (b_key, b, _)| {
        let longer_first = java::length(b_key).cmp(&java::length(a_key));
        let by_text = longer_first.then_with(|| java::compare(a_key, b_key));
        a.priority().cmp(&b.priority()).then(by_text)
    });
    let stars = stars.into_iter().map(|(_, star, entry)| (star, entry)).collect();
    whole.then_some(Composite { mode, shape, literals, stars })
}

/// A key with its prefix and suffix read.
struct Left {
    key: LeftKey,
    canonical: String,
    mode: Mode,
    only_present: bool,
}

enum LeftKey {
    Literal(Box<str>),
    Star(Star),
    Index(usize),
}

impl Left {
    fn parse(text: &str, operation: Mode, report: &mut Report) -> Option<Self> {
        let Some(first) = text.chars().next() else {
            report.tell("an empty key has no value to modify");
            return None;
        };
        let (mode, rest) = match first {
            '+' => (Mode::Overwrite, &text[1..]),
            '~' => (Mode::Default, &text[1..]),
            '_' => (Mode::Define, &text[1..]),
            _ => (operation, text),
        };
        let asks = text.len() > 1 && rest.ends_with('?') && !rest.ends_with("\\?");
        let name = if asks { &rest[..rest.len() - 1] } else { rest };
        let (key, canonical) = match key::parse(name) {
            Ok(parsed) => parsed,
            Err(why) => {
                report.tell(why);
                return None;
            }
        };
        let key = match key {
            Key::Literal(key) => LeftKey::Literal(key),
            Key::Star(star) => LeftKey::Star(star),
            Key::Array(Element::Index(index, _)) if index <= INDEX_MAX => LeftKey::Index(index),
            Key::Array(Element::Index(index, _)) => {
                report.tell(format!("index {index} is too large; {INDEX_MAX} is the most"));
                return None;
            }
            _ => {
                report.tell(format!("key {text:?} must be a name, a name with stars, or an index"));
                return None;
            }
        };
        Some(Self { key, canonical, mode, only_present: asks })
    }
}

fn node(right: Value<'_>, operation: Mode, mode: Mode, report: &mut Report) -> Option<Node> {
    match right {
        Value::Object(spec) if !spec.is_empty() => {
            composite(spec, operation, mode, report).map(Node::Composite)
        }
        Value::Array(items) if !items.is_empty() => {
            let all: Vec<_> = items.iter().map(|item| expression(item, report)).collect();
            all.into_iter().collect::<Option<_>>().map(Node::Leaf)
        }
        other => expression(other, report).map(|expression| Node::Leaf(vec![expression])),
    }
}

fn expression(right: Value<'_>, report: &mut Report) -> Option<Expression> {
    let Value::String(text) = right else {
        return Some(Expression::Literal(Literal::of(right)));
    };
    let parsed = match text.strip_prefix('=') {
        Some(call) => function(call),
        None => operand(text, false),
    };
    parsed.map_err(|why| report.tell(why)).ok()
}

/// `f`, or `f(a, b)`.
fn function(text: &str) -> Result<Expression, String> {
    let Some((name, inner)) = text.split_once('(') else {
        if text.ends_with(')') {
            return Err(format!("function {text:?} lacks its \"(\""));
        }
        return Ok(Call::named(text, &[])?.map_or(Expression::Nothing, Expression::OnCurrent));
    };
    // The reference takes whatever stands last for the closing parenthesis.
    let mut chars = inner.chars();
    if chars.next_back().is_none() {
        return Err(format!("function {text:?} lacks its \")\""));
    }
    let texts = arguments(chars.as_str());
    let mut operands =
        texts.iter().map(|text| operand(text, true)).collect::<Result<Vec<_>, _>>()?;
    let literals: Vec<_> = operands.iter().map(literal_text).collect();
    match Call::named(name, &literals)? {
        Some(call) => Ok(Expression::On(call, operands)),
        // As in the reference, a function that nobody knows is its first argument.
        None => Ok(operands.swap_remove(0)),
    }
}

/// A separator that is known ahead is compiled ahead.
fn literal_text(operand: &Expression) -> Option<&str> {
    match operand {
        Expression::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}

/// Splits at commas outside quotes and parentheses.
fn arguments(text: &str) -> Vec<&str> {
    let (mut parenthesised, mut quoted, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' if !quoted => parenthesised = true,
            ')' if !quoted => parenthesised = false,
            '\'' => quoted = !quoted,
            ',' if !quoted && !parenthesised => {
                parts.push(trim(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(trim(&text[start..]));
    parts
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// What a function works on, or a value on the right.
fn operand(text: &str, of_function: bool) -> Result<Expression, String> {
    if let Some(path) = text.strip_prefix('^') {
        return Path::parse(path).map(Expression::Context);
    }
    if text.starts_with('@') {
        let path = Path::parse(text)?;
        return match path.elements.into_iter().last() {
            Some(Element::At(transpose)) => Ok(Expression::Document(transpose)),
            _ => Err(format!("{text:?} must end where its \"@(…)\" ends")),
        };
    }
    if of_function && text == "'" {
        return Err("an argument is a single quote; write '' for an empty text".to_owned());
    }
    let literal = if of_function { argument(text) } else { Literal::String(text.into()) };
    Ok(Expression::Literal(literal))
}

/// A literal among a function's arguments.
fn argument(text: &str) -> Literal {
    if text.is_empty() {
        return Literal::Null;
    }
    if let Some(quoted) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Literal::String(quoted.into());
    }
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        return Literal::Bool(text.eq_ignore_ascii_case("true"));
    }
    match java::parse_number(text) {
        Some(number) => Literal::of(Value::Number(number)),
        None => Literal::String(text.into()),
    }
}
