//! `/openapi.json`: the description of every route.
//!
//! Built from the same table as the router, so that the two cannot differ. What the
//! file brings (its endpoints, the routes of its sources) is added when somebody
//! asks, because sources come and go.

use axum::http::StatusCode;
use courant_pipeline::plan::EndpointPlan;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    context::Shared,
    endpoints::{CacheQuery, FollowQuery},
    find::Narrowing,
    table::Route,
};

/// Describes the routes of the table.
pub(crate) fn document(routes: &[Route], version: &str) -> Value {
    let mut paths = Map::new();
    for route in routes {
        add(&mut paths, route.path, route.method, operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Courant",
            "version": version,
            "description": "Topics, records, groups, pipelines and stores; and what the running file serves.",
        },
        "paths": paths,
        "components": {
            "schemas": { "Error": error_schema(), "FlatError": flat_error_schema() },
            "responses": {
                "Error": response("what went wrong", "application/json", Some("Error")),
                "FlatError": response("what went wrong", "application/json", Some("FlatError")),
            },
        },
    })
}

/// The description with the file's endpoints and the routes of running sources.
pub(crate) fn with_the_file(shared: &Shared) -> Value {
    let mut document = shared.openapi.clone();
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else {
        return document;
    };
    for (path, plan) in shared.endpoints.iter() {
        add(paths, path, "get", endpoint(path, plan));
    }
    for (method, path) in shared.context.routes.list() {
        let operation = json!({
            "tags": ["file"],
            "summary": "takes records in, for a source",
            "parameters": path_parameters(&path),
            "responses": { "default": { "description": "what the source answers" } },
        });
        add(paths, &path, &method.to_ascii_lowercase(), operation);
    }
    document
}

fn add(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let operations = paths.entry(path).or_insert_with(|| json!({}));
    operations[method] = operation;
}

fn operation(route: &Route) -> Value {
    let mut parameters = path_parameters(route.path);
    parameters.extend(route.query.as_ref().map(query_parameters).unwrap_or_default());
    let answer = &route.answer;
    let success = response(answer.what, answer.media_type, None);
    let mut operation = json!({
        "tags": [tag(route.path)],
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            answer.status.as_str(): success,
            "default": { "$ref": "#/components/responses/Error" },
        },
    });
    if answer.status == StatusCode::NO_CONTENT {
        operation["responses"]["204"] = json!({ "description": answer.what });
    }
    if let Some(body) = &route.body {
        let schema = body.schema.as_ref().map_or_else(|| json!({}), bare);
        let content: Map<_, _> = body
            .media_types
            .iter()
            .map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema })))
            .collect();
        operation["requestBody"] =
            json!({ "description": body.what, "required": true, "content": content });
    }
    operation
}

fn endpoint(path: &str, plan: &EndpointPlan) -> Value {
    let mut parameters = path_parameters(path);
    let mut media_type = "application/json";
    let (summary, what) = match plan {
        EndpointPlan::HistoryList { .. } => {
            parameters.extend(query_parameters(&schema_of::<Narrowing>()));
            let known: Vec<_> =
                parameters.iter().map(|parameter| parameter["name"].clone()).collect();
            let follow = query_parameters(&schema_of::<FollowQuery>());
            parameters.extend(follow.into_iter().filter(|new| !known.contains(&new["name"])));
            (
                "lists documents; as text/event-stream follows their changes",
                "`{\"count\": n, \"data\": [document]}`",
            )
        }
        EndpointPlan::HistoryDocument { .. } => ("gives one document", "the document"),
        EndpointPlan::Cache { field, .. } => {
            if field.is_none() {
                parameters.extend(query_parameters(&schema_of::<CacheQuery>()));
            }
            ("gives what a cache key holds", "the value, or fields by name")
        }
        EndpointPlan::View(plan) => {
            if plan.stream.is_some() {
                media_type = "text/event-stream";
            }
            let what = match plan.object {
                Some(_) => "an object with a value for each name",
                None => "`{\"count\": n, \"data\": [row]}`; the row alone by a whole key",
            };
            ("gives rows of a view; with `stream` again and again", what)
        }
    };
    json!({
        "tags": ["file"],
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": response(what, media_type, None),
            "default": { "$ref": "#/components/responses/FlatError" },
        },
    })
}

fn response(what: &str, media_type: &str, schema: Option<&str>) -> Value {
    let schema = schema.map_or_else(
        || json!({}),
        |name| json!({ "$ref": format!("#/components/schemas/{name}") }),
    );
    json!({ "description": what, "content": { media_type: { "schema": schema } } })
}

/// The thing that a route is about: `topics` of `/api/v1/topics/{topic}`.
fn tag(path: &str) -> &str {
    match path.strip_prefix("/api/v1/") {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => "process",
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({
                "name": name.trim_start_matches('*'),
                "in": "path",
                "required": true,
                "schema": { "type": "string" },
            })
        })
        .collect()
}

fn query_parameters(schema: &schemars::Schema) -> Vec<Value> {
    let schema = bare(schema);
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            json!({
                "name": name,
                "in": "query",
                "required": required(name),
                "description": property["description"],
                "schema": property,
            })
        })
        .collect()
}

/// The schema of a type, whole in itself.
pub(crate) fn schema_of<T: JsonSchema>() -> schemars::Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// A schema without what only a document of its own needs.
fn bare(schema: &schemars::Schema) -> Value {
    let mut value = schema.as_value().clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("$schema");
        fields.remove("title");
    }
    value
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": { "type": "string", "description": "stable, for programs" },
                    "message": { "type": "string", "description": "for people" },
                    "remedy": { "type": "string", "description": "what to do about it" },
                    "retryable": { "type": "boolean", "description": "whether the same request may succeed later" },
                },
            },
        },
    })
}

fn flat_error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error", "code"],
        "properties": {
            "error": { "type": "string", "description": "for people" },
            "code": { "type": "string", "description": "stable, for programs" },
        },
    })
}
