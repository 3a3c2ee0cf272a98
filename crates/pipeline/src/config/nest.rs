//! Nesting within the file: the tree of tables, read and checked.
//!
//! What can be known of a document without its rows is checked here: names that would be
//! in it twice, and what one option needs of another. Whether tables have these columns,
//! only their rows tell; whether the topic keeps the order of commits, `checks` asks.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{
    format::{NestManyYaml, NestOnYaml, NestOneYaml, NestYaml},
    report::{At, Report},
};
use crate::plan::{NestJoin, NestKind, NestPlan, NestRelation, NestSort, NestTable, StepPlan};

/// Reads the step, which is number `index` of its pipeline, counted from 0.
pub(super) fn step(at: &At<'_>, index: usize, report: &mut Report) -> Option<StepPlan> {
    let yaml: NestYaml = report.read(at)?;
    if index > 0 {
        let what = "step \"nest\" stands after another step";
        report.at(at, what, "put it first: it needs every row of a transaction");
    }
    let relations = relations(at, yaml.many, yaml.one, report);
    let key = columns("key", yaml.key.into_vec(), at, report);
    let root = NestTable { table: yaml.table, key, fields: yaml.fields, relations };
    table(&root, at, report);
    let moves_with = yaml.moves_with.into_vec();
    if let (Some(at), None) = (at.get("moves_with"), &yaml.version) {
        let remedy = "name a field for the version, and in the targets, so that the order of \
                      the old document and the new one does not matter";
        report.at(&at, "\"moves_with\" stands without \"version\"", remedy);
    }
    if let (Some(fields), Some(at)) = (&root.fields, at.get("moves_with")) {
        for column in moves_with.iter().filter(|column| !fields.contains(column)) {
            let what = format!("column {column:?} is not among the \"fields\"");
            report.at(&at, what, "add it there: it says where the document was");
        }
    }
    if let (Some(version), Some(at)) = (&yaml.version, at.get("version"))
        && root.brought().contains(&version.as_str())
    {
        report.at(&at, format!("field {version:?} is there twice"), "choose another name");
    }
    let (version, rows_max) = (yaml.version, yaml.rows_max);
    Some(StepPlan::Nest(Box::new(NestPlan { root, version, moves_with, rows_max })))
}

/// Reads what is within a table's rows, in the order of the file within each kind.
fn relations(
    at: &At<'_>,
    many: IndexMap<String, NestManyYaml>,
    one: IndexMap<String, NestOneYaml>,
    report: &mut Report,
) -> Vec<NestRelation> {
    let inner = |kind: &str, name: &str| {
        let inner = at.get(kind).and_then(|kind| kind.get(name));
        inner.unwrap_or_else(|| at.clone())
    };
    let mut all: Vec<NestRelation> = Vec::new();
    for (name, yaml) in one {
        let at = inner("one", &name);
        let kind = NestKind::One { flatten: yaml.flatten };
        if yaml.flatten && yaml.fields.is_none() {
            report.at(&at, "\"flatten\" stands without \"fields\"", "say which columns to merge");
        }
        let relations = relations(&at, yaml.many, yaml.one, report);
        let key = columns("key", yaml.key.into_vec(), &at, report);
        let of = NestTable { table: yaml.table, key, fields: yaml.fields, relations };
        table(&of, &at, report);
        all.push(NestRelation { name, on: joins(yaml.on, &at, report), kind, of });
    }
    for (name, yaml) in many {
        let at = inner("many", &name);
        let relations = relations(&at, yaml.many, yaml.one, report);
        let key = columns("key", yaml.key.into_vec(), &at, report);
        let sort = yaml.sort.into_vec();
        let sort = if sort.is_empty() { key.clone() } else { sort };
        let sort = sort.into_iter().map(sort_of).collect();
        let kind = NestKind::Many { sort, cascade: yaml.cascade };
        let of = NestTable { table: yaml.table, key, fields: yaml.fields, relations };
        table(&of, &at, report);
        all.push(NestRelation { name, on: joins(yaml.on, &at, report), kind, of });
    }
    all
}

/// Notes what cannot be in a table's objects.
fn table(table: &NestTable, at: &At<'_>, report: &mut Report) {
    if table.fields.as_ref().is_some_and(Vec::is_empty) {
        let at = at.get("fields").unwrap_or_else(|| at.clone());
        report.at(&at, "list of fields is empty", "leave it out to keep all columns");
    }
    let mut seen = BTreeSet::new();
    for name in table.brought() {
        if !seen.insert(name) {
            report.at(at, format!("field {name:?} is there twice"), "choose another name");
        }
    }
}

fn joins(on: NestOnYaml, at: &At<'_>, report: &mut Report) -> Vec<NestJoin> {
    let same = |column: String| NestJoin { inner: column.clone(), outer: column };
    let joins: Vec<NestJoin> = match on {
        NestOnYaml::Column(column) => vec![same(column)],
        NestOnYaml::Columns(columns) => columns.into_iter().map(same).collect(),
        NestOnYaml::Pairs(pairs) => {
            pairs.into_iter().map(|(inner, outer)| NestJoin { inner, outer }).collect()
        }
    };
    let names = joins.iter().map(|join| join.inner.clone()).collect();
    columns("on", names, at, report);
    joins
}

/// Notes an empty list of columns.
fn columns(key: &str, columns: Vec<String>, at: &At<'_>, report: &mut Report) -> Vec<String> {
    if columns.is_empty() || columns.iter().any(String::is_empty) {
        let at = at.get(key).unwrap_or_else(|| at.clone());
        report.at(&at, format!("{key:?} names no column"), "name one or a list of them");
    }
    columns
}

fn sort_of(text: String) -> NestSort {
    match text.strip_prefix('-') {
        Some(column) => NestSort { column: column.to_owned(), descending: true },
        None => NestSort { column: text, descending: false },
    }
}
