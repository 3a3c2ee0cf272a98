//! `courant check FILE` and `courant plan FILE`: what is wrong with a file, and what
//! it describes. Neither connects to anything or writes anywhere.

use std::path::{Path, PathBuf};

use courant_pipeline::{
    config::{self, LoadOptions},
    connector::{Connectors, PushKind},
    plan::{self, Plan},
};

use courant_push::OutsideOptions;

use super::Common;
use crate::{error::Failure, terminal};

/// Push servers that speak Pusher's HTTP API.
const OUTSIDE_PUSH: PushKind = PushKind {
    schemes: &["pusher", "pushers"],
    check: |url| match url.parse::<OutsideOptions>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    },
};

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// The file, such as courant.yaml
    file: PathBuf,
}

/// Reads and checks a file with the connectors of this binary.
pub(crate) fn load(common: &Common, file: &Path) -> Result<Plan, Failure> {
    let pushes = vec![OUTSIDE_PUSH];
    let connectors = Connectors { pushes, ..courant_connectors::all() };
    let options =
        LoadOptions { profile: common.profile.clone(), ..LoadOptions::system(&connectors) };
    Ok(config::load(file, &options)?)
}

pub(crate) fn check(common: &Common, arguments: &CheckArguments) -> Result<(), Failure> {
    match load(common, &arguments.file) {
        Ok(plan) if common.json => terminal::line(
            serde_json::json!({ "name": plan.name, "profile": plan.profile, "problems": [] })
                .to_string(),
        ),
        Ok(plan) => terminal::line(format!(
            "{}: nothing is wrong ({} topics, {} sources, {} pipelines, {} endpoints, \
             {} channels)",
            arguments.file.display(),
            plan.topics.len(),
            plan.sources.len(),
            plan.pipelines.len(),
            plan.endpoints.len(),
            plan.channels.len(),
        )),
        Err(Failure::File(problems)) if common.json => {
            terminal::line(serde_json::json!({ "problems": problems }).to_string())?;
            Err(Failure::File(problems))
        }
        Err(failure) => Err(failure),
    }
}

pub(crate) fn plan(common: &Common, arguments: &CheckArguments) -> Result<(), Failure> {
    let plan = load(common, &arguments.file)?;
    if common.json {
        return terminal::line(serde_json::json!(plan::graph(&plan)).to_string());
    }
    terminal::line(plan::print(&plan).trim_end())
}
