//! Functions on numbers, with Java's kinds and Java's overflows.

use super::Shape;
use crate::{
    arena::Arena,
    java,
    value::{Number, Value},
};

/// A number, or the number in a string.
fn number(value: Value<'_>) -> Option<Number<'_>> {
    match value {
        Value::Number(number) => Some(number),
        Value::String(text) => java::parse_number(text),
        _ => None,
    }
}

pub(super) fn to_integer<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    number(value).map(|number| number.to_i32().into())
}

pub(super) fn to_long<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    number(value).map(|number| Number::Long(number.to_i64()).into())
}

pub(super) fn to_double<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    number(value).map(|number| Number::Double(number.to_f64()).into())
}

pub(super) fn abs<'x>(_: &'x Arena, value: Value<'x>) -> Option<Value<'x>> {
    let absolute = match number(value)? {
        Number::Int(value) => Number::Int(value.get().wrapping_abs().into()),
        Number::Long(value) => Number::Long(value.wrapping_abs()),
        Number::Big(_) => return None,
        double => Number::Double(double.to_f64().abs()),
    };
    Some(absolute.into())
}

/// `min` and `max`: of one number itself, of several by `of`.
pub(super) fn extreme<'x>(
    shape: Shape<'x>,
    of: fn(&[Value<'x>]) -> Option<Value<'x>>,
) -> Option<Value<'x>> {
    match shape {
        Shape::Nothing => None,
        Shape::One(value) => matches!(value, Value::Number(_)).then_some(value),
        Shape::List(items) => of(&items),
    }
}

/// The extremes of each kind, which the reference compares as truncated longs.
struct Extremes {
    int: i32,
    long: i64,
    double: f64,
    found: bool,
}

impl Extremes {
    fn of(mut self, items: &[Value<'_>], smaller: bool) -> Self {
        for item in items {
            let Some(number) = number(*item) else { continue };
            match number {
                Number::Int(value) if smaller => self.int = self.int.min(value.get()),
                Number::Int(value) => self.int = self.int.max(value.get()),
                Number::Long(value) if smaller => self.long = self.long.min(value),
                Number::Long(value) => self.long = self.long.max(value),
                Number::Big(_) => continue,
                double => {
                    let value = double.to_f64();
                    // Java's are NaN as soon as one of the two is.
                    let kept =
                        if smaller { self.double.min(value) } else { self.double.max(value) };
                    self.double =
                        if value.is_nan() || self.double.is_nan() { f64::NAN } else { kept };
                }
            }
            self.found = true;
        }
        self
    }
}

#[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
pub(super) fn max<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let none = Extremes { int: i32::MIN, long: i64::MIN, double: -f64::MAX, found: false };
    let Extremes { int, long, double, found } = none.of(items, false);
    let whole = double as i64;
    let largest = if i64::from(int) >= whole && i64::from(int) >= long {
        Number::Int(int.into())
    } else if long >= whole {
        Number::Long(long)
    } else {
        Number::Double(double)
    };
    found.then(|| largest.into())
}

#[allow(clippy::cast_possible_truncation, reason = "as Java converts")]
pub(super) fn min<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let none = Extremes { int: i32::MAX, long: i64::MAX, double: f64::MAX, found: false };
    let Extremes { int, long, double, found } = none.of(items, true);
    let whole = double as i64;
    let smallest = if i64::from(int) <= whole && i64::from(int) <= long {
        Number::Int(int.into())
    } else if long <= whole {
        Number::Long(long)
    } else {
        Number::Double(double)
    };
    found.then(|| smallest.into())
}

#[allow(clippy::cast_precision_loss, reason = "as Java divides")]
pub(super) fn avg<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let numbers: Vec<f64> = items.iter().filter_map(|i| number(*i)).map(|n| n.to_f64()).collect();
    let sum: f64 = numbers.iter().sum();
    (!numbers.is_empty()).then(|| Number::Double(sum / numbers.len() as f64).into())
}

pub(super) fn int_sum<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let numbers = items.iter().filter_map(|item| number(*item));
    Some(numbers.fold(0, |sum: i32, n| sum.wrapping_add(n.to_i32())).into())
}

pub(super) fn long_sum<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let numbers = items.iter().filter_map(|item| number(*item));
    Some(Number::Long(numbers.fold(0, |sum: i64, n| sum.wrapping_add(n.to_i64()))).into())
}

pub(super) fn double_sum<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    let numbers = items.iter().filter_map(|item| number(*item));
    Some(Number::Double(numbers.fold(0.0, |sum, n| sum + n.to_f64())).into())
}

pub(super) fn int_subtract<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    match items {
        [Value::Number(Number::Int(a)), Value::Number(Number::Int(b))] => {
            Some(a.get().wrapping_sub(b.get()).into())
        }
        _ => None,
    }
}

pub(super) fn long_subtract<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    match items {
        [Value::Number(Number::Long(a)), Value::Number(Number::Long(b))] => {
            Some(Number::Long(a.wrapping_sub(*b)).into())
        }
        _ => None,
    }
}

pub(super) fn double_subtract<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    match items {
        [Value::Number(a), Value::Number(b)] if a.is_double() && b.is_double() => {
            Some(Number::Double(a.to_f64() - b.to_f64()).into())
        }
        _ => None,
    }
}

fn quotient(items: &[Value<'_>]) -> Option<f64> {
    let [a, b] = items else { return None };
    let (a, b) = (number(*a)?.to_f64(), number(*b)?.to_f64());
    (b != 0.0).then(|| a / b)
}

pub(super) fn divide<'x>(items: &[Value<'x>]) -> Option<Value<'x>> {
    quotient(items).map(|quotient| Number::Double(quotient).into())
}

pub(super) fn divide_and_round<'x>(digits: i32, items: &[Value<'x>]) -> Option<Value<'x>> {
    let quotient = quotient(items)?;
    round_half_up(quotient, digits).map(|rounded| Number::Double(rounded).into())
}

/// Rounds the exact value of a double half away from zero, to so many digits after the
/// point; before it, where they are negative.
fn round_half_up(value: f64, digits: i32) -> Option<f64> {
    // No double has more digits on either side.
    const EXACT: usize = 1_074;
    if !value.is_finite() {
        return None;
    }
    let exact = format!("{:.EXACT$}", value.abs());
    let (whole, fraction) = exact.split_once('.')?;
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
    let kept = i64::try_from(whole.len()).ok()? + i64::from(digits);
    if kept < 0 {
        return Some(0.0);
    }
    let kept = usize::try_from(kept).ok()?;
    if kept >= all.len() {
        // The zero that it rounds to has no sign.
        return Some(value + 0.0);
    }
    let mut rounded = all[..kept].to_vec();
    let mut carry = all[kept] >= 5;
    for digit in rounded.iter_mut().rev() {
        if carry {
            carry = *digit == 9;
            *digit = if carry { 0 } else { *digit + 1 };
        }
    }
    let mut text = String::from(if carry { "1" } else { "0" });
    text.extend(rounded.iter().map(|digit| char::from(b'0' + digit)));
    let size: f64 = format!("{text}e{}", -i64::from(digits)).parse().ok()?;
    Some(if value < 0.0 && size > 0.0 { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_exact_and_half_away_from_zero() {
        for (value, digits, expected) in [
            (2.5, 0, 3.0),
            (-2.5, 0, -3.0),
            (1.005, 2, 1.0),
            (0.125, 2, 0.13),
            (1.0 / 3.0, 3, 0.333),
            (9.999, 2, 10.0),
            (1234.0, -2, 1200.0),
            (1250.0, -2, 1300.0),
            (5.0, -1, 10.0),
            (4.0, -1, 0.0),
            (1e-320, 2, 0.0),
            (0.1, 400, 0.1),
        ] {
            assert_eq!(round_half_up(value, digits), Some(expected), "{value} to {digits}");
        }
        assert_eq!(round_half_up(f64::NAN, 2), None);
        for (value, digits) in [(-0.0, 0), (-0.0, 2_000), (-0.02, 1), (-4.0, -1)] {
            let rounded = round_half_up(value, digits).unwrap();
            assert_eq!(rounded.to_bits(), 0, "{value} to {digits}");
        }
    }
}
