//! Holds the edges between the crates, and the habits that a program can check.
//!
//! The map stands in ARCHITECTURE.md. An edge that is not on it fails here, so that
//! the layout keeps showing the architecture.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which crates of ours each crate may use.
const EDGES: [(&str, &[&str]); 15] = [
    ("courant-model", &[]),
    ("courant-testing", &[]),
    ("courant-jolt", &[]),
    ("courant-log", &["courant-model"]),
    ("courant-broker", &["courant-model", "courant-log"]),
    ("courant-kafka", &["courant-model", "courant-log"]),
    ("courant-capture", &["courant-model"]),
    ("courant-stores", &["courant-model"]),
    ("courant-sql", &["courant-model"]),
    ("courant-push", &["courant-model"]),
    (
        "courant-pipeline",
        &["courant-model", "courant-jolt", "courant-log", "courant-stores", "courant-sql"],
    ),
    (
        "courant-connectors",
        &["courant-model", "courant-log", "courant-kafka", "courant-capture", "courant-pipeline"],
    ),
    (
        "courant-serve",
        &[
            "courant-model",
            "courant-jolt",
            "courant-log",
            "courant-stores",
            "courant-pipeline",
            "courant-push",
        ],
    ),
    (
        "courant",
        &[
            "courant-model",
            "courant-jolt",
            "courant-log",
            "courant-broker",
            "courant-kafka",
            "courant-stores",
            "courant-capture",
            "courant-pipeline",
            "courant-connectors",
            "courant-push",
            "courant-serve",
        ],
    ),
    (
        "courant-bench",
        &[
            "courant-model",
            "courant-jolt",
            "courant-log",
            "courant-stores",
            "courant-sql",
            "courant-capture",
            "courant-pipeline",
            "courant-connectors",
        ],
    ),
];

/// Lines of a source file beyond which it is no longer one room.
const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn no_crate_uses_another_than_the_map_allows() {
    let metadata =
        MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo metadata");
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let Some(edges) = allowed.get(package.name.as_str()) else {
            wrong.push(format!("crate {} is not on the map", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("courant");
            let test_only = dependency.kind == DependencyKind::Development
                || (dependency.name == "courant-testing" && dependency.optional);
            if ours && !test_only && !edges.contains(&dependency.name.as_str()) {
                wrong.push(format!("{} must not use {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_sql_names_datafusion_and_arrow() {
    let metadata =
        MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo metadata");
    for package in metadata.packages.iter().filter(|package| package.name != "courant-sql") {
        for dependency in &package.dependencies {
            let name = &dependency.name;
            assert!(
                !name.starts_with("datafusion") && !name.starts_with("arrow"),
                "{} depends on {name}; only courant-sql may",
                package.name
            );
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_and_is_one_room() {
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("crates")) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if !text.starts_with("//!") {
            wrong.push(format!("{name} does not begin with what it is (//!)"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{name} has {lines} lines; {FILE_LINES_MAX} is the most"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
