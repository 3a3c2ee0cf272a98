//! Keys with `*`: what they match, and what each star captures.
//!
//! One and two stars compare ends and search a middle; three and more behave like the
//! lazy regular expression that the reference makes of them. A star captures at least one
//! character, the first one as few as possible. Captures are parts of the key.

use crate::arena::Arena;

/// A key with stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Star {
    /// `*` alone.
    All,
    One {
        prefix: Box<str>,
        suffix: Box<str>,
    },
    Two {
        prefix: Box<str>,
        middle: Box<str>,
        suffix: Box<str>,
    },
    /// What stands before, between and after three or more stars.
    Many(Vec<Box<str>>),
}

/// What the stars of a key captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Captures<'x> {
    None,
    One(&'x str),
    Two(&'x str, &'x str),
    Many(&'x [&'x str]),
}

impl<'x> Captures<'x> {
    /// What the nth star captured, from 1.
    pub(crate) fn get(self, star: usize) -> Option<&'x str> {
        match (self, star) {
            (Self::One(text) | Self::Two(text, _), 1) | (Self::Two(_, text), 2) => Some(text),
            (Self::Many(texts), star) => texts.get(star.checked_sub(1)?).copied(),
            _ => None,
        }
    }
}

impl Star {
    /// Reads a key that has stars.
    ///
    /// # Errors
    /// Says why the reference refuses the key.
    pub(crate) fn parse(key: &str) -> Result<Self, String> {
        let parts: Vec<&str> = key.split('*').collect();
        match parts[..] {
            ["", ""] => Ok(Self::All),
            [prefix, suffix] => Ok(Self::One { prefix: prefix.into(), suffix: suffix.into() }),
            [_, "", ""] => Err(format!(
                "key {key:?} ends with two stars; what the first one takes is not said"
            )),
            [prefix, middle, suffix] => Ok(Self::Two {
                prefix: prefix.into(),
                middle: middle.into(),
                suffix: suffix.into(),
            }),
            _ => Ok(Self::Many(parts.into_iter().map(Into::into).collect())),
        }
    }

    /// Reads a key as `cardinality` does: there two stars are a regular expression, too.
    pub(crate) fn lazy(key: &str) -> Self {
        let mut parts: Vec<Box<str>> = key.split('*').map(Into::into).collect();
        match &mut parts[..] {
            [prefix, suffix] if prefix.is_empty() && suffix.is_empty() => Self::All,
            [prefix, suffix] => {
                Self::One { prefix: std::mem::take(prefix), suffix: std::mem::take(suffix) }
            }
            _ => Self::Many(parts),
        }
    }

    /// Which of several matching keys comes first; the smallest does.
    pub(crate) const fn priority(&self) -> u8 {
        match self {
            Self::Many(_) => 2,
            Self::Two { .. } => 3,
            Self::One { .. } => 4,
            Self::All => 5,
        }
    }

    /// What the stars capture of a key, if it matches.
    pub(crate) fn captures<'x>(&self, arena: &'x Arena, key: &'x str) -> Option<Captures<'x>> {
        match self {
            Self::All => Some(Captures::None),
            Self::One { prefix, suffix } => one(key, prefix, suffix).map(Captures::One),
            Self::Two { prefix, middle, suffix } => {
                let (first, second) = two(key, prefix, middle, suffix)?;
                Some(Captures::Two(first, second))
            }
            Self::Many(parts) => {
                // Memory is for keys that match.
                if !self.matches(key) {
                    return None;
                }
                let mut texts = arena.list(parts.len());
                many(parts, key, |text| texts.push(text));
                Some(Captures::Many(texts.into_bump_slice()))
            }
        }
    }

    pub(crate) fn matches(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::One { prefix, suffix } => one(key, prefix, suffix).is_some(),
            Self::Two { prefix, middle, suffix } => two(key, prefix, middle, suffix).is_some(),
            Self::Many(parts) => many(parts, key, |_| {}),
        }
    }
}

/// What lies between a prefix and a suffix that do not overlap.
fn between<'k>(key: &'k str, prefix: &str, suffix: &str) -> Option<&'k str> {
    key.strip_prefix(prefix)?.strip_suffix(suffix)
}

fn one<'k>(key: &'k str, prefix: &str, suffix: &str) -> Option<&'k str> {
    between(key, prefix, suffix).filter(|inner| !inner.is_empty())
}

/// What comes before and after the middle, a character at least on both sides. Without a
/// middle the reference wants three characters.
fn two<'k>(key: &'k str, prefix: &str, middle: &str, suffix: &str) -> Option<(&'k str, &'k str)> {
    let inner = between(key, prefix, suffix)?;
    let from = inner.chars().next()?.len_utf8();
    let to = inner.len() - inner.chars().next_back()?.len_utf8();
    if from >= to {
        return None;
    }
    let at = from + inner[from..to].find(middle)?;
    Some((&inner[..at], &inner[at + middle.len()..]))
}

/// Each star takes as little as lets its next literal match; the last one takes the rest,
/// up to a line break that ends the key.
fn many<'k>(parts: &[Box<str>], key: &'k str, mut captured: impl FnMut(&'k str)) -> bool {
    let [first, middles @ .., last] = parts else { return false };
    let ended = key.strip_suffix("\r\n").or_else(|| key.strip_suffix(breaks)).unwrap_or(key);
    let inner = between(ended, first, last).or_else(|| between(key, first, last));
    let Some(mut rest) = inner else { return false };
    for middle in middles {
        let Some(skipped) = rest.chars().next().map(char::len_utf8) else { return false };
        let Some(at) = rest[skipped..].find(&**middle) else { return false };
        let text = &rest[..skipped + at];
        if text.contains(breaks) {
            return false;
        }
        captured(text);
        rest = &rest[skipped + at + middle.len()..];
    }
    captured(rest);
    !rest.is_empty() && !rest.contains(breaks)
}

/// What a dot of Java's regular expressions does not match.
const fn breaks(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, key: &str) -> Option<Vec<String>> {
        let (arena, star) = (Arena::new(), Star::parse(pattern).unwrap());
        let captures = star.captures(&arena, key);
        assert_eq!(captures.is_some(), star.matches(key));
        Some((1..).map_while(|star| captures?.get(star)).map(str::to_owned).collect())
            .filter(|_| captures.is_some())
    }

    #[test]
    fn a_star_captures_at_least_one_character() {
        assert_eq!(captured("tag-*", "tag-"), None);
        assert_eq!(captured("tag-*", "tag-x"), Some(vec!["x".into()]));
        assert_eq!(captured("*-*", "a-"), None);
        assert_eq!(captured("a*a", "a"), None);
    }

    #[test]
    fn the_first_of_two_stars_captures_as_little_as_it_can() {
        assert_eq!(captured("*-*", "a-b-c"), Some(vec!["a".into(), "b-c".into()]));
        assert_eq!(captured("*-*", "--x"), Some(vec!["-".into(), "x".into()]));
        assert_eq!(captured("x*_*y", "x1_2y"), Some(vec!["1".into(), "2".into()]));
    }

    #[test]
    fn three_stars_capture_lazily_and_stop_at_a_line_break() {
        let found = captured("*.*.*", "a.b.c.d");
        assert_eq!(found, Some(vec!["a".into(), "b".into(), "c.d".into()]));
        assert_eq!(captured("*.*.*", "a.b\n.c"), None);
        let found = captured("*.*.*", "a.b.c\n");
        assert_eq!(found, Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(captured("a*b*c*d", "axbycz"), None);
    }

    #[test]
    fn cardinality_takes_two_stars_for_a_regular_expression() {
        let (arena, star) = (Arena::new(), Star::lazy("a**"));
        let captures = star.captures(&arena, "axyz").unwrap();
        assert_eq!((captures.get(1), captures.get(2)), (Some("x"), Some("yz")));
        assert_eq!(Star::lazy("*"), Star::All);
        assert!(!Star::lazy("a*").matches("a"));
    }

    #[test]
    fn captures_lie_on_characters() {
        assert_eq!(captured("*-*", "ü-ö"), Some(vec!["ü".into(), "ö".into()]));
        assert_eq!(captured("*é*é*", "aéaéa"), Some(vec!["a".into(); 3]));
    }

    #[test]
    fn two_stars_at_the_end_are_refused() {
        assert!(Star::parse("a**").is_err());
        assert!(Star::parse("**").is_err());
        assert_eq!(captured("**a", "xyza"), Some(vec!["x".into(), "yz".into()]));
    }
}
