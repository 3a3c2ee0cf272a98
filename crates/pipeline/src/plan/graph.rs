//! A plan as nodes and edges, for the console and for whoever draws.
//!
//! Ids are `kind:name`, stable from run to run. Sources and sinks show the name of
//! their connector only: their options may hold secrets and stay out.

use serde::Serialize;

use super::{Destination, EndpointPlan, LookupSource, PipelinePlan, Plan, StepPlan, TargetPlan};

/// What flows where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
}

/// Something that data passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphNode {
    /// `kind:name`
    pub id: String,
    pub kind: NodeKind,
    pub name: String,
    /// The connector of a source or sink, the steps of a pipeline, the events of a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    Source,
    Topic,
    Pipeline,
    View,
    Cache,
    History,
    Sink,
    Endpoint,
    Channel,
}

/// A way that data takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphEdge {
    pub from: String,
    pub to: String,
    pub kind: EdgeKind,
}

/// Kind of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    Data,
    /// What a route step sends aside.
    Route,
    DeadLetters,
}

/// Draws a plan.
pub fn graph(plan: &Plan) -> Graph {
    let mut drawing = Graph { nodes: Vec::new(), edges: Vec::new() };
    for name in plan.topics.keys() {
        drawing.node(NodeKind::Topic, name.as_str(), None);
    }
    for (name, source) in &plan.sources {
        let id = drawing.node(NodeKind::Source, name, Some(source.connector.into()));
        drawing.topic_edge(&id, source.to.as_str(), EdgeKind::Data);
        if let Some(dead_letters) = &source.dead_letters {
            drawing.topic_edge(&id, dead_letters.as_str(), EdgeKind::DeadLetters);
        }
    }
    for (name, pipeline) in &plan.pipelines {
        drawing.pipeline(name, pipeline);
    }
    for (name, view) in &plan.views {
        let operators = view.query.operators();
        let operators: Vec<&str> = operators.iter().map(|operator| operator.name).collect();
        let id = drawing.node(NodeKind::View, name, Some(operators.join(" → ")));
        for topic in view.read_topics() {
            let topic = drawing.node(NodeKind::Topic, topic.as_str(), None);
            drawing.edge(&topic, &id, EdgeKind::Data);
        }
        drawing.topic_edge(&id, view.to.as_str(), EdgeKind::Data);
        if let Some(late) = &view.late {
            drawing.topic_edge(&id, late.as_str(), EdgeKind::Route);
        }
        drawing.topic_edge(&id, view.on_error.dead_letters.as_str(), EdgeKind::DeadLetters);
    }
    for (path, endpoint) in &plan.endpoints {
        let id = drawing.node(NodeKind::Endpoint, path, None);
        let store = match endpoint {
            EndpointPlan::HistoryList { collection, .. }
            | EndpointPlan::HistoryDocument { collection, .. } => {
                drawing.node(NodeKind::History, collection, None)
            }
            EndpointPlan::Cache { table, .. } => drawing.node(NodeKind::Cache, table, None),
            EndpointPlan::View(plan) => drawing.node(NodeKind::View, &plan.view, None),
        };
        drawing.edge(&store, &id, EdgeKind::Data);
    }
    for (name, channel) in &plan.channels {
        let mut events: Vec<&str> = channel.events.named().map(|(_, event)| event).collect();
        events.dedup();
        let id = drawing.node(NodeKind::Channel, name, Some(events.join(", ")));
        let history = drawing.node(NodeKind::History, &channel.collection, None);
        drawing.edge(&history, &id, EdgeKind::Data);
    }
    drawing
}

impl Graph {
    fn pipeline(&mut self, name: &str, pipeline: &PipelinePlan) {
        let steps: Vec<&str> = pipeline.steps.iter().map(StepPlan::name).collect();
        let detail = Some(steps.join(" → ")).filter(|steps| !steps.is_empty());
        let id = self.node(NodeKind::Pipeline, name, detail);
        for topic in &pipeline.from {
            let topic = self.node(NodeKind::Topic, topic.as_str(), None);
            self.edge(&topic, &id, EdgeKind::Data);
        }
        for step in &pipeline.steps {
            if let StepPlan::Lookup(lookup) = step {
                let store = match &lookup.source {
                    LookupSource::Cache { table, .. } => self.node(NodeKind::Cache, table, None),
                    LookupSource::History { collection, .. } => {
                        self.node(NodeKind::History, collection, None)
                    }
                    LookupSource::Connector { .. } => continue,
                };
                self.edge(&store, &id, EdgeKind::Data);
            }
            for destination in step.destinations() {
                if let Destination::Topic(topic) = destination {
                    self.topic_edge(&id, topic.as_str(), EdgeKind::Route);
                }
            }
        }
        for (index, target) in pipeline.to.iter().enumerate() {
            let target = match target {
                TargetPlan::Topic { topic } => self.node(NodeKind::Topic, topic.as_str(), None),
                TargetPlan::Cache { table, .. } => self.node(NodeKind::Cache, table, None),
                TargetPlan::History { collection, .. } => {
                    self.node(NodeKind::History, collection, None)
                }
                TargetPlan::Connector { connector, .. } => {
                    let name = format!("{name}.{index}");
                    self.node(NodeKind::Sink, &name, Some((*connector).into()))
                }
            };
            self.edge(&id, &target, EdgeKind::Data);
        }
        self.topic_edge(&id, pipeline.on_error.dead_letters.as_str(), EdgeKind::DeadLetters);
    }

    /// Adds a node unless it is there; answers its id.
    fn node(&mut self, kind: NodeKind, name: &str, detail: Option<String>) -> String {
        let id = format!("{}:{name}", kind.as_str());
        if self.nodes.iter().all(|node| node.id != id) {
            self.nodes.push(GraphNode { id: id.clone(), kind, name: name.into(), detail });
        }
        id
    }

    fn topic_edge(&mut self, from: &str, topic: &str, kind: EdgeKind) {
        let topic = self.node(NodeKind::Topic, topic, None);
        self.edge(from, &topic, kind);
    }

    fn edge(&mut self, from: &str, to: &str, kind: EdgeKind) {
        let edge = GraphEdge { from: from.into(), to: to.into(), kind };
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

impl NodeKind {
    /// The word that begins a node's id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Topic => "topic",
            Self::Pipeline => "pipeline",
            Self::Cache => "cache",
            Self::History => "history",
            Self::Sink => "sink",
            Self::View => "view",
            Self::Endpoint => "endpoint",
            Self::Channel => "channel",
        }
    }
}
