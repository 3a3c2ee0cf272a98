//! The list of connectors: what holds for each of them.

use std::{collections::BTreeSet, io, path::Path};

use courant_pipeline::{
    config::{Files, LoadOptions, load},
    connector::About,
};
use serde_json::Value;

use super::*;

/// A file that is held in memory.
#[derive(Debug)]
struct Text(String);

impl Files for Text {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }
}

/// Reads a whole file with this section; tells the problems.
fn check(section: &str) -> Result<(), String> {
    let text = format!("version: 1\nname: example\ntopics:\n  t: {{}}\n{section}");
    let connectors = all();
    let (files, env) = (Text(text.clone()), |_: &str| None);
    let options = LoadOptions { profile: None, env: &env, connectors: &connectors, files: &files };
    let read = load(Path::new("courant.yaml"), &options);
    read.map(|_| ()).map_err(|problems| format!("{problems}\n{text}"))
}

#[test]
fn every_example_is_valid_in_a_file() {
    for source in all().sources {
        let section = format!("sources:\n  s:\n    {}\n    to: t\n", source.about.example);
        assert_eq!(check(&section), Ok(()), "{}", source.about.name);
    }
    for sink in all().sinks {
        let example = sink.about.example;
        let section = format!("pipelines:\n  p:\n    from: t\n    to:\n      - {example}\n");
        assert_eq!(check(&section), Ok(()), "{}", sink.about.name);
    }
    for lookup in all().lookups {
        let example = lookup.about.example.replace('\n', "\n          ");
        let step = format!("    steps:\n      - lookup:\n          {example}\n");
        let section = format!("pipelines:\n  p:\n    from: t\n{step}    to: out\n");
        assert_eq!(check(&section), Ok(()), "{}", lookup.about.name);
    }
}

#[test]
fn everything_that_people_read_is_there() {
    let connectors = all();
    let abouts: Vec<About> = (connectors.sources.iter().map(|kind| kind.about))
        .chain(connectors.sinks.iter().map(|kind| kind.about))
        .chain(connectors.lookups.iter().map(|kind| kind.about))
        .collect();
    for about in &abouts {
        assert!(!about.summary.is_empty() && about.guarantee.len() > 20, "{}", about.name);
        assert!(about.example.starts_with(about.name), "{}", about.name);
        let schema = (about.schema)();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap();
        for (name, property) in properties {
            let told = property.get("description").is_some() || property.get("$ref").is_some();
            assert!(told, "{}.{name} has no description", about.name);
        }
    }
    let names = |abouts: &[About]| abouts.iter().map(|about| about.name).collect::<BTreeSet<_>>();
    let (sources, others) = abouts.split_at(connectors.sources.len());
    let (sinks, lookups) = others.split_at(connectors.sinks.len());
    assert_eq!(names(sources).len(), sources.len());
    assert_eq!(names(lookups).len(), lookups.len());
    assert_eq!(names(sinks).len(), sinks.len());
}

#[test]
fn an_unknown_option_is_refused_by_every_connector() {
    let options = serde_json::json!({ "no_such_option": 1 });
    for source in all().sources {
        let problems = (source.parse)(&options).unwrap_err();
        assert!(problems.iter().any(|p| p.path == ["no_such_option"]), "{}", source.about.name);
    }
    for sink in all().sinks {
        let problems = (sink.parse)(&options).unwrap_err();
        assert!(problems.iter().any(|p| p.path == ["no_such_option"]), "{}", sink.about.name);
    }
    for lookup in all().lookups {
        let problems = (lookup.parse)(&options).unwrap_err();
        assert!(problems.iter().any(|p| p.path == ["no_such_option"]), "{}", lookup.about.name);
    }
}
