//! Where something stands in the text of a specification: line and column of a key.
//!
//! Errors and matches name operations by index and keys by path; people look for them in
//! their file. The text is scanned anew, comments and all, because places are asked for
//! when something is wrong, not when documents flow. Nothing here panics on any text.

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Finds the key at `path` below an operation's spec, as deep as the text has it. Without
/// an `operation` the text is a bare spec; without a path the place is the operation's.
///
/// ```
/// use courant_jolt::locate;
///
/// let spec = "[\n  { \"operation\": \"shift\",\n    \"spec\": { \"a\": \"b*\" } }\n]";
/// let place = locate(spec, Some(0), ["a"]);
/// assert_eq!((place.line, place.column), (3, 15));
/// ```
pub fn locate<'p>(
    spec: &str,
    operation: Option<usize>,
    path: impl IntoIterator<Item = &'p str>,
) -> Place {
    let mut scan = Scan { text: spec, at: 0 };
    scan.space();
    let mut found = scan.at;
    let mut path = path.into_iter().peekable();
    let mut inside = true;
    if let Some(index) = operation {
        inside = scan.item(index);
        found = if inside { scan.at } else { found };
        inside = inside && path.peek().is_some() && scan.key("spec").is_some();
    }
    while inside && let Some(key) = path.next() {
        match scan.key(key) {
            Some(at) => found = at,
            None => inside = false,
        }
    }
    place(spec, found)
}

fn place(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let line = 1 + before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    Place { line, column: 1 + before[start..].chars().count() }
}

/// A text, and how far it was read; always at the boundary of a character.
struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn eat(&mut self, what: char) -> bool {
        let found = self.rest().starts_with(what);
        self.at += if found { what.len_utf8() } else { 0 };
        found
    }

    /// Goes past white space and comments.
    fn space(&mut self) {
        loop {
            let rest = self.rest();
            let end = match rest.get(..2) {
                Some("//") => rest.find('\n').unwrap_or(rest.len()),
                Some("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => rest.len() - rest.trim_start().len(),
            };
            if end == 0 {
                return;
            }
            self.at += end;
        }
    }

    /// Goes to an item of the array that begins here.
    fn item(&mut self, index: usize) -> bool {
        if !self.eat('[') {
            return false;
        }
        self.space();
        for _ in 0..index {
            if !self.next() {
                return false;
            }
        }
        !self.rest().is_empty() && !self.rest().starts_with(']')
    }

    /// Goes to the value of a key of the object that begins here; answers where the key is.
    fn key(&mut self, wanted: &str) -> Option<usize> {
        if !self.eat('{') {
            return None;
        }
        loop {
            self.space();
            let at = self.at;
            let key: String = serde_json::from_str(self.string()?).ok()?;
            self.space();
            if !self.eat(':') {
                return None;
            }
            self.space();
            if key == wanted {
                return Some(at);
            }
            if !self.next() {
                return None;
            }
        }
    }

    /// Goes past a value and the comma behind it; `false` where there is none.
    fn next(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(first) = self.rest().chars().next() {
            match first {
                '"' => match self.string() {
                    Some(_) => {
                        self.space();
                        continue;
                    }
                    None => return false,
                },
                ',' if depth == 0 => {
                    self.at += 1;
                    self.space();
                    return true;
                }
                ']' | '}' if depth == 0 => return false,
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
            self.at += first.len_utf8();
            self.space();
        }
        false
    }

    /// Goes past a string; answers it with its quotes.
    fn string(&mut self) -> Option<&'t str> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.strip_prefix('"')?.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        self.at += end + 2;
        Some(&rest[..end + 2])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAIN: &str = r#"[ // a chain
  { "operation": "remove", "spec": { "x]": "" } },
  /* and { more */ {
    "spec": {
      "a\"b": [ { "c": 1 } ], "ü": 5, "list": { "*": { "to": "x*" } }
    },
    "operation": "shift"
  }
]"#;

    fn at(operation: usize, path: &[&str]) -> (usize, usize) {
        let Place { line, column } = locate(CHAIN, Some(operation), path.iter().copied());
        (line, column)
    }

    #[test]
    fn a_key_is_found_past_comments_escapes_and_other_operations() {
        assert_eq!(at(0, &["x]"]), (2, 38));
        assert_eq!(at(1, &["a\"b"]), (5, 7));
        assert_eq!(at(1, &["list", "*", "to"]), (5, 56));
    }

    #[test]
    fn what_the_text_does_not_have_is_placed_as_deep_as_it_goes() {
        assert_eq!(at(1, &[]), (3, 20));
        assert_eq!(at(1, &["list", "none", "to"]), (5, 39));
        assert_eq!(at(7, &["list"]), (1, 1));
        assert_eq!(locate("{\"a\": 1}", None, ["a"]), Place { line: 1, column: 2 });
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[\\[\\]{}\",:a/* \\\\ü\n]{0,40}", operation: Option<usize>) {
            locate(&text, operation, ["a", "ü"]);
        }
    }
}
