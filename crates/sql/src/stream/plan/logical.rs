//! A parsed query to DataFusion's logical plan: names resolved, types coerced, simplified.
//!
//! Of the optimiser's rules only those run that hold for rows that never end: they simplify
//! expressions, make DISTINCT a GROUP BY, find the keys of joins, and read no column that nobody
//! uses.

use std::{collections::BTreeMap, sync::Arc};

use courant_model::problem::nearest;
use datafusion_common::{DFSchema, DataFusionError, SchemaError, config::ConfigOptions};
use datafusion_expr::{Expr, LogicalPlan, simplify::SimplifyContext};
use datafusion_optimizer::{
    Optimizer, OptimizerContext, OptimizerRule,
    analyzer::Analyzer,
    extract_equijoin_predicate::ExtractEquijoinPredicate,
    optimize_projections::OptimizeProjections,
    replace_distinct_aggregate::ReplaceDistinctWithAggregate,
    simplify_expressions::{ExprSimplifier, SimplifyExpressions},
};
use datafusion_sql::{
    planner::{ParserOptions, PlannerContext, SqlToRel},
    sqlparser::ast::Expr as Ast,
};

use super::{
    catalogue::{CLOCKS, Relations},
    text::Text,
};
use crate::{
    compile::{
        functions::{Catalogue, unknown_function},
        locate,
    },
    error::{SqlError, plain},
    schema::METADATA_NAMES,
    stream::relation::Relation,
};

/// Plans a query over relations.
pub(super) fn plan(
    sql: &str,
    text: &Text,
    relations: &BTreeMap<String, Relation>,
) -> Result<LogicalPlan, SqlError> {
    let catalogue = Relations::new(relations, &text.metadata);
    let planned = || {
        let plan = SqlToRel::new_with_options(&catalogue, parser_options())
            .sql_statement_to_plan(text.statement.clone())?;
        let plan = Analyzer::new().execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
        Optimizer::with_rules(rules()).optimize(plan, &OptimizerContext::new(), |_, _| {})
    };
    planned().map_err(|error| told(sql, &error, relations, &catalogue))
}

/// Plans and simplifies an expression that reads no column.
pub(super) fn constant(expression: Ast) -> Result<Expr, SqlError> {
    let (catalogue, schema) = (Catalogue::new(), DFSchema::empty());
    let planned = || {
        let expression = SqlToRel::new_with_options(&catalogue, parser_options()).sql_to_expr(
            expression,
            &schema,
            &mut PlannerContext::new(),
        )?;
        let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
        ExprSimplifier::new(context).simplify(expression)
    };
    planned().map_err(|error| SqlError::new(plain(&error)))
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
}

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// The planner's error in our words, with its place.
fn told(
    sql: &str,
    error: &DataFusionError,
    relations: &BTreeMap<String, Relation>,
    catalogue: &Relations,
) -> SqlError {
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref()
    {
        let known = valid_fields.iter().map(|column| column.name.as_str());
        return unknown_column(sql, &field.name, known.collect());
    }
    let text = plain(root);
    if let Some(table) = text.strip_prefix("unknown table ") {
        return unknown_table(sql, table, relations);
    }
    if text.to_lowercase().starts_with("invalid function")
        && let Some(name) = catalogue.missing()
    {
        return missing_function(&name).at(locate::word(sql, &name));
    }
    SqlError::new(text)
}

fn unknown_column(sql: &str, name: &str, mut known: Vec<&str>) -> SqlError {
    let error = SqlError::new(format!("unknown column {name:?}")).at(locate::word(sql, name));
    known.extend(METADATA_NAMES);
    if let Some(near) = known
        .iter()
        .copied()
        .find(|known| known.eq_ignore_ascii_case(name))
        .or_else(|| nearest(name, known.iter().copied()))
    {
        return error.remedy(format!("did you mean column {near:?}?"));
    }
    if matches!(name, "window_start" | "window_end") {
        return error.remedy("it needs a window in the GROUP BY of the same SELECT");
    }
    if locate::is_double_quoted(sql, name) {
        return error.remedy(format!("text stands in single quotes: '{name}'"));
    }
    error.remedy(format!("the columns are {}", known.join(", ")))
}

fn unknown_table(sql: &str, name: &str, relations: &BTreeMap<String, Relation>) -> SqlError {
    let last = name.rsplit('.').next().unwrap_or(name);
    let error = SqlError::new(format!("unknown table {name:?}")).at(locate::word(sql, last));
    match nearest(name, relations.keys().map(String::as_str)) {
        Some(near) => error.remedy(format!("did you mean {near:?}?")),
        None if relations.is_empty() => error.remedy("the file has no topic with columns"),
        None => {
            let names: Vec<_> = relations.keys().map(String::as_str).collect();
            error.remedy(format!("there are {}", names.join(", ")))
        }
    }
}

fn missing_function(name: &str) -> SqlError {
    if CLOCKS.contains(&name) {
        return SqlError::new(format!(
            "function {name:?} is not supported: the same records must give the same results"
        ))
        .remedy("use a time of the record, such as _timestamp");
    }
    if matches!(name, "tumble" | "hop" | "session" | "sliding") {
        return SqlError::new(format!("a window such as {name} stands in GROUP BY only"))
            .remedy("select window_start and window_end");
    }
    unknown_function(name)
}
