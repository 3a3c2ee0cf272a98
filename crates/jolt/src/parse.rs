//! JSON text to a [`Value`] that borrows from it.
//!
//! Strict, but for comments where they are asked for. Numbers get the kind that Jackson
//! gives them; a repeated key keeps its first place and its last value. Every error says
//! the line and the column. Depth is bounded; nothing here panics on any bytes.

use crate::{
    arena::{Arena, Growing, List},
    error::ParseError,
    limits::DEPTH_MAX,
    scan,
    value::{Array, Number, Object, Value},
};

/// Parses one document; only white space may follow.
///
/// # Errors
/// [`ParseError`] at the first byte that is wrong.
pub fn parse<'x>(arena: &'x Arena, bytes: &'x [u8]) -> Result<Value<'x>, ParseError> {
    Parser::<false>::whole(arena, bytes)
}

/// Parses one document in which `//` and `/* */` comments are white space.
///
/// # Errors
/// [`ParseError`] at the first byte that is wrong.
pub fn parse_with_comments<'x>(arena: &'x Arena, bytes: &'x [u8]) -> Result<Value<'x>, ParseError> {
    Parser::<true>::whole(arena, bytes)
}

struct Parser<'x, const COMMENTS: bool> {
    arena: &'x Arena,
    text: &'x str,
    bytes: &'x [u8],
    at: usize,
    /// Items of the arrays that are open, then entries of the objects.
    items: List<'x, Value<'x>>,
    entries: List<'x, (&'x str, Value<'x>)>,
    /// What is wrong, at the place reached.
    wrong: &'static str,
}

/// Parsing ended; the parser knows why. Small, so that results stay small.
struct Ended;

impl<'x, const COMMENTS: bool> Parser<'x, COMMENTS> {
    fn whole(arena: &'x Arena, bytes: &'x [u8]) -> Result<Value<'x>, ParseError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ParseError::at(bytes, error.valid_up_to(), "the text is not UTF-8"))?;
        let (items, entries) = (arena.list(ROOM), arena.list(ROOM));
        let mut parser = Self { arena, text, bytes, at: 0, items, entries, wrong: "" };
        let value = parser.document();
        value.map_err(|Ended| ParseError::at(bytes, parser.at, parser.wrong))
    }

    fn document(&mut self) -> Result<Value<'x>, Ended> {
        let value = self.value(0)?;
        self.space()?;
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.error("something follows the document")),
        }
    }

    #[cold]
    const fn error(&mut self, what: &'static str) -> Ended {
        self.wrong = what;
        Ended
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) -> Result<(), Ended> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(b'/') if COMMENTS => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Ended> {
        let rest = &self.bytes[self.at..];
        let length = match rest.get(1) {
            Some(b'/') => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            Some(b'*') => {
                let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
                end.ok_or_else(|| self.error("the comment has no end"))? + 4
            }
            _ => return Err(self.error("a comment begins with // or /*")),
        };
        self.at += length;
        Ok(())
    }

    /// In its callers, where the value goes on: through memory it would be written in
    /// parts and read as a whole, for which the processor waits.
    #[inline(always)]
    fn value(&mut self, depth: usize) -> Result<Value<'x>, Ended> {
        self.space()?;
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => Ok(Value::Object(self.object(depth)?)),
            Some(b'[') => Ok(Value::Array(self.array(depth)?)),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.number()?)),
            Some(b't') => self.word("true", Value::TRUE),
            Some(b'f') => self.word("false", Value::FALSE),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error("a value is expected")),
            None => Err(self.error("the text ends where a value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Value<'x>) -> Result<Value<'x>, Ended> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error("a value is expected"))
        }
    }

    fn deeper(&mut self, depth: usize) -> Result<(), Ended> {
        if depth >= DEPTH_MAX {
            return Err(self.error("it is nested too deeply"));
        }
        self.at += 1;
        self.space()
    }

    fn array(&mut self, depth: usize) -> Result<&'x Array<'x>, Ended> {
        self.deeper(depth)?;
        let first = self.items.len();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Array::of(self.arena, std::iter::empty()));
        }
        loop {
            let item = self.value(depth + 1)?;
            self.items.push(item);
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    let array = Array::of(self.arena, self.items[first..].iter().copied());
                    self.items.truncate(first);
                    return Ok(array);
                }
                _ => return Err(self.error("\",\" or \"]\" is expected")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<&'x Object<'x>, Ended> {
        self.deeper(depth)?;
        let first = self.entries.len();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Object::new(self.arena));
        }
        loop {
            self.space()?;
            if self.peek() != Some(b'"') {
                return Err(self.error("a key in quotes is expected"));
            }
            let key = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.error("\":\" is expected"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            self.entries.push((key, value));
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    let object = Object::of(self.arena, &self.entries[first..]);
                    self.entries.truncate(first);
                    return Ok(object);
                }
                _ => return Err(self.error("\",\" or \"}\" is expected")),
            }
        }
    }

    #[inline]
    fn string(&mut self) -> Result<&'x str, Ended> {
        self.at += 1;
        let start = self.at;
        self.at += scan::plain(&self.bytes[start..]);
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(text)
            }
            Some(b'\\') => self.escaped(start),
            Some(_) => Err(self.error("a control character in a string")),
            None => Err(self.error("the string has no end")),
        }
    }

    /// The rest of a string that has escapes.
    fn escaped(&mut self, start: usize) -> Result<&'x str, Ended> {
        let plain = &self.text[start..self.at];
        let mut text: Growing<'x> = self.arena.growing(2 * plain.len() + 16);
        text.push_str(plain);
        loop {
            let plain = self.at;
            self.at += scan::plain(&self.bytes[plain..]);
            text.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into_bump_str());
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("the string has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Ended> {
        self.at += 1;
        let meaning = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error("an unknown escape in a string")),
        };
        self.at += 1;
        Ok(meaning)
    }

    /// `\uXXXX`, or two of them that make one character. Half of a pair becomes U+FFFD:
    /// Java keeps it, UTF-8 cannot.
    fn unicode(&mut self) -> Result<char, Ended> {
        let unit = self.unit()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.bytes[self.at..].starts_with(b"\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let before = self.at;
        self.at += 1;
        let low = self.unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            self.at = before;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Result<u32, Ended> {
        self.at += 1;
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut unit = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            let Some(value) = value else {
                return Err(self.error("four hexadecimal digits are expected"));
            };
            unit = unit * 16 + value;
        }
        if digits.len() < 4 {
            return Err(self.error("four hexadecimal digits are expected"));
        }
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number<'x>, Ended> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = match self.peek() {
            Some(b'0') => {
                self.at += 1;
                0
            }
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.error("a digit is expected")),
        };
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            let text = &self.text[start..self.at];
            // So many digits, and a sign, do not overflow.
            if text.len() > 18 {
                return Ok(text.parse().map_or(Number::Big(text), Number::whole));
            }
            return Ok(Number::whole(if text.starts_with('-') { -whole } else { whole }));
        }
        let mut plain = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            plain = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let text = &self.text[start..self.at];
        if plain && is_printed_so(text) {
            return Ok(Number::Decimal(text));
        }
        Ok(Number::Double(text.parse().unwrap_or(f64::NAN)))
    }

    /// Reads digits; their value, which means nothing where it does not fit.
    fn digits(&mut self) -> i64 {
        let mut value = 0i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        value
    }

    fn some_digits(&mut self) -> Result<(), Ended> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a digit is expected"));
        }
        self.digits();
        Ok(())
    }
}

/// Items and entries for which there is room from the start.
const ROOM: usize = 32;

/// Whether Java would print a plain decimal just as it stands: few enough digits that
/// none is lost, no superfluous zero, and a size that is not printed with an exponent.
fn is_printed_so(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, fraction)) = unsigned.split_once('.') else { return false };
    if fraction == "0" {
        return whole.len() <= 7;
    }
    let digits = whole.len() + fraction.len();
    let large_enough = whole != "0" || !fraction.starts_with("000");
    whole.len() <= 7 && digits <= 15 && !fraction.ends_with('0') && large_enough
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{convert::to_serde, write::to_vec};

    #[test]
    fn errors_say_line_and_column() {
        let error = parse(&Arena::new(), b"{\n  \"a\": 1,\n  b\n}").unwrap_err();
        assert_eq!((error.line, error.column), (3, 3));
        assert_eq!(error.to_string(), "line 3, column 3: a key in quotes is expected");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "tru",
            "\"\u{1}\"",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "[1 2]",
            "1 2",
            "// a\n1",
            "{a:1}",
            "'a'",
            "NaN",
        ] {
            assert!(parse(&Arena::new(), text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(&Arena::new(), &[b'"', 0xff, b'"']).is_err());
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(
            parse(&Arena::new(), deep.as_bytes()).unwrap_err().to_string().contains("too deeply")
        );
    }

    #[test]
    fn comments_are_space_where_they_are_asked_for() {
        let arena = Arena::new();
        let text = b"// one\n{ /* two */ \"a\" /**/ : 1 // three\n}";
        assert_eq!(to_vec(parse_with_comments(&arena, text).unwrap()), b"{\"a\":1}");
        assert!(parse_with_comments(&Arena::new(), b"/* no end").is_err());
        assert!(parse_with_comments(&Arena::new(), b"/").is_err());
    }

    #[test]
    fn a_repeated_key_keeps_its_first_place_and_its_last_value() {
        let arena = Arena::new();
        let value = parse(&arena, br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(to_vec(value), br#"{"a":3,"b":2}"#);
    }

    #[test]
    fn numbers_are_printed_as_java_prints_them() {
        for (text, printed) in [
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            ("1e10", "1.0E10"),
            ("0.001", "0.001"),
            ("0.0001", "1.0E-4"),
            ("9999999.5", "9999999.5"),
            ("10000000.5", "1.00000005E7"),
            ("-0.0", "-0.0"),
            ("-0", "0"),
            ("2147483648", "2147483648"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1e999", "\"Infinity\""),
            ("0.1234567890123456789", "0.12345678901234568"),
        ] {
            let arena = Arena::new();
            let value = parse(&arena, text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to_vec(value)).unwrap(), printed, "{text}");
        }
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e12..1e12f64).prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::vec((".*", inner), 0..8)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_are_read_as_another_reader_reads_them(document in documents(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&document).unwrap()
            } else {
                serde_json::to_string(&document).unwrap()
            };
            let arena = Arena::new();
            let value = parse(&arena, text.as_bytes()).unwrap();
            prop_assert_eq!(&to_serde(value), &document);
            let written = to_vec(value);
            let again: serde_json::Value = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(&again, &document);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&Arena::new(), &bytes);
            let _ = parse_with_comments(&Arena::new(), &bytes);
        }

        #[test]
        fn nearly_json_is_refused_when_another_reader_refuses_it(text in "[\\[\\]{}\",:0-9a-z.eE+\\\\ -]{0,24}") {
            let other = serde_json::from_str::<serde_json::Value>(&text);
            // Jackson takes numbers that serde_json holds to be out of range.
            let too_large = other.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assume!(!too_large);
            prop_assert_eq!(parse(&Arena::new(), text.as_bytes()).is_ok(), other.is_ok());
        }
    }
}
