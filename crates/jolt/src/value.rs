//! The document that operations work on.
//!
//! Texts borrow from the bytes that were parsed or from the specification, so that
//! copying a scalar copies a reference. Numbers keep the kind that Java's Jackson gives
//! them, because some functions ask for it. Objects keep their order; small ones are
//! searched, large ones have an index. Nothing is shared between two places of a
//! document: what an operation changes in one place stays as it was in the other.

use std::{fmt, ops::Deref, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// A JSON document.
#[derive(Debug, Clone, Default)]
pub enum Value<'a> {
    #[default]
    Null,
    Bool(bool),
    Number(Number<'a>),
    String(Text<'a>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// A number of one of Java's kinds.
#[derive(Debug, Clone)]
pub enum Number<'a> {
    /// `Integer`.
    Int(i32),
    /// `Long`; also a small one, where a function made it.
    Long(i64),
    /// `BigInteger`: digits, perhaps after a minus.
    Big(Text<'a>),
    /// `Double`.
    Double(f64),
    /// A `Double` that was parsed from this text, which is how Java prints it.
    Decimal(&'a str),
}

/// A string: borrowed where it can be, else shared.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

/// An object with its keys in order.
#[derive(Clone, Default)]
pub struct Object<'a> {
    entries: Vec<(Text<'a>, Value<'a>)>,
    /// Places by key, once there are more than [`SEARCHED_MAX`].
    index: Option<Box<Index>>,
}

/// Keys up to which an object is searched from its front: faster than hashing.
const SEARCHED_MAX: usize = 16;

#[derive(Clone, Default)]
struct Index {
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Number<'_> {
    /// The kind for a whole number as Jackson chooses it.
    pub fn whole(value: i64) -> Self {
        i32::try_from(value).map_or(Self::Long(value), Self::Int)
    }

    /// Java's `doubleValue()`.
    pub fn to_f64(&self) -> f64 {
        match self {
            Self::Int(value) => f64::from(*value),
            #[allow(clippy::cast_precision_loss, reason = "as Java converts")]
            Self::Long(value) => *value as f64,
            Self::Big(text) => text.parse().unwrap_or(f64::INFINITY),
            Self::Double(value) => *value,
            Self::Decimal(text) => text.parse().unwrap_or(f64::NAN),
        }
    }

    /// Java's `longValue()`: doubles saturate, large integers keep their low bits.
    #[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
    pub fn to_i64(&self) -> i64 {
        match self {
            Self::Int(value) => i64::from(*value),
            Self::Long(value) => *value,
            Self::Big(text) => low_bits(text),
            Self::Double(_) | Self::Decimal(_) => self.to_f64() as i64,
        }
    }

    /// Java's `intValue()`: doubles saturate, integers keep their low bits.
    #[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
    pub fn to_i32(&self) -> i32 {
        match self {
            Self::Double(_) | Self::Decimal(_) => self.to_f64() as i32,
            other => other.to_i64() as i32,
        }
    }

    /// Whether Java holds it as a `Double`.
    pub const fn is_double(&self) -> bool {
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

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl<'a> From<Number<'a>> for Value<'a> {
    fn from(number: Number<'a>) -> Self {
        Self::Number(number)
    }
}

impl<'a> Value<'a> {
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for errors.
    pub const fn kind(&self) -> &'static str {
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
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Self::Object(object) => {
                1 + object.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Scalars and containers in it, itself among them.
    pub fn nodes(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Value::nodes).sum::<usize>(),
            Self::Object(object) => {
                1 + object.iter().map(|(_, value)| value.nodes()).sum::<usize>()
            }
            _ => 1,
        }
    }

    /// A copy whose texts borrow from this one.
    pub(crate) fn borrowed<'x>(&'x self) -> Value<'x>
    where
        'a: 'x,
    {
        let text = |text: &'x Text<'a>| Text::Borrowed(&**text);
        match self {
            Value::String(string) => Value::String(text(string)),
            Value::Array(items) => Value::Array(items.iter().map(Value::borrowed).collect()),
            Value::Object(object) => Value::Object(
                object.iter().map(|(key, value)| (text(key), value.borrowed())).collect(),
            ),
            other => other.clone(),
        }
    }

    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(match number {
                Number::Int(value) => Number::Int(value),
                Number::Long(value) => Number::Long(value),
                Number::Big(text) => Number::Big(text.into_owned()),
                Number::Double(value) => Number::Double(value),
                decimal @ Number::Decimal(_) => Number::Double(decimal.to_f64()),
            }),
            Self::String(text) => Value::String(text.into_owned()),
            Self::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Self::Object(object) => Value::Object(
                object
                    .into_iter()
                    .map(|(key, value)| (key.into_owned(), value.into_owned()))
                    .collect(),
            ),
        }
    }
}

impl Text<'_> {
    pub fn into_owned(self) -> Text<'static> {
        match self {
            Self::Borrowed(text) => Text::Shared(text.into()),
            Self::Shared(text) => Text::Shared(text),
        }
    }
}

impl<'a> Object<'a> {
    pub const fn new() -> Self {
        Self { entries: Vec::new(), index: None }
    }

    pub fn with_capacity(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries), index: None }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where a key stands.
    pub fn place(&self, key: &str) -> Option<usize> {
        match &self.index {
            None => self.entries.iter().position(|(found, _)| **found == *key),
            Some(index) => {
                let hash = index.hasher.hash_one(key);
                let same = |place: &u32| *self.entries[*place as usize].0 == *key;
                index.places.find(hash, same).map(|place| *place as usize)
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.place(key).map(|place| &self.entries[place].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.place(key).map(|place| &mut self.entries[place].1)
    }

    /// The entry at a place.
    pub fn at(&self, place: usize) -> Option<(&Text<'a>, &Value<'a>)> {
        self.entries.get(place).map(|(key, value)| (key, value))
    }

    pub fn at_mut(&mut self, place: usize) -> Option<&mut Value<'a>> {
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_some()
    }

    /// Sets a key; one that is there keeps its place.
    pub fn insert(&mut self, key: Text<'a>, value: Value<'a>) {
        match self.place(&key) {
            Some(place) => self.entries[place].1 = value,
            None => {
                self.push_new(key, value);
            }
        }
    }

    /// Appends a key that is known to be new; answers its place.
    pub(crate) fn push_new(&mut self, key: Text<'a>, value: Value<'a>) -> usize {
        let place = self.entries.len();
        self.entries.push((key, value));
        match &mut self.index {
            None if place == SEARCHED_MAX => self.rebuild(),
            None => {}
            Some(index) => index.add(&self.entries, place),
        }
        place
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text<'a>, &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text<'a>, &mut Value<'a>)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Keeps the entries that please.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'a>) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|(key, value)| keep(key, value));
        if self.entries.len() != before {
            self.rebuild();
        }
    }

    /// Puts the entries into another order.
    pub(crate) fn sort_by(&mut self, mut compare: impl FnMut(&str, &str) -> std::cmp::Ordering) {
        self.entries.sort_by(|(a, _), (b, _)| compare(a, b));
        self.rebuild();
    }

    /// Takes entries out and appends them in the order of `places`, which is ascending.
    pub(crate) fn move_to_end(&mut self, places: &[usize]) {
        let mut moved = Vec::with_capacity(places.len());
        let mut next = places.iter().copied().peekable();
        let mut kept = Vec::with_capacity(self.entries.len());
        for (place, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if next.peek() == Some(&place) {
                next.next();
                moved.push(entry);
            } else {
                kept.push(entry);
            }
        }
        kept.extend(moved);
        self.entries = kept;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        if self.entries.len() <= SEARCHED_MAX {
            self.index = None;
            return;
        }
        let mut index = Box::<Index>::default();
        for place in 0..self.entries.len() {
            index.add(&self.entries, place);
        }
        self.index = Some(index);
    }
}

impl Index {
    fn add(&mut self, entries: &[(Text<'_>, Value<'_>)], place: usize) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(&*entries[place].0);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        self.places
            .insert_unique(hash, place, |place| hasher.hash_one(&*entries[*place as usize].0));
    }
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<(Text<'a>, Value<'a>)> for Object<'a> {
    fn from_iter<I: IntoIterator<Item = (Text<'a>, Value<'a>)>>(entries: I) -> Self {
        let mut object = Self::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        object
    }
}

impl<'a> IntoIterator for Object<'a> {
    type Item = (Text<'a>, Value<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_object_finds_its_keys_also_after_some_are_gone() {
        let mut object: Object<'_> = (0..1_000)
            .map(|n| (Text::from(format!("key{n}")), Value::Number(Number::Int(n))))
            .collect();
        object.retain(|key, _| !key.ends_with('7'));
        for n in 0..1_000 {
            let found = object.get(&format!("key{n}")).is_some();
            assert_eq!(found, n % 10 != 7, "key{n}");
        }
        object.insert("key0".into(), Value::Null);
        assert_eq!(object.place("key0"), Some(0), "a key that is there keeps its place");
    }

    #[test]
    fn large_integers_convert_as_java_does() {
        let big = Number::Big("18446744073709551617".into());
        assert_eq!((big.to_i64(), big.to_i32()), (1, 1));
        assert_eq!(Number::Big("-18446744073709551617".into()).to_i64(), -1);
        assert_eq!(Number::Double(1e300).to_i32(), i32::MAX);
        assert_eq!(Number::Long(1 << 32).to_i32(), 0);
    }
}
