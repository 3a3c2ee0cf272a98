//! A query with named parameters, as the file writes it: `… WHERE id = :customer.id`.
//!
//! A name is a field's path. Quoted texts, quoted names, comments and PostgreSQL's casts
//! (`::`) are left alone. What is sent has placeholders: values never become text of a
//! statement.

use courant_model::json::FieldPath;

/// A query taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    /// Texts around the placeholders: one more than those.
    texts: Vec<String>,
    /// Which parameter each placeholder stands for.
    pub(crate) order: Vec<usize>,
    /// The fields, each once.
    pub(crate) parameters: Vec<FieldPath>,
}

/// How a database writes a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// `?`, one for each place.
    Question,
    /// `$1`, one for each parameter.
    Dollar,
}

impl Query {
    /// Takes a query apart.
    ///
    /// # Errors
    /// `what; remedy` for a name that is no field path, for placeholders of another form,
    /// and for more than one statement.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let mut query =
            Self { texts: vec![String::new()], order: Vec::new(), parameters: Vec::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (taken, name) = match first {
                '\'' | '"' | '`' => (quoted(rest, first), None),
                '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), None),
                '/' if rest.starts_with("/*") => {
                    (rest.find("*/").map_or(rest.len(), |at| at + 2), None)
                }
                ':' if rest.starts_with("::") => (2, None),
                ':' => named(rest),
                '?' => {
                    return Err("query has a placeholder \"?\"; write parameters as :field".into());
                }
                ';' => return Err("query has several statements; keep one".into()),
                other => (other.len_utf8(), None),
            };
            match name {
                Some(name) => query.place(name)?,
                None => query.push(&rest[..taken]),
            }
            rest = &rest[taken..];
        }
        if text.is_empty() {
            return Err("query is empty; write SELECT … WHERE … = :field".into());
        }
        Ok(query)
    }

    /// The statement that is sent.
    pub(crate) fn text(&self, placeholder: Placeholder) -> String {
        let mut text = self.texts[0].clone();
        for (after, parameter) in self.texts[1..].iter().zip(&self.order) {
            match placeholder {
                Placeholder::Question => text.push('?'),
                Placeholder::Dollar => text.push_str(&format!("${}", parameter + 1)),
            }
            text.push_str(after);
        }
        text
    }

    fn push(&mut self, text: &str) {
        if let Some(last) = self.texts.last_mut() {
            last.push_str(text);
        }
    }

    fn place(&mut self, name: &str) -> Result<(), String> {
        let field: FieldPath =
            name.parse().map_err(|error| format!("parameter \":{name}\": {error}"))?;
        let known = self.parameters.iter().position(|known| *known == field);
        self.order.push(known.unwrap_or(self.parameters.len()));
        if known.is_none() {
            self.parameters.push(field);
        }
        self.texts.push(String::new());
        Ok(())
    }
}

/// The length of a quoted text at the beginning; a doubled quote ends and begins one.
fn quoted(rest: &str, quote: char) -> usize {
    rest[1..].find(quote).map_or(rest.len(), |at| at + 2)
}

/// The length and the name of a parameter at the beginning, or of a lone colon.
fn named(rest: &str) -> (usize, Option<&str>) {
    let begins = |c: char| c.is_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let after = &rest[1..];
    if !after.starts_with(begins) {
        return (1, None);
    }
    let name = &after[..after.find(|c| !goes_on(c)).unwrap_or(after.len())];
    // A dot at the end belongs to the sentence, not to the path.
    let name = name.trim_end_matches('.');
    (1 + name.len(), Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(query: &Query) -> Vec<String> {
        query.parameters.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_become_placeholders_and_all_else_stays() {
        let text = "SELECT ':a', \":b\", `:c`, x::int -- :d\n /* :e */ FROM t WHERE i = :id AND j=:who.id OR k = :id;";
        let query = Query::parse(text).unwrap();
        assert_eq!(fields(&query), ["id", "who.id"]);
        assert_eq!(query.order, [0, 1, 0]);
        let dollar = query.text(Placeholder::Dollar);
        assert!(dollar.ends_with("WHERE i = $1 AND j=$2 OR k = $1"), "{dollar}");
        assert!(dollar.starts_with("SELECT ':a', \":b\", `:c`, x::int -- :d\n /* :e */ FROM"));
        assert!(query.text(Placeholder::Question).ends_with("i = ? AND j=? OR k = ?"));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_remedy() {
        for text in ["", " ; ", "SELECT ?", "SELECT 1; DROP TABLE t", "SELECT :a..b"] {
            let error = Query::parse(text).unwrap_err();
            assert!(error.contains("; "), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_without_colons_nothing_changes(text: String) {
            let _ = Query::parse(&text);
            let plain: String = text.chars().filter(|c| !matches!(c, ':' | '?' | ';')).collect();
            if let Ok(query) = Query::parse(&plain) {
                proptest::prop_assert_eq!(query.text(Placeholder::Dollar), plain.trim());
            }
        }
    }
}
