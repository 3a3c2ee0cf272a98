//! `courant test FILE…`: a file's own tests, on virtual time.

use std::path::PathBuf;

use courant_pipeline::{
    config::{self, DiskFiles},
    driver,
};
use serde_json::json;

use super::{Common, check};
use crate::{error::Failure, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The files, such as courant.yaml; each names its tests under `tests:`
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let (mut passed, mut failed) = (0_usize, Vec::new());
    for file in &arguments.files {
        let plan = check::load(common, file)?;
        for test_file in config::load_tests(&plan, &DiskFiles)? {
            let report = driver::run_tests(&plan, &test_file);
            for outcome in report.cases {
                match outcome.failure {
                    None => {
                        passed += 1;
                        if !common.json {
                            terminal::line(format!("ok      {}", outcome.name))?;
                        }
                    }
                    Some(failure) => {
                        if !common.json {
                            terminal::line(format!("FAILED  {}\n        {failure}", outcome.name))?;
                        }
                        failed.push(json!({ "name": outcome.name, "why": failure.to_string() }));
                    }
                }
            }
        }
    }
    if common.json {
        terminal::line(json!({ "passed": passed, "failed": failed }).to_string())?;
    } else {
        terminal::line(format!("{passed} passed, {} failed", failed.len()))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Said) }
}
