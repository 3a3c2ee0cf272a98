//! Names, types and functions resolved; physical expressions built.
//!
//! Each expression is planned, checked for what needs more than one record, typed,
//! simplified, and compiled against a schema of only those columns that the text
//! uses. `now()` becomes a hidden column that the run fills: the engine's own would
//! freeze the time of compilation. Integer arithmetic is checked, not wrapping.

use std::{any::Any, collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use courant_model::{Column, ColumnType, Columns, limits::SQL_COLUMNS_MAX, problem::nearest};
use datafusion_common::{
    DFSchema, DataFusionError, SchemaError, TableReference,
    tree_node::{Transformed, TreeNode},
};
use datafusion_expr::{
    Expr, ExprSchemable, cast, execution_props::ExecutionProps,
    physical_planning_context::PhysicalPlanningContext, simplify::SimplifyContext,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr, expressions::BinaryExpr};
use datafusion_sql::{
    planner::{ParserOptions, PlannerContext, SqlToRel},
    sqlparser::ast::{
        Expr as Ast, RenameSelectItem, SelectItem, SelectItemQualifiedWildcardKind, Spanned,
        WildcardAdditionalOptions,
    },
};

use crate::{
    compile::{
        Scope,
        clauses::{INPUT, SelectParts},
        functions::{Catalogue, unknown_function},
        locate,
        names::{excluded_names, name_of, quote_late_fields, text_of},
        nodes::refuse_nodes,
    },
    error::{SqlError, plain},
    program::{Calculation, Form, Input, Program},
    schema::{METADATA_NAMES, column_type_of, fields_of, metadata_types, timestamp_type},
};

/// Qualifier and name of the hidden column that `now()` reads.
const NOW: (&str, &str) = ("run", "now()");

/// A result: its name, what computes it, and where it stands in the text.
struct Item {
    name: String,
    expression: Expr,
    place: Option<(u32, u32)>,
}

/// Plans expressions of one text over one table.
struct Planner<'a> {
    sql: &'a str,
    columns: &'a Columns,
    catalogue: Catalogue,
    table: TableReference,
    schema: Arc<DFSchema>,
    /// Where each field of `schema` comes from.
    inputs: Vec<Input>,
}

/// Plans a `SELECT`.
pub(super) fn select(
    sql: &str,
    scope: &Scope<'_>,
    parts: SelectParts,
) -> Result<(Program, Columns), SqlError> {
    let planner = Planner::new(sql, scope, &parts.table)?;
    let condition = parts.condition.map(|ast| planner.condition(ast)).transpose()?;
    let mut items = Vec::new();
    for item in parts.items {
        planner.expand(item, &mut items)?;
    }
    refuse_bad_names(&items)?;
    let (program, types) = planner.program(condition.as_ref(), &items)?;
    let columns = items.iter().zip(types);
    Ok((program, columns.map(|(item, column_type)| Column::new(&item.name, column_type)).collect()))
}

/// Plans a single expression.
pub(super) fn expression(
    sql: &str,
    scope: &Scope<'_>,
    ast: Ast,
) -> Result<(Program, ColumnType), SqlError> {
    let planner = Planner::new(sql, scope, INPUT)?;
    let item = planner.item(String::new(), ast)?;
    let (program, types) = planner.program(None, std::slice::from_ref(&item))?;
    let column_type = types.into_iter().next().expect("one item has one type");
    Ok((program, column_type))
}

impl<'a> Planner<'a> {
    fn new(sql: &'a str, scope: &Scope<'a>, table: &str) -> Result<Self, SqlError> {
        let table = TableReference::bare(table);
        let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::new();
        let mut inputs = Vec::new();
        for (index, field) in fields_of(scope.columns).into_iter().enumerate() {
            fields.push((Some(table.clone()), field));
            inputs.push(Input::Value(index));
        }
        for (index, (name, data_type)) in
            METADATA_NAMES.into_iter().zip(metadata_types()).enumerate()
        {
            // A field of the document hides the record's own of the same name.
            if scope.columns.get(name).is_none() {
                fields.push((Some(table.clone()), Arc::new(Field::new(name, data_type, true))));
                inputs.push(Input::Metadata(index));
            }
        }
        let now = Arc::new(Field::new(NOW.1, timestamp_type(), true));
        fields.push((Some(TableReference::bare(NOW.0)), now));
        inputs.push(Input::Now);
        let schema = DFSchema::new_with_metadata(fields, HashMap::new())
            .map_err(|error| SqlError::new(plain(&error)))?;
        Ok(Self {
            sql,
            columns: scope.columns,
            catalogue: Catalogue::new(),
            table,
            schema: Arc::new(schema),
            inputs,
        })
    }

    fn condition(&self, ast: Ast) -> Result<Expr, SqlError> {
        let place = locate::place(ast.span());
        let expression = self.plan(ast)?;
        let found = expression
            .get_type(self.schema.as_ref())
            .map_err(|error| SqlError::new(plain(&error)).at(place))?;
        match found {
            DataType::Boolean | DataType::Null => Ok(expression),
            _ => {
                let field = Field::new("", found.clone(), true);
                let found = column_type_of(&field, false)
                    .map_or_else(|| found.to_string(), |column_type| column_type.to_string());
                Err(SqlError::new(format!("WHERE needs a condition; found {found}"))
                    .at(place)
                    .remedy("compare it with something"))
            }
        }
    }

    fn item(&self, name: String, ast: Ast) -> Result<Item, SqlError> {
        let place = locate::place(ast.span());
        Ok(Item { name, expression: self.plan(ast)?, place })
    }

    fn expand(&self, item: SelectItem, items: &mut Vec<Item>) -> Result<(), SqlError> {
        match item {
            SelectItem::UnnamedExpr(ast) => items.push(self.item(name_of(&ast), ast)?),
            SelectItem::ExprWithAlias { expr, alias } => items.push(self.item(alias.value, expr)?),
            SelectItem::Wildcard(options) => self.expand_star(options, items)?,
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) if text_of(&name) == self.table.table() => self.expand_star(options, items)?,
            SelectItem::QualifiedWildcard(..) => {
                return Err(SqlError::new("a star can follow only the table's name")
                    .remedy(format!("write {}.* or *", self.table)));
            }
            SelectItem::ExprWithAliases { .. } => {
                return Err(SqlError::new("an expression takes one name after AS"));
            }
        }
        Ok(())
    }

    /// All columns of the document, none of the record's own.
    fn expand_star(
        &self,
        options: WildcardAdditionalOptions,
        items: &mut Vec<Item>,
    ) -> Result<(), SqlError> {
        if options.opt_ilike.is_some() || options.opt_alias.is_some() {
            return Err(SqlError::new("a star takes EXCLUDE, EXCEPT, REPLACE and RENAME only"));
        }
        let excluded = self.known(excluded_names(&options))?;
        let mut replaced = HashMap::new();
        for element in options.opt_replace.into_iter().flat_map(|replace| replace.items) {
            let name = self.known(vec![element.column_name.value])?.remove(0);
            replaced.insert(name, element.expr);
        }
        let mut renamed = HashMap::new();
        let renames = match options.opt_rename {
            None => Vec::new(),
            Some(RenameSelectItem::Single(rename)) => vec![rename],
            Some(RenameSelectItem::Multiple(renames)) => renames,
        };
        for rename in renames {
            renamed.insert(self.known(vec![rename.ident.value])?.remove(0), rename.alias.value);
        }
        for column in self.columns.iter().filter(|column| !excluded.contains(&column.name)) {
            let name = renamed.remove(&column.name).unwrap_or_else(|| column.name.clone());
            items.push(match replaced.remove(&column.name) {
                Some(ast) => self.item(name, ast)?,
                None => {
                    let column = datafusion_common::Column::new(
                        Some(self.table.clone()),
                        column.name.clone(),
                    );
                    Item { name, expression: Expr::Column(column), place: None }
                }
            });
        }
        Ok(())
    }

    fn known(&self, names: Vec<String>) -> Result<Vec<String>, SqlError> {
        match names.iter().find(|name| self.columns.get(name).is_none()) {
            Some(unknown) => Err(self.unknown_column(unknown)),
            None => Ok(names),
        }
    }

    /// Plans, checks, types and simplifies an expression.
    fn plan(&self, mut ast: Ast) -> Result<Expr, SqlError> {
        let place = locate::place(ast.span());
        quote_late_fields(&mut ast);
        let options = ParserOptions::new()
            .with_enable_ident_normalization(false)
            .with_map_string_types_to_utf8view(false);
        let expression = SqlToRel::new_with_options(&self.catalogue, options)
            .sql_to_expr(ast, &self.schema, &mut PlannerContext::new())
            .map_err(|error| self.planner_error(&error).at(place))?;
        refuse_nodes(&expression).map_err(|error| error.at(place))?;
        let simplify = || {
            let expression = expression.transform_up(read_time_from_run)?.data;
            let context = SimplifyContext::builder().with_schema(Arc::clone(&self.schema)).build();
            let simplifier = ExprSimplifier::new(context);
            let expression = simplifier.coerce(expression, &self.schema)?;
            simplifier.simplify(expression)
        };
        simplify().map_err(|error| SqlError::new(plain(&error)).at(place))
    }

    fn program(
        &self,
        condition: Option<&Expr>,
        items: &[Item],
    ) -> Result<(Program, Vec<ColumnType>), SqlError> {
        let expressions = || condition.into_iter().chain(items.iter().map(|item| &item.expression));
        let used: Vec<usize> = (0..self.inputs.len())
            .filter(|index| {
                let column = datafusion_common::Column::from(self.schema.qualified_field(*index));
                expressions().any(|expression| expression.column_refs().contains(&column))
            })
            .collect();
        let fields = used.iter().map(|index| {
            let (table, field) = self.schema.qualified_field(*index);
            (table.cloned(), Arc::clone(field))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), HashMap::new())
            .map_err(|error| SqlError::new(plain(&error)))?;
        let filter = condition.map(|expression| physical(expression, &schema));
        let (mut results, mut types) = (Vec::new(), Vec::new());
        for item in items {
            let expression = physical(&item.expression, &schema).map_err(|e| e.at(item.place))?;
            let field = expression
                .return_field(schema.as_arrow())
                .map_err(|error| SqlError::new(plain(&error)).at(item.place))?;
            let column_type = column_type_of(&field, is_verbatim(&item.expression))
                .ok_or_else(|| no_json_form(&field).at(item.place))?;
            results.push((expression, Form::Canonical(column_type.clone())));
            types.push(column_type);
        }
        let program = Program {
            inputs: used.iter().map(|index| self.inputs[*index]).collect(),
            schema: Arc::clone(schema.inner()),
            calculation: Calculation { filter: filter.transpose()?, results },
        };
        Ok((program, types))
    }

    fn planner_error(&self, error: &DataFusionError) -> SqlError {
        let root = error.find_root();
        if let DataFusionError::SchemaError(schema_error, _) = root
            && let SchemaError::FieldNotFound { field, .. } = schema_error.as_ref()
        {
            return self.unknown_column(&field.name);
        }
        let text = plain(root);
        if text.to_lowercase().starts_with("invalid function")
            && let Some(name) = self.catalogue.missing()
        {
            return unknown_function(&name).at(locate::word(self.sql, &name));
        }
        SqlError::new(text)
    }

    fn unknown_column(&self, name: &str) -> SqlError {
        let error =
            SqlError::new(format!("unknown column {name:?}")).at(locate::word(self.sql, name));
        let known = || {
            let columns = self.columns.iter().map(|column| column.name.as_str());
            columns.chain(METADATA_NAMES)
        };
        let near = known()
            .find(|known| known.eq_ignore_ascii_case(name))
            .or_else(|| nearest(name, known()));
        if let Some(near) = near {
            return error.remedy(format!("did you mean column {near:?}?"));
        }
        if locate::is_double_quoted(self.sql, name) {
            return error.remedy(format!("text stands in single quotes: '{name}'"));
        }
        let names: Vec<_> = self.columns.iter().map(|column| column.name.as_str()).collect();
        match names.is_empty() {
            true => error.remedy("the input has no columns"),
            false => error.remedy(format!("the columns are {}", names.join(", "))),
        }
    }
}

/// The physical expression, with checked arithmetic.
pub(crate) fn physical(
    expression: &Expr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    create_physical_expr(expression, schema, &properties, &context)
        .and_then(checked)
        .map_err(|error| SqlError::new(plain(&error)))
}

/// Makes integer arithmetic fail where it would wrap.
pub(crate) fn checked(
    expression: Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let checked = expression.transform_up(|node| {
        let any: &dyn Any = node.as_ref();
        Ok(match any.downcast_ref::<BinaryExpr>() {
            Some(binary) => {
                let checked = binary.clone().with_fail_on_overflow(true);
                Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>)
            }
            None => Transformed::no(node),
        })
    })?;
    Ok(checked.data)
}

fn read_time_from_run(expression: Expr) -> Result<Transformed<Expr>, DataFusionError> {
    let Expr::ScalarFunction(function) = &expression else {
        return Ok(Transformed::no(expression));
    };
    let now = || Expr::Column(datafusion_common::Column::new(Some(NOW.0), NOW.1));
    Ok(match function.name() {
        "now" => Transformed::yes(now()),
        "current_date" => Transformed::yes(cast(now(), DataType::Date32)),
        "current_time" => Transformed::yes(cast(now(), DataType::Time64(TimeUnit::Nanosecond))),
        _ => Transformed::no(expression),
    })
}

/// Whether the result is a value of the document that no function has changed.
pub(crate) fn is_verbatim(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_verbatim(&alias.expr),
        Expr::ScalarFunction(function) => {
            matches!(function.name(), "get_field" | "array_element")
                && function.args.first().is_some_and(is_verbatim)
        }
        _ => false,
    }
}

pub(crate) fn no_json_form(field: &Field) -> SqlError {
    let data_type = field.data_type();
    let error = SqlError::new(format!("a result of type {data_type} has no JSON form"));
    match data_type {
        DataType::Duration(_) | DataType::Interval(_) => {
            error.remedy("write extract(epoch FROM …) for seconds, or CAST(… AS VARCHAR)")
        }
        _ => error.remedy("cast it to another type"),
    }
}

fn refuse_bad_names(items: &[Item]) -> Result<(), SqlError> {
    if items.is_empty() || items.len() > SQL_COLUMNS_MAX {
        let message =
            format!("the SELECT has {} columns; 1 to {SQL_COLUMNS_MAX} are allowed", items.len());
        return Err(SqlError::new(message));
    }
    let mut seen = std::collections::HashSet::new();
    match items.iter().find(|item| !seen.insert(&item.name)) {
        None => Ok(()),
        Some(item) => Err(SqlError::new(format!("two columns are named {:?}", item.name))
            .at(item.place)
            .remedy("give one of them another name with AS")),
    }
}
