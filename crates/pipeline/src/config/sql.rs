//! SQL within the file: compiled while the file is read, where columns are known.
//!
//! What the compiler says gets its place in the file, also within block texts.
//! Where columns are not known nothing is said: the first records decide them, and
//! the pipeline compiles then.

use courant_sql::{Expression, SqlError, Statement};

use super::{
    report::{At, Report},
    steps::Flow,
};

/// Checks the query of a step; answers what its results look like.
pub(super) fn statement(text: &str, flow: &Flow, at: &At<'_>, report: &mut Report) -> Flow {
    let Some(columns) = known("query", text, flow, at, report) else { return Flow::default() };
    match Statement::compile(text, columns) {
        Ok(statement) => Flow { columns: Some(statement.output().clone()), exact: true },
        Err(error) => {
            tell(&error, at, report);
            Flow::default()
        }
    }
}

/// Checks the condition of a branch.
pub(super) fn condition(text: &str, flow: &Flow, at: &At<'_>, report: &mut Report) {
    if let Some(columns) = known("condition", text, flow, at, report)
        && let Err(error) = Expression::compile_condition(text, columns)
    {
        tell(&error, at, report);
    }
}

fn known<'a>(
    kind: &str,
    text: &str,
    flow: &'a Flow,
    at: &At<'_>,
    report: &mut Report,
) -> Option<&'a courant_model::Columns> {
    if text.trim().is_empty() {
        report.at(at, format!("{kind} is empty"), "write SQL, or leave it out");
        return None;
    }
    flow.columns.as_ref()
}

pub(super) fn tell(error: &SqlError, at: &At<'_>, report: &mut Report) {
    let place = match error.line {
        0 => at.spot.place(),
        line => at.node.place_within(line, error.column),
    };
    report.note(at, place, &error.message, error.remedy.as_deref());
}
