//! A file with what it includes, as one tree.
//!
//! Sections of included files are merged key by key; the same key twice is a
//! problem that names both places. Files are read once however often they are
//! included, and a cycle of includes is told. Places keep their own file.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use courant_log::Durability;
use courant_model::{
    ByteSize, Place,
    limits::{CONFIG_BYTES_MAX, CONFIG_INCLUDES_MAX},
};

use super::{
    Files,
    format::FileYaml,
    node::{Entry, Node, SourceText, Yaml},
    report::{At, Report},
    sources::check_name,
    variables::{self, Lookup},
};

/// Sections whose keys are names; everything else is a single value or a list.
const SECTIONS: [&str; 7] =
    ["profiles", "topics", "sources", "pipelines", "views", "endpoints", "channels"];

/// A file and its includes, merged.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
}

/// The values of a file that stand alone.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) memory: ByteSize,
    pub(super) durability: Durability,
    pub(super) tests: Vec<PathBuf>,
}

impl Document {
    /// Reads a file with its includes; `None` when the file itself is no map.
    pub(super) fn read(path: &Path, files: &dyn Files, report: &mut Report) -> Option<Self> {
        let mut reader = Reader { files, report, seen: Vec::new(), stack: Vec::new() };
        let root = reader.file(path, None)?;
        Some(Self { root })
    }

    pub(super) fn at(&self) -> At<'_> {
        At::root(&self.root)
    }

    /// The entries of a section.
    pub(super) fn section(&self, name: &str) -> impl Iterator<Item = (&str, At<'_>)> {
        let fields: Vec<_> = self.at().get(name).iter().flat_map(At::fields).collect();
        fields.into_iter()
    }

    /// The entries of a section that the profile has.
    pub(super) fn section_in<'a>(
        &'a self,
        name: &str,
        profile: &'a str,
    ) -> impl Iterator<Item = (&'a str, At<'a>)> {
        self.section(name).filter(move |(_, at)| is_in(at.node, profile))
    }

    /// Puts variables in, where they will be used: what belongs to another profile may
    /// name variables that are not set.
    pub(super) fn resolve(&mut self, profile: &str, lookup: Lookup<'_>, report: &mut Report) {
        let Yaml::Map(sections) = &mut self.root.yaml else { return };
        for section in sections {
            let name = section.key.clone();
            match &mut section.node.yaml {
                Yaml::Map(entries) => {
                    let used = |entry: &&mut Entry| match name.as_str() {
                        "profiles" => entry.key == profile,
                        _ => is_in(&entry.node, profile),
                    };
                    for entry in entries.iter_mut().filter(used) {
                        let path = format!("{name}.{}", entry.key);
                        variables::resolve(&mut entry.node, &path, lookup, report);
                    }
                }
                Yaml::Scalar(_) | Yaml::List(_) => {
                    variables::resolve(&mut section.node, &name, lookup, report);
                }
            }
        }
    }

    /// Reads what stands alone, and the shape of the rest.
    pub(super) fn head(&self, report: &mut Report) -> Option<Head> {
        let at = self.at();
        let file: FileYaml = report.read(&at)?;
        let missing = |key: &str, add: &str, report: &mut Report| {
            report.at(&at, format!("missing key {key:?}"), add);
        };
        match file.version {
            Some(1) => {}
            Some(other) => {
                let version = at.get("version").unwrap_or_else(|| at.clone());
                let what = format!("file has version {other} of the format");
                report.at(&version, what, "this build reads version 1");
            }
            None => missing("version", "begin the file with \"version: 1\"", report),
        }
        match (&file.name, at.get("name")) {
            (Some(name), Some(at)) => check_name("application", name, &at, report),
            // One of the wrong kind was named when it was read; an empty one was not.
            (None, Some(at)) if !at.node.json().is_null() => {}
            _ => missing("name", "name the application, such as \"name: orders\"", report),
        }
        Some(Head {
            name: file.name?,
            memory: file.memory,
            durability: file.durability.0,
            tests: self.tests(),
        })
    }

    /// Test files, each relative to the file that names it.
    fn tests(&self) -> Vec<PathBuf> {
        let tests = self.at().get("tests");
        let items = tests.iter().flat_map(At::items);
        items
            .filter_map(|item| Some(beside(Path::new(&item.spot.source.name), item.node.text()?)))
            .collect()
    }
}

/// Reads a file that includes no others.
pub(super) fn read_tree(path: &Path, files: &dyn Files, report: &mut Report) -> Option<Node> {
    Reader { files, report, seen: Vec::new(), stack: Vec::new() }.tree(path, None)
}

/// Whether an entry exists in a profile: it names that one, or none.
pub(super) fn is_in(node: &Node, profile: &str) -> bool {
    let only = node.entry("profile").and_then(|entry| entry.node.text());
    only.is_none_or(|only| only == profile)
}

/// A path relative to the folder of a file.
fn beside(file: &Path, relative: &str) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from(relative), |folder| folder.join(relative))
}

struct Reader<'a> {
    files: &'a dyn Files,
    report: &'a mut Report,
    /// Files read so far, normalised.
    seen: Vec<PathBuf>,
    /// Files that are being read, outermost first.
    stack: Vec<PathBuf>,
}

impl Reader<'_> {
    /// Reads a file and what it includes; `included` is where it is named.
    fn file(&mut self, path: &Path, included: Option<&At<'_>>) -> Option<Node> {
        let normal = normalise(path);
        if self.stack.contains(&normal) {
            let chain: Vec<String> =
                self.stack.iter().chain([&normal]).map(|p| p.display().to_string()).collect();
            let what = format!("files include each other: {}", chain.join(" → "));
            self.tell(included, path, what, "remove one of the includes");
            return None;
        }
        if self.seen.contains(&normal) {
            return None;
        }
        if self.seen.len() > CONFIG_INCLUDES_MAX {
            let what = format!("more than {CONFIG_INCLUDES_MAX} files are included");
            self.tell(included, path, what, "");
            return None;
        }
        self.seen.push(normal.clone());
        let mut root = self.tree(path, included)?;
        self.stack.push(normal);
        self.includes(path, &mut root);
        self.stack.pop();
        Some(root)
    }

    fn tree(&mut self, path: &Path, included: Option<&At<'_>>) -> Option<Node> {
        let text = match self.files.read(path) {
            Ok(text) if text.len() <= CONFIG_BYTES_MAX => text,
            Ok(text) => {
                let what = format!(
                    "file {path:?} has {} bytes; {CONFIG_BYTES_MAX} are allowed",
                    text.len()
                );
                self.tell(included, path, what, "");
                return None;
            }
            Err(error) => {
                self.tell(included, path, format!("file {path:?} cannot be read: {error}"), "");
                return None;
            }
        };
        let source = Arc::new(SourceText { name: path.display().to_string(), text });
        let (root, faults) = Node::parse(&source);
        let is_whole = faults.is_empty();
        for fault in faults {
            self.report.elsewhere(fault.place, fault.what, fault.remedy);
        }
        match root {
            Some(root) if matches!(root.yaml, Yaml::Map(_)) => Some(root),
            _ => {
                if is_whole {
                    let remedy = "write keys and their values";
                    self.tell(included, path, format!("file {path:?} holds no map"), remedy);
                }
                None
            }
        }
    }

    fn includes(&mut self, path: &Path, root: &mut Node) {
        let Some(list) = At::root(root).get("include").map(|at| at.node.clone()) else { return };
        let list = At { node: &list, spot: &list.spot, path: "include".into() };
        for item in list.items() {
            let Some(name) = item.node.text() else { continue };
            if let Some(other) = self.file(&beside(path, name), Some(&item)) {
                self.merge(root, other);
            }
        }
    }

    fn merge(&mut self, root: &mut Node, other: Node) {
        let (Yaml::Map(into), Yaml::Map(from)) = (&mut root.yaml, other.yaml) else { return };
        for entry in from {
            let Some(there) = into.iter_mut().find(|there| there.key == entry.key) else {
                into.push(entry);
                continue;
            };
            match (&mut there.node.yaml, entry.node.yaml) {
                (Yaml::Map(there), Yaml::Map(added)) if SECTIONS.contains(&entry.key.as_str()) => {
                    for added in added {
                        match there.iter().find(|there| there.key == added.key) {
                            Some(first) => repeated(self.report, first, &added),
                            None => there.push(added),
                        }
                    }
                }
                (Yaml::List(there), Yaml::List(added)) => there.extend(added),
                (Yaml::Scalar(_), Yaml::Scalar(_)) if entry.key == "version" => {}
                (_, yaml) => {
                    let node = Node { yaml, ..entry.node };
                    repeated(self.report, there, &Entry { node, ..entry });
                }
            }
        }
    }

    fn tell(&mut self, included: Option<&At<'_>>, path: &Path, what: String, remedy: &str) {
        match included {
            Some(at) => self.report.at(at, what, remedy),
            None => {
                let place = Place { file: path.display().to_string(), line: 0, column: 0 };
                let remedy = Some(remedy).filter(|remedy| !remedy.is_empty()).map(Into::into);
                self.report.elsewhere(place, what, remedy);
            }
        }
    }
}

fn repeated(report: &mut Report, first: &Entry, again: &Entry) {
    let at = At { node: &again.node, spot: &again.key_spot, path: again.key.clone() };
    let remedy = format!("it is there already at {}", first.key_spot.place());
    report.at(&at, format!("key {:?} is repeated", again.key), &remedy);
}

/// Removes `.` and `name/..` without asking the disk.
fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}
