//! The catalogue: which functions SQL has here.
//!
//! All of DataFusion's scalar and nested functions, but for those that read chance or
//! the surroundings, and one of ours for `json` columns. Aggregates and window functions are known only by name, to
//! refuse them in clear words.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::datatypes::DataType;
use courant_model::problem::nearest;
use datafusion_common::{Result, TableReference, config::ConfigOptions, plan_err};
use datafusion_expr::{
    AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
    planner::{ContextProvider, ExprPlanner},
};

use crate::{compile::json::json_as_text, error::SqlError};

/// Functions that the planner needs for syntax or that read what is not in the record.
const LEFT_OUT: [&str; 7] =
    ["random", "rand", "uuid", "version", "input_file_name", "file_row_index", "arrow_metadata"];

const AGGREGATES: [&str; 39] = [
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "median",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "variance",
    "corr",
    "covar",
    "covar_pop",
    "covar_samp",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "first_value",
    "last_value",
    "nth_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "percentile_cont",
    "quantile_cont",
    "grouping",
    "regr_slope",
    "mode",
    "any_value",
    "group_concat",
    "listagg",
];

const WINDOWS: [&str; 12] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "tumble",
    "hop",
    "session",
    "window_start",
];

static SCALARS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let functions = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions())
        .chain([json_as_text()]);
    let mut named = HashMap::new();
    for function in functions {
        for alias in function.aliases() {
            named.insert(alias.clone(), Arc::clone(&function));
        }
        named.insert(function.name().to_owned(), function);
    }
    named.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    named
});

/// Answers the planner's questions about one text.
pub(crate) struct Catalogue {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
    /// The function that was asked for last and is not there.
    missing: RefCell<Option<String>>,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self {
            options: ConfigOptions::default(),
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            ],
            missing: RefCell::new(None),
        }
    }

    /// The function that planning failed for, if it was for want of one.
    pub(crate) fn missing(&self) -> Option<String> {
        self.missing.borrow().clone()
    }
}

/// Says what there is to say about a function that is not there.
pub(crate) fn unknown_function(name: &str) -> SqlError {
    if matches!(name, "random" | "rand" | "uuid") {
        return SqlError::new(format!(
            "function {name:?} is not supported: the same record must give the same result"
        ))
        .remedy("take the value from the record, such as _topic, _partition and _offset");
    }
    if AGGREGATES.contains(&name) {
        return SqlError::new(format!("a \"sql\" step takes no aggregate function {name:?}"))
            .remedy("aggregates belong in a view");
    }
    if WINDOWS.contains(&name) {
        return SqlError::new(format!("a \"sql\" step takes no window function {name:?}"))
            .remedy("windows belong in a view");
    }
    let mut known: Vec<_> = SCALARS.keys().map(String::as_str).collect();
    known.sort_unstable();
    let error = SqlError::new(format!("unknown function {name:?}"));
    match nearest(name, known) {
        Some(near) => error.remedy(format!("did you mean {near:?}?")),
        None => error,
    }
}

impl ContextProvider for Catalogue {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("table {name} cannot be read within an expression")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        SCALARS.get(name).cloned()
    }

    /// None: the dialect has no lambdas.
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    /// Asked when no scalar function has the name, and before the planner gives up.
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        *self.missing.borrow_mut() = Some(name.to_owned());
        None
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        *self.missing.borrow_mut() = Some(name.to_owned());
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        SCALARS.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The planner wants one name to suggest; its suggestion is not used.
    fn udaf_names(&self) -> Vec<String> {
        vec!["count".into()]
    }

    fn udwf_names(&self) -> Vec<String> {
        vec!["row_number".into()]
    }
}
