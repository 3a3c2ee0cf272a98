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
    budget::{Budget, Fault},
    value::{Number, Value},
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
enum Shape<'s, 'x> {
    Nothing,
    One(&'s Value<'x>),
    List(Vec<&'s Value<'x>>),
}

impl<'s, 'x> Shape<'s, 'x> {
    fn of(arguments: &[&'s Value<'x>]) -> Self {
        match arguments {
            [] | [Value::Null] => Self::Nothing,
            [Value::Array(items)] if items.is_empty() => Self::Nothing,
            [Value::Array(items)] => Self::List(items.iter().collect()),
            [one] => Self::One(one),
            several => Self::List(several.to_vec()),
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

    /// The function's value; `None` leaves what was there.
    pub(super) fn apply<'x>(
        &self,
        arguments: &[&Value<'x>],
        budget: &mut Budget,
    ) -> Result<Option<Value<'x>>, Fault> {
        let size: usize = arguments.iter().map(|argument| argument.nodes()).sum();
        budget.nodes(size)?;
        let value = self.value(arguments, budget)?;
        if let Some(Value::String(crate::value::Text::Shared(text))) = &value {
            budget.text(text.len())?;
        }
        Ok(value)
    }

    fn value<'x>(
        &self,
        arguments: &[&Value<'x>],
        budget: &mut Budget,
    ) -> Result<Option<Value<'x>>, Fault> {
        let list = |of: fn(&[&Value<'x>]) -> Option<Value<'x>>| match Shape::of(arguments) {
            Shape::List(items) => of(&items),
            Shape::Nothing | Shape::One(_) => None,
        };
        Ok(match self.function {
            Function::ToLower => each(arguments, text::to_lower),
            Function::ToUpper => each(arguments, text::to_upper),
            Function::Trim => each(arguments, text::trim),
            Function::Abs => each(arguments, math::abs),
            Function::ToInteger => each(arguments, math::to_integer),
            Function::ToLong => each(arguments, math::to_long),
            Function::ToDouble => each(arguments, math::to_double),
            Function::ToBoolean => each(arguments, object::to_boolean),
            Function::ToString => each(arguments, object::to_string),
            Function::Concat => match Shape::of(arguments) {
                Shape::List(items) => Some(text::concat(&items, budget)?),
                Shape::Nothing | Shape::One(_) => None,
            },
            Function::Substring => list(text::substring),
            Function::Join => match of_text(arguments) {
                Some((separator, items)) => Some(text::join(separator, &items, budget)?),
                None => None,
            },
            Function::Split => text::split(self.separator.as_ref(), arguments),
            Function::LeftPad => {
                of_text(arguments).and_then(|(s, items)| text::pad(true, s, &items))
            }
            Function::RightPad => {
                of_text(arguments).and_then(|(s, items)| text::pad(false, s, &items))
            }
            Function::Min => math::extreme(arguments, math::min),
            Function::Max => math::extreme(arguments, math::max),
            Function::Avg => list(math::avg),
            Function::IntSum => list(math::int_sum),
            Function::LongSum => list(math::long_sum),
            Function::DoubleSum => list(math::double_sum),
            Function::IntSubtract => list(math::int_subtract),
            Function::LongSubtract => list(math::long_subtract),
            Function::DoubleSubtract => list(math::double_subtract),
            Function::Divide => list(math::divide),
            Function::DivideAndRound => of_integer(arguments)
                .and_then(|(digits, items)| math::divide_and_round(digits, &items)),
            Function::FirstElement => list(list::first),
            Function::LastElement => list(list::last),
            Function::ElementAt => {
                of_integer(arguments).and_then(|(index, items)| list::element_at(index, &items))
            }
            Function::ToList => list::to_list(arguments),
            Function::Sort => list::sort(arguments),
            Function::Size => object::size(arguments),
            Function::SquashNulls => object::squash(arguments, object::squash_nulls),
            Function::RecursivelySquashNulls => {
                object::squash(arguments, object::recursively_squash_nulls)
            }
            Function::SquashDuplicates => object::squash_duplicates(arguments),
            Function::Noop => None,
            Function::IsPresent => arguments.first().map(|value| (*value).clone()),
            Function::NotNull => arguments.first().filter(|v| !v.is_null()).map(|v| (*v).clone()),
            Function::IsNull => arguments.first().filter(|v| v.is_null()).map(|v| (*v).clone()),
        })
    }
}

/// Applies to one value, or to each of a list; those that fail stay as they are.
fn each<'x>(
    arguments: &[&Value<'x>],
    of: impl Fn(&Value<'x>) -> Option<Value<'x>>,
) -> Option<Value<'x>> {
    match Shape::of(arguments) {
        Shape::Nothing => None,
        Shape::One(value) => of(value),
        Shape::List(items) => {
            let changed = |item: &Value<'x>| of(item).unwrap_or_else(|| item.clone());
            Some(Value::Array(items.into_iter().map(changed).collect()))
        }
    }
}

/// A first argument and the list that follows, or that all others make.
fn special<'s, 'x>(arguments: &[&'s Value<'x>]) -> Option<(&'s Value<'x>, Vec<&'s Value<'x>>)> {
    let spread: Vec<&Value<'x>>;
    let arguments = match arguments {
        [Value::Array(items)] => {
            spread = items.iter().collect();
            &spread
        }
        other => other,
    };
    match arguments {
        [first, Value::Array(items)] => Some((first, items.iter().collect())),
        // Of two, the second has to be a list.
        [_, _] | [_] | [] => None,
        [first, rest @ ..] => Some((first, rest.to_vec())),
    }
}

fn of_text<'s, 'x>(arguments: &[&'s Value<'x>]) -> Option<(&'s str, Vec<&'s Value<'x>>)> {
    let (first, rest) = special(arguments)?;
    Some((first.as_str()?, rest))
}

fn of_integer<'s, 'x>(arguments: &[&'s Value<'x>]) -> Option<(i32, Vec<&'s Value<'x>>)> {
    match special(arguments)? {
        (Value::Number(Number::Int(first)), rest) => Some((*first, rest)),
        _ => None,
    }
}
