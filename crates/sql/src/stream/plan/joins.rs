//! JOIN to an operator: what is joined with what, for how long, and what identifies a pair.

use std::sync::Arc;

use arrow::datatypes::DataType;
use courant_model::ColumnType;
use datafusion_common::{JoinType, ScalarValue};
use datafusion_expr::{BinaryExpr, Expr, Join as Plan, Operator, utils::split_conjunction};
use datafusion_physical_expr::PhysicalExpr;

use super::{
    aggregates::{micros, told_key},
    shape::{Changes, Shape},
    translate::{Translator, Want, checked_physical, refuse_nodes},
};
use crate::{
    compile::plan::{no_json_form, physical},
    error::{SqlError, plain},
    program::{Calculation, Form},
    schema::column_type_of,
    stream::{
        aggregate::rows::GroupRows,
        join::{Join, Kind, Side},
    },
};

/// Builds the operator of a join.
pub(super) fn build(translator: &mut Translator<'_>, join: &Plan) -> Result<Shape, SqlError> {
    let outer = outer_of(join.join_type)?;
    if join.on.is_empty() {
        return Err(SqlError::new("a view joins by equal columns only")
            .remedy("write ON a.key = b.key, and further conditions after AND"));
    }
    let left = translator.build(&join.left, Want::Retractions)?;
    let right = translator.build(&join.right, Want::Retractions)?;
    let kind = kind_of(join, &left, &right, outer)?;
    for (input, place) in [(&left, 0), (&right, 1)] {
        let keys = join.on.iter().map(|pair| told_key([&pair.0, &pair.1][place], input));
        translator.spread(&input.inputs, &keys.collect::<Vec<_>>());
    }
    let shape = shape(translator, join, &left, &right, kind);
    let condition = match &join.filter {
        None => None,
        Some(filter) => Some(condition(filter, &left, &right)?),
    };
    let sides = [
        side(translator, &left, join.on.iter().map(|(left, _)| left), outer[0])?,
        side(translator, &right, join.on.iter().map(|(_, right)| right), outer[1])?,
    ];
    let operator = Join {
        id: shape.node,
        inputs: [left.node, right.node],
        sides,
        schema: shape.arrow(),
        order: order(&left, &right),
        condition: Calculation { filter: condition, results: Vec::new() },
        kind,
        grace: micros(translator.options.grace),
        delay: left.delay.max(right.delay),
        words: words(join, kind),
    };
    translator.add(operator, &[left.node, right.node]);
    Ok(shape)
}

/// Which sides' rows come out alone.
fn outer_of(join_type: JoinType) -> Result<[bool; 2], SqlError> {
    match join_type {
        JoinType::Inner => Ok([false, false]),
        JoinType::Left => Ok([true, false]),
        JoinType::Right => Ok([false, true]),
        JoinType::Full => Ok([true, true]),
        other => Err(SqlError::new(format!("a view takes no {other} join"))
            .remedy("write an inner, left, right or full join")),
    }
}

fn kind_of(join: &Plan, left: &Shape, right: &Shape, outer: [bool; 2]) -> Result<Kind, SqlError> {
    let streams = [left, right].map(|side| side.changes == Changes::Append);
    let stream = match streams {
        [true, true] => {
            let reach = reach_of(join, left, right).ok_or_else(|| {
                SqlError::new("a join of two streams needs an interval of event time").remedy(
                    "add AND b.at BETWEEN a.at - INTERVAL '…' AND a.at + INTERVAL '…', \
                     of their event times (or _timestamp)",
                )
            })?;
            return Ok(Kind::Interval { reach });
        }
        [false, false] => return Ok(Kind::Tables),
        [true, false] => 0,
        [false, true] => 1,
    };
    if outer[1 - stream] {
        return Err(SqlError::new("a join of a stream and a table keeps rows of the stream only")
            .remedy("write an inner join, or a left join with the stream on the left"));
    }
    Ok(Kind::Lookup { stream })
}

/// How much younger than a row of each side its partner may be, in microseconds.
fn reach_of(join: &Plan, left: &Shape, right: &Shape) -> Option<[i64; 2]> {
    let times = [(left, left.time?), (right, right.time?)];
    let (mut least, mut most) = (None, None);
    for condition in split_conjunction(join.filter.as_ref()?) {
        let Expr::BinaryExpr(BinaryExpr { left: one, op, right: other }) = condition else {
            continue;
        };
        let (Some(one), Some(other)) = (instant_of(one, times), instant_of(other, times)) else {
            continue;
        };
        if one.side == other.side {
            continue;
        }
        // right.time - left.time against a difference.
        let (difference, op) = match one.side {
            1 => (other.offset.saturating_sub(one.offset), Some(*op)),
            _ => (one.offset.saturating_sub(other.offset), op.swap()),
        };
        match op? {
            Operator::GtEq | Operator::Gt => least = least.max(Some(difference)),
            Operator::LtEq | Operator::Lt => {
                most = Some(most.map_or(difference, |most: i64| most.min(difference)));
            }
            Operator::Eq => (least, most) = (Some(difference), Some(difference)),
            _ => {}
        }
    }
    Some([most?, least?.saturating_neg()])
}

/// An event time of a side, moved by an offset in microseconds.
struct Instant {
    side: usize,
    offset: i64,
}

fn instant_of(expression: &Expr, times: [(&Shape, usize); 2]) -> Option<Instant> {
    match expression {
        Expr::Column(_) => {
            let side =
                times.iter().position(|(shape, time)| shape.place_of(expression) == Some(*time));
            Some(Instant { side: side?, offset: 0 })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (sign, instant, span) = match (op, right.as_ref(), left.as_ref()) {
                (Operator::Plus, Expr::Literal(span, _), instant)
                | (Operator::Plus, instant, Expr::Literal(span, _)) => (1, instant, span),
                (Operator::Minus, Expr::Literal(span, _), instant) => (-1, instant, span),
                _ => return None,
            };
            let Instant { side, offset } = instant_of(instant, times)?;
            Some(Instant { side, offset: offset.checked_add(sign * span_of(span)?)? })
        }
        _ => None,
    }
}

fn span_of(span: &ScalarValue) -> Option<i64> {
    match span {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            i64::from(span.days).checked_mul(86_400_000_000)?.checked_add(span.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(span)) => i64::from(span.days)
            .checked_mul(86_400_000_000)?
            .checked_add(i64::from(span.milliseconds) * 1_000),
        _ => None,
    }
}

/// The condition over the columns of a pair.
fn condition(
    filter: &Expr,
    left: &Shape,
    right: &Shape,
) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
    refuse_nodes(filter)?;
    let schema = left.schema.join(&right.schema).map_err(|error| SqlError::new(plain(&error)))?;
    physical(filter, &schema)
}

/// The columns of a pair, as places among the left's columns followed by the right's: first
/// what the planner knows of, then what only identifies rows.
fn order(left: &Shape, right: &Shape) -> Vec<usize> {
    let (of_left, of_right) = (left.fields.len(), right.fields.len());
    let (known_left, known_right) = (left.schema.fields().len(), right.schema.fields().len());
    let known = (0..known_left).chain(of_left..of_left + known_right);
    let more = (known_left..of_left).chain(of_left + known_right..of_left + of_right);
    known.chain(more).collect()
}

fn side<'k>(
    translator: &mut Translator<'_>,
    input: &Shape,
    keys: impl Iterator<Item = &'k Expr>,
    outer: bool,
) -> Result<Side, SqlError> {
    let (mut types, mut results): (Vec<ColumnType>, Vec<_>) = (Vec::new(), Vec::new());
    for key in keys {
        let expression = checked_physical(key, input)?;
        let field = expression
            .return_field(input.schema.as_arrow())
            .map_err(|error| SqlError::new(plain(&error)))?;
        let column_type = column_type_of(&field, false).ok_or_else(|| no_json_form(&field))?;
        results.push((expression, Form::Canonical(column_type.clone())));
        types.push(column_type);
    }
    let columns: Vec<DataType> =
        input.fields.iter().map(|field| field.data_type().clone()).collect();
    let rows = GroupRows::new(&columns, &[]).map_err(|error| {
        SqlError::new(format!("a row cannot be kept for a join: {}", plain(&error.into())))
    })?;
    Ok(Side {
        schema: input.arrow(),
        calculation: Calculation { filter: None, results },
        keys: types,
        rows,
        table: translator.table(),
        ends: translator.table(),
        outer,
    })
}

fn shape(
    translator: &Translator<'_>,
    join: &Plan,
    left: &Shape,
    right: &Shape,
    kind: Kind,
) -> Shape {
    let order = order(left, right);
    let place = |of_both: usize| {
        order.iter().position(|place| *place == of_both).expect("every column has a place")
    };
    let lefts = |key: &[usize]| key.iter().map(|at| place(*at)).collect::<Vec<_>>();
    let rights =
        |key: &[usize]| key.iter().map(|at| place(left.fields.len() + at)).collect::<Vec<_>>();
    let keys = left.key.as_deref().zip(right.key.as_deref());
    let key = keys.filter(|_| kind == Kind::Tables).map(|(left_key, right_key)| {
        match unique(join, left, right) {
            Some(0) => lefts(left_key),
            Some(_) => rights(right_key),
            None => [lefts(left_key), rights(right_key)].concat(),
        }
    });
    let waits = match kind {
        Kind::Interval { reach: [one, other] } => {
            one.max(other).max(0).saturating_add(micros(translator.options.grace))
        }
        Kind::Lookup { .. } | Kind::Tables => 0,
    };
    let mut inputs = [left.inputs.clone(), right.inputs.clone()].concat();
    inputs.sort_unstable();
    inputs.dedup();
    Shape {
        node: translator.next(),
        schema: Arc::clone(&join.schema),
        fields: in_order(&order, &left.fields, &right.fields),
        names: in_order(&order, &left.names, &right.names),
        verbatim: in_order(&order, &left.verbatim, &right.verbatim),
        lineage: in_order(&order, &left.lineage, &right.lineage),
        changes: match kind {
            Kind::Tables => Changes::Retractions,
            Kind::Interval { .. } | Kind::Lookup { .. } => Changes::Append,
        },
        key,
        window: None,
        time: None,
        delay: left.delay.max(right.delay).saturating_add(waits),
        inputs,
    }
}

fn in_order<T: Clone>(order: &[usize], left: &[T], right: &[T]) -> Vec<T> {
    let both: Vec<&T> = left.iter().chain(right).collect();
    order.iter().map(|place| both[*place].clone()).collect()
}

/// The side whose key alone identifies a pair, where the other's rows are unique for theirs.
fn unique(join: &Plan, left: &Shape, right: &Shape) -> Option<usize> {
    let covers = |side: &Shape, keys: Vec<&Expr>| {
        let places: Vec<_> = keys.iter().filter_map(|key| side.place_of(key)).collect();
        side.key.as_ref().is_some_and(|key| key.iter().all(|place| places.contains(place)))
    };
    let lefts = || join.on.iter().map(|(left, _)| left).collect::<Vec<_>>();
    let rights = || join.on.iter().map(|(_, right)| right).collect::<Vec<_>>();
    match join.join_type {
        JoinType::Inner | JoinType::Left if covers(right, rights()) => Some(0),
        JoinType::Inner | JoinType::Right if covers(left, lefts()) => Some(1),
        _ => None,
    }
}

fn words(join: &Plan, kind: Kind) -> String {
    let on = join
        .on
        .iter()
        .map(|(left, right)| format!("{} = {}", left.human_display(), right.human_display()));
    let on = on.collect::<Vec<_>>().join(" and ");
    let what = match kind {
        Kind::Interval { .. } => "streams within an interval",
        Kind::Lookup { .. } => "a stream with a table",
        Kind::Tables => "tables",
    };
    let filter = join.filter.as_ref().map(|filter| format!(" and {}", filter.human_display()));
    format!("{} join of {what} on {on}{}", join.join_type, filter.unwrap_or_default())
}
