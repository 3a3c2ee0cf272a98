//! From a file to a plan: reading, and finding *everything* that is wrong.
//!
//! Text → tree with places (`node`) → includes merged (`document`) → the profile
//! chosen, variables put in → each section read piece by piece into the types of
//! `format` → checks across sections → [`Plan`]. Pure but for reading files through
//! [`Files`]: nothing is opened, spawned or connected. A piece that is wrong is left
//! out and the rest is still checked, so that one run tells all.

use std::{fmt, io, path::Path};

use courant_model::{Problems, limits::CONFIG_BYTES_MAX};

use crate::{connector::Connectors, plan::Plan};

mod channels;
mod checks;
mod document;
mod endpoints;
mod examples;
mod format;
mod jolt;
mod lookup;
mod nest;
mod node;
mod pipelines;
mod profiles;
mod reference;
mod report;
mod schema;
mod sources;
mod sql;
mod steps;
mod targets;
mod tests_file;
pub(crate) mod texts;
mod topics;
mod variables;
mod views;

use document::Document;
pub use reference::reference;
use report::Report;
pub use schema::schema;
pub use tests_file::{
    Expectation, ExpectedDeadLetter, ExpectedRecord, GivenRecord, TestAction, TestCase, TestFile,
    TestStep, load_test_file, load_tests,
};

/// How a file is to be read.
#[derive(Clone)]
pub struct LoadOptions<'a> {
    /// The profile; `embedded` unless set.
    pub profile: Option<String>,
    /// Looks environment variables up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub connectors: &'a Connectors,
    pub files: &'a dyn Files,
}

impl<'a> LoadOptions<'a> {
    /// The process's environment and the machine's files.
    pub fn system(connectors: &'a Connectors) -> Self {
        Self { profile: None, env: &system_env, connectors, files: &DiskFiles }
    }
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("profile", &self.profile)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn system_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where files are read from.
pub trait Files: fmt::Debug {
    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read, is no UTF-8, or exceeds [`CONFIG_BYTES_MAX`].
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The machine's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let bytes = std::fs::metadata(path)?.len();
        if bytes > CONFIG_BYTES_MAX as u64 {
            let message = format!("it has {bytes} bytes; {CONFIG_BYTES_MAX} are allowed");
            return Err(io::Error::other(message));
        }
        std::fs::read_to_string(path)
    }
}

/// Reads a file into a plan.
///
/// # Errors
/// Everything wrong with the file and what it includes, in the order of the file.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Plan, Problems> {
    let mut report = Report::default();
    let plan = build(path, options, &mut report);
    report.into_result()?;
    Ok(plan.expect("a plan is missing only where a problem says why"))
}

/// Reads a YAML file of another kind as plain values, with its variables put in.
///
/// # Errors
/// What is wrong with its syntax and its variables, with their places.
pub fn load_values(path: &Path, options: &LoadOptions<'_>) -> Result<serde_json::Value, Problems> {
    let mut report = Report::default();
    let root = document::read_tree(path, options.files, &mut report).map(|mut root| {
        variables::resolve(&mut root, "", options.env, &mut report);
        root.json()
    });
    report.into_result()?;
    Ok(root.unwrap_or_default())
}

fn build(path: &Path, options: &LoadOptions<'_>, report: &mut Report) -> Option<Plan> {
    let mut document = Document::read(path, options.files, report)?;
    let profile = profiles::choose(&document, options.profile.as_deref(), report);
    document.resolve(&profile, options.env, report);
    let head = document.head(report);
    let roles = profiles::roles(&document, &profile, options.connectors, report);
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let mut topics = topics::read(&document, report);
    let sources = sources::read(&document, &profile, options.connectors, &mut topics, report);
    views::note_topics(&document, &profile, &mut topics);
    let pipelines = pipelines::read(
        &pipelines::Given {
            document: &document,
            profile: &profile,
            connectors: options.connectors,
            folder: jolt::Folder { base, files: options.files },
        },
        &mut topics,
        report,
    );
    let views = views::read(&document, &profile, &mut topics, report);
    let stores = endpoints::Stores { pipelines: &pipelines, views: &views };
    let endpoints = endpoints::read(&document, &profile, stores, report);
    let channels = channels::read(&document, &profile, &pipelines, report);
    checks::across(&topics, &sources, &pipelines, &views, &endpoints, report);
    let head = head?;
    let of_views: Vec<_> = views.values().flat_map(|view| view.pipelines.clone()).collect();
    let pipelines = pipelines.into_iter().map(|(name, pipeline)| (name, pipeline.plan));
    Some(Plan {
        name: head.name,
        file: path.to_path_buf(),
        base: base.to_path_buf(),
        profile: profile.clone(),
        roles,
        memory: head.memory,
        durability: head.durability,
        topics: topics.into_plans(),
        sources: sources.into_iter().map(|(name, source)| (name, source.plan)).collect(),
        pipelines: pipelines.chain(of_views).collect(),
        views: views.into_iter().map(|(name, view)| (name, view.plan)).collect(),
        endpoints: endpoints.into_iter().map(|(path, endpoint)| (path, endpoint.plan)).collect(),
        channels,
        tests: head.tests,
    })
}

#[cfg(test)]
pub(crate) mod tests;
