//! Finds words in a SQL text, to give errors their place.

use datafusion_sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Span, Token, Tokenizer},
};

/// Line and character of the first word or quoted identifier that reads so, whatever
/// the case.
pub(crate) fn word(sql: &str, name: &str) -> Option<(u32, u32)> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let found = tokens.iter().find(|token| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    })?;
    place(found.span)
}

/// Whether the first identifier of this name stands in double quotes.
pub(crate) fn is_double_quoted(sql: &str, name: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return false };
    let mut words = tokens.iter().filter_map(|token| match token {
        Token::Word(word) if word.value == name => Some(word.quote_style == Some('"')),
        _ => None,
    });
    words.next().unwrap_or(false)
}

/// Start of the span; `None` when it is empty.
pub(crate) fn place(span: Span) -> Option<(u32, u32)> {
    let part = |number: u64| u32::try_from(number).ok().filter(|number| *number > 0);
    Some((part(span.start.line)?, part(span.start.column)?))
}

/// The parser tells its place at the end of its message; takes it off.
pub(super) fn parser_message(message: &str) -> (String, Option<(u32, u32)>) {
    let Some((text, place)) = message.rsplit_once(" at Line: ") else {
        return (message.to_owned(), None);
    };
    let place = place.split_once(", Column: ").and_then(|(line, column)| {
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u32>().ok().filter(|number| *number > 0)
        };
        Some((digits(line)?, digits(column)?))
    });
    (text.to_owned(), place)
}
