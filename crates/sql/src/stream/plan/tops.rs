//! `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …)` below a limit to an operator.
//!
//! The limit stands in a filter above: `WHERE n <= 3` of the SELECT that numbers rows. The
//! filter stays as it is; what it says is how many rows of a partition must be known.

use std::sync::Arc;

use arrow::datatypes::DataType;
use courant_model::ColumnType;
use datafusion_common::ScalarValue;
use datafusion_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator, Window, WindowFunctionDefinition,
    utils::split_conjunction,
};

use super::{
    aggregates::told_key,
    catalogue::ROW_NUMBER,
    shape::{Changes, Shape},
    translate::{Translator, Want, checked_physical},
};
use crate::{
    compile::plan::no_json_form,
    error::{SqlError, plain},
    program::{Calculation, Form},
    schema::column_type_of,
    stream::{aggregate::rows::GroupRows, top::Top},
};

/// Rows of a partition that are numbered at most.
const LIMIT_MAX: usize = 10_000;

/// The greatest row number that the filter lets pass, if it is over numbered rows.
pub(super) fn limit_of(predicate: &Expr, input: &LogicalPlan) -> Option<usize> {
    let conditions = split_conjunction(predicate).into_iter();
    conditions.filter_map(|condition| limit_in(condition, input)).min()
}

fn limit_in(condition: &Expr, input: &LogicalPlan) -> Option<usize> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (column, op, limit) = match (left.as_ref(), right.as_ref()) {
        (column, Expr::Literal(limit, _)) => (column, *op, limit),
        (Expr::Literal(limit, _), column) => (column, op.swap()?, limit),
        _ => return None,
    };
    is_number(column, input).then_some(())?;
    let ScalarValue::UInt64(Some(limit)) = limit.cast_to(&DataType::UInt64).ok()? else {
        return None;
    };
    let limit = usize::try_from(limit).ok()?;
    match op {
        Operator::LtEq | Operator::Eq => Some(limit),
        Operator::Lt => limit.checked_sub(1),
        _ => None,
    }
}

/// Whether the expression is the number of a row.
fn is_number(expression: &Expr, plan: &LogicalPlan) -> bool {
    let column = match expression {
        Expr::Column(column) => column,
        Expr::Alias(alias) => return is_number(&alias.expr, plan),
        Expr::Cast(cast) => return is_number(&cast.expr, plan),
        _ => return false,
    };
    let Some(place) = plan.schema().maybe_index_of_column(column) else { return false };
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let (table, field) = alias.input.schema().qualified_field(place);
            is_number(&Expr::Column((table, field).into()), &alias.input)
        }
        LogicalPlan::Projection(projection) => {
            is_number(&projection.expr[place], &projection.input)
        }
        LogicalPlan::Window(window) => place >= window.input.schema().fields().len(),
        _ => false,
    }
}

/// Builds the operator that numbers rows up to the limit.
pub(super) fn build(
    translator: &mut Translator<'_>,
    window: &Window,
    limit: Option<usize>,
) -> Result<Shape, SqlError> {
    let [Expr::WindowFunction(function)] = window.window_expr.as_slice() else {
        return Err(refused());
    };
    let WindowFunctionDefinition::WindowUDF(udf) = &function.fun else { return Err(refused()) };
    let Some(limit) = limit.filter(|_| udf.name() == ROW_NUMBER) else { return Err(refused()) };
    if limit == 0 || limit > LIMIT_MAX {
        return Err(SqlError::new(format!("rows are numbered from 1 to at most {LIMIT_MAX}")));
    }
    let input = translator.build(&window.input, Want::Retractions)?;
    let (partition_by, order_by) = (&function.params.partition_by, &function.params.order_by);
    let mut key = Vec::new();
    for expression in partition_by {
        key.push(input.place_of(expression).ok_or_else(|| {
            SqlError::new("PARTITION BY takes columns only")
                .remedy("give the expression a name in a SELECT below")
        })?);
    }
    let told: Vec<String> = partition_by.iter().map(|key| told_key(key, &input)).collect();
    translator.spread(&input.inputs, &told);
    let mut results = Vec::new();
    let mut types = |expression: &Expr| -> Result<ColumnType, SqlError> {
        let physical = checked_physical(expression, &input)?;
        let field = physical
            .return_field(input.schema.as_arrow())
            .map_err(|error| SqlError::new(plain(&error)))?;
        let column_type = column_type_of(&field, false).ok_or_else(|| no_json_form(&field))?;
        results.push((physical, Form::Canonical(column_type.clone())));
        Ok(column_type)
    };
    let partition = partition_by.iter().map(&mut types).collect::<Result<_, _>>()?;
    let mut order = Vec::new();
    for sort in order_by {
        let options =
            arrow::compute::SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
        order.push((types(&sort.expr)?, options));
    }
    let columns: Vec<DataType> =
        input.fields.iter().map(|field| field.data_type().clone()).collect();
    let rows = GroupRows::new(&columns, &[]).map_err(|error| {
        SqlError::new(format!("a row cannot be kept: {}", plain(&error.into())))
    })?;
    let shape = shape(translator, window, &input, key);
    let operator = Top {
        id: shape.node,
        input: input.node,
        schema: input.arrow(),
        calculation: Calculation { filter: None, results },
        partition,
        order,
        limit,
        number: input.schema.fields().len(),
        only_comes: input.changes == Changes::Append,
        rows,
        table: translator.table(),
        words: format!("the first {limit} of {}", window.window_expr[0].human_display()),
    };
    translator.add(operator, &[input.node]);
    Ok(shape)
}

/// The input's columns that the planner knows of, the number, the input's other columns.
fn shape(
    translator: &Translator<'_>,
    window: &Window,
    input: &Shape,
    mut key: Vec<usize>,
) -> Shape {
    let number = input.schema.fields().len();
    key.push(number);
    Shape {
        node: translator.next(),
        schema: Arc::clone(&window.schema),
        fields: with(&input.fields, number, Arc::clone(&window.schema.fields()[number])),
        names: with(&input.names, number, ROW_NUMBER.to_owned()),
        verbatim: with(&input.verbatim, number, false),
        lineage: with(&input.lineage, number, None),
        changes: Changes::Retractions,
        key: Some(key),
        window: None,
        time: None,
        delay: input.delay,
        inputs: input.inputs.clone(),
    }
}

fn with<T: Clone>(items: &[T], place: usize, item: T) -> Vec<T> {
    let mut items = items.to_vec();
    items.insert(place, item);
    items
}

pub(super) fn refused() -> SqlError {
    SqlError::new("a view takes no window function but ROW_NUMBER, filtered by its number").remedy(
        "select FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) AS n FROM …) WHERE n <= 3",
    )
}
