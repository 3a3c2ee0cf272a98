//! A plan's printed form and its graph, as people see them.

use crate::config::tests::{WHOLE, plan_of};

use super::*;

#[test]
fn a_plan_prints_what_flows_where() {
    insta::assert_snapshot!(print(&plan_of(WHOLE)));
}

#[test]
fn a_graph_has_every_way_that_data_takes() {
    let graph = graph(&plan_of(WHOLE));
    let edges: Vec<String> = graph
        .edges
        .iter()
        .map(|edge| format!("{} → {} ({:?})", edge.from, edge.to, edge.kind))
        .collect();
    insta::assert_snapshot!(edges.join("\n"));
    for edge in &graph.edges {
        for end in [&edge.from, &edge.to] {
            assert!(graph.nodes.iter().any(|node| node.id == *end), "{end} is no node");
        }
    }
}
