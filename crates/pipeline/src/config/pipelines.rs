//! Pipelines: topics in, steps, targets out.
//!
//! Steps and targets are read even where the rest of a pipeline is wrong. Whether
//! a topic that is read exists is asked last, when everything that writes is known.

use courant_model::{TopicName, json::FieldPath};
use indexmap::IndexMap;

use super::{
    document::Document,
    format::PipelineYaml,
    jolt::Folder,
    report::{At, Report},
    sources::check_name,
    steps::{self, Flow, ReadSteps},
    targets::{self, ReadTarget},
    topics::Topics,
};
use crate::{
    connector::Connectors,
    options::suggest,
    plan::{ErrorPlan, Guarantee, PipelinePlan, TargetPlan},
};

/// What pipelines are read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) document: &'a Document,
    pub(super) profile: &'a str,
    pub(super) connectors: &'a Connectors,
    pub(super) folder: Folder<'a>,
}

/// A pipeline that was read, with its place.
#[derive(Debug)]
pub(super) struct ReadPipeline<'a> {
    pub(super) at: At<'a>,
    /// Places of `plan.to`.
    pub(super) targets: Vec<At<'a>>,
    pub(super) plan: PipelinePlan,
}

/// Reads the section `pipelines`.
pub(super) fn read<'a>(
    given: &Given<'a>,
    topics: &mut Topics,
    report: &mut Report,
) -> IndexMap<String, ReadPipeline<'a>> {
    let mut pipelines = IndexMap::new();
    let mut reads = Vec::new();
    for (name, at) in given.document.section_in("pipelines", given.profile) {
        check_name("pipeline", name, &at, report);
        let piece = Piece::read(name, &at, given, topics, report);
        piece.written().for_each(|topic| topics.write(&topic));
        if let Some(from) = at.get("from") {
            reads.push((piece.from(), from));
        }
        if let Some(pipeline) = piece.finish(given, report) {
            pipelines.insert(name.to_owned(), pipeline);
        }
    }
    for (names, at) in &reads {
        for name in names.iter().filter(|name| !topics.contains(name)) {
            let what = format!("topic {:?} is neither declared nor written to", name.as_str());
            let near = suggest(name.as_str(), "", &topics.names());
            let remedy = near
                .filter(|remedy| remedy.starts_with("did you mean"))
                .unwrap_or_else(|| "declare it under \"topics\"".into());
            report.at(at, what, &remedy);
        }
    }
    share_indexes(&mut pipelines);
    pipelines
}

/// The parts of a pipeline, each as far as it could be read.
struct Piece<'a> {
    name: &'a str,
    at: At<'a>,
    yaml: Option<PipelineYaml>,
    from: Vec<TopicName>,
    steps: ReadSteps<'a>,
    targets: Vec<ReadTarget<'a>>,
}

impl<'a> Piece<'a> {
    fn read(
        name: &'a str,
        at: &At<'a>,
        given: &Given<'_>,
        topics: &Topics,
        report: &mut Report,
    ) -> Self {
        let mut yaml: Option<PipelineYaml> = report.read(at);
        let from = match &mut yaml {
            Some(yaml) => std::mem::take(&mut yaml.from).into_vec(),
            None => Vec::new(),
        };
        let mut flow = Flow { columns: topics.columns(&from).cloned(), exact: false };
        let steps = at.get("steps");
        let steps =
            steps.map(|at| steps::read(&at, given.folder, given.connectors, &mut flow, report));
        let steps = steps.unwrap_or_default();
        let targets = at
            .get("to")
            .map(|at| targets::read(&at, &flow, given.connectors, report))
            .unwrap_or_default();
        Self { name, at: at.clone(), yaml, from, steps, targets }
    }

    fn dead_letters(&self) -> Option<TopicName> {
        let named = self.yaml.as_ref().and_then(|yaml| yaml.on_error.dead_letters.clone());
        named.or_else(|| format!("{}.dead", self.name).parse().ok())
    }

    fn from(&self) -> Vec<TopicName> {
        self.from.clone()
    }

    /// The topics that the pipeline writes to.
    fn written(&self) -> impl Iterator<Item = TopicName> {
        let targets = self.targets.iter().filter_map(|target| match &target.plan {
            TargetPlan::Topic { topic } => Some(topic.clone()),
            _ => None,
        });
        let routed = self.steps.routed.iter().map(|(topic, _)| topic.clone());
        targets.chain(routed).chain(self.dead_letters())
    }

    fn finish(self, given: &Given<'_>, report: &mut Report) -> Option<ReadPipeline<'a>> {
        let dead_letters = self.dead_letters();
        let yaml = self.yaml?;
        if self.from.is_empty() {
            let at = self.at.get("from").unwrap_or_else(|| self.at.clone());
            report.at(&at, "list of topics is empty", "name the topic to read");
        }
        if self.at.get("to").is_none() && self.steps.routed.is_empty() {
            let remedy = "add \"to\": a topic's name or a list of targets";
            report.at(&self.at, format!("pipeline {:?} has no target", self.name), remedy);
        }
        let group = yaml.group.unwrap_or_else(|| {
            let file = given.document.root.entry("name").and_then(|entry| entry.node.text());
            format!("{}.{}", file.unwrap_or_default(), self.name)
        });
        let (targets, to) = self.targets.into_iter().map(|target| (target.at, target.plan)).unzip();
        let mut plan = PipelinePlan {
            from: self.from,
            group,
            start: yaml.start.into(),
            guarantee: Guarantee::AtLeastOnce,
            steps: self.steps.plans,
            to,
            on_error: ErrorPlan { retries: yaml.on_error.retries, dead_letters: dead_letters? },
            freshness_p99: yaml.freshness.map(|freshness| freshness.p99),
            linger: yaml.linger,
            checkpoint: yaml.checkpoint,
        };
        plan.guarantee = match yaml.guarantee {
            Some(guarantee) => guarantee.into(),
            None if plan.written_topics().next().is_some() => Guarantee::ExactlyOnce,
            None => Guarantee::AtLeastOnce,
        };
        Some(ReadPipeline { at: self.at, targets, plan })
    }
}

/// Gives every target of one collection the indexes of all of them, because a
/// collection drops the indexes that it is not asked for.
fn share_indexes(pipelines: &mut IndexMap<String, ReadPipeline<'_>>) {
    let mut shared: IndexMap<String, Vec<Vec<FieldPath>>> = IndexMap::new();
    let targets = |pipelines: &IndexMap<String, ReadPipeline<'_>>| {
        let all = pipelines.values().flat_map(|pipeline| pipeline.plan.to.clone());
        all.collect::<Vec<_>>()
    };
    for target in targets(pipelines) {
        if let TargetPlan::History { collection, indexes, .. } = target {
            let all = shared.entry(collection).or_default();
            for index in indexes {
                if !all.contains(&index) {
                    all.push(index);
                }
            }
        }
    }
    for target in pipelines.values_mut().flat_map(|pipeline| &mut pipeline.plan.to) {
        if let TargetPlan::History { collection, indexes, .. } = target {
            indexes.clone_from(&shared[collection.as_str()]);
        }
    }
}
