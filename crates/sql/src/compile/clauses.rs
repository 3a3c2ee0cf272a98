//! Parses the text and refuses every clause that needs more than one record.
//!
//! What remains is a list of expressions and a condition over one table. Each
//! refusal names the clause, its place, and what to use instead.

use courant_model::limits::SQL_TOKENS_MAX;
use datafusion_sql::sqlparser::{
    ast::{
        Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
        TableWithJoins,
    },
    dialect::GenericDialect,
    parser::{Parser, ParserError},
    tokenizer::{Token, Tokenizer},
};

use crate::{
    compile::{Scope, locate, names},
    error::SqlError,
};

/// Name of the table that a `sql` step reads.
pub(super) const INPUT: &str = "input";

/// What is left of a `SELECT` once everything else is refused.
pub(super) struct SelectParts {
    pub(super) items: Vec<SelectItem>,
    pub(super) condition: Option<Expr>,
    /// What columns may be qualified with.
    pub(super) table: String,
}

/// Parses one `SELECT … FROM input [WHERE …]`.
pub(super) fn parse_select(sql: &str, scope: &Scope<'_>) -> Result<SelectParts, SqlError> {
    let statements = parse_statements(sql)?;
    let mut statements = statements.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(SqlError::new("a \"sql\" step takes exactly one SELECT"));
    };
    let Statement::Query(query) = statement else {
        return Err(
            SqlError::new("a \"sql\" step takes a SELECT, not another statement").at(Some((1, 1)))
        );
    };
    let select = refuse_query_clauses(sql, *query)?;
    refuse_select_clauses(sql, &select)?;
    let table = table_name(sql, scope, &select.from)?;
    Ok(SelectParts { items: select.projection, condition: select.selection, table })
}

/// Parses whatever statements the text holds.
pub(crate) fn parse_statements(sql: &str) -> Result<Vec<Statement>, SqlError> {
    parser(sql)?.parse_statements().map_err(parser_error)
}

/// Parses one expression and nothing after it.
pub(super) fn parse_expression(sql: &str) -> Result<Expr, SqlError> {
    let mut parser = parser(sql)?;
    let expression = parser.parse_expr().map_err(parser_error)?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("expected the end of the expression, found {}", next.token);
        return Err(SqlError::new(message).at(locate::place(next.span)));
    }
    Ok(expression)
}

fn parser(sql: &str) -> Result<Parser<'_>, SqlError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| parser_error(error.into()))?;
    if tokens.len() > SQL_TOKENS_MAX {
        let message =
            format!("the SQL text has {} tokens; {SQL_TOKENS_MAX} are allowed", tokens.len());
        return Err(SqlError::new(message));
    }
    Ok(Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens))
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn parser_error(error: ParserError) -> SqlError {
    let text = match &error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => "the SQL text nests too deeply",
    };
    let (text, place) = locate::parser_message(text);
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_lowercase);
    SqlError::new(first.chain(chars).collect::<String>().replacen("expected: ", "expected ", 1))
        .at(place)
}

fn refuse_query_clauses(sql: &str, query: Query) -> Result<Select, SqlError> {
    let whole = "it sees one record at a time";
    for (present, clause, remedy) in [
        (query.with.is_some(), "WITH", "put one \"sql\" step after another"),
        (query.order_by.is_some(), "ORDER BY", whole),
        (query.limit_clause.is_some(), "LIMIT", whole),
        (query.fetch.is_some(), "FETCH", whole),
        (!query.locks.is_empty() || query.for_clause.is_some(), "FOR", whole),
        (query.settings.is_some(), "SETTINGS", whole),
        (query.format_clause.is_some(), "FORMAT", "results are JSON documents"),
        (!query.pipe_operators.is_empty(), "|>", "put one \"sql\" step after another"),
    ] {
        refuse(sql, present, clause, remedy)?;
    }
    match *query.body {
        SetExpr::Select(select) => Ok(*select),
        SetExpr::Query(inner) => refuse_query_clauses(sql, *inner),
        SetExpr::SetOperation { op, .. } => {
            let remedy = "give the pipeline several topics in `from`";
            Err(refusal(sql, &op.to_string(), remedy))
        }
        SetExpr::Values(_) => Err(refusal(sql, "VALUES", "select from input")),
        _ => Err(SqlError::new("a \"sql\" step takes a SELECT, not another statement")),
    }
}

fn refuse_select_clauses(sql: &str, select: &Select) -> Result<(), SqlError> {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, modifiers) => {
            !expressions.is_empty() || !modifiers.is_empty()
        }
    };
    let view = "aggregates belong in a view";
    let one = "it sees one record at a time";
    for (present, clause, remedy) in [
        (grouped, "GROUP BY", view),
        (select.having.is_some(), "HAVING", view),
        (select.distinct.is_some(), "DISTINCT", "use a `deduplicate` step"),
        (select.qualify.is_some(), "QUALIFY", view),
        (!select.named_window.is_empty(), "WINDOW", view),
        (select.top.is_some(), "TOP", one),
        (select.into.is_some(), "INTO", "name the target in the pipeline's `to`"),
        (!select.lateral_views.is_empty(), "LATERAL", "use a `split` step"),
        (select.prewhere.is_some(), "PREWHERE", "use WHERE"),
        (!select.sort_by.is_empty(), "SORT BY", one),
        (!select.cluster_by.is_empty(), "CLUSTER BY", "use a `key` step"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY", "use a `key` step"),
        (!select.connect_by.is_empty(), "CONNECT BY", one),
        (select.exclude.is_some(), "EXCLUDE", "write it right after the star"),
        (select.value_table_mode.is_some(), "AS", one),
    ] {
        refuse(sql, present, clause, remedy)?;
    }
    Ok(())
}

fn refuse(sql: &str, present: bool, clause: &str, remedy: &str) -> Result<(), SqlError> {
    if present { Err(refusal(sql, clause, remedy)) } else { Ok(()) }
}

fn refusal(sql: &str, clause: &str, remedy: &str) -> SqlError {
    let first = clause.split(' ').next().unwrap_or(clause);
    SqlError::new(format!("a \"sql\" step takes no {clause}"))
        .at(locate::word(sql, first))
        .remedy(remedy)
}

fn table_name(sql: &str, scope: &Scope<'_>, from: &[TableWithJoins]) -> Result<String, SqlError> {
    let [table] = from else {
        return Err(match from.get(1) {
            None => SqlError::new("the SELECT reads no table").remedy("write FROM input"),
            Some(_) => refusal(sql, "join of several tables", "joins belong in a view")
                .at(locate::word(sql, "FROM")),
        });
    };
    if !table.joins.is_empty() {
        return Err(refusal(sql, "JOIN", "joins belong in a view"));
    }
    let from = locate::word(sql, "FROM");
    let TableFactor::Table { name, alias, args: None, .. } = &table.relation else {
        return Err(SqlError::new("a \"sql\" step reads the table \"input\" and nothing else")
            .at(from)
            .remedy("put one \"sql\" step after another instead of a subquery"));
    };
    let name = names::text_of(name);
    if name != INPUT && !scope.tables.contains(&name.as_str()) {
        let first = name.split('.').next().unwrap_or(&name);
        let place = locate::word(sql, first).or(from);
        return Err(SqlError::new(format!("unknown table {name:?}"))
            .at(place)
            .remedy("the records of the pipeline are the table \"input\""));
    }
    match alias {
        None => Ok(name),
        Some(alias) if alias.columns.is_empty() => Ok(alias.name.value.clone()),
        Some(_) => Err(SqlError::new("the table's alias takes no column names").at(from)),
    }
}
