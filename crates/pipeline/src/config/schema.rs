//! The JSON Schema of a file (draft 2020-12), for editors.
//!
//! Composed from the types of [`super::format`] and the schemas that connectors
//! give of their options, so that it cannot drift from what is read. It says what a
//! file may hold; whether names point at anything, only reading tells.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::format::{
    BranchYaml, CacheEndpointYaml, CacheYaml, ChannelYaml, DeduplicateYaml, FileYaml,
    HistoryEndpointYaml, HistoryYaml, JoltYaml, KeyYaml, LookupYaml, NestYaml, PipelineYaml,
    ProfileYaml, SourceYaml, SplitYaml, SqlYaml, TopicTargetYaml, TopicYaml, ViewEndpointYaml,
    ViewYaml,
};
use crate::connector::{About, Connectors};

/// The schema of a whole file, with these connectors.
pub fn schema(connectors: &Connectors) -> Value {
    let mut parts = Parts { generator: SchemaSettings::draft2020_12().into_generator() };
    let profile = parts.of::<ProfileYaml>();
    let topic = parts.of::<TopicYaml>();
    let steps = [
        ("sql", parts.of::<SqlYaml>()),
        ("jolt", parts.of::<JoltYaml>()),
        ("lookup", parts.of::<LookupYaml>()),
        ("key", optional(&parts.of::<KeyYaml>())),
        ("split", parts.of::<SplitYaml>()),
        ("route", json!({ "type": "array", "minItems": 1, "items": parts.of::<BranchYaml>() })),
        ("deduplicate", parts.of::<DeduplicateYaml>()),
        ("nest", parts.of::<NestYaml>()),
    ];
    let mut targets = vec![
        ("topic", parts.of::<TopicTargetYaml>()),
        ("cache", parts.of::<CacheYaml>()),
        ("history", parts.of::<HistoryYaml>()),
    ];
    let endpoint = json!({
        "anyOf": [
            parts.of::<HistoryEndpointYaml>(),
            parts.of::<CacheEndpointYaml>(),
            parts.of::<ViewEndpointYaml>(),
        ],
    });
    parts.of::<SourceYaml>();
    parts.of::<PipelineYaml>();
    parts.of::<ViewYaml>();
    parts.of::<ChannelYaml>();
    let mut root = parts.generator.into_root_schema_for::<FileYaml>().to_value();
    let mut definitions = take_definitions(&mut root);

    let mut sources = Vec::new();
    for kind in &connectors.sources {
        sources.push((kind.about.name, hoist("source", kind.about, &mut definitions)));
    }
    for kind in &connectors.sinks {
        targets.push((kind.about.name, hoist("sink", kind.about, &mut definitions)));
    }
    let mut asked = Vec::new();
    for kind in &connectors.lookups {
        asked.push((kind.about.name, hoist("lookup", kind.about, &mut definitions)));
    }
    let stores = ["cache", "history"].map(|name| (name, Value::Null));
    let lookup = &mut definitions["LookupYaml"];
    add_connectors(lookup, &asked);
    let choices = asked.iter().chain(&stores).map(|(name, _)| json!({ "required": [name] }));
    set(lookup, "oneOf", choices.collect());
    add_connectors(&mut definitions["SourceYaml"], &sources);
    definitions.insert("Step".into(), one_key(&steps));
    definitions.insert("Target".into(), one_key(&targets));
    definitions.insert("Endpoint".into(), endpoint);
    let target = json!({ "anyOf": [definition("TopicName"), definition("Target")] });
    let pipeline = &mut definitions["PipelineYaml"]["properties"];
    set(&mut pipeline["steps"], "items", definition("Step"));
    let to = json!([definition("TopicName"), definition("Target"),
        { "type": "array", "items": target }]);
    set(&mut pipeline["to"], "anyOf", to);

    let properties = &mut root["properties"];
    set(&mut properties["profiles"], "additionalProperties", optional(&profile));
    set(&mut properties["topics"], "additionalProperties", optional(&topic));
    set(&mut properties["topics"], "propertyNames", definition("TopicName"));
    for (section, item) in [
        ("sources", "SourceYaml"),
        ("pipelines", "PipelineYaml"),
        ("views", "ViewYaml"),
        ("endpoints", "Endpoint"),
        ("channels", "ChannelYaml"),
    ] {
        set(&mut properties[section], "additionalProperties", definition(item));
    }
    properties["version"] = json!({ "const": 1, "description": "Version of the format." });
    set(&mut root, "title", json!("A file of Courant"));
    set(&mut root, "required", json!(["version", "name"]));
    set(&mut root, "$defs", Value::Object(definitions));
    rename(&mut root);
    root
}

struct Parts {
    generator: SchemaGenerator,
}

impl Parts {
    fn of<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }
}

fn definition(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn optional(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn set(schema: &mut Value, keyword: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.into(), value);
    }
}

/// An object with exactly one of these keys.
fn one_key(forms: &[(&str, Value)]) -> Value {
    let form = |(name, schema): &(&str, Value)| {
        json!({
            "type": "object",
            "required": [name],
            "properties": { *name: schema },
            "additionalProperties": false,
        })
    };
    json!({ "oneOf": forms.iter().map(form).collect::<Vec<_>>() })
}

/// Adds one key for each connector, of which exactly one must be there.
fn add_connectors(source: &mut Value, connectors: &[(&str, Value)]) {
    let mut choices = Vec::new();
    for (name, schema) in connectors {
        set(&mut source["properties"], name, schema.clone());
        choices.push(json!({ "required": [name] }));
    }
    set(source, "oneOf", Value::Array(choices));
}

/// Puts a connector's schema and its definitions among the file's, under names of
/// their own; answers the reference to it.
fn hoist(role: &str, about: About, definitions: &mut Map<String, Value>) -> Value {
    let prefix = format!("{role}.{}", about.name);
    let mut schema = (about.schema)().to_value();
    let inner = take_definitions(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.insert("description".into(), json!(about.summary));
    }
    let is_optional = schema.get("required").is_none_or(|required| required == &json!([]));
    let into_prefix = |reference: &str| match reference.strip_prefix("#/$defs/") {
        Some(name) => format!("#/$defs/{prefix}.{name}"),
        None => reference.into(),
    };
    references(&mut schema, &into_prefix);
    definitions.insert(prefix.clone(), schema);
    for (name, mut schema) in inner {
        references(&mut schema, &into_prefix);
        definitions.insert(format!("{prefix}.{name}"), schema);
    }
    let reference = definition(&prefix);
    if is_optional { optional(&reference) } else { reference }
}

fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    let taken = schema.as_object_mut().and_then(|schema| schema.remove("$defs"));
    match taken {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

/// Rewrites every reference within a schema.
fn references(schema: &mut Value, rewrite: &impl Fn(&str) -> String) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(reference) if name == "$ref" => *reference = rewrite(reference),
                    value => references(value, rewrite),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| references(item, rewrite)),
        _ => {}
    }
}

/// Drops from the definitions' names what only tells them apart within this crate.
fn rename(root: &mut Value) {
    references(root, &|reference| reference.replace("Yaml", ""));
    let definitions = take_definitions(root).into_iter();
    let renamed = definitions.map(|(name, schema)| (name.replace("Yaml", ""), schema)).collect();
    set(root, "$defs", Value::Object(renamed));
}
