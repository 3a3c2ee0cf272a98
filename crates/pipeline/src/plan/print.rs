//! A plan as text: what flows where, line by line, for people and snapshots.
//!
//! Options of connectors stay out, because they may hold secrets; so do the values
//! of an endpoint's filter.

use std::fmt::{self, Display, Write as _};

use courant_log::{AutoOffsetReset, Retention};
use courant_model::json::FieldPath;
use courant_sql::stream::OperatorInfo;
use courant_stores::{Filter, Order, SortKey};

use super::{
    Branch, ChannelPlan, Destination, EndpointPlan, Guarantee, JoltPlan, LookupPlan, PipelinePlan,
    Plan, RoleChoice, StepPlan, TargetPlan, TopicPlan, ViewEmit, ViewEndpointPlan, ViewInput,
    ViewPlan,
};

/// Characters of an SQL text that are shown on its line.
const SQL_CHARS_MAX: usize = 100;

/// Writes a plan as indented text with arrows.
pub fn print(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_plan(plan, &mut out);
    out
}

fn write_plan(plan: &Plan, out: &mut String) -> fmt::Result {
    let Plan { name, profile, memory, durability, .. } = plan;
    writeln!(out, "{name} (profile {profile}, memory {memory}, durability {durability})")?;
    let roles = [
        ("log", &plan.roles.log),
        ("cache", &plan.roles.cache),
        ("history", &plan.roles.history),
        ("push", &plan.roles.push),
    ];
    for (role, choice) in roles {
        if let RoleChoice::External { url } = choice {
            let scheme = url.split("://").next().unwrap_or_default();
            writeln!(out, "  {role} on {scheme}://…")?;
        }
    }
    if !plan.sources.is_empty() {
        writeln!(out, "\nsources")?;
    }
    for (name, source) in &plan.sources {
        write!(out, "  {name} ({}) → {}", source.connector, source.to)?;
        if let Some(key) = &source.key {
            write!(out, ", key {key}")?;
        }
        writeln!(out)?;
        if let Some(dead_letters) = &source.dead_letters {
            writeln!(out, "    what is no record → {dead_letters}")?;
        }
    }
    if !plan.topics.is_empty() {
        writeln!(out, "\ntopics")?;
    }
    for (name, topic) in &plan.topics {
        write_topic(name.as_str(), topic, out)?;
    }
    if !plan.pipelines.is_empty() {
        writeln!(out, "\npipelines")?;
    }
    for (name, pipeline) in &plan.pipelines {
        write_pipeline(name, pipeline, out)?;
    }
    if !plan.views.is_empty() {
        writeln!(out, "\nviews")?;
    }
    for (name, view) in &plan.views {
        write_view(name, view, out)?;
    }
    if !plan.endpoints.is_empty() {
        writeln!(out, "\nendpoints")?;
    }
    for (path, endpoint) in &plan.endpoints {
        write_endpoint(path, endpoint, out)?;
    }
    if !plan.channels.is_empty() {
        writeln!(out, "\nchannels")?;
    }
    for (name, channel) in &plan.channels {
        write_channel(name, channel, out)?;
    }
    Ok(())
}

fn write_topic(name: &str, topic: &TopicPlan, out: &mut String) -> fmt::Result {
    let plural = if topic.partitions == 1 { "" } else { "s" };
    write!(out, "  {name}: {} partition{plural}, ", topic.partitions)?;
    let settings = &topic.settings;
    match settings.cleanup {
        Retention::Delete => {}
        Retention::Compact => write!(out, "compacted, ")?,
        Retention::CompactAndDelete => write!(out, "compacted and deleted, ")?,
    }
    match settings.retention_time {
        Some(time) => write!(out, "kept {time}")?,
        None => write!(out, "kept for ever")?,
    }
    if let Some(bytes) = settings.retention_bytes {
        write!(out, " up to {bytes} a partition")?;
    }
    if let Some(columns) = &topic.columns {
        let texts = columns.iter().map(|column| format!("{} {}", column.name, column.type_text()));
        write!(out, " ({})", texts.collect::<Vec<_>>().join(", "))?;
    }
    writeln!(out)
}

fn write_pipeline(name: &str, pipeline: &PipelinePlan, out: &mut String) -> fmt::Result {
    write!(out, "  {name} (group {}", pipeline.group)?;
    if pipeline.start == AutoOffsetReset::Latest {
        write!(out, ", from the latest record on")?;
    }
    writeln!(out, ")")?;
    writeln!(out, "    {} →", list(&pipeline.from))?;
    for step in &pipeline.steps {
        write_step(step, out)?;
    }
    for target in &pipeline.to {
        writeln!(out, "    → {}", target_text(target))?;
    }
    if pipeline.guarantee == Guarantee::ExactlyOnce {
        writeln!(out, "    what goes to topics: exactly once")?;
    } else if pipeline.written_topics().next().is_some() {
        writeln!(out, "    what goes to topics: at least once")?;
    }
    let errors = &pipeline.on_error;
    writeln!(out, "    what fails → {}, after {} retries", errors.dead_letters, errors.retries)?;
    if let Some(p99) = pipeline.freshness_p99 {
        writeln!(out, "    wished freshness: p99 {p99}")?;
    }
    Ok(())
}

fn write_view(name: &str, view: &ViewPlan, out: &mut String) -> fmt::Result {
    write!(out, "  {name} (group {}", view.group)?;
    if view.start == AutoOffsetReset::Latest {
        write!(out, ", from the latest record on")?;
    }
    writeln!(out, ")")?;
    writeln!(out, "    {}", shortened(&view.sql))?;
    for OperatorInfo { id, inputs, name, words, tables, cost } in view.query.operators() {
        let from =
            if inputs.is_empty() { String::new() } else { format!(" ← {}", list(&inputs)) };
        write!(out, "      {id}{from} {name} {words}; {cost}")?;
        if !tables.is_empty() {
            write!(out, "; state in {}", list(&tables))?;
        }
        writeln!(out)?;
    }
    for input in &view.inputs {
        let ViewInput { topic, lateness, .. } = input;
        writeln!(out, "    reads topic {topic}, {lateness} out of order at most")?;
    }
    let emit = match view.emit {
        ViewEmit::Final => "when their window is closed".to_owned(),
        ViewEmit::Changes { every: None } => "whenever they change".to_owned(),
        ViewEmit::Changes { every: Some(every) } => format!("at most once in {every} a key"),
    };
    let guarantee = match view.guarantee {
        Guarantee::ExactlyOnce => "exactly once",
        Guarantee::AtLeastOnce => "at least once",
    };
    writeln!(out, "    results → topic {}, {emit}, {guarantee}", view.to)?;
    match view.key() {
        None => writeln!(out, "    no store: results are added")?,
        Some(key) if key.is_empty() => writeln!(out, "    a store of one row")?,
        Some(key) => writeln!(out, "    a store by {}", list(&key))?,
    }
    if let Some(late) = &view.late {
        writeln!(out, "    what comes late → {late}")?;
    }
    writeln!(out, "    what fails → {}", view.on_error.dead_letters)
}

fn write_step(step: &StepPlan, out: &mut String) -> fmt::Result {
    match step {
        StepPlan::Sql { text } => writeln!(out, "      sql {}", shortened(text)),
        StepPlan::Jolt(jolt) => writeln!(out, "      jolt {}", jolt_text(jolt)),
        StepPlan::Lookup(lookup) => writeln!(out, "      lookup {}", lookup_text(lookup)),
        StepPlan::Key { field: Some(field) } => writeln!(out, "      key {field}"),
        StepPlan::Key { field: None } => writeln!(out, "      key none"),
        StepPlan::Split { field, into: None } => writeln!(out, "      split {field}"),
        StepPlan::Split { field, into: Some(into) } => {
            writeln!(out, "      split {field} into {into}")
        }
        StepPlan::Deduplicate { by, within, keys_max } => {
            let by = list(by);
            writeln!(out, "      deduplicate by {by} within {within}, {keys_max} keys at most")
        }
        StepPlan::Nest(nest) => writeln!(out, "      nest {nest}"),
        StepPlan::Route { branches, otherwise } => {
            writeln!(out, "      route")?;
            for Branch { when, to } in branches {
                writeln!(out, "        when {} → {}", shortened(when), destination_text(to))?;
            }
            writeln!(out, "        otherwise → {}", destination_text(otherwise))
        }
    }
}

fn write_endpoint(path: &str, endpoint: &EndpointPlan, out: &mut String) -> fmt::Result {
    write!(out, "  GET {path} ← ")?;
    match endpoint {
        EndpointPlan::HistoryList { collection, filter, sort, limit } => {
            write!(out, "history {collection}")?;
            if *filter != Filter::All {
                write!(out, ", filtered")?;
            }
            if !sort.is_empty() {
                let keys: Vec<String> = sort.iter().map(sort_text).collect();
                write!(out, ", sorted by {}", keys.join(","))?;
            }
            writeln!(out, ", {limit} at most")
        }
        EndpointPlan::HistoryDocument { collection, parameter } => {
            writeln!(out, "history {collection}, document {{{parameter}}}")
        }
        EndpointPlan::Cache { table, key, field: None } => {
            writeln!(out, "cache {table}, key {{{key}}}")
        }
        EndpointPlan::Cache { table, key, field: Some(field) } => {
            writeln!(out, "cache {table}, key {{{key}}}, field {{{field}}}")
        }
        EndpointPlan::View(plan) => write_view_endpoint(plan, out),
    }
}

fn write_view_endpoint(plan: &ViewEndpointPlan, out: &mut String) -> fmt::Result {
    let ViewEndpointPlan { view, parameters, stream, last, object, limit } = plan;
    write!(out, "view {view}")?;
    if !parameters.is_empty() {
        write!(out, ", key {{{}}}", parameters.join("}, {"))?;
    }
    if let Some(last) = last {
        write!(out, ", windows of the last {last}")?;
    }
    match object {
        Some((name, value)) => write!(out, ", {value} by {name}")?,
        None => write!(out, ", {limit} at most")?,
    }
    match stream {
        Some(every) => writeln!(out, ", every {every}"),
        None => writeln!(out),
    }
}

fn write_channel(name: &str, channel: &ChannelPlan, out: &mut String) -> fmt::Result {
    let ChannelPlan { collection, events, filter, data, .. } = channel;
    let events: Vec<String> =
        events.named().map(|(kind, event)| format!("{event} on {kind}")).collect();
    write!(out, "  {name} ← history {collection}, {}", list(&events))?;
    if *filter != Filter::All {
        write!(out, ", filtered")?;
    }
    if !data.is_empty() {
        write!(out, ", with {}", list(data))?;
    }
    writeln!(out)
}

fn lookup_text(lookup: &LookupPlan) -> String {
    let LookupPlan { source, into, on_missing, .. } = lookup;
    let by = list(&lookup.parameters());
    format!("{source} by {by} into {into}, what is missing: {}", on_missing.as_str())
}

/// The operations by name, and the options.
fn jolt_text(jolt: &JoltPlan) -> String {
    let JoltPlan { spec, file, field, split, context } = jolt;
    let operations = spec.json().as_array().into_iter().flatten();
    let names: Vec<&str> =
        operations.map(|one| one["operation"].as_str().unwrap_or_default()).collect();
    let file = file.as_ref().map_or_else(String::new, |file| format!(" ({})", file.display()));
    let field = field.as_ref().map_or_else(String::new, |field| format!(", field {field}"));
    let split = if *split { ", split" } else { "" };
    let context = if context.is_some() { ", with a context" } else { "" };
    format!("{}{file}{field}{split}{context}", shortened(&names.join(", ")))
}

fn target_text(target: &TargetPlan) -> String {
    match target {
        TargetPlan::Topic { topic } => format!("topic {topic}"),
        TargetPlan::Cache { table, key, field, ttl, version } => {
            let field = field.as_ref().map_or_else(String::new, |field| format!(", field {field}"));
            let version = version_text(version.as_ref());
            let ttl = ttl.map_or_else(String::new, |ttl| format!(", for {ttl}"));
            format!("cache {table}, key {key}{field}{version}{ttl}")
        }
        TargetPlan::History { collection, id, indexes, version } => {
            let version = version_text(version.as_ref());
            let id = id.as_ref().map_or_else(String::new, |id| format!(", id {id}"));
            let indexes: Vec<String> = indexes.iter().map(|index| list(index)).collect();
            let indexes = match indexes.len() {
                0 => String::new(),
                _ => format!(", indexes {}", indexes.join("; ")),
            };
            format!("history {collection}{id}{version}{indexes}")
        }
        TargetPlan::Connector { connector, .. } => (*connector).to_owned(),
    }
}

fn version_text(version: Option<&FieldPath>) -> String {
    version.map_or_else(String::new, |version| format!(", version {version}"))
}

fn destination_text(destination: &Destination) -> String {
    match destination {
        Destination::Next => "next".into(),
        Destination::Drop => "drop".into(),
        Destination::Topic(topic) => format!("topic {topic}"),
    }
}

fn sort_text(key: &SortKey) -> String {
    let sign = if key.order == Order::Descending { "-" } else { "" };
    format!("{sign}{}", key.field)
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A text on one line, cut when it is long.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SQL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
