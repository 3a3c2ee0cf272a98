//! The repository's examples: each loads, with its tests, and fits the JSON Schema.
//!
//! Connectors take anything here; their own crate reads their options.

use std::path::PathBuf;

use schemars::{Schema, json_schema};

use super::{reference::faults_under, *};
use crate::config::load_tests;

/// A connector that takes any options and does nothing.
#[derive(Debug)]
struct Anything;

impl SourceFactory for Anything {
    fn open(&self, _: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Err(ConnectorError::fatal("tests open nothing"))
    }
}

impl SinkFactory for Anything {
    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Err(ConnectorError::fatal("tests open nothing"))
    }
}

fn any_source(_: &Value) -> Result<Arc<dyn SourceFactory>, Vec<OptionProblem>> {
    Ok(Arc::new(Anything))
}

fn any_sink(_: &Value) -> Result<Arc<dyn SinkFactory>, Vec<OptionProblem>> {
    Ok(Arc::new(Anything))
}

fn any_connectors() -> Connectors {
    fn options() -> Schema {
        json_schema!({ "type": "object" })
    }
    let about = |name| About { name, summary: "", guarantee: "", example: "", schema: options };
    Connectors {
        sources: ["generate", "http", "file", "stdin", "mysql"]
            .map(|name| SourceKind { about: about(name), parse: any_source })
            .into(),
        sinks: ["console", "file", "webhook", "sql"]
            .map(|name| SinkKind { about: about(name), parse: any_sink })
            .into(),
        lookups: Vec::new(),
        logs: Vec::new(),
        pushes: Vec::new(),
    }
}

#[test]
fn every_example_loads_and_fits_the_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let connectors = any_connectors();
    let options = LoadOptions::system(&connectors);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("there are examples")
        .map(|entry| entry.expect("an entry").path().join("courant.yaml"))
        .filter(|file| file.exists())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let plan = load(&file, &options).unwrap_or_else(|problems| panic!("{problems}"));
        let tests = load_tests(&plan, &DiskFiles).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(tests.len(), plan.tests.len());
        let text = DiskFiles.read(&file).expect("a file");
        assert_eq!(faults_under(&connectors, &text), Vec::<String>::new(), "{}", file.display());
    }
}
