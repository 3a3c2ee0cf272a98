//! The reference of the file's format, as Markdown, generated.
//!
//! Tables come from the JSON Schema, which comes from the types that are read; the
//! examples are loaded by a test. A test elsewhere compares the committed text with
//! this one.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use super::{examples, schema::schema};
use crate::connector::{About, Connectors};

/// Levels of maps within maps that a table follows.
const TABLE_DEPTH_MAX: usize = 3;

/// Writes the reference.
pub fn reference(connectors: &Connectors) -> String {
    let schema = schema(connectors);
    let mut page = Page { schema: &schema, out: String::new() };
    // Writing to a string cannot fail.
    let _ = page.write(connectors);
    while page.out.contains("\n\n\n") {
        page.out = page.out.replace("\n\n\n", "\n\n");
    }
    page.out
}

struct Page<'a> {
    schema: &'a Value,
    out: String,
}

impl<'a> Page<'a> {
    fn write(&mut self, connectors: &Connectors) -> fmt::Result {
        self.out.push_str(examples::INTRODUCTION);
        self.example(examples::WHOLE)?;
        self.out.push_str("\n## Keys of the file\n\n");
        let root = self.schema;
        self.table(root, &|_| true)?;
        self.out.push_str(examples::VALUES);
        self.section("profiles", "Profile", examples::PROFILES)?;
        self.section("topics", "Topic", examples::TOPICS)?;
        self.section("sources", "", examples::SOURCES)?;
        self.out.push_str("Every source has:\n\n");
        let source = &self.schema["$defs"]["Source"];
        self.table(source, &|key| connectors.source(key).is_none())?;
        for kind in &connectors.sources {
            self.connector("source", &kind.about)?;
        }
        self.section("pipelines", "Pipeline", examples::PIPELINES)?;
        self.out.push_str("\n## Steps\n\nA step is a map with one key.\n");
        for (name, definition, example) in examples::STEPS {
            if name == "lookup" {
                self.lookup(connectors, example)?;
                continue;
            }
            self.piece(name, definition, example)?;
        }
        self.out.push_str("\n## Targets\n\nA target is a topic's name, or a map with one key.\n");
        for (name, definition, example) in examples::TARGETS {
            self.piece(name, definition, example)?;
        }
        for kind in &connectors.sinks {
            self.connector("sink", &kind.about)?;
        }
        self.section("views", "View", examples::VIEWS)?;
        self.section("endpoints", "", examples::ENDPOINTS)?;
        let stores =
            [("history", "HistoryEndpoint"), ("cache", "CacheEndpoint"), ("view", "ViewEndpoint")];
        for (name, definition) in stores {
            writeln!(self.out, "\n### Endpoint over the `{name}`\n")?;
            self.definition(definition)?;
        }
        self.section("channels", "Channel", examples::CHANNELS)?;
        self.out.push_str(examples::TEST_FILES);
        self.example(examples::TESTS)
    }

    fn section(&mut self, name: &str, definition: &str, example: &str) -> fmt::Result {
        let about = self.schema["properties"][name]["description"].as_str().unwrap_or_default();
        writeln!(self.out, "\n## `{name}`\n\n{}\n", one_line(about))?;
        self.example(example)?;
        self.out.push('\n');
        if definition.is_empty() { Ok(()) } else { self.definition(definition) }
    }

    fn piece(&mut self, name: &str, definition: &str, example: &str) -> fmt::Result {
        writeln!(self.out, "\n### `{name}`\n")?;
        let schema = &self.schema["$defs"][definition];
        if let Some(about) = schema["description"].as_str() {
            let about = about.strip_prefix(&format!("`{name}`: ")).unwrap_or(about);
            writeln!(self.out, "{}\n", sentence(about))?;
        }
        self.example(example)?;
        self.out.push('\n');
        self.definition(definition)
    }

    /// The step whose keys are its own and those of connectors, which follow it.
    fn lookup(&mut self, connectors: &Connectors, example: &str) -> fmt::Result {
        writeln!(self.out, "\n### `lookup`\n")?;
        let schema = &self.schema["$defs"]["Lookup"];
        let about = schema["description"].as_str().unwrap_or_default();
        writeln!(self.out, "{}\n", sentence(about.strip_prefix("`lookup`: ").unwrap_or(about)))?;
        self.example(example)?;
        self.out.push('\n');
        self.table(schema, &|key| connectors.lookup(key).is_none())?;
        for kind in &connectors.lookups {
            let about = kind.about;
            writeln!(
                self.out,
                "\n#### `lookup` over `{}`\n\n{}\n",
                about.name,
                sentence(about.summary)
            )?;
            self.example(&format!("- lookup:\n    {}", about.example.replace('\n', "\n    ")))?;
            writeln!(self.out, "\n{}\n", sentence(about.guarantee))?;
            self.definition(&format!("lookup.{}", about.name))?;
        }
        Ok(())
    }

    fn connector(&mut self, role: &str, about: &About) -> fmt::Result {
        writeln!(self.out, "\n### `{}`\n\n{}\n", about.name, sentence(about.summary))?;
        self.example(about.example)?;
        writeln!(self.out, "\nGuarantee: {}\n", sentence(about.guarantee))?;
        self.definition(&format!("{role}.{}", about.name))
    }

    fn example(&mut self, yaml: &str) -> fmt::Result {
        writeln!(self.out, "```yaml\n{}\n```", yaml.trim_matches('\n'))
    }

    /// The table of a definition; of each of its forms where there are several.
    fn definition(&mut self, name: &str) -> fmt::Result {
        let schema = &self.schema["$defs"][name];
        self.forms(schema)
    }

    fn forms(&mut self, schema: &'a Value) -> fmt::Result {
        let schema = self.resolved(schema);
        if schema["properties"].is_object() {
            return self.table(schema, &|_| true);
        }
        for keyword in ["anyOf", "oneOf"] {
            for form in schema[keyword].as_array().into_iter().flatten() {
                self.forms(form)?;
            }
        }
        Ok(())
    }

    /// A table of those keys that `shown` admits.
    fn table(&mut self, schema: &'a Value, shown: &dyn Fn(&str) -> bool) -> fmt::Result {
        if schema["properties"].as_object().is_none_or(Map::is_empty) {
            return Ok(());
        }
        self.out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        self.rows("", schema, shown)?;
        self.out.push('\n');
        Ok(())
    }

    fn rows(
        &mut self,
        prefix: &str,
        schema: &'a Value,
        shown: &dyn Fn(&str) -> bool,
    ) -> fmt::Result {
        let required = schema["required"].as_array();
        let is_required =
            |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties.filter(|(name, _)| shown(name)) {
            let default = match &property["default"] {
                _ if is_required(name) => "required".to_owned(),
                Value::Null => String::new(),
                Value::Object(_) => String::new(),
                Value::Array(items) if items.is_empty() => String::new(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let resolved = self.resolved(property);
            let about = property["description"].as_str().or(resolved["description"].as_str());
            let about = one_line(about.unwrap_or_default()).replace('|', "\\|");
            let value = self.type_text(property).replace('|', "\\|");
            writeln!(self.out, "| `{prefix}{name}` | {value} | {default} | {about} |")?;
            let inner = self.only_form(property);
            let depth = prefix.matches('.').count();
            if inner["properties"].is_object() && depth < TABLE_DEPTH_MAX {
                self.rows(&format!("{prefix}{name}."), inner, &|_| true)?;
            }
        }
        Ok(())
    }

    /// The one form that is no null and no list, where there is only one.
    fn only_form(&self, schema: &'a Value) -> &'a Value {
        let schema = self.resolved(schema);
        let forms = schema["anyOf"].as_array().into_iter().flatten();
        let mut forms = forms.filter(|form| form["type"] != "null");
        match (forms.next(), forms.next()) {
            (Some(only), None) => self.resolved(only),
            _ => schema,
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.schema["$defs"][name])
    }

    fn type_text(&self, schema: &'a Value) -> String {
        let name = schema["$ref"].as_str().unwrap_or_default().rsplit(['/', '.']).next();
        let named = match name.unwrap_or_default() {
            "ByteSize" => "size",
            "Span" => "duration",
            "FieldPath" => "field",
            "TopicName" => "topic",
            "DurabilityText" => "`fsync`, `interval(duration)`, `os`",
            "RetentionTime" => "duration or `forever`",
            "ColumnText" | "ColumnType" => "column type",
            "Step" => "step",
            "Target" => "target",
            _ => "",
        };
        if !named.is_empty() {
            return named.into();
        }
        let schema = self.resolved(schema);
        if let Some(word) = schema["const"].as_str() {
            return format!("`{word}`");
        }
        if schema["const"].is_number() {
            return format!("`{}`", schema["const"]);
        }
        if let Some(words) = schema["enum"].as_array() {
            let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
            return words.collect::<Vec<_>>().join(", ");
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(forms) = schema[keyword].as_array() {
                let mut texts: Vec<String> = Vec::new();
                for form in forms.iter().filter(|form| form["type"] != "null") {
                    let text = self.type_text(form);
                    if !text.is_empty() && !texts.contains(&text) {
                        texts.push(text);
                    }
                }
                let words = texts.iter().all(|text| text.starts_with('`'));
                return texts.join(if words { ", " } else { " or " });
            }
        }
        let types = match &schema["type"] {
            Value::Array(types) => {
                types.iter().find_map(|one| one.as_str().filter(|t| *t != "null"))
            }
            one => one.as_str(),
        };
        match types {
            Some("string") => "text".into(),
            Some("integer") => "whole number".into(),
            Some("number") => "number".into(),
            Some("boolean") => "`true`, `false`".into(),
            Some("array") => match self.type_text(&schema["items"]) {
                item if item.is_empty() => "list".into(),
                item => format!("list of {item}"),
            },
            Some("object") => "map".into(),
            _ => "any".into(),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text as a sentence of its own.
fn sentence(text: &str) -> String {
    let text = one_line(text);
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>());
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), chars.as_str())
}
