//! Functions on strings. They count in UTF-16 units.

use regex::{Regex, RegexBuilder};

use super::items;
use crate::{
    arena::Arena,
    budget::{Budget, Fault},
    java,
    limits::{REGEX_BYTES_MAX, REGEX_STEPS},
    value::{Number, Value},
};

/// The widest that padding makes a string.
const WIDTH_MAX: i32 = 500;

pub(super) fn to_lower<'x>(arena: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    cased(arena, value.as_str()?, char::to_ascii_lowercase, str::to_lowercase)
}

pub(super) fn to_upper<'x>(arena: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    cased(arena, value.as_str()?, char::to_ascii_uppercase, str::to_uppercase)
}

#[allow(clippy::unnecessary_wraps, reason = "one of a family")]
fn cased<'x>(
    arena: &'x Arena,
    text: &'x str,
    ascii: fn(&char) -> char,
    any: fn(&str) -> String,
) -> Option<Value<'x>> {
    if !text.is_ascii() {
        return Some(arena.text(&any(text)).into());
    }
    let mut made = arena.growing(text.len());
    made.extend(text.chars().map(|c| ascii(&c)));
    Some(made.into_bump_str().into())
}

pub(super) fn trim<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    value.as_str().map(|text| text.trim_matches(|c: char| c <= ' ').into())
}

pub(super) fn concat<'x>(
    arena: &'x Arena,
    items: &[Value<'x>],
    budget: &mut Budget<'x>,
) -> Result<Value<'x>, Fault> {
    let mut text = arena.growing(64);
    for item in items.iter().filter(|item| !item.is_null()) {
        let before = text.len();
        java::append(*item, &mut text);
        budget.text(text.len() - before)?;
    }
    Ok(text.into_bump_str().into())
}

/// Leaves out nulls and empty strings, but not the separator before them.
pub(super) fn join<'x>(
    arena: &'x Arena,
    separator: &str,
    items: &[Value<'x>],
    budget: &mut Budget<'x>,
) -> Result<Value<'x>, Fault> {
    let mut text = arena.growing(64);
    for (n, item) in items.iter().enumerate() {
        let before = text.len();
        if !item.is_null() {
            java::append(*item, &mut text);
        }
        if text.len() > before && n + 1 < items.len() {
            text.push_str(separator);
        }
        budget.text(text.len() - before)?;
    }
    Ok(text.into_bump_str().into())
}

pub(super) fn substring<'x>(arena: &'x Arena, items: &[Value<'x>]) -> Option<Value<'x>> {
    let [Value::String(text), Value::Number(Number::Int(start)), Value::Number(Number::Int(end))] =
        items
    else {
        return None;
    };
    let (start, end) = (usize::try_from(start.get()).ok()?, usize::try_from(end.get()).ok()?);
    (start < end).then(|| java::substring(arena, text, start, end)).flatten().map(Into::into)
}

pub(super) fn pad<'x>(
    arena: &'x Arena,
    left: bool,
    text: &str,
    items: &[Value<'x>],
) -> Option<Value<'x>> {
    let [Value::Number(Number::Int(width)), Value::String(filler), ..] = items else {
        return None;
    };
    let width = width.get();
    let mut filler = filler.chars();
    let (Some(fill), None) = (filler.next(), filler.next()) else { return None };
    if !(1..=WIDTH_MAX).contains(&width) || fill.len_utf16() > 1 {
        return None;
    }
    let missing = usize::try_from(width).ok()?.saturating_sub(java::length(text));
    let padding = std::iter::repeat_n(fill, missing);
    let mut padded = arena.growing(text.len() + missing * fill.len_utf8());
    if left {
        padded.extend(padding);
        padded.push_str(text);
    } else {
        padded.push_str(text);
        padded.extend(padding);
    }
    Some(padded.into_bump_str().into())
}

/// Compiles what `split` splits at.
pub(super) fn separator(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("{text:?} is no regular expression that can be used here: {why}")
    })
}

/// `split(separator, text)`, or of each text of a list.
pub(super) fn split<'x>(
    arena: &'x Arena,
    known: Option<&Regex>,
    arguments: &[Value<'x>],
    budget: &mut Budget<'x>,
) -> Result<Option<Value<'x>>, Fault> {
    let spread;
    let arguments = match arguments {
        [Value::Array(array)] => {
            spread = items(arena, array);
            &spread
        }
        other => other,
    };
    let [Value::String(text), rest @ ..] = arguments else { return Ok(None) };
    let is_text = |item: Value<'_>| item.as_str().is_some();
    let has_text = match rest {
        [Value::Array(array)] => array.iter().any(is_text),
        others => others.iter().copied().any(is_text),
    };
    let compiled;
    let separator = match known.filter(|known| known.as_str() == *text) {
        Some(known) => Some(known),
        // Where there is nothing to split, no separator is wrong.
        None if !has_text => None,
        None => {
            budget.steps(REGEX_STEPS)?;
            let Ok(separator) = separator(text) else { return Ok(None) };
            compiled = separator;
            Some(&compiled)
        }
    };
    let pieces = |item| separator.and_then(|separator| pieces(arena, separator, item));
    let each = |item: Value<'x>| pieces(item).unwrap_or_else(|| item.share());
    Ok(match rest {
        [] => None,
        [Value::Array(array)] => Some(arena.array(array.iter().map(each))),
        [one] => pieces(*one),
        several => Some(arena.array(several.iter().map(|item| each(*item)))),
    })
}

/// As Java's `split`: no empty strings at the end, none before a match of nothing at the
/// start, and the whole string where nothing matches.
fn pieces<'x>(arena: &'x Arena, separator: &Regex, value: Value<'x>) -> Option<Value<'x>> {
    let text = value.as_str()?;
    let (mut pieces, mut start) = (arena.list(4), 0);
    for found in separator.find_iter(text) {
        if found.end() == 0 || (found.is_empty() && found.start() == text.len()) {
            continue;
        }
        pieces.push(&text[start..found.start()]);
        start = found.end();
    }
    if pieces.is_empty() {
        return Some(arena.array(std::iter::once(value)));
    }
    pieces.push(&text[start..]);
    while pieces.last().is_some_and(|piece| piece.is_empty()) {
        pieces.pop();
    }
    Some(arena.array(pieces.iter().map(|piece| Value::String(piece))))
}
