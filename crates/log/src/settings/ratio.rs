//! A share of a whole, from 0 to 1, that can be compared exactly.
//!
//! Kept in millionths, so that what people write (`0.5`, `0.01`) comes back as it
//! was written, in files and over the wire alike.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share from 0 to 1, exact to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

/// Why a number is no ratio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ratio {text:?} is no number from 0 to 1; write one such as 0.5")]
pub struct RatioError {
    pub text: String,
}

const WHOLE: u32 = 1_000_000;

impl Ratio {
    /// One half.
    pub const HALF: Self = Self(WHOLE / 2);

    /// Whether `part` is at least this share of `whole`.
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(whole) * u128::from(self.0)
    }

    fn from_f64(number: f64) -> Option<Self> {
        let in_range = (0.0..=1.0).contains(&number);
        in_range.then(|| Self((number * f64::from(WHOLE)).round() as u32))
    }

    fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let number = text.trim().parse().ok();
        number
            .and_then(Self::from_f64)
            .ok_or_else(|| RatioError { text: text.chars().take(80).collect() })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_f64())
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::from_f64(number)
            .ok_or_else(|| serde::de::Error::custom(RatioError { text: number.to_string() }))
    }
}
