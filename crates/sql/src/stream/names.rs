//! The relations that a query names, before anything is known about them.
//!
//! For whoever has to know what a query reads in order to describe it. A text that is no SQL
//! names nothing: compiling it tells why.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};

use crate::compile::clauses;

/// Names of the relations that a text reads, each once; those that it defines itself, by
/// WITH, are left out.
pub fn relations(sql: &str) -> Vec<String> {
    let mut names = Names::default();
    if let Ok(statements) = clauses::parse_statements(sql) {
        for statement in &statements {
            let _ = statement.visit(&mut names);
        }
    }
    let Names { mut read, defined } = names;
    read.retain(|name| !defined.contains(name));
    read
}

#[derive(Default)]
struct Names {
    read: Vec<String>,
    defined: Vec<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let own = query.with.iter().flat_map(|with| &with.cte_tables);
        self.defined.extend(own.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = relation.0.iter().filter_map(|part| part.as_ident());
        let name = parts.map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        if !self.read.contains(&name) {
            self.read.push(name);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_reads_is_named_and_what_it_defines_is_not() {
        let sql = "WITH few AS (SELECT * FROM \"orders.changes\" WHERE n < 5) \
                   SELECT a.n FROM few a JOIN R2 b ON a.n = b.n \
                   WHERE a.n IN (SELECT n FROM shops)";
        assert_eq!(relations(sql), ["orders.changes", "R2", "shops"]);
        assert!(relations("SELEKT n FROM R2").is_empty());
    }
}
