//! Scalars that JSON carries as text: exact decimals, and the depth of kept JSON.

use courant_model::limits::NESTING_MAX;

/// Why a text is no decimal of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecimalFault {
    NotANumber,
    TooManyDigits,
}

/// Reads a decimal exactly: the number times ten to the scale.
///
/// Takes what JSON takes as a number. Digits after the point beyond the scale must be
/// zeros, and all digits together must fit the precision.
pub(super) fn parse_decimal(text: &str, precision: u8, scale: u8) -> Result<i128, DecimalFault> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let pointed = mantissa.contains('.');
    if whole.is_empty()
        || (pointed && fraction.is_empty())
        || !is_digits(whole)
        || !is_digits(fraction)
    {
        return Err(DecimalFault::NotANumber);
    }
    let digits = whole.bytes().chain(fraction.bytes());
    // How many of the digits stand before the point once the scale has moved it.
    let kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let push = |value: i128, digit: u8| {
        value
            .checked_mul(10)?
            .checked_add(i128::from(digit))
            .filter(|value| fits(*value, precision))
    };
    for (index, byte) in digits.enumerate() {
        let digit = byte - b'0';
        if (index as i64) < kept {
            value = push(value, digit).ok_or(DecimalFault::TooManyDigits)?;
        } else if digit != 0 {
            return Err(DecimalFault::TooManyDigits);
        }
    }
    let missing = kept - (whole.len() + fraction.len()) as i64;
    if value != 0 {
        for _ in 0..missing.max(0) {
            value = push(value, 0).ok_or(DecimalFault::TooManyDigits)?;
        }
    }
    Ok(if negative { -value } else { value })
}

fn fits(value: i128, precision: u8) -> bool {
    value < 10_i128.pow(u32::from(precision))
}

/// Exponents beyond any decimal are cut to a value that is still beyond.
fn parse_exponent(text: &str) -> Result<i32, DecimalFault> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalFault::NotANumber);
    }
    let size = digits.parse::<i32>().unwrap_or(i32::MAX).min(1_000_000_000);
    Ok(if text.starts_with('-') { -size } else { size })
}

/// Whether the JSON text nests no deeper than [`NESTING_MAX`].
pub(super) fn is_shallow(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > NESTING_MAX {
                    return false;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}
