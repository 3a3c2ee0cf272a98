//! The text parsed, and what SQL has no word for taken out of it.
//!
//! A window in GROUP BY becomes two hidden functions, its start and its end, and so do the
//! names `window_start` and `window_end` within that SELECT; the planner then treats them as
//! expressions that are grouped by. Columns of the record itself (`_key` and so on) are noted
//! when the text names them and left out of every star.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion_common::ScalarValue;
use datafusion_expr::Expr;
use datafusion_sql::sqlparser::ast::{
    ExcludeSelectItem, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, Spanned,
    Statement, Value, VisitMut, VisitorMut, visit_expressions_mut,
};

use super::logical::constant;
use crate::{
    compile::{clauses, locate, names},
    error::SqlError,
    schema::METADATA_NAMES,
    stream::window::Window,
};

/// Names of a window's bounds in the text, and of the functions that stand for them.
pub(super) const BOUNDS: [(&str, &str); 2] =
    [("window_start", "__window_start"), ("window_end", "__window_end")];

/// A parsed query.
pub(super) struct Text {
    pub(super) statement: Statement,
    /// The windows that the hidden functions name by their place.
    pub(super) windows: Vec<Window>,
    /// The record's own columns that the text names.
    pub(super) metadata: BTreeSet<&'static str>,
}

/// Parses one SELECT.
pub(super) fn parse(sql: &str) -> Result<Text, SqlError> {
    let mut statements = clauses::parse_statements(sql)?.into_iter();
    let (Some(mut statement), None) = (statements.next(), statements.next()) else {
        return Err(SqlError::new("a view takes exactly one SELECT"));
    };
    if !matches!(statement, Statement::Query(_)) {
        let error = SqlError::new("a view takes a SELECT, not another statement");
        return Err(error.at(Some((1, 1))));
    }
    let metadata = mentioned(&mut statement);
    names::quote_late_fields(&mut statement);
    let mut rewriter = Rewriter { sql, windows: Vec::new(), metadata: &metadata };
    match statement.visit(&mut rewriter) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => {
            let windows = rewriter.windows;
            Ok(Text { statement, windows, metadata })
        }
    }
}

struct Rewriter<'a> {
    sql: &'a str,
    windows: Vec<Window>,
    metadata: &'a BTreeSet<&'static str>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        match refuse_query_clauses(self.sql, query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        self.hide_metadata(select);
        match self.take_window(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Rewriter<'_> {
    /// Leaves the record's own columns out of stars.
    fn hide_metadata(&self, select: &mut Select) {
        for item in &mut select.projection {
            let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
            else {
                continue;
            };
            let mut excluded: Vec<ObjectName> = match options.opt_exclude.take() {
                None => Vec::new(),
                Some(ExcludeSelectItem::Single(name)) => vec![name],
                Some(ExcludeSelectItem::Multiple(names)) => names,
            };
            excluded.extend(self.metadata.iter().map(|name| ObjectName::from(Ident::new(*name))));
            if !excluded.is_empty() {
                options.opt_exclude = Some(ExcludeSelectItem::Multiple(excluded));
            }
        }
    }

    /// Puts the hidden functions in the place of a window in GROUP BY.
    fn take_window(&mut self, select: &mut Select) -> Result<(), SqlError> {
        let GroupByExpr::Expressions(expressions, modifiers) = &mut select.group_by else {
            return Err(refusal(self.sql, "GROUP BY ALL", "GROUP", "name the columns"));
        };
        if !modifiers.is_empty() {
            return Err(refusal(self.sql, "modifiers of GROUP BY", "GROUP", "name the columns"));
        }
        let mut found = None;
        for (place, expression) in expressions.iter().enumerate() {
            let Some(window) = window_of(expression)? else { continue };
            if found.is_some() {
                return Err(SqlError::new("a GROUP BY takes one window")
                    .at(locate::place(expression.span()))
                    .remedy("group the results of one view by the other window in a second view"));
            }
            found = Some((place, window));
        }
        let Some((place, window)) = found else { return Ok(()) };
        let index = self.windows.len();
        self.windows.push(window);
        expressions.splice(place..=place, BOUNDS.map(|(_, function)| call(function, index)));
        for item in &mut select.projection {
            match item {
                SelectItem::UnnamedExpr(Ast::Identifier(name)) if is_bound(name) => {
                    let (alias, expr) = (name.clone(), Ast::Identifier(name.clone()));
                    *item = SelectItem::ExprWithAlias { expr: bounds_in(expr, index), alias };
                }
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    *expr = bounds_in(expr.clone(), index);
                }
                _ => {}
            }
        }
        if let Some(having) = &mut select.having {
            *having = bounds_in(having.clone(), index);
        }
        Ok(())
    }
}

/// The record's own columns that the statement names.
fn mentioned(statement: &mut Statement) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let _: ControlFlow<()> = visit_expressions_mut(statement, |node| {
        let name = match node {
            Ast::Identifier(name) => Some(&*name),
            Ast::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        if let Some(name) = name {
            found.extend(METADATA_NAMES.iter().find(|known| **known == name.value));
        }
        ControlFlow::Continue(())
    });
    found
}

fn is_bound(name: &Ident) -> bool {
    BOUNDS.iter().any(|(bound, _)| *bound == name.value)
}

/// The expression with calls in the place of the names of bounds.
fn bounds_in(mut expression: Ast, window: usize) -> Ast {
    let _: ControlFlow<()> = visit_expressions_mut(&mut expression, |node| {
        if let Ast::Identifier(name) = node
            && let Some((_, function)) = BOUNDS.iter().find(|(bound, _)| *bound == name.value)
        {
            *node = call(function, window);
        }
        ControlFlow::Continue(())
    });
    expression
}

fn call(function: &str, window: usize) -> Ast {
    let index = Ast::Value(Value::Number(window.to_string(), false).into());
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(index));
    Ast::Function(Function {
        name: ObjectName::from(Ident::new(function)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The window that the expression calls for, if it does.
fn window_of(expression: &Ast) -> Result<Option<Window>, SqlError> {
    let Ast::Function(function) = expression else { return Ok(None) };
    let name = names::text_of(&function.name).to_lowercase();
    let forms: &[&str] = match name.as_str() {
        "tumble" | "sliding" => &["width"],
        "hop" => &["slide", "width"],
        "session" => &["gap"],
        _ => return Ok(None),
    };
    let place = locate::place(expression.span());
    let spans = spans_of(function, forms).map_err(|error| error.at(place))?;
    Ok(Some(match (name.as_str(), &*spans) {
        ("tumble", [width]) => Window::Hop { slide: *width, width: *width },
        ("hop", [slide, width]) => Window::Hop { slide: *slide, width: *width },
        ("session", [gap]) => Window::Session { gap: *gap },
        _ => Window::Sliding { width: spans[0] },
    }))
}

/// The arguments in microseconds.
fn spans_of(function: &Function, forms: &[&str]) -> Result<Vec<i64>, SqlError> {
    let name = names::text_of(&function.name).to_lowercase();
    let written = || {
        let spans: Vec<_> = forms.iter().map(|form| format!("INTERVAL '…' /* {form} */")).collect();
        format!("write {name}({})", spans.join(", "))
    };
    let arguments = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    if arguments.len() != forms.len() {
        let message = format!("{name} takes {} intervals; found {}", forms.len(), arguments.len());
        return Err(SqlError::new(message).remedy(written()));
    }
    let span = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => {
            let place = locate::place(expression.span());
            micros_of(expression.clone()).map_err(|error| error.at(place).remedy(written()))
        }
        _ => Err(SqlError::new(format!("{name} takes intervals")).remedy(written())),
    };
    arguments.iter().map(span).collect()
}

/// The microseconds of a constant interval.
fn micros_of(expression: Ast) -> Result<i64, SqlError> {
    let months = "a window has one width; months and years have none";
    let value = match constant(expression)? {
        Expr::Literal(value, _) => value,
        _ => return Err(SqlError::new("a window's span is a constant interval")),
    };
    let micros = match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) => {
            if span.months != 0 {
                return Err(SqlError::new(months));
            }
            i64::from(span.days)
                .checked_mul(86_400_000_000)
                .and_then(|days| days.checked_add(span.nanoseconds / 1_000))
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            let days = i64::from(span.days).checked_mul(86_400_000_000);
            days.and_then(|days| days.checked_add(i64::from(span.milliseconds) * 1_000))
        }
        ScalarValue::IntervalYearMonth(_) => return Err(SqlError::new(months)),
        _ => return Err(SqlError::new("a window's span is an interval")),
    };
    match micros {
        Some(micros @ 1..) => Ok(micros),
        _ => Err(SqlError::new("a window's span is longer than nothing")),
    }
}

fn refuse_query_clauses(sql: &str, query: &Query) -> Result<(), SqlError> {
    let whole = "the result is never complete; ask the view's store";
    for (present, clause, remedy) in [
        (query.order_by.is_some(), "ORDER BY", "the rows of a view are kept by their key"),
        (
            query.limit_clause.is_some(),
            "LIMIT",
            "number the rows with ROW_NUMBER() OVER (…) and filter by the number",
        ),
        (query.fetch.is_some(), "FETCH", whole),
        (!query.locks.is_empty() || query.for_clause.is_some(), "FOR", whole),
        (query.settings.is_some(), "SETTINGS", whole),
        (query.format_clause.is_some(), "FORMAT", "results are JSON documents"),
        (!query.pipe_operators.is_empty(), "|>", "write sub-selects"),
    ] {
        if present {
            let word = clause.split(' ').next().unwrap_or(clause);
            return Err(refusal(sql, clause, word, remedy));
        }
    }
    Ok(())
}

fn refusal(sql: &str, clause: &str, word: &str, remedy: &str) -> SqlError {
    SqlError::new(format!("a view takes no {clause}")).at(locate::word(sql, word)).remedy(remedy)
}
