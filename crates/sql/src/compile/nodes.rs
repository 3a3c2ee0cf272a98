//! Refuses planned expressions that need more than one record, or are too deep.
//!
//! `clauses` has seen to the clauses; this sees to what hides within expressions,
//! once the planner has told functions from aggregates. Nothing is rewritten here.

use courant_model::limits::SQL_DEPTH_MAX;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::Expr;

use crate::error::{SqlError, plain};

/// Refuses what needs more than one record, and what is too deep.
pub(super) fn refuse_nodes(expression: &Expr) -> Result<(), SqlError> {
    let mut refused = None;
    let walk = expression.apply(|node| {
        refused = match node {
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some(
                SqlError::new("a \"sql\" step takes no subquery").remedy("joins belong in a view"),
            ),
            Expr::AggregateFunction(_) | Expr::GroupingSet(_) => Some(
                SqlError::new("a \"sql\" step takes no aggregate function")
                    .remedy("aggregates belong in a view"),
            ),
            Expr::WindowFunction(_) => Some(
                SqlError::new("a \"sql\" step takes no window function")
                    .remedy("windows belong in a view"),
            ),
            Expr::Unnest(_) => Some(
                SqlError::new("a \"sql\" step makes one record of one record")
                    .remedy("use a `split` step instead of unnest"),
            ),
            Expr::Placeholder(_) | Expr::ScalarVariable(_, _) => {
                Some(SqlError::new("a \"sql\" step takes no parameters or variables"))
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
                .remedy("use IN for many alternatives, or several steps"))
        }
        (None, Ok(_)) => Ok(()),
    }
}

pub(crate) fn depth(expression: &Expr) -> usize {
    let mut deepest = 0;
    let walk = expression.apply_children(|child| {
        deepest = deepest.max(depth(child));
        Ok(TreeNodeRecursion::Continue)
    });
    walk.expect("the closure does not fail");
    deepest + 1
}
