//! GROUP BY to an operator: which one, its keys, its accumulators.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::{
    Aggregate, Expr,
    execution_props::ExecutionProps,
    expr::{AggregateFunction, AggregateFunctionParams},
    physical_planning_context::PhysicalPlanningContext,
};
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_physical_expr::{PhysicalExpr, aggregate::LoweredAggregateBuilder};

use super::{
    shape::{Changes, Shape, WindowShape},
    text::BOUNDS,
    translate::{Translator, Want, checked_physical, refuse_nodes},
};
use crate::{
    compile::plan::{checked, is_verbatim, no_json_form},
    error::{SqlError, plain},
    program::{Calculation, Form},
    schema::{arrow_type, column_type_of},
    stream::{
        aggregate::{
            Aggregated, Expiry, GroupColumn, Grouping, Tells,
            functions::{Aggregate as AggregateCall, Aggregates},
            rows::GroupRows,
            session::Sessions,
            sliding::Sliding,
            updating::{Keeps, Updating},
        },
        relation::Emit,
        window::{Panes, Window},
    },
};

/// The columns of GROUP BY.
struct Keys {
    layout: Vec<GroupColumn>,
    window: Option<Window>,
    /// The expressions that are no bound of the window.
    expressions: Vec<Expr>,
    fields: Vec<FieldRef>,
}

/// What an aggregate's operator calculates for each row.
#[derive(Default)]
struct Arguments {
    results: Vec<(Arc<dyn PhysicalExpr>, Form)>,
}

/// Builds the operator of a GROUP BY.
pub(super) fn build(
    translator: &mut Translator<'_>,
    aggregate: &Aggregate,
    want: Want,
) -> Result<Shape, SqlError> {
    let input = translator.build(&aggregate.input, Want::Retractions)?;
    let keys = keys_of(aggregate, translator.windows)?;
    let tells = match (keys.window, translator.options.emit, want) {
        (Some(_), Emit::Final, _) => Tells::Final,
        (_, _, Want::Versions) => Tells::New,
        (_, _, Want::Retractions) => Tells::OldAndNew,
    };
    let updating = input.changes != Changes::Append;
    if let Some(window) = keys.window.filter(|_| updating) {
        return Err(SqlError::new(format!(
            "a view takes no {window} over results that still change"
        ))
        .remedy("set emit: final, or group by window_start and window_end of the inner SELECT"));
    }
    let spread: Vec<String> = keys.expressions.iter().map(|key| told_key(key, &input)).collect();
    translator.spread(&input.inputs, &spread);
    let shape = shape(translator, aggregate, &keys, &input, tells);
    let mut arguments = Arguments::default();
    let key_types = arguments.keys(&keys, &input)?;
    let calls = aggregate.aggr_expr.iter().map(|call| arguments.call(call, &input));
    let mut calls: Vec<AggregateCall> = calls.collect::<Result<_, _>>()?;
    let told = calls.len();
    let counts = match updating && aggregate.aggr_expr.iter().all(can_subtract) {
        true => Some(arguments.counts(&aggregate.aggr_expr, &input, &mut calls)?),
        false => None,
    };
    let grouping = Grouping {
        id: translator.next(),
        input: input.node,
        schema: input.arrow(),
        keys: key_types,
        layout: keys.layout.clone(),
        rows: group_rows(&keys, &calls, updating && counts.is_none())?,
        aggregates: Aggregates(calls),
        told,
        table: translator.table(),
        tells,
        grace: micros(translator.options.grace),
        delay: input.delay,
        words: words(aggregate, &keys),
        calculation: Calculation { filter: None, results: arguments.results },
    };
    if updating {
        let keeps = match counts {
            Some(counts) => Keeps::Counts(counts),
            None => Keeps::Rows { table: translator.table(), rows: argument_rows(&grouping)? },
        };
        translator.add(Updating { grouping, keeps }, &[input.node]);
        return Ok(shape);
    }
    match keys.window {
        None => {
            let ttl = translator.options.ttl.map(micros);
            let expiry = ttl.map(|ttl| Expiry { ttl, times: translator.table() });
            translator.add(Aggregated { grouping, window: None, expiry }, &[input.node])
        }
        Some(Window::Hop { slide, width }) => {
            let window = Some(Panes::new(slide, width));
            translator.add(Aggregated { grouping, window, expiry: None }, &[input.node])
        }
        Some(Window::Session { gap }) => {
            let ends = translator.table();
            translator.add(Sessions { grouping, gap, ends }, &[input.node])
        }
        Some(window @ Window::Sliding { width }) => {
            if tells == Tells::OldAndNew {
                return Err(SqlError::new(format!(
                    "a view takes no {window} below another GROUP BY"
                ))
                .remedy("set emit: final"));
            }
            let pending = translator.table();
            translator.add(Sliding { grouping, width, pending }, &[input.node])
        }
    };
    Ok(shape)
}

/// The column of the relation, or the expression, by which rows are spread.
pub(super) fn told_key(key: &Expr, input: &Shape) -> String {
    let lineage = input.place_of(key).and_then(|place| input.lineage[place].clone());
    lineage.unwrap_or_else(|| key.human_display().to_string())
}

fn keys_of(aggregate: &Aggregate, windows: &[Window]) -> Result<Keys, SqlError> {
    let mut keys =
        Keys { layout: Vec::new(), window: None, expressions: Vec::new(), fields: Vec::new() };
    for (expression, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
        if matches!(expression, Expr::GroupingSet(_)) {
            return Err(SqlError::new("a view takes no GROUPING SETS, CUBE or ROLLUP")
                .remedy("write one view for each of them"));
        }
        if let Some((place, window)) = bound_of(expression) {
            keys.window = windows.get(window).copied();
            keys.layout.push([GroupColumn::WindowStart, GroupColumn::WindowEnd][place]);
            continue;
        }
        keys.layout.push(GroupColumn::Key(keys.expressions.len()));
        keys.expressions.push(expression.clone());
        keys.fields.push(Arc::clone(field));
    }
    Ok(keys)
}

/// Which bound of which window the expression is, if it is one.
fn bound_of(expression: &Expr) -> Option<(usize, usize)> {
    let Expr::ScalarFunction(function) = expression else { return None };
    let place = BOUNDS.iter().position(|(_, name)| *name == function.name())?;
    match function.args.first() {
        Some(Expr::Literal(ScalarValue::Int64(Some(window)), _)) => {
            Some((place, usize::try_from(*window).ok()?))
        }
        _ => None,
    }
}

fn shape(
    translator: &Translator<'_>,
    aggregate: &Aggregate,
    keys: &Keys,
    input: &Shape,
    tells: Tells,
) -> Shape {
    let grace = micros(translator.options.grace);
    let groups = keys.layout.len();
    let of = |wanted: fn(&GroupColumn) -> bool| keys.layout.iter().position(wanted);
    let start = of(|column| *column == GroupColumn::WindowStart);
    let end = of(|column| *column == GroupColumn::WindowEnd);
    let mut key: Vec<usize> =
        (0..groups).filter(|place| matches!(keys.layout[*place], GroupColumn::Key(_))).collect();
    key.extend(start);
    key.extend(end);
    let fields: Vec<FieldRef> = aggregate.schema.fields().iter().cloned().collect();
    let names = fields.iter().enumerate().map(|(place, field)| match keys.layout.get(place) {
        Some(GroupColumn::WindowStart) => BOUNDS[0].0.to_owned(),
        Some(GroupColumn::WindowEnd) => BOUNDS[1].0.to_owned(),
        _ => field.name().clone(),
    });
    let grouped = |place: usize| match keys.layout.get(place) {
        Some(GroupColumn::Key(index)) => Some(&keys.expressions[*index]),
        _ => None,
    };
    let window = start.zip(end).zip(keys.window);
    Shape {
        node: translator.next(),
        schema: Arc::clone(&aggregate.schema),
        names: names.collect(),
        verbatim: (0..fields.len())
            .map(|place| {
                grouped(place).is_some_and(|key| {
                    is_verbatim(key)
                        && input.place_of(key).is_none_or(|place| input.verbatim[place])
                })
            })
            .collect(),
        lineage: (0..fields.len())
            .map(|place| input.lineage[input.place_of(grouped(place)?)?].clone())
            .collect(),
        fields,
        changes: match tells {
            Tells::New => Changes::Versions,
            Tells::OldAndNew => Changes::Retractions,
            Tells::Final => Changes::Append,
        },
        key: Some(key),
        time: None,
        window: window.map(|((start, end), window)| WindowShape {
            start,
            end,
            width: window.width(),
            slide: window.slide(),
        }),
        delay: keys.window.map_or(input.delay, |window| {
            let waits = if tells == Tells::Final { grace } else { 0 };
            input.delay.saturating_add(window.span()).saturating_add(waits)
        }),
        inputs: input.inputs.clone(),
    }
}

/// How groups are kept; without states where the rows themselves are kept.
fn group_rows(
    keys: &Keys,
    calls: &[AggregateCall],
    without_states: bool,
) -> Result<GroupRows, SqlError> {
    let planned: Vec<DataType> =
        keys.fields.iter().map(|field| field.data_type().clone()).collect();
    let states = match without_states {
        true => Vec::new(),
        false => Aggregates(calls.to_vec())
            .state_types()
            .map_err(|error| SqlError::new(plain(&error)))?,
    };
    kept(GroupRows::new(&planned, &states))
}

/// How the rows of a group are kept: all that is calculated of each.
fn argument_rows(grouping: &Grouping) -> Result<GroupRows, SqlError> {
    let results = grouping.calculation.results.iter();
    let types: Vec<DataType> = results.map(|(_, form)| form.data_type()).collect();
    kept(GroupRows::new(&types, &[]))
}

fn kept(rows: Result<GroupRows, arrow::error::ArrowError>) -> Result<GroupRows, SqlError> {
    rows.map_err(|error| SqlError::new(format!("a group cannot be kept: {}", plain(&error.into()))))
}

/// Whether an aggregate takes a row back by subtraction.
fn can_subtract(call: &Expr) -> bool {
    let Some(function) = function_of(call) else { return false };
    matches!(function.func.name(), "count" | "sum" | "avg")
        && !function.params.distinct
        && function.params.order_by.is_empty()
}

fn function_of(call: &Expr) -> Option<&AggregateFunction> {
    match call {
        Expr::AggregateFunction(function) => Some(function),
        Expr::Alias(alias) => function_of(&alias.expr),
        _ => None,
    }
}

impl Arguments {
    /// Adds the key columns; for each its canonical type and where it stands in that form.
    fn keys(
        &mut self,
        keys: &Keys,
        input: &Shape,
    ) -> Result<Vec<(courant_model::ColumnType, usize)>, SqlError> {
        let mut types = Vec::new();
        for (key, field) in keys.expressions.iter().zip(&keys.fields) {
            let column_type = column_type_of(field, false).ok_or_else(|| no_json_form(field))?;
            let canonical = arrow_type(&column_type) == *field.data_type();
            let form = match canonical {
                true => Form::Canonical(column_type.clone()),
                false => Form::Planned(field.data_type().clone()),
            };
            types.push((column_type, self.results.len()));
            self.results.push((checked_physical(key, input)?, form));
        }
        for (index, (column_type, place)) in types.iter_mut().enumerate() {
            if let Form::Planned(_) = self.results[index].1 {
                let expression = Arc::clone(&self.results[index].0);
                *place = self.results.len();
                self.results.push((expression, Form::Canonical(column_type.clone())));
            }
        }
        Ok(types)
    }

    /// Adds what one aggregate reads.
    fn call(&mut self, call: &Expr, input: &Shape) -> Result<AggregateCall, SqlError> {
        refuse_nodes(call)?;
        let schema = input.arrow();
        let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let lowered =
            LoweredAggregateBuilder::new(call, &input.schema, &schema, &properties, &context)
                .build()
                .map_err(|error| SqlError::new(plain(&error)))?;
        let start = self.results.len();
        let expressions = lowered.aggregate.expressions().into_iter();
        let ordering = lowered.order_bys.iter().map(|order| Arc::clone(&order.expr));
        for expression in expressions.chain(ordering) {
            self.push(expression, &schema).map_err(|error| SqlError::new(plain(&error)))?;
        }
        let arguments = start..self.results.len();
        let filter = match lowered.filter {
            None => None,
            Some(filter) => {
                self.push(filter, &schema).map_err(|error| SqlError::new(plain(&error)))?;
                Some(self.results.len() - 1)
            }
        };
        let order = lowered.order_bys.iter().map(|order| order.options).collect();
        Ok(AggregateCall { function: lowered.aggregate, arguments, order, filter })
    }

    /// Adds what counts the values of each aggregate, and at the end what counts rows; tells
    /// for each aggregate the place of its count.
    fn counts(
        &mut self,
        calls: &[Expr],
        input: &Shape,
        aggregates: &mut Vec<AggregateCall>,
    ) -> Result<Vec<usize>, SqlError> {
        let mut counts = Vec::with_capacity(calls.len());
        for (place, call) in calls.iter().enumerate() {
            let function = function_of(call).expect("only functions are subtracted");
            if function.func.name() == "count" {
                counts.push(place);
                continue;
            }
            let AggregateFunctionParams { args, filter, .. } = function.params.clone();
            counts.push(aggregates.len());
            aggregates.push(self.call(&count(args, filter), input)?);
        }
        aggregates.push(self.call(&count(vec![datafusion_expr::lit(1_i64)], None), input)?);
        Ok(counts)
    }

    fn push(
        &mut self,
        expression: Arc<dyn PhysicalExpr>,
        schema: &arrow::datatypes::Schema,
    ) -> Result<(), DataFusionError> {
        let form = Form::Planned(expression.data_type(schema)?);
        self.results.push((checked(expression)?, form));
        Ok(())
    }
}

fn count(arguments: Vec<Expr>, filter: Option<Box<Expr>>) -> Expr {
    let function =
        AggregateFunction::new_udf(count_udaf(), arguments, false, filter, Vec::new(), None);
    Expr::AggregateFunction(function)
}

fn words(aggregate: &Aggregate, keys: &Keys) -> String {
    let told = |expressions: &[Expr]| {
        let told = expressions.iter().map(|expression| expression.human_display().to_string());
        told.collect::<Vec<_>>()
    };
    let mut by = told(&keys.expressions);
    by.extend(keys.window.map(|window| window.to_string()));
    let calls = told(&aggregate.aggr_expr).join(", ");
    match (calls.is_empty(), by.is_empty()) {
        (_, true) => calls,
        (true, false) => format!("distinct {}", by.join(", ")),
        (false, false) => format!("{calls} by {}", by.join(", ")),
    }
}

/// A span in microseconds; what is too long for them is forever.
pub(super) fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
