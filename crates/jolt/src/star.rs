//! Keys with `*`: what they match, and what each star captures.
//!
//! One and two stars compare ends and search a middle; three and more behave like the
//! lazy regular expression that the reference makes of them. A star captures at least one
//! character, the first one as few as possible. Captures are ranges of the key.

use std::ops::Range;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Captures {
    None,
    One(Range<usize>),
    Two(Range<usize>, Range<usize>),
    Many(Vec<Range<usize>>),
}

impl Captures {
    /// The range of the nth star, from 1.
    pub(crate) fn get(&self, star: usize) -> Option<Range<usize>> {
        match (self, star) {
            (Self::One(range) | Self::Two(range, _), 1) | (Self::Two(_, range), 2) => {
                Some(range.clone())
            }
            (Self::Many(ranges), star) => ranges.get(star.checked_sub(1)?).cloned(),
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
    pub(crate) fn captures(&self, key: &str) -> Option<Captures> {
        match self {
            Self::All => Some(Captures::None),
            Self::One { prefix, suffix } => {
                let inner = between(key, prefix, suffix)?;
                (!inner.is_empty()).then_some(Captures::One(inner))
            }
            Self::Two { prefix, middle, suffix } => {
                let inner = between(key, prefix, suffix)?;
                let (first, second) = around(&key[inner.clone()], middle)?;
                let start = inner.start;
                Some(Captures::Two(start..start + first, start + second..inner.end))
            }
            Self::Many(parts) => many(parts, key),
        }
    }

    pub(crate) fn matches(&self, key: &str) -> bool {
        matches!(self, Self::All) || self.captures(key).is_some()
    }
}

/// What lies between a prefix and a suffix that do not overlap.
fn between(key: &str, prefix: &str, suffix: &str) -> Option<Range<usize>> {
    let fits = key.len() >= prefix.len() + suffix.len();
    let matches = fits && key.starts_with(prefix) && key.ends_with(suffix);
    matches.then(|| prefix.len()..key.len() - suffix.len())
}

/// End of what comes before the middle and start of what comes after, a character at
/// least on both sides. Without a middle the reference wants three characters.
fn around(inner: &str, middle: &str) -> Option<(usize, usize)> {
    let from = inner.chars().next()?.len_utf8();
    let to = inner.len() - inner.chars().next_back()?.len_utf8();
    if from >= to {
        return None;
    }
    let at = from + inner[from..to].find(middle)?;
    Some((at, at + middle.len()))
}

/// Each star takes as little as lets its next literal match; the last one takes the rest.
fn many(parts: &[Box<str>], key: &str) -> Option<Captures> {
    let (first, rest) = parts.split_first()?;
    let (last, middles) = rest.split_last()?;
    let inner = between(key, first, last)?;
    let (mut start, mut ranges) = (inner.start, Vec::with_capacity(rest.len()));
    for middle in middles {
        let skipped = key[start..inner.end].chars().next()?.len_utf8();
        let at = start + skipped + key[start + skipped..inner.end].find(&**middle)?;
        ranges.push(start..at);
        start = at + middle.len();
    }
    ranges.push(start..inner.end);
    let holds = |range: &Range<usize>| !range.is_empty() && !key[range.clone()].contains(breaks);
    ranges.iter().all(holds).then_some(Captures::Many(ranges))
}

/// What a dot of Java's regular expressions does not match.
const fn breaks(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, key: &str) -> Option<Vec<String>> {
        let captures = Star::parse(pattern).unwrap().captures(key)?;
        let texts = (1..).map_while(|star| captures.get(star)).map(|range| key[range].to_owned());
        Some(texts.collect())
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
        assert_eq!(captured("a*b*c*d", "axbycz"), None);
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
