//! The path of a file sink, with its placeholders.
//!
//! `{date}` and `{hour}` are those of the record's timestamp in UTC, so that a
//! repeated write goes to the same file. Values never bring a separator into the
//! path: topic names have none.

use std::path::{Path, PathBuf};

use courant_pipeline::event::Event;

/// A path that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Date,
    Hour,
    Topic,
    Partition,
}

impl PathTemplate {
    /// Reads a path; a refusal is `(what, remedy)`.
    pub(super) fn read(text: &str) -> Result<Self, (String, String)> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let unclosed = || ("placeholder is not closed".into(), "end it with }".into());
            let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
            parts.push(Part::Fixed(before.into()));
            parts.push(match name {
                "date" => Part::Date,
                "hour" => Part::Hour,
                "topic" => Part::Topic,
                "partition" => Part::Partition,
                _ => {
                    let what = format!("unknown placeholder {name:?}");
                    return Err((what, "use {date}, {hour}, {topic} or {partition}".into()));
                }
            });
            rest = after;
        }
        parts.push(Part::Fixed(rest.into()));
        Ok(Self(parts))
    }

    /// The file of an event.
    pub(super) fn of(&self, base: &Path, event: &Event) -> PathBuf {
        let at = jiff::Timestamp::from_millisecond(event.timestamp.as_millis()).unwrap_or_default();
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Fixed(text) => path.push_str(text),
                Part::Date => path.push_str(&at.strftime("%Y-%m-%d").to_string()),
                Part::Hour => path.push_str(&at.strftime("%H").to_string()),
                Part::Topic => path.push_str(event.source.partition.topic.as_str()),
                Part::Partition => path.push_str(&event.source.partition.partition.to_string()),
            }
        }
        base.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_the_records() {
        let template = PathTemplate::read("out/{topic}-{partition}/{date}T{hour}.csv").unwrap();
        let path = template.of(Path::new("/base"), &crate::testing::event(0, "x"));
        assert_eq!(path, Path::new("/base/out/topic-0/2026-01-01T00.csv"));
        assert!(PathTemplate::read("{day}").unwrap_err().0.contains("\"day\""));
        assert!(PathTemplate::read("{date").is_err());
    }
}
