//! What the planner may ask: relations, functions, aggregates.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::{Result, TableReference, config::ConfigOptions, exec_err, plan_err};
use datafusion_expr::{
    AggregateUDF, ColumnarValue, HigherOrderUDF, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TableSource, Volatility, WindowUDF, WindowUDFImpl,
    function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    planner::{ContextProvider, ExprPlanner},
};
use datafusion_functions_aggregate::{
    all_default_aggregate_functions, planner::AggregateFunctionPlanner,
};

use super::text::BOUNDS;
use crate::{
    compile::functions::Catalogue,
    schema::{METADATA_NAMES, fields_of, metadata_types, timestamp_type},
    stream::relation::Relation,
};

static AGGREGATES: LazyLock<BTreeMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let mut named = BTreeMap::new();
    for function in all_default_aggregate_functions() {
        for alias in function.aliases() {
            named.insert(alias.clone(), Arc::clone(&function));
        }
        named.insert(function.name().to_owned(), function);
    }
    named.remove("grouping");
    named
});

/// Functions that read the clock: what a view once said could not be told as gone again.
pub(super) const CLOCKS: [&str; 5] =
    ["now", "current_timestamp", "current_date", "current_time", "today"];

/// Answers the planner's questions about one query.
pub(super) struct Relations {
    scalars: Catalogue,
    planners: Vec<Arc<dyn ExprPlanner>>,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    /// The function that was asked for last and is not there.
    missing: RefCell<Option<String>>,
}

/// A relation's columns, the record's own among them where the text names them.
#[derive(Debug)]
pub(super) struct RelationSource {
    schema: SchemaRef,
}

impl Relations {
    pub(super) fn new(
        relations: &BTreeMap<String, Relation>,
        metadata: &BTreeSet<&'static str>,
    ) -> Self {
        let scalars = Catalogue::new();
        let aggregates: Arc<dyn ExprPlanner> = Arc::new(AggregateFunctionPlanner);
        let planners = scalars.get_expr_planners().iter().cloned().chain([aggregates]).collect();
        let tables = relations.iter().map(|(name, relation)| {
            let schema = Arc::new(schema_of(relation, metadata));
            let source: Arc<dyn TableSource> = Arc::new(RelationSource { schema });
            (name.clone(), source)
        });
        Self { tables: tables.collect(), scalars, planners, missing: RefCell::new(None) }
    }

    /// The function that planning failed for, if it was for want of one.
    pub(super) fn missing(&self) -> Option<String> {
        self.missing.borrow().clone()
    }
}

fn schema_of(relation: &Relation, metadata: &BTreeSet<&'static str>) -> Schema {
    let mut fields = fields_of(&relation.columns);
    for (name, data_type) in METADATA_NAMES.into_iter().zip(metadata_types()) {
        if metadata.contains(name) && relation.columns.get(name).is_none() {
            fields.push(Arc::new(Field::new(name, data_type, true)));
        }
    }
    Schema::new(fields)
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl ContextProvider for Relations {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(&name.to_string()) {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("unknown table {name}"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if CLOCKS.contains(&name) {
            return None;
        }
        match BOUNDS.iter().find(|(_, function)| *function == name) {
            Some((_, function)) => Some(Arc::new(Bound::new(function).into())),
            None => self.scalars.get_function_meta(name),
        }
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let found = AGGREGATES.get(name).cloned();
        if found.is_none() {
            *self.missing.borrow_mut() = Some(name.to_owned());
        }
        found
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        if name == ROW_NUMBER {
            return Some(Arc::new(WindowUDF::from(RowNumber::new())));
        }
        *self.missing.borrow_mut() = Some(name.to_owned());
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.scalars.options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.udf_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        AGGREGATES.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![ROW_NUMBER.into()]
    }
}

/// The start or the end of a window: planned, and taken out before anything runs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bound {
    name: &'static str,
    signature: Signature,
}

impl Bound {
    /// Volatile, so that no rule evaluates or moves it.
    fn new(name: &'static str) -> Self {
        Self { name, signature: Signature::any(1, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("a window stands in GROUP BY only")
    }
}

pub(super) const ROW_NUMBER: &str = "row_number";

/// The number of a row within its partition: planned, and run by an operator of ours.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowNumber {
    signature: Signature,
}

impl RowNumber {
    fn new() -> Self {
        Self { signature: Signature::nullary(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for RowNumber {
    fn name(&self) -> &str {
        ROW_NUMBER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        exec_err!("row numbers are given by the view's own operator")
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::UInt64, false)))
    }
}

/// The source as what it is.
pub(super) fn is_relation(source: &dyn TableSource) -> bool {
    (source as &dyn Any).is::<RelationSource>()
}
