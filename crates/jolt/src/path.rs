//! Paths in dot notation: where `shift` writes, and where `@(…)` and `^…` read.
//!
//! A path is compiled once. Walking a document it is evaluated to segments, because its
//! `&`, `$`, `[#…]` and `@` depend on what was matched on the way. A part that gives no
//! key makes the whole path void: then nothing is written or found, and it is no error.

use crate::{
    key::{self, Key, Reference},
    value::Value,
    walk::{OutOfRange, Walked},
};

/// A compiled path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) elements: Vec<Element>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element {
    Literal(Box<str>),
    /// Literals and references to matched keys, joined.
    Amp(Vec<Token>),
    /// `$…` whose dollar escaped the check for it; it is a reference like `&…`.
    Dollar(Reference),
    /// `[]`: the end of the array.
    Append,
    /// `[3]`, as it was written.
    Index(usize, Box<str>),
    /// `[&…]`
    IndexAmp(Reference),
    /// `[#…]`: how many children matched so far, that many steps up.
    IndexCount(usize),
    /// `[@…]`
    IndexAt(Transpose),
    /// `@…`: a value of the input as key.
    At(Transpose),
}

/// A part of a key with `&`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Literal(Box<str>),
    Amp(Reference),
}

/// `@(2,a.b)`: so many steps up, then down a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transpose {
    pub(crate) up: usize,
    pub(crate) path: Option<Path>,
}

/// An evaluated step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Segment<'x> {
    Key(&'x str),
    Index(usize),
    Append,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Says why the reference refuses it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        for (wild, escaped) in [('*', "\\*"), ('$', "\\$")] {
            if text.contains(wild) && !text.contains(escaped) {
                return Err(format!(
                    "path {text:?} cannot contain {wild:?}; it says where, not what"
                ));
            }
        }
        let pieces = if text.trim().is_empty() { Vec::new() } else { split(text)? };
        let elements = pieces.iter().map(|piece| element(piece, text)).collect::<Result<_, _>>()?;
        Ok(Self { elements })
    }

    /// The form in which equal paths are equal.
    pub(crate) fn canonical(&self) -> String {
        let parts: Vec<String> = self.elements.iter().map(Element::canonical).collect();
        parts.join(".")
    }

    /// Whether a step gives no key here: then the path leads nowhere. A reference out of
    /// range before that step is an error all the same.
    pub(crate) fn is_void<'x>(&'x self, walked: &impl Walked<'x>) -> Result<bool, OutOfRange> {
        for element in &self.elements {
            if element.evaluate(walked)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Follows the path down from a value.
    pub(crate) fn read<'x>(
        &'x self,
        from: Option<Value<'x>>,
        walked: &impl Walked<'x>,
    ) -> Result<Option<Value<'x>>, OutOfRange> {
        let mut at = from;
        // A later part without a key makes the path void even where an earlier one found
        // nothing, and a reference out of range is an error all the same.
        let mut void = false;
        for element in &self.elements {
            match (element.evaluate(walked)?, at) {
                (None, _) => void = true,
                (Some(Segment::Key(key)), Some(Value::Object(object))) => at = object.get(key),
                (Some(Segment::Index(index)), Some(Value::Array(items))) => at = items.get(index),
                _ => at = None,
            }
        }
        Ok(at.filter(|_| !void))
    }
}

impl Element {
    fn canonical(&self) -> String {
        match self {
            Self::Literal(text) => text.replace('.', "\\."),
            Self::Amp(tokens) => tokens.iter().map(Token::canonical).collect(),
            Self::Dollar(reference) => reference.canonical('$'),
            Self::Append => "[]".to_owned(),
            Self::Index(_, text) => format!("[{text}]"),
            Self::IndexAmp(reference) => format!("[{}]", reference.canonical('&')),
            Self::IndexCount(up) => format!("[#{up}]"),
            Self::IndexAt(transpose) => format!("[{}]", transpose.canonical()),
            Self::At(transpose) => transpose.canonical(),
        }
    }

    /// Whether it can be without a key.
    pub(crate) const fn is_uncertain(&self) -> bool {
        matches!(self, Self::IndexAmp(_) | Self::IndexAt(_) | Self::At(_))
    }

    /// Whether it is a place in an array, not a key.
    pub(crate) const fn is_of_array(&self) -> bool {
        match self {
            Self::Append
            | Self::Index(..)
            | Self::IndexAmp(_)
            | Self::IndexCount(_)
            | Self::IndexAt(_) => true,
            Self::Literal(_) | Self::Amp(_) | Self::Dollar(_) | Self::At(_) => false,
        }
    }

    /// Whether it is the same for all keys of one object: it depends on steps above them
    /// only. A number of keys that matched can grow with each of them.
    pub(crate) fn is_steady(&self) -> bool {
        match self {
            Self::Append | Self::IndexCount(_) | Self::IndexAt(_) | Self::At(_) => false,
            other => other.seen_above().is_some(),
        }
    }

    /// The same as seen from one step above; `None` where it depends on the last step.
    pub(crate) fn seen_above(&self) -> Option<Self> {
        let above = |reference: &Reference| {
            let up = reference.up.checked_sub(1)?;
            Some(Reference { up, ..*reference })
        };
        Some(match self {
            Self::Literal(_) | Self::Append | Self::Index(..) => self.clone(),
            Self::Amp(tokens) => {
                let tokens = tokens.iter().map(|token| match token {
                    Token::Literal(_) => Some(token.clone()),
                    Token::Amp(reference) => above(reference).map(Token::Amp),
                });
                Self::Amp(tokens.collect::<Option<_>>()?)
            }
            Self::Dollar(reference) => Self::Dollar(above(reference)?),
            Self::IndexAmp(reference) => Self::IndexAmp(above(reference)?),
            Self::IndexCount(up) => Self::IndexCount(up.checked_sub(1)?),
            Self::IndexAt(_) | Self::At(_) => return None,
        })
    }

    /// The key or index that it is here; `None` where it gives none.
    #[inline]
    pub(crate) fn evaluate<'x>(
        &'x self,
        walked: &impl Walked<'x>,
    ) -> Result<Option<Segment<'x>>, OutOfRange> {
        match self {
            Self::Literal(text) => Ok(Some(Segment::Key(text))),
            Self::Index(index, _) => Ok(Some(Segment::Index(*index))),
            other => other.evaluate_here(walked),
        }
    }

    fn evaluate_here<'x>(
        &'x self,
        walked: &impl Walked<'x>,
    ) -> Result<Option<Segment<'x>>, OutOfRange> {
        let index = |text: &str| crate::java::index(text).map(Segment::Index);
        Ok(match self {
            Self::Literal(text) => Some(Segment::Key(text)),
            Self::Amp(tokens) => Some(Segment::Key(join(tokens, walked)?)),
            Self::Dollar(reference) => Some(Segment::Key(walked.key(*reference)?)),
            Self::Append => Some(Segment::Append),
            Self::Index(index, _) => Some(Segment::Index(*index)),
            Self::IndexAmp(reference) => match walked.index(*reference)? {
                Some(index) => Some(Segment::Index(index)),
                None => index(walked.key(*reference)?),
            },
            Self::IndexCount(up) => Some(Segment::Index(walked.count(*up)?)),
            Self::IndexAt(transpose) => transpose.key(walked)?.and_then(index),
            Self::At(transpose) => transpose.key(walked)?.map(Segment::Key),
        })
    }
}

impl Token {
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Literal(text) => text.to_string(),
            Self::Amp(reference) => reference.canonical('&'),
        }
    }
}

/// The key that tokens make.
pub(crate) fn join<'x>(
    tokens: &'x [Token],
    walked: &impl Walked<'x>,
) -> Result<&'x str, OutOfRange> {
    if let [Token::Amp(reference)] = tokens {
        return walked.key(*reference);
    }
    let mut text = walked.arena().growing(32);
    for token in tokens {
        match token {
            Token::Literal(literal) => text.push_str(literal),
            Token::Amp(reference) => text.push_str(walked.key(*reference)?),
        }
    }
    Ok(text.into_bump_str())
}

impl Transpose {
    /// Reads `@…` with its at.
    pub(crate) fn parse(key: &str) -> Result<Self, String> {
        let Some(inner) = key.strip_prefix('@').filter(|inner| !inner.is_empty()) else {
            return Err(format!("{key:?} must begin with \"@\" and say what it reads"));
        };
        if inner.contains('@') {
            return Err(format!("{key:?} has an \"@\" inside an \"@\""));
        }
        if inner.contains('*') || inner.contains("[]") {
            return Err(format!("{key:?} reads one place; it cannot contain \"*\" or \"[]\""));
        }
        let inner = match inner.strip_prefix('(') {
            None => inner,
            Some(rest) => {
                rest.strip_suffix(')').ok_or_else(|| format!("{key:?} lacks a \")\" at its end"))?
            }
        };
        if inner.is_empty() {
            return Err(format!("{key:?} does not say what it reads"));
        }
        let levels_up = inner.starts_with(|c: char| c.is_ascii_digit());
        let (up, path) = match inner.split_once(',') {
            _ if !levels_up => ("0", inner),
            Some((up, path)) => (up, path),
            None => (inner, ""),
        };
        let up = up.parse().map_err(|_| {
            format!("{key:?} begins with a number, which must be all that stands before the comma")
        })?;
        let path = if path.is_empty() { None } else { Some(Path::parse(path)?) };
        if path.as_ref().is_some_and(|path| path.elements.is_empty()) {
            return Err(format!("{key:?} reads a path of blanks or dots; leave it out"));
        }
        Ok(Self { up, path })
    }

    pub(crate) fn canonical(&self) -> String {
        let path = self.path.as_ref().map(Path::canonical).unwrap_or_default();
        format!("@({},{path})", self.up)
    }

    /// The value that it reads; `Some(None)` is a null that has no place in the document.
    pub(crate) fn read<'x>(
        &'x self,
        walked: &impl Walked<'x>,
    ) -> Result<Option<Option<Value<'x>>>, OutOfRange> {
        let tree = walked.tree(self.up)?;
        match &self.path {
            None => Ok(Some(tree)),
            Some(path) => Ok(path.read(tree, walked)?.map(Some)),
        }
    }

    /// The steps down that it reads, for who explains them.
    pub(crate) fn segments<'x>(
        &'x self,
        walked: &impl Walked<'x>,
    ) -> Result<Vec<Segment<'x>>, OutOfRange> {
        let elements = self.path.iter().flat_map(|path| &path.elements);
        elements.filter_map(|element| element.evaluate(walked).transpose()).collect()
    }

    /// The value that it reads, as a key: a number is cut to an integer.
    fn key<'x>(&'x self, walked: &impl Walked<'x>) -> Result<Option<&'x str>, OutOfRange> {
        Ok(match self.read(walked)?.flatten() {
            Some(Value::String(text)) => Some(text),
            Some(Value::Bool(value)) => Some(crate::java::bool_text(value)),
            Some(Value::Number(number)) => {
                Some(crate::java::text(walked.arena(), number.to_i32().into()))
            }
            _ => None,
        })
    }
}

fn element(piece: &str, path: &str) -> Result<Element, String> {
    let (key, _) = key::parse(piece)?;
    match key {
        // In the reference escaping does not help: the step is chosen by the unescaped text.
        Key::Literal(text) if *text == *"[]" => Ok(Element::Append),
        Key::Literal(text) => Ok(Element::Literal(text)),
        Key::Amp(tokens) => Ok(Element::Amp(tokens)),
        Key::Dollar(reference) => Ok(Element::Dollar(reference)),
        Key::Array(element) => Ok(element),
        Key::Transpose(transpose) => Ok(Element::At(transpose)),
        Key::At => Err(format!("path {path:?} has an \"@\" that does not say what it reads")),
        Key::Hash(_) | Key::Star(_) => {
            Err(format!("path {path:?} cannot have the part {piece:?}; it says where, not what"))
        }
    }
}

/// Splits a path at its dots and around its `@` parts.
fn split(text: &str) -> Result<Vec<String>, String> {
    let text = dots_before_brackets(text);
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    let mut chars = text.chars();
    let mut escaped = false;
    while let Some(c) = chars.next() {
        let escapes = c == '\\' && !escaped;
        match c {
            _ if escaped && c != '.' && c != '\\' => {
                piece.push('\\');
                piece.push(c);
            }
            '@' => {
                piece.push('@');
                piece.push_str(&at_part(&mut chars, &text)?);
                let inside_brackets = piece.contains('[') && !piece.contains(']');
                if !inside_brackets {
                    pieces.push(std::mem::take(&mut piece));
                }
            }
            '.' if escaped => piece.push('.'),
            '.' if piece.is_empty() => {}
            '.' => pieces.push(std::mem::take(&mut piece)),
            c if !escapes => piece.push(c),
            _ => {}
        }
        escaped = escapes;
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    Ok(pieces)
}

/// `a[0]` means `a.[0]`.
fn dots_before_brackets(text: &str) -> String {
    let mut dotted = String::with_capacity(text.len() + 4);
    let mut before = None;
    for c in text.chars() {
        if c == '[' && before.is_some_and(|before| !matches!(before, '\\' | '@' | '.')) {
            dotted.push('.');
        }
        dotted.push(c);
        before = Some(c);
    }
    dotted
}

/// What follows an `@`: to its closing parenthesis, or to the next dot.
fn at_part(chars: &mut std::str::Chars<'_>, path: &str) -> Result<String, String> {
    let Some(first) = chars.next() else { return Ok(String::new()) };
    if first == '.' {
        return Err(format!("path {path:?} has an \"@\" that does not say what it reads"));
    }
    let mut part = String::from(first);
    for c in chars.by_ref() {
        match (first, c) {
            ('(', '(') => return Err(format!("path {path:?} has a \"(\" inside an \"@(…)\"")),
            ('(', ')') => {
                part.push(c);
                return Ok(part);
            }
            ('(', c) => part.push(c),
            (_, '.') => return Ok(format!("({part})")),
            (_, c) => part.push(c),
        }
    }
    if first == '(' {
        return Err(format!("path {path:?} has an \"@(\" that is not closed"));
    }
    Ok(part)
}
