//! A value of a specification, kept apart from every arena so that threads can share it.

use super::{Number, Object, Value};
use crate::{arena::Arena, budget::Weight};

/// A value that belongs to a compiled specification.
#[derive(Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Big(Box<str>),
    Double(f64),
    Decimal(Box<str>),
    String(Box<str>),
    Array(Box<[Self]>),
    Object(Box<[(Box<str>, Self)]>),
}

impl Literal {
    pub(crate) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value.into()),
            Value::Number(Number::Int(value)) => Self::Int(value.get()),
            Value::Number(Number::Long(value)) => Self::Long(value),
            Value::Number(Number::Big(text)) => Self::Big(text.into()),
            Value::Number(Number::Double(value)) => Self::Double(value),
            Value::Number(Number::Decimal(text)) => Self::Decimal(text.into()),
            Value::String(text) => Self::String(text.into()),
            Value::Array(array) => Self::Array(array.iter().map(Self::of).collect()),
            Value::Object(object) => Self::Object(
                object.iter().map(|(key, value)| (key.into(), Self::of(value))).collect(),
            ),
        }
    }

    /// The value, in an arena.
    pub(crate) fn value<'x>(&'x self, arena: &'x Arena) -> Value<'x> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Long(value) => Number::Long(*value).into(),
            Self::Big(text) => Number::Big(text).into(),
            Self::Double(value) => Number::Double(*value).into(),
            Self::Decimal(text) => Number::Decimal(text).into(),
            Self::String(text) => Value::String(text),
            Self::Array(items) => arena.array(items.iter().map(|item| item.value(arena))),
            Self::Object(entries) => {
                let object = Object::new(arena);
                for (key, value) in entries {
                    object.push_new(key, value.value(arena));
                }
                Value::Object(object)
            }
        }
    }

    pub(crate) fn weight(&self) -> Weight {
        let mut weight = Weight { nodes: 1, text_bytes: 0 };
        match self {
            Self::String(text) => weight.text_bytes = text.len(),
            Self::Array(items) => items.iter().for_each(|item| weight += item.weight()),
            Self::Object(entries) => entries.iter().for_each(|(key, value)| {
                weight += Weight { nodes: 0, text_bytes: key.len() };
                weight += value.weight();
            }),
            _ => {}
        }
        weight
    }

    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(entries) => {
                1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}
