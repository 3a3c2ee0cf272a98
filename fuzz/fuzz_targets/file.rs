//! Any text as a file, whole or in the place of a value: a plan or problems, never a
//! panic or unbounded memory. What is a plan can be printed and drawn.

#![no_main]

use std::{io, path::Path, sync::LazyLock};

use courant_pipeline::{
    config::{self, Files, LoadOptions},
    connector::Connectors,
    plan,
};
use libfuzzer_sys::fuzz_target;

static CONNECTORS: LazyLock<Connectors> = LazyLock::new(courant_connectors::all);

/// One file, under every name.
#[derive(Debug)]
struct Everywhere(String);

impl Files for Everywhere {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }
}

fn try_file(text: String) {
    let files = Everywhere(text);
    let env = |_: &str| None;
    let options = LoadOptions { profile: None, env: &env, connectors: &CONNECTORS, files: &files };
    match config::load(Path::new("courant.yaml"), &options) {
        Ok(plan) => {
            let _ = plan::print(&plan);
            let _ = plan::graph(&plan);
            let _ = config::load_tests(&plan, &files);
        }
        Err(problems) => assert!(!problems.is_empty(), "a refusal names its problems"),
    }
}

fuzz_target!(|text: &str| {
    try_file(text.to_owned());
    try_file(format!(
        "version: 1\nname: f\ntopics:\n  t: {{ columns: {{ a: string }} }}\npipelines:\n  p:\n    from: t\n    steps:\n      - {}\n    to: u\n",
        text.replace('\n', "\n        ")
    ));
});
