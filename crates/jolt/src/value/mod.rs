//! The document that operations work on.
//!
//! A value is small and copied freely: texts and containers lie in an [`Arena`], in the
//! bytes that were parsed or in the specification. Containers can be changed in place, so
//! one that gets a second place in a document is marked ([`Value::share`]), and who wants
//! to change it changes a copy ([`own_object`], [`own_array`]): what an operation does in
//! one place never shows in another. Numbers keep the kind that Java's Jackson gives them,
//! because some functions ask for it.

mod array;
mod literal;
mod object;

use std::{cell::Cell, fmt};

pub use array::Array;
pub(crate) use literal::Literal;
pub use object::Object;

use crate::{arena::Arena, budget::Weight};

/// A JSON value.
///
/// Everything in it is as wide as a pointer, its kind as well: what is smaller would be
/// written in parts, and a processor that reads such a value as a whole waits for them.
#[derive(Debug, Clone, Copy, Default)]
pub enum Value<'x> {
    #[default]
    Null,
    Bool(Truth),
    Number(Number<'x>),
    String(&'x str),
    Array(&'x Array<'x>),
    Object(&'x Object<'x>),
}

/// A number of one of Java's kinds.
#[derive(Debug, Clone, Copy)]
pub enum Number<'x> {
    /// `Integer`.
    Int(Int),
    /// `Long`; also a small one, where a function made it.
    Long(i64),
    /// `BigInteger`: digits, perhaps after a minus.
    Big(&'x str),
    /// `Double`.
    Double(f64),
    /// A `Double` that was parsed from this text, which is how Java prints it.
    Decimal(&'x str),
}

/// A boolean as wide as a pointer, see [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
pub enum Truth {
    False,
    True,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Truth> for bool {
    fn from(value: Truth) -> Self {
        value == Truth::True
    }
}

/// 32 bits as wide as a pointer, see [`Value`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Int(i64);

impl Int {
    #[allow(clippy::cast_possible_truncation, reason = "it is made of 32 bits")]
    pub const fn get(self) -> i32 {
        self.0 as i32
    }
}

impl From<i32> for Int {
    fn from(value: i32) -> Self {
        Self(value.into())
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a document that holds a value.
pub(crate) type Slot<'x> = Cell<Value<'x>>;

/// The object in a place, for changing it; a shared one is copied first.
pub(crate) fn own_object<'x>(slot: &Slot<'x>) -> Option<&'x Object<'x>> {
    let Value::Object(object) = slot.get() else { return None };
    if !object.is_shared() {
        return Some(object);
    }
    let own = object.copy();
    slot.set(Value::Object(own));
    Some(own)
}

/// The array in a place, for changing it; a shared one is copied first.
pub(crate) fn own_array<'x>(slot: &Slot<'x>) -> Option<&'x Array<'x>> {
    let Value::Array(array) = slot.get() else { return None };
    if !array.is_shared() {
        return Some(array);
    }
    let own = array.copy();
    slot.set(Value::Array(own));
    Some(own)
}

impl Number<'_> {
    /// The kind for a whole number as Jackson chooses it.
    pub fn whole(value: i64) -> Self {
        i32::try_from(value).map_or(Self::Long(value), |value| Self::Int(value.into()))
    }

    /// Java's `doubleValue()`.
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Int(value) => f64::from(value.get()),
            #[allow(clippy::cast_precision_loss, reason = "as Java converts")]
            Self::Long(value) => value as f64,
            Self::Big(text) => text.parse().unwrap_or(f64::INFINITY),
            Self::Double(value) => value,
            Self::Decimal(text) => text.parse().unwrap_or(f64::NAN),
        }
    }

    /// Java's `longValue()`: doubles saturate, large integers keep their low bits.
    #[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
    pub fn to_i64(self) -> i64 {
        match self {
            Self::Int(value) => i64::from(value.get()),
            Self::Long(value) => value,
            Self::Big(text) => low_bits(text),
            Self::Double(_) | Self::Decimal(_) => self.to_f64() as i64,
        }
    }

    /// Java's `intValue()`: doubles saturate, integers keep their low bits.
    #[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
    pub fn to_i32(self) -> i32 {
        match self {
            Self::Double(_) | Self::Decimal(_) => self.to_f64() as i32,
            other => other.to_i64() as i32,
        }
    }

    /// Whether Java holds it as a `Double`.
    pub const fn is_double(self) -> bool {
        matches!(self, Self::Double(_) | Self::Decimal(_))
    }
}

/// The low 64 bits of a whole number in decimal, in two's complement.
fn low_bits(text: &str) -> i64 {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let add = |sum: u64, digit: u8| {
        sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
    };
    let magnitude = digits.bytes().fold(0u64, add);
    let bits = if digits.len() < text.len() { magnitude.wrapping_neg() } else { magnitude };
    i64::from_ne_bytes(bits.to_ne_bytes())
}

impl<'x> From<&'x str> for Value<'x> {
    fn from(text: &'x str) -> Self {
        Self::String(text)
    }
}

impl<'x> From<Number<'x>> for Value<'x> {
    fn from(number: Number<'x>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value.into())
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Number(Number::Int(value.into()))
    }
}

impl<'x> Value<'x> {
    pub(crate) const TRUE: Self = Self::Bool(Truth::True);
    pub(crate) const FALSE: Self = Self::Bool(Truth::False);

    pub const fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string.
    pub const fn as_str(self) -> Option<&'x str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for errors.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Levels of arrays and objects; a scalar has none.
    pub fn depth(self) -> usize {
        match self {
            Self::Array(array) => 1 + array.iter().map(Value::depth).max().unwrap_or(0),
            Self::Object(object) => {
                1 + object.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// What it is charged as where it gets a place.
    #[inline]
    pub(crate) fn weight(self) -> Weight {
        match self {
            Self::String(text) => Weight { nodes: 1, text_bytes: text.len() },
            Self::Array(_) | Self::Object(_) => self.weight_of_all(),
            _ => Weight { nodes: 1, text_bytes: 0 },
        }
    }

    fn weight_of_all(self) -> Weight {
        let mut weight = Weight { nodes: 1, text_bytes: 0 };
        match self {
            Self::Array(array) => array.iter().for_each(|item| weight += item.weight()),
            Self::Object(object) => object.iter().for_each(|(key, value)| {
                weight += Weight { nodes: 0, text_bytes: key.len() };
                weight += value.weight();
            }),
            _ => {}
        }
        weight
    }

    /// The value for a second place: from now on, changing it in one makes a copy.
    pub(crate) fn share(self) -> Self {
        match self {
            Self::Array(array) => array.share(),
            Self::Object(object) => object.share(),
            _ => {}
        }
        self
    }

    /// A copy that has nothing in common with the original, not even below.
    pub(crate) fn deep(self, arena: &'x Arena) -> Self {
        match self {
            Self::Array(array) => {
                let items = array.slots().iter().map(|slot| slot.get().deep(arena));
                arena.array(items)
            }
            Self::Object(object) => {
                let copy = object.copy();
                for entry in copy.entries() {
                    entry.value.set(entry.value.get().deep(arena));
                }
                Self::Object(copy)
            }
            scalar => scalar,
        }
    }

    /// Whether both are the same container.
    pub(crate) fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => std::ptr::eq(a, b),
            (Self::Object(a), Self::Object(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value<'_>>(), 24);
    }

    #[test]
    fn large_integers_convert_as_java_does() {
        let big = Number::Big("18446744073709551617");
        assert_eq!((big.to_i64(), big.to_i32()), (1, 1));
        assert_eq!(Number::Big("-18446744073709551617").to_i64(), -1);
        assert_eq!(Number::Double(1e300).to_i32(), i32::MAX);
        assert_eq!(Number::Long(1 << 32).to_i32(), 0);
    }

    #[test]
    fn what_has_two_places_changes_in_one_of_them() {
        let arena = Arena::new();
        let inner = Object::new(&arena);
        inner.insert("k", Value::TRUE);
        let outer = Object::new(&arena);
        outer.insert("a", Value::Object(inner));
        let value = Value::Object(outer).share();
        let (first, second) = (Cell::new(value), Cell::new(value));
        let below = own_object(&first).unwrap().slot("a").unwrap();
        own_object(below).unwrap().insert("k", Value::Null);
        let read = |slot: &Slot<'_>| format!("{:?}", slot.get());
        assert!(read(&first).contains("Null") && !read(&second).contains("Null"));
    }
}
