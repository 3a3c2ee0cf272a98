//! A logical plan to operators, from the relations up.
//!
//! Every node becomes one operator; a filter below a projection joins it. The columns that
//! identify a row are carried on to the end even where the SELECT leaves them out, for they
//! are the key of the result. What has no operator is refused by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef};
use courant_model::{
    Column, ColumnType, Columns,
    limits::{SQL_COLUMNS_MAX, SQL_DEPTH_MAX},
};
use datafusion_common::{
    DFSchema,
    tree_node::{TreeNode, TreeNodeRecursion},
};
use datafusion_expr::{Expr, Filter, LogicalPlan, Projection, TableScan};
use datafusion_physical_expr::{PhysicalExpr, expressions};

use super::{
    aggregates,
    catalogue::is_relation,
    joins,
    shape::{Changes, Shape},
    tops,
};
use crate::{
    compile::{
        nodes::depth,
        plan::{is_verbatim, no_json_form, physical},
    },
    decode::Decoder,
    error::{SqlError, plain},
    program::{Calculation, Form},
    schema::{METADATA_NAMES, column_type_of, field_of},
    stream::{
        aggregate::rows::GroupRows,
        calculate::Calculate,
        operator::Operator,
        query::{Compiled, Input, Node, Spread, WindowColumns},
        relation::{QueryOptions, Relation, RelationKind},
        scan::{Origins, Place, Scan, Source, Tombstones},
        sink::Sink,
        state::RESULTS,
        table::Table,
        union::Union,
        window::Window,
    },
};

/// What the operator above makes of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// It replaces rows by their key.
    Versions,
    /// It must be told what goes.
    Retractions,
}

/// Builds the operators of one query.
pub(super) struct Translator<'a> {
    pub(super) windows: &'a [Window],
    pub(super) options: &'a QueryOptions,
    relations: &'a BTreeMap<String, Relation>,
    nodes: Vec<Node>,
    inputs: Vec<Reading<'a>>,
    tables: u16,
    /// How many rows of a partition the filter above lets pass.
    row_limit: Option<usize>,
}

/// What is read of one relation.
struct Reading<'a> {
    name: String,
    relation: &'a Relation,
    spread: Spread,
    /// Its columns that are used.
    used: BTreeSet<usize>,
    places: Vec<Place>,
}

/// Translates a whole query.
pub(super) fn translate(
    plan: &LogicalPlan,
    windows: &[Window],
    relations: &BTreeMap<String, Relation>,
    options: &QueryOptions,
) -> Result<Compiled, SqlError> {
    let mut translator = Translator {
        windows,
        options,
        relations,
        nodes: Vec::new(),
        inputs: Vec::new(),
        tables: RESULTS,
        row_limit: None,
    };
    let shape = translator.build(plan, Want::Versions)?;
    translator.finish(&shape)
}

impl<'a> Translator<'a> {
    /// Builds the operators of a plan.
    pub(super) fn build(&mut self, plan: &LogicalPlan, want: Want) -> Result<Shape, SqlError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, want),
            LogicalPlan::SubqueryAlias(alias) => {
                let shape = self.build(&alias.input, want)?;
                Ok(Shape { schema: Arc::clone(&alias.schema), ..shape })
            }
            LogicalPlan::Projection(projection) => self.projection(projection, want),
            LogicalPlan::Filter(filter) => self.filter(filter, want),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => joins::build(self, join),
            LogicalPlan::Window(window) => {
                let limit = self.row_limit.take();
                tops::build(self, window, limit)
            }
            LogicalPlan::Aggregate(aggregate) => aggregates::build(self, aggregate, want),
            LogicalPlan::EmptyRelation(_) => {
                Err(SqlError::new("the SELECT reads no table").remedy("write FROM and a topic"))
            }
            other => Err(unsupported(other)),
        }
    }

    /// A number for a table of the state.
    pub(super) fn table(&mut self) -> u16 {
        self.tables += 1;
        self.tables
    }

    /// The place that the next operator takes.
    pub(super) fn next(&self) -> usize {
        self.nodes.len()
    }

    /// Adds an operator that reads the outputs of others.
    pub(super) fn add(&mut self, operator: impl Operator + 'static, inputs: &[usize]) -> usize {
        let place = self.next();
        for (side, input) in inputs.iter().enumerate() {
            self.nodes[*input].parent = Some((place, side));
        }
        self.nodes.push(Node { operator: Box::new(operator), parent: None });
        place
    }

    /// Demands that rows which agree in these columns or expressions meet in one task.
    pub(super) fn spread(&mut self, inputs: &[usize], keys: &[String]) {
        for input in inputs {
            let spread = &mut self.inputs[*input].spread;
            *spread = spread.meet(keys);
        }
    }

    fn scan(&mut self, scan: &TableScan, want: Want) -> Result<Shape, SqlError> {
        if !is_relation(scan.source.as_ref()) || !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(SqlError::new("the planner reads a table in a way that views do not know"));
        }
        let name = scan.table_name.to_string();
        let input = self.input(&name)?;
        let mut fields = scan.projected_schema.fields().iter().cloned().collect::<Vec<_>>();
        let key = self.key_of(input, &mut fields)?;
        let columns = fields.iter().map(|field| self.origin_of(input, field)).collect();
        let (node, changes) = match &key {
            None => (self.add_stream(&name), Changes::Append),
            Some(_) if want == Want::Versions => (self.add_stream(&name), Changes::Versions),
            Some(key) => (self.add_table(&name, &fields, key)?, Changes::Retractions),
        };
        self.inputs[input].places.push(Place { node, columns });
        let time = self.inputs[input].relation.event_time.as_deref().unwrap_or(METADATA_NAMES[4]);
        let time = fields.iter().position(|field| field.name() == time);
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        Ok(Shape {
            node,
            schema: Arc::clone(&scan.projected_schema),
            verbatim: vec![true; fields.len()],
            lineage: names.iter().cloned().map(Some).collect(),
            fields,
            names,
            changes,
            key,
            window: None,
            time,
            delay: 0,
            inputs: vec![input],
        })
    }

    /// Where the columns stand that identify a row, if the relation is a table; those that the
    /// query does not use are added.
    fn key_of(
        &self,
        input: usize,
        fields: &mut Vec<FieldRef>,
    ) -> Result<Option<Vec<usize>>, SqlError> {
        let Reading { name: topic, relation, .. } = &self.inputs[input];
        if relation.kind == RelationKind::Stream {
            return Ok(None);
        }
        let of_record = [METADATA_NAMES[0].to_owned()];
        let names = if relation.key.is_empty() { &of_record[..] } else { &relation.key };
        let place = |name: &String| {
            if let Some(place) = fields.iter().position(|field| field.name() == name) {
                return Ok(place);
            }
            let field = match relation.columns.get(name) {
                Some(column) => field_of(name, &column.column_type),
                None if *name == METADATA_NAMES[0] => Field::new(name, DataType::Utf8, true),
                None => {
                    return Err(SqlError::new(format!(
                        "{topic:?} has no column {name:?} for its key"
                    )));
                }
            };
            fields.push(Arc::new(field));
            Ok(fields.len() - 1)
        };
        names.iter().map(place).collect::<Result<_, _>>().map(Some)
    }

    fn add_stream(&mut self, name: &str) -> usize {
        let node = self.next();
        self.add(Scan { id: node, words: name.to_owned() }, &[])
    }

    fn add_table(
        &mut self,
        name: &str,
        fields: &[FieldRef],
        key: &[usize],
    ) -> Result<usize, SqlError> {
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let rows = GroupRows::new(&types, &[]).map_err(|error| {
            SqlError::new(format!("rows of {name:?} cannot be kept: {}", plain(&error.into())))
        })?;
        let key_type = |place: &usize| {
            let column_type = column_type_of(&fields[*place], true);
            (column_type.expect("a relation's columns have column types"), *place)
        };
        let (node, table) = (self.next(), self.table());
        let key = key.iter().map(key_type).collect();
        Ok(self.add(Table { id: node, key, rows, table, words: name.to_owned() }, &[]))
    }

    fn union(&mut self, union: &datafusion_expr::Union) -> Result<Shape, SqlError> {
        let inputs = union
            .inputs
            .iter()
            .map(|input| self.build(input, Want::Retractions))
            .collect::<Result<Vec<_>, _>>()?;
        if inputs.iter().any(|input| input.changes != Changes::Append) {
            return Err(SqlError::new("a view takes no UNION of results that still change")
                .remedy("set emit: final, or write one view for each of them"));
        }
        let fields: Vec<FieldRef> = union.schema.fields().iter().cloned().collect();
        let (node, columns) = (self.next(), fields.len());
        let nodes: Vec<usize> = inputs.iter().map(|input| input.node).collect();
        self.add(Union { id: node, inputs: nodes.clone(), columns }, &nodes);
        let all = |place: usize| move |input: &Shape| input.verbatim[place];
        let lineage = |place: usize| {
            let first = inputs[0].lineage[place].clone()?;
            inputs
                .iter()
                .all(|input| input.lineage[place].as_ref() == Some(&first))
                .then_some(first)
        };
        let mut sources: Vec<usize> =
            inputs.iter().flat_map(|input| input.inputs.clone()).collect();
        sources.sort_unstable();
        sources.dedup();
        Ok(Shape {
            node,
            schema: Arc::clone(&union.schema),
            names: fields.iter().map(|field| field.name().clone()).collect(),
            verbatim: (0..columns).map(|place| inputs.iter().all(all(place))).collect(),
            lineage: (0..columns).map(lineage).collect(),
            fields,
            changes: Changes::Append,
            key: None,
            window: None,
            time: None,
            delay: inputs.iter().map(|input| input.delay).max().unwrap_or(0),
            inputs: sources,
        })
    }

    /// The input that reads the relation.
    fn input(&mut self, name: &str) -> Result<usize, SqlError> {
        if let Some(known) = self.inputs.iter().position(|input| input.name == name) {
            return Ok(known);
        }
        let Some(relation) = self.relations.get(name) else {
            return Err(SqlError::new(format!("unknown table {name:?}")));
        };
        self.inputs.push(Reading {
            name: name.to_owned(),
            relation,
            spread: Spread::Any,
            used: BTreeSet::new(),
            places: Vec::new(),
        });
        Ok(self.inputs.len() - 1)
    }

    /// Where a scanned column comes from; notes that it is used. Values are numbered as the
    /// relation's columns until [`Self::source`] leaves out what nobody uses.
    fn origin_of(&mut self, input: usize, field: &FieldRef) -> Origins {
        let reading = &mut self.inputs[input];
        let mut columns = reading.relation.columns.iter();
        match columns.position(|column| column.name == *field.name()) {
            Some(index) => {
                reading.used.insert(index);
                Origins::Value(index)
            }
            None => {
                let index = METADATA_NAMES.iter().position(|name| name == field.name());
                Origins::Metadata(index.expect("a scan has the columns of its relation"))
            }
        }
    }

    fn projection(&mut self, projection: &Projection, want: Want) -> Result<Shape, SqlError> {
        let (input, condition) = match projection.input.as_ref() {
            LogicalPlan::Filter(filter) => (&filter.input, Some(&filter.predicate)),
            _ => (&projection.input, None),
        };
        let input = match condition {
            None => self.build(input, want)?,
            Some(condition) => self.below_filter(condition, input, want)?,
        };
        self.calculate(input, condition, &projection.expr, &projection.schema)
    }

    /// Builds what a filter reads, which may be numbered rows.
    fn below_filter(
        &mut self,
        condition: &Expr,
        input: &LogicalPlan,
        want: Want,
    ) -> Result<Shape, SqlError> {
        let limit = tops::limit_of(condition, input);
        self.row_limit = limit.or(self.row_limit);
        self.build(input, want)
    }

    fn filter(&mut self, filter: &Filter, want: Want) -> Result<Shape, SqlError> {
        let input = self.below_filter(&filter.predicate, &filter.input, want)?;
        let schema = Arc::clone(&input.schema);
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        self.calculate(input, Some(&filter.predicate), &columns, &schema)
    }

    fn calculate(
        &mut self,
        input: Shape,
        condition: Option<&Expr>,
        results: &[Expr],
        schema: &Arc<DFSchema>,
    ) -> Result<Shape, SqlError> {
        let mut columns = Calculated::default();
        for (expression, field) in results.iter().zip(schema.fields()) {
            columns.add(&input, expression, field)?;
        }
        let kept = columns.keep(&input);
        let time =
            input.time.and_then(|time| columns.sources.iter().position(|of| *of == Some(time)));
        let filter = condition.map(|condition| checked_physical(condition, &input)).transpose()?;
        let words = words(condition, results);
        let node = self.next();
        let operator = Calculate {
            id: node,
            input: input.node,
            schema: input.arrow(),
            calculation: Calculation { filter, results: columns.results },
            sources: columns.sources,
            tells_dropped: input.changes == Changes::Versions,
            words,
        };
        self.add(operator, &[input.node]);
        let window = input.window.map(|window| super::shape::WindowShape {
            start: kept[&window.start],
            end: kept[&window.end],
            ..window
        });
        Ok(Shape {
            node,
            schema: Arc::clone(schema),
            fields: columns.fields,
            names: columns.names,
            verbatim: columns.verbatim,
            lineage: columns.lineage,
            key: input.key.map(|key| key.iter().map(|place| kept[place]).collect()),
            window,
            time,
            ..input
        })
    }

    /// Ends the query: its result in canonical columns, each with a JSON form.
    fn finish(mut self, shape: &Shape) -> Result<Compiled, SqlError> {
        refuse_bad_names(&shape.names)?;
        let (mut columns, mut results) = (Vec::new(), Vec::new());
        for (index, name) in shape.names.iter().enumerate() {
            let field = &shape.fields[index];
            let column_type = column_type_of(field, shape.verbatim[index])
                .ok_or_else(|| no_json_form(field).at(None))?;
            let column = expressions::Column::new(field.name(), index);
            results.push((
                Arc::new(column) as Arc<dyn PhysicalExpr>,
                Form::Canonical(column_type.clone()),
            ));
            columns.push(Column::new(name, column_type));
        }
        let columns: Columns = columns.into_iter().collect();
        let node = self.next();
        let operator = Calculate {
            id: node,
            input: shape.node,
            schema: shape.arrow(),
            calculation: Calculation { filter: None, results },
            sources: (0..columns.len()).map(Some).collect(),
            tells_dropped: shape.changes == Changes::Versions,
            words: result_words(shape),
        };
        self.add(operator, &[shape.node]);
        let name = |place: usize| shape.names[place].clone();
        let window = shape.window.map(|window| WindowColumns {
            start: name(window.start),
            end: name(window.end),
            width_micros: window.width,
            slide_micros: window.slide,
        });
        let sources = self.inputs.iter_mut().map(source).collect::<Result<_, SqlError>>()?;
        let inputs = self.inputs.into_iter().map(|reading| Input {
            relation: reading.name,
            kind: reading.relation.kind,
            partition_by: reading.spread,
        });
        Ok(Compiled {
            nodes: self.nodes,
            inputs: inputs.collect(),
            sources,
            sink: Sink { columns, key: shape.key.clone() },
            window,
        })
    }
}

/// The columns of a calculation, one by one.
#[derive(Default)]
struct Calculated {
    results: Vec<(Arc<dyn PhysicalExpr>, Form)>,
    sources: Vec<Option<usize>>,
    fields: Vec<FieldRef>,
    names: Vec<String>,
    verbatim: Vec<bool>,
    lineage: Vec<Option<String>>,
}

impl Calculated {
    fn add(&mut self, input: &Shape, expression: &Expr, field: &FieldRef) -> Result<(), SqlError> {
        let source = input.place_of(expression);
        self.results
            .push((checked_physical(expression, input)?, Form::Planned(field.data_type().clone())));
        self.fields.push(Arc::clone(field));
        self.names.push(field.name().clone());
        let verbatim = match source {
            Some(place) => input.verbatim[place],
            None => is_verbatim(expression) && reads_verbatim(expression, input),
        };
        self.verbatim.push(verbatim);
        self.lineage.push(source.and_then(|place| input.lineage[place].clone()));
        self.sources.push(source);
        Ok(())
    }

    /// Adds the needed columns that are not among the results; tells where each now stands.
    fn keep(&mut self, input: &Shape) -> BTreeMap<usize, usize> {
        let mut kept = BTreeMap::new();
        for place in input.needed() {
            let known = self.sources.iter().position(|source| *source == Some(place));
            let at = known.unwrap_or_else(|| {
                let field = &input.fields[place];
                let column = expressions::Column::new(field.name(), place);
                self.results.push((Arc::new(column), Form::Planned(field.data_type().clone())));
                self.sources.push(Some(place));
                self.fields.push(Arc::clone(field));
                self.names.push(input.names[place].clone());
                self.verbatim.push(input.verbatim[place]);
                self.lineage.push(input.lineage[place].clone());
                self.fields.len() - 1
            });
            kept.insert(place, at);
        }
        kept
    }
}

/// The physical expression over an operator's columns.
pub(super) fn checked_physical(
    expression: &Expr,
    input: &Shape,
) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
    refuse_nodes(expression)?;
    physical(expression, &input.schema)
}

/// Refuses what expressions of views cannot hold.
pub(super) fn refuse_nodes(expression: &Expr) -> Result<(), SqlError> {
    let mut refused = None;
    let walk = expression.apply(|node| {
        refused = match node {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some(
                SqlError::new("a view takes no subquery within an expression")
                    .remedy("join the relation instead"),
            ),
            Expr::WindowFunction(_) => Some(tops::refused()),
            Expr::Placeholder(_) | Expr::ScalarVariable(_, _) => {
                Some(SqlError::new("a view takes no parameters or variables"))
            }
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (refused, walk) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(SqlError::new(plain(&error))),
        (None, Ok(_)) if depth(expression) > SQL_DEPTH_MAX => {
            Err(SqlError::new(format!("the expression is deeper than {SQL_DEPTH_MAX} levels"))
                .remedy("use IN for many alternatives"))
        }
        (None, Ok(_)) => Ok(()),
    }
}

fn reads_verbatim(expression: &Expr, input: &Shape) -> bool {
    let places = expression.column_refs().into_iter();
    let mut places = places.map(|column| input.place_of(&Expr::Column(column.clone())));
    places.all(|place| place.is_some_and(|place| input.verbatim[place]))
}

/// How an input is read, without the columns that nobody uses. Required ones stay: a record
/// without one of them does not fit.
fn source(reading: &mut Reading<'_>) -> Result<Source, SqlError> {
    let relation = reading.relation;
    let event_time =
        relation.event_time.as_deref().map(|name| event_time(reading, name)).transpose()?;
    let required = relation.columns.iter().enumerate().filter(|(_, column)| column.required);
    reading.used.extend(required.map(|(index, _)| index));
    reading.used.extend(event_time);
    let used: Vec<usize> = reading.used.iter().copied().collect();
    let place = |index: usize| used.binary_search(&index).expect("noted as used");
    for column in reading.places.iter_mut().flat_map(|place| &mut place.columns) {
        if let Origins::Value(index) = column {
            *index = place(*index);
        }
    }
    let columns = relation.columns.iter().enumerate();
    let columns: Columns = columns
        .filter(|(index, _)| reading.used.contains(index))
        .map(|(_, column)| column.clone())
        .collect();
    let tombstones = (relation.kind == RelationKind::Table).then(|| Tombstones {
        decoder: Decoder::new(&columns.iter().map(optional).collect()),
        key: relation.key.iter().filter_map(|name| columns.get(name).cloned()).collect(),
    });
    Ok(Source {
        decoder: Decoder::new(&columns),
        tombstones,
        event_time: event_time.map(place),
        places: std::mem::take(&mut reading.places),
    })
}

fn optional(column: &Column) -> Column {
    Column { required: false, ..column.clone() }
}

fn event_time(reading: &Reading<'_>, name: &str) -> Result<usize, SqlError> {
    let topic = &reading.name;
    let mut columns = reading.relation.columns.iter().enumerate();
    match columns.find(|(_, column)| column.name == name) {
        Some((index, column)) if column.column_type == ColumnType::Timestamp => Ok(index),
        Some((_, column)) => Err(SqlError::new(format!(
            "the event time of {topic:?}, column {name:?}, is of type {}",
            column.column_type
        ))
        .remedy("declare it as timestamp")),
        None => Err(SqlError::new(format!("{topic:?} has no column {name:?} for its event time"))),
    }
}

fn refuse_bad_names(names: &[String]) -> Result<(), SqlError> {
    if names.len() > SQL_COLUMNS_MAX {
        let message =
            format!("the SELECT has {} columns; {SQL_COLUMNS_MAX} are allowed", names.len());
        return Err(SqlError::new(message));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(SqlError::new(format!("two columns are named {name:?}"))
            .remedy("give one of them another name with AS")),
    }
}

fn words(condition: Option<&Expr>, results: &[Expr]) -> String {
    let results: Vec<_> = results.iter().map(|result| result.human_display().to_string()).collect();
    match condition {
        None => results.join(", "),
        Some(condition) => format!("{} where {}", results.join(", "), condition.human_display()),
    }
}

fn result_words(shape: &Shape) -> String {
    match &shape.key {
        None => "results are appended".into(),
        Some(key) if key.is_empty() => "one result".into(),
        Some(key) => {
            let names: Vec<_> = key.iter().map(|place| shape.names[*place].as_str()).collect();
            format!("results by {}", names.join(", "))
        }
    }
}

fn unsupported(plan: &LogicalPlan) -> SqlError {
    let (what, remedy) = match plan {
        LogicalPlan::Sort(_) => ("ORDER BY", "the rows of a view are kept by their key"),
        LogicalPlan::Limit(_) => ("LIMIT", "number the rows with ROW_NUMBER() OVER (…)"),
        LogicalPlan::Values(_) => ("VALUES", "select from a topic"),
        LogicalPlan::RecursiveQuery(_) => ("WITH RECURSIVE", "select from a topic"),
        LogicalPlan::Unnest(_) => ("UNNEST", "use a `split` step in a pipeline"),
        _ => ("query of this kind", "see docs/views.md for what there is"),
    };
    SqlError::new(format!("a view takes no {what}")).remedy(remedy)
}
