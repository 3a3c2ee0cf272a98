//! Where a message stands: in its channel, and in what the channel shows.
//!
//! A [`Position`] belongs to the source behind a channel (a store's change log) and lasts
//! as long as that does. A [`Token`] is what pages get and hand back: the place in this
//! process's channel, and the source's position beside it when there is one. Its text is
//! not for taking apart: `epoch-sequence[-generation-sequence]`, in hexadecimal.

use std::{fmt, str::FromStr};

/// A message's place in the source behind its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// What counts; positions of different generations cannot be compared.
    pub generation: u64,
    /// Grows with every message of a channel.
    pub sequence: u64,
}

impl Position {
    /// Whether this message comes after another of the same generation; `None` when they
    /// cannot be compared.
    pub(crate) fn is_after(self, other: Self) -> Option<bool> {
        (self.generation == other.generation).then_some(self.sequence > other.sequence)
    }
}

/// What a page hands back to get what it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The channel as it is in memory; another after a restart.
    pub(crate) epoch: u64,
    /// Messages that the channel had had.
    pub(crate) sequence: u64,
    /// The last position that its source had given.
    pub(crate) position: Option<Position>,
}

/// A text that is no token of a push server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("position {found:?} was not given by a push server; hand back what a message carried")]
pub struct TokenError {
    /// The beginning of what was given.
    pub found: String,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.epoch, self.sequence)?;
        match self.position {
            Some(Position { generation, sequence }) => write!(f, "-{generation:x}-{sequence:x}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = || TokenError { found: text.chars().take(80).collect() };
        let mut numbers = text.split('-').map(|part| {
            let plain = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        });
        let mut next = || numbers.next().map(|number| number.ok_or_else(wrong)).transpose();
        let (epoch, sequence) = (next()?.ok_or_else(wrong)?, next()?.ok_or_else(wrong)?);
        let position = match next()? {
            Some(generation) => Some(Position { generation, sequence: next()?.ok_or_else(wrong)? }),
            None => None,
        };
        if next()?.is_some() {
            return Err(wrong());
        }
        Ok(Self { epoch, sequence, position })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(
            epoch: u64, sequence: u64, position: Option<(u64, u64)>
        ) {
            let position = position.map(|(generation, sequence)| Position { generation, sequence });
            let token = Token { epoch, sequence, position };
            prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f+-]{0,80}|.{0,40}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
            }
        }
    }

    #[test]
    fn a_text_with_too_few_or_too_many_parts_is_refused() {
        for text in ["", "1", "1-2-3", "1-2-3-4-5", "+1-2", "1--2", "1-2-", "g-1"] {
            assert!(text.parse::<Token>().is_err(), "{text:?}");
        }
    }
}
