//! The functions of `modify`, by the name that a specification calls them.
//!
//! A function gets values and gives one, or none: then what was there stays. It sees no
//! document and no specification. How arguments are taken differs by family: most take
//! one list or several arguments alike ([`Shape`]), some want a first argument of a type.

mod list;
mod math;
mod object;
mod text;

use regex::Regex;

use crate::{
    arena::{Arena, List},
    budget::{Budget, Fault},
    value::{Array, Number, Value},
};

/// A function, with what could be prepared ahead.
#[derive(Debug)]
pub(super) struct Call {
    function: Function,
    /// For `split` with a literal separator.
    separator: Option<Regex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    ToLower,
    ToUpper,
    Trim,
    Abs,
    ToInteger,
    ToLong,
    ToDouble,
    ToBoolean,
    ToString,
    Concat,
    Substring,
    Join,
    Split,
    LeftPad,
    RightPad,
    Min,
    Max,
    Avg,
    IntSum,
    LongSum,
    DoubleSum,
    IntSubtract,
    LongSubtract,
    DoubleSubtract,
    Divide,
    DivideAndRound,
    FirstElement,
    LastElement,
    ElementAt,
    ToList,
    Sort,
    Size,
    SquashNulls,
    RecursivelySquashNulls,
    SquashDuplicates,
    Noop,
    IsPresent,
    NotNull,
    IsNull,
}

const FUNCTIONS: [(&str, Function); 39] = [
    ("toLower", Function::ToLower),
    ("toUpper", Function::ToUpper),
    ("trim", Function::Trim),
    ("abs", Function::Abs),
    ("toInteger", Function::ToInteger),
    ("toLong", Function::ToLong),
    ("toDouble", Function::ToDouble),
    ("toBoolean", Function::ToBoolean),
    ("toString", Function::ToString),
    ("concat", Function::Concat),
    ("substring", Function::Substring),
    ("join", Function::Join),
    ("split", Function::Split),
    ("leftPad", Function::LeftPad),
    ("rightPad", Function::RightPad),
    ("min", Function::Min),
    ("max", Function::Max),
    ("avg", Function::Avg),
    ("intSum", Function::IntSum),
    ("longSum", Function::LongSum),
    ("doubleSum", Function::DoubleSum),
    ("intSubtract", Function::IntSubtract),
    ("longSubtract", Function::LongSubtract),
    ("doubleSubtract", Function::DoubleSubtract),
    ("divide", Function::Divide),
    ("divideAndRound", Function::DivideAndRound),
    ("firstElement", Function::FirstElement),
    ("lastElement", Function::LastElement),
    ("elementAt", Function::ElementAt),
    ("toList", Function::ToList),
    ("sort", Function::Sort),
    ("size", Function::Size),
    ("squashNulls", Function::SquashNulls),
    ("recursivelySquashNulls", Function::RecursivelySquashNulls),
    ("squashDuplicates", Function::SquashDuplicates),
    ("noop", Function::Noop),
    ("isPresent", Function::IsPresent),
    ("notNull", Function::NotNull),
    ("isNull", Function::IsNull),
];

/// Arguments as most functions take them: one list, or several values, or one value.
enum Shape<'x> {
    Nothing,
    One(Value<'x>),
    List(List<'x, Value<'x>>),
}

impl<'x> Shape<'x> {
    fn of(arena: &'x Arena, arguments: &[Value<'x>]) -> Self {
        match arguments {
            [] | [Value::Null] => Self::Nothing,
            [Value::Array(array)] if array.is_empty() => Self::Nothing,
            [Value::Array(array)] => Self::List(items(arena, array)),
            [one] => Self::One(*one),
            several => Self::List(several_of(arena, several)),
        }
    }
}

impl Call {
    /// Finds a function; `None` where nobody knows it. `literals` are its arguments'
    /// texts, where they are literals.
    ///
    /// # Errors
    /// A separator that is no regular expression, or none that can be had here.
    pub(super) fn named(name: &str, literals: &[Option<&str>]) -> Result<Option<Self>, String> {
        let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
        let Some((_, function)) = found else { return Ok(None) };
        let separator = match (function, literals) {
            (Function::Split, [Some(separator), ..]) => Some(text::separator(separator)?),
            _ => None,
        };
        Ok(Some(Self { function: *function, separator }))
    }

    /// Whether it takes the nulls out of its argument itself.
    pub(super) fn squashes(&self) -> bool {
        matches!(self.function, Function::SquashNulls | Function::RecursivelySquashNulls)
    }

    /// Whether its value is never an array or an object.
    pub(super) const fn gives_a_scalar(&self) -> bool {
        matches!(
            self.function,
            Function::Concat
                | Function::Substring
                | Function::Join
                | Function::LeftPad
                | Function::RightPad
                | Function::Avg
                | Function::IntSum
                | Function::LongSum
                | Function::DoubleSum
                | Function::Size
        )
    }

    /// The function's value; `None` leaves what was there. What it has in common with
    /// the arguments is marked as shared.
    pub(super) fn apply<'x>(
        &self,
        arena: &'x Arena,
        arguments: &[Value<'x>],
        budget: &mut Budget<'x>,
    ) -> Result<Option<Value<'x>>, Fault> {
        // What it gives can hold any of its arguments.
        for argument in arguments {
            budget.weight(argument.weight())?;
        }
        let value = self.value(arena, arguments, budget)?;
        if let Some(Value::String(text)) = value {
            budget.text(text.len())?;
        }
        Ok(value)
    }

    fn value<'x>(
        &self,
        arena: &'x Arena,
        arguments: &[Value<'x>],
        budget: &mut Budget<'x>,
    ) -> Result<Option<Value<'x>>, Fault> {
        let list = |of: fn(&[Value<'x>]) -> Option<Value<'x>>| match Shape::of(arena, arguments) {
            Shape::List(items) => of(&items),
            Shape::Nothing | Shape::One(_) => None,
        };
        let each = |of: fn(&'x Arena, Value<'x>) -> Option<Value<'x>>| each(arena, arguments, of);
        Ok(match self.function {
            Function::ToLower => each(text::to_lower),
            Function::ToUpper => each(text::to_upper),
            Function::Trim => each(text::trim),
            Function::Abs => each(math::abs),
            Function::ToInteger => each(math::to_integer),
            Function::ToLong => each(math::to_long),
            Function::ToDouble => each(math::to_double),
            Function::ToBoolean => each(object::to_boolean),
            Function::ToString => each(object::to_string),
            Function::Concat => match Shape::of(arena, arguments) {
                Shape::List(items) => Some(text::concat(arena, &items, budget)?),
                Shape::Nothing | Shape::One(_) => None,
            },
            Function::Substring => match Shape::of(arena, arguments) {
                Shape::List(items) => text::substring(arena, &items),
                Shape::Nothing | Shape::One(_) => None,
            },
            Function::Join => match of_text(arena, arguments) {
                Some((separator, items)) => Some(text::join(arena, separator, &items, budget)?),
                None => None,
            },
            Function::Split => text::split(arena, self.separator.as_ref(), arguments, budget)?,
            Function::LeftPad => {
                of_text(arena, arguments).and_then(|(s, items)| text::pad(arena, true, s, &items))
            }
            Function::RightPad => {
                of_text(arena, arguments).and_then(|(s, items)| text::pad(arena, false, s, &items))
            }
            Function::Min => math::extreme(Shape::of(arena, arguments), math::min),
            Function::Max => math::extreme(Shape::of(arena, arguments), math::max),
            Function::Avg => list(math::avg),
            Function::IntSum => list(math::int_sum),
            Function::LongSum => list(math::long_sum),
            Function::DoubleSum => list(math::double_sum),
            Function::IntSubtract => list(math::int_subtract),
            Function::LongSubtract => list(math::long_subtract),
            Function::DoubleSubtract => list(math::double_subtract),
            Function::Divide => list(math::divide),
            Function::DivideAndRound => of_integer(arena, arguments)
                .and_then(|(digits, items)| math::divide_and_round(digits, &items)),
            Function::FirstElement => list(list::first),
            Function::LastElement => list(list::last),
            Function::ElementAt => of_integer(arena, arguments)
                .and_then(|(index, items)| list::element_at(index, &items)),
            Function::ToList => list::to_list(arena, Shape::of(arena, arguments)),
            Function::Sort => list::sort(arena, Shape::of(arena, arguments)),
            Function::Size => object::size(arguments),
            Function::SquashNulls => object::squash(arena, arguments, object::squash_nulls),
            Function::RecursivelySquashNulls => {
                object::squash(arena, arguments, object::recursively_squash_nulls)
            }
            Function::SquashDuplicates => {
                object::squash_duplicates(arena, Shape::of(arena, arguments))
            }
            Function::Noop => None,
            Function::IsPresent => arguments.first().map(|value| value.share()),
            Function::NotNull => arguments.first().filter(|v| !v.is_null()).map(|v| v.share()),
            Function::IsNull => arguments.first().filter(|v| v.is_null()).map(|v| v.share()),
        })
    }
}

/// Applies to one value, or to each of a list; those that fail stay as they are.
fn each<'x>(
    arena: &'x Arena,
    arguments: &[Value<'x>],
    of: fn(&'x Arena, Value<'x>) -> Option<Value<'x>>,
) -> Option<Value<'x>> {
    match Shape::of(arena, arguments) {
        Shape::Nothing => None,
        Shape::One(value) => of(arena, value),
        Shape::List(items) => {
            let changed = |item: &Value<'x>| of(arena, *item).unwrap_or_else(|| item.share());
            Some(arena.array(items.iter().map(changed)))
        }
    }
}

fn items<'x>(arena: &'x Arena, array: &Array<'x>) -> List<'x, Value<'x>> {
    let mut items = arena.list(array.len());
    items.extend(array.iter());
    items
}

fn several_of<'x>(arena: &'x Arena, values: &[Value<'x>]) -> List<'x, Value<'x>> {
    let mut items = arena.list(values.len());
    items.extend(values.iter().copied());
    items
}

/// A first argument and the list that follows, or that all others make.
fn special<'x>(
    arena: &'x Arena,
    arguments: &[Value<'x>],
) -> Option<(Value<'x>, List<'x, Value<'x>>)> {
    let spread = match arguments {
        [Value::Array(array)] => items(arena, array),
        other => several_of(arena, other),
    };
    match &spread[..] {
        [first, Value::Array(array)] => Some((*first, items(arena, array))),
        // Of two, the second has to be a list.
        [_, _] | [_] | [] => None,
        [first, rest @ ..] => Some((*first, several_of(arena, rest))),
    }
}

fn of_text<'x>(
    arena: &'x Arena,
    arguments: &[Value<'x>],
) -> Option<(&'x str, List<'x, Value<'x>>)> {
    let (first, rest) = special(arena, arguments)?;
    Some((first.as_str()?, rest))
}

fn of_integer<'x>(arena: &'x Arena, arguments: &[Value<'x>]) -> Option<(i32, List<'x, Value<'x>>)> {
    match special(arena, arguments)? {
        (Value::Number(Number::Int(first)), rest) => Some((first.get(), rest)),
        _ => None,
    }
}
