//! The connectors as files see them: their examples, the repository's examples, and
//! the committed reference.
//!
//! Set `COURANT_UPDATE_DOCS=1` to write `docs/reference.md` anew after a change of
//! the format or of a connector.

use std::{
    fs,
    path::{Path, PathBuf},
};

use courant_pipeline::config::{self, DiskFiles, LoadOptions};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_committed_reference_is_what_the_code_says() {
    let path = repository().join("docs/reference.md");
    let expected = config::reference(&courant_connectors::all());
    if std::env::var_os("COURANT_UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).expect("the reference can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs =
        found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found.trim_end() == expected.trim_end(),
        "docs/reference.md is out of date from line {}; run COURANT_UPDATE_DOCS=1 cargo test -p \
         courant-connectors --test reference",
        differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1
    );
}

#[test]
fn every_example_of_the_repository_loads_with_these_connectors() {
    let connectors = courant_connectors::all();
    let mut loaded = 0;
    for folder in fs::read_dir(repository().join("examples")).expect("there are examples") {
        let file = folder.expect("an entry").path().join("courant.yaml");
        if file.exists() {
            let plan = config::load(&file, &LoadOptions::system(&connectors));
            let plan = plan.unwrap_or_else(|problems| panic!("{problems}"));
            config::load_tests(&plan, &DiskFiles).unwrap_or_else(|problems| panic!("{problems}"));
            loaded += 1;
        }
    }
    assert!(loaded > 0);
}

#[test]
fn every_connectors_example_loads_within_a_file() {
    let connectors = courant_connectors::all();
    let folder = tempfile::tempdir().expect("a folder");
    let load = |name: &str, text: String| {
        let file = folder.path().join("courant.yaml");
        fs::write(&file, &text).expect("a file");
        let options = LoadOptions {
            env: &|_| Some("http://127.0.0.1/value".into()),
            ..LoadOptions::system(&connectors)
        };
        if let Err(problems) = config::load(&file, &options) {
            panic!("the example of connector {name:?} does not load\n{text}\n{problems}");
        }
    };
    for kind in &connectors.sources {
        let about = kind.about;
        let example = about.example.trim().replace('\n', "\n    ");
        let head = "version: 1\nname: x\nsources:\n  s:\n    to: t\n";
        load(about.name, format!("{head}    {example}\n"));
    }
    for kind in &connectors.lookups {
        let about = kind.about;
        let example = about.example.trim().replace('\n', "\n          ");
        let head =
            "version: 1\nname: x\ntopics: { t: }\npipelines:\n  p:\n    from: t\n    to: u\n";
        load(about.name, format!("{head}    steps:\n      - lookup:\n          {example}\n"));
    }
    for kind in &connectors.sinks {
        let about = kind.about;
        let example = about.example.trim().replace('\n', "\n        ");
        let head = "version: 1\nname: x\ntopics: { t: }\npipelines:\n  p:\n    from: t\n    to:\n";
        load(about.name, format!("{head}      - {example}\n"));
    }
}

/// The blocks of a page that are YAML.
fn yaml_blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn what_the_page_about_databases_shows_loads() {
    let page = fs::read_to_string(repository().join("docs/databases.md")).expect("a page");
    let [pipelines] = yaml_blocks(&page)[..] else { panic!("one example") };
    let connectors = courant_connectors::all();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("courant.yaml");
    let head = "version: 1\nname: x\ntopics: { order-form: }\n";
    fs::write(&file, format!("{head}{pipelines}")).expect("a file");
    let options = LoadOptions {
        env: &|_| Some("mysql://me@host/shop".into()),
        ..LoadOptions::system(&connectors)
    };
    config::load(&file, &options).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn what_the_page_about_lookups_shows_loads_and_its_test_passes() {
    let page = fs::read_to_string(repository().join("docs/lookup.md")).expect("a page");
    let [pipelines, tests] = yaml_blocks(&page)[..] else { panic!("two examples") };
    let connectors = courant_connectors::all();
    let folder = tempfile::tempdir().expect("a folder");
    let head = "version: 1\nname: x\ntopics: { order-numbers: }\ntests: [a.test.yaml]\n";
    let file = folder.path().join("courant.yaml");
    fs::write(&file, format!("{head}{pipelines}")).expect("a file");
    fs::write(folder.path().join("a.test.yaml"), tests).expect("a file");
    let options = LoadOptions {
        env: &|_| Some("mysql://me@host/shop".into()),
        ..LoadOptions::system(&connectors)
    };
    let plan = config::load(&file, &options).unwrap_or_else(|problems| panic!("{problems}"));
    let read =
        config::load_tests(&plan, &DiskFiles).unwrap_or_else(|problems| panic!("{problems}"));
    let report = courant_pipeline::driver::run_tests(&plan, &read[0]);
    assert!(report.passed() && report.cases.len() == 1, "{report:?}");
}
