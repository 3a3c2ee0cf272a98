//! SQL within the file: compiled while the file is read, where columns are known.

use super::{
    report::{At, Report},
    steps::Flow,
};

/// Checks the query of a step; what its output is, follows.
pub(super) fn statement(text: &str, _flow: &Flow, at: &At<'_>, report: &mut Report) -> Flow {
    not_empty("query", text, at, report);
    Flow::default()
}

/// Checks a condition.
pub(super) fn condition(text: &str, _flow: &Flow, at: &At<'_>, report: &mut Report) {
    not_empty("condition", text, at, report);
}

fn not_empty(kind: &str, text: &str, at: &At<'_>, report: &mut Report) {
    if text.trim().is_empty() {
        report.at(at, format!("{kind} is empty"), "write SQL");
    }
}
