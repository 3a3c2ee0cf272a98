//! What a statement in the log is about, from its first words.
//!
//! Row-based logs hold statements only for what has no rows: transactions' edges and
//! changes of schema. Anything that changes rows by a statement must be noticed, because
//! its rows are nowhere else. This is no SQL parser: it reads a few leading words.

/// What a logged statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Begin,
    /// Commits, and rolls back what did not concern transactional tables.
    End,
    /// Takes rows back that are in the log already.
    RollbackTo,
    Savepoint,
    Xa,
    /// Changes rows without telling which.
    Data,
    /// A table's rows are all gone; its database where it is named.
    Truncate {
        database: Option<String>,
        table: String,
    },
    /// Anything else, most of all changes of schema.
    Schema,
}

impl Statement {
    pub(super) fn of(text: &str) -> Self {
        let mut words = Words(text);
        let first = words.next().unwrap_or_default().to_ascii_uppercase();
        match first.as_str() {
            "BEGIN" | "START" => Self::Begin,
            "COMMIT" => Self::End,
            "SAVEPOINT" | "RELEASE" => Self::Savepoint,
            "ROLLBACK" => match words.next() {
                Some(word) if word.eq_ignore_ascii_case("to") => Self::RollbackTo,
                _ => Self::End,
            },
            "XA" => Self::Xa,
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" => Self::Data,
            "TRUNCATE" => truncate(&mut words),
            _ => Self::Schema,
        }
    }
}

fn truncate(words: &mut Words<'_>) -> Statement {
    let mut name = words.next().unwrap_or_default();
    if name.eq_ignore_ascii_case("table") {
        name = words.next().unwrap_or_default();
    }
    if words.0.starts_with('.') {
        words.0 = &words.0[1..];
        let table = words.next().unwrap_or_default();
        return Statement::Truncate { database: Some(name), table };
    }
    Statement::Truncate { database: None, table: name }
}

/// Words and quoted names, without comments.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn skip_space(&mut self) {
        loop {
            self.0 = self.0.trim_start();
            if let Some(comment) = self.0.strip_prefix("/*!") {
                // A conditional comment's text counts, its version number does not.
                self.0 = comment
                    .trim_start_matches(|c: char| c == 'M' || c == '!' || c.is_ascii_digit());
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                self.0 = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else if self.0.starts_with("--") || self.0.starts_with('#') {
                self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest);
            } else {
                return;
            }
        }
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.skip_space();
        if let Some(quoted) = self.0.strip_prefix('`') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                let doubled = chars.peek().is_some_and(|(_, next)| *next == '`');
                match c {
                    '`' if doubled => name.extend(chars.next().map(|(_, c)| c)),
                    '`' => {
                        self.0 = &quoted[at + 1..];
                        return Some(name);
                    }
                    c => name.push(c),
                }
            }
            self.0 = "";
            return Some(name);
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = self.0.find(|c| !is_word(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_are_known_by_their_first_words() {
        let truncated = |database: Option<&str>, table: &str| Statement::Truncate {
            database: database.map(str::to_owned),
            table: table.into(),
        };
        for (text, expected) in [
            ("BEGIN", Statement::Begin),
            ("commit", Statement::End),
            ("ROLLBACK", Statement::End),
            ("ROLLBACK TO `a`", Statement::RollbackTo),
            ("XA START 'a'", Statement::Xa),
            ("/* note */ insert into t values (1)", Statement::Data),
            ("# Dummy event", Statement::Schema),
            ("ALTER TABLE t ADD c INT", Statement::Schema),
            ("TRUNCATE t", truncated(None, "t")),
            ("truncate table `a``b`.`t t`", truncated(Some("a`b"), "t t")),
            ("/*!40000 TRUNCATE TABLE shop.orders */", truncated(Some("shop"), "orders")),
        ] {
            assert_eq!(Statement::of(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = Statement::of(&text);
        }
    }
}
