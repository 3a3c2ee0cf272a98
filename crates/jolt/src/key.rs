//! What stands on the left of a specification: which kind of key it is.
//!
//! The kind is seen from the key without its escaped characters; the key itself is taken
//! without the backslashes. Paths use the same reading for each of their parts.

use crate::{
    path::{Element, Token, Transpose},
    star::Star,
};

/// A key on the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// `@`: the matched value itself.
    At,
    /// `@(1,a)`: a value from elsewhere.
    Transpose(Transpose),
    /// `$`: a matched key as a value.
    Dollar(Reference),
    /// `#text`: a constant as a value.
    Hash(Box<str>),
    Literal(Box<str>),
    /// A key made of what was matched above.
    Amp(Vec<Token>),
    Star(Star),
    /// `[…]`
    Array(Element),
}

/// `(1,2)`: so many steps up, and which star's capture there, 0 for the whole key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) up: usize,
    pub(crate) group: usize,
}

impl Reference {
    /// Reads what follows `&` or `$`: nothing, `1`, `(1)` or `(1,2)`.
    fn parse(token: char, text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("\"{token}{text}\" is no reference; write {token}, {token}1 or {token}(1,2)")
        };
        let number = |text: &str| -> Result<usize, String> {
            let number = crate::java::parse_int(text).ok_or_else(wrong)?;
            usize::try_from(number).map_err(|_| format!("\"{token}{text}\" cannot be negative"))
        };
        if text.is_empty() {
            return Ok(Self { up: 0, group: 0 });
        }
        let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else {
            return Ok(Self { up: number(text)?, group: 0 });
        };
        let parts: Vec<&str> = java_split(inner, ',');
        match parts[..] {
            [up] => Ok(Self { up: number(up)?, group: 0 }),
            [up, group] => Ok(Self { up: number(up)?, group: number(group)? }),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn canonical(self, token: char) -> String {
        format!("{token}({},{})", self.up, self.group)
    }
}

/// Splits as Java does: empty parts at the end are left out.
pub(crate) fn java_split(text: &str, at: char) -> Vec<&str> {
    if !text.contains(at) {
        return vec![text];
    }
    let mut parts: Vec<&str> = text.split(at).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// Reads a key; answers it with its canonical form, which tells equal keys.
///
/// # Errors
/// Says why the reference refuses it.
pub(crate) fn parse(original: &str) -> Result<(Key, String), String> {
    let (seen, key) = if original.contains('\\') {
        (without_escaped(original), without_backslashes(original))
    } else {
        (original.to_owned(), original.to_owned())
    };
    let count = |c: char| seen.chars().filter(|found| *found == c).count();
    let parsed = if seen == "@" {
        if key != "@" {
            return Err(format!("key {original:?} begins with \"@\", which stands alone"));
        }
        Key::At
    } else if seen == "*" {
        if key != "*" {
            return Err(format!("key {original:?} has nothing but escaped characters and a \"*\""));
        }
        Key::Star(Star::All)
    } else if seen.starts_with('[') {
        array(original, &key, count('['), count(']'))?
    } else if seen.starts_with('@') || seen.contains("@(") {
        Key::Transpose(Transpose::parse(original)?)
    } else if seen.contains('@') {
        return Err(format!("key {original:?} can have an \"@\" at its front only"));
    } else if seen.contains('$') {
        let inner = key.strip_prefix('$');
        let inner =
            inner.ok_or_else(|| format!("key {original:?} can have a \"$\" at its front only"))?;
        Key::Dollar(Reference::parse('$', inner)?)
    } else if seen.contains('[') {
        array(original, &key, count('['), count(']'))?
    } else if seen.contains('&') {
        if seen.contains('*') {
            return Err(format!("key {original:?} cannot mix \"*\" and \"&\""));
        }
        Key::Amp(amp(&key)?)
    } else if seen.contains('*') {
        star(&key, count('*'))?
    } else if seen.contains('#') {
        Key::Hash(hash(&key)?.into())
    } else {
        Key::Literal(key.clone().into())
    };
    let canonical = canonical(&parsed, &key);
    Ok((parsed, canonical))
}

/// Reads a key that can have stars and nothing else that is special.
///
/// # Errors
/// Says why the reference refuses it.
pub(crate) fn parse_plain(key: &str) -> Result<Key, String> {
    if key.contains('*') {
        return Star::parse(key).map(Key::Star);
    }
    Ok(Key::Literal(key.into()))
}

fn canonical(parsed: &Key, key: &str) -> String {
    match parsed {
        Key::At => "@".to_owned(),
        Key::Transpose(transpose) => transpose.canonical(),
        Key::Dollar(reference) => reference.canonical('$'),
        Key::Hash(text) => format!("#({text})"),
        Key::Literal(text) => text.replace('.', "\\."),
        Key::Amp(tokens) => tokens.iter().map(Token::canonical).collect(),
        Key::Star(_) => key.to_owned(),
        Key::Array(element) => crate::path::Path { elements: vec![element.clone()] }.canonical(),
    }
}

fn star(key: &str, stars: usize) -> Result<Key, String> {
    // An escaped star beside a real one counts again once its backslash is gone.
    if key.matches('*').count() != stars && stars < 3 {
        return Err(format!(
            "key {key:?} has an escaped \"*\" beside a real one, which does not work"
        ));
    }
    Star::parse(key).map(Key::Star)
}

fn hash(key: &str) -> Result<&str, String> {
    let wrong = || format!("key {key:?} is no constant; write #text or #(text)");
    let text = key.strip_prefix('#').filter(|text| !text.is_empty()).ok_or_else(wrong)?;
    match text.strip_prefix('(') {
        None => Ok(text),
        Some(rest) => rest.strip_suffix(')').ok_or_else(wrong),
    }
}

fn amp(key: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let (literal, mut rest) = key.split_once('&').unwrap_or((key, ""));
    let push = |literal: &str, tokens: &mut Vec<Token>| {
        if !literal.is_empty() {
            tokens.push(Token::Literal(literal.into()));
        }
    };
    push(literal, &mut tokens);
    loop {
        let of_reference = |c: char| c.is_numeric() || matches!(c, '(' | ')' | ',');
        let end = rest.find(|c| !of_reference(c)).unwrap_or(rest.len());
        tokens.push(Token::Amp(Reference::parse('&', &rest[..end])?));
        rest = &rest[end..];
        match rest.split_once('&') {
            Some((literal, after)) => {
                push(literal, &mut tokens);
                rest = after;
            }
            None => {
                push(rest, &mut tokens);
                return Ok(tokens);
            }
        }
    }
}

fn array(original: &str, key: &str, opened: usize, closed: usize) -> Result<Key, String> {
    if opened != 1 || closed != 1 {
        return Err(format!("key {original:?} must have one \"[\" and one \"]\""));
    }
    let Some(inner) = key.strip_prefix('[').and_then(|key| key.strip_suffix(']')) else {
        return Err(format!("key {original:?} must begin with \"[\" and end with \"]\""));
    };
    let element = match inner.chars().next() {
        None => Element::Append,
        Some('&') => Element::IndexAmp(Reference::parse('&', &inner[1..])?),
        Some('#') => {
            let up = if inner.len() == 1 { Some(0) } else { crate::java::index(&inner[1..]) };
            let up = up.ok_or_else(|| format!("\"{inner}\" is no count; write [#2]"))?;
            Element::IndexCount(up)
        }
        Some('@') => Element::IndexAt(Transpose::parse(inner)?),
        Some(_) => {
            let index = crate::java::index(inner);
            let index = index.ok_or_else(|| {
                format!("key {original:?} has no index; write a whole number that is not negative")
            })?;
            Element::Index(index, inner.into())
        }
    };
    Ok(Key::Array(element))
}

fn without_escaped(key: &str) -> String {
    let mut chars = key.chars();
    let mut seen = String::with_capacity(key.len());
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next();
        } else {
            seen.push(c);
        }
    }
    seen
}

fn without_backslashes(key: &str) -> String {
    let mut chars = key.chars();
    let mut text = String::with_capacity(key.len());
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}
