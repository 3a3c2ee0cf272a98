//! `courant view …`: continuous queries, and what they keep, in a running Courant.

use serde_json::{Value, value::RawValue};

use super::Common;
use crate::{
    access::{
        Event,
        views::{At, Operator, RowQuery, View, Views},
    },
    error::Failure,
    terminal,
};

/// Rows in one request.
const PAGE_ROWS: usize = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the views
    List {
        #[command(flatten)]
        at: At,
    },
    /// Shows the operators of a view, the state that they keep and their cost
    Explain {
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Prints the rows of a key: one, or those of its windows
    Get(Get),
    /// Prints the rows of a range of keys, or all of them
    Scan(Scan),
    /// Prints the changes of a view's rows as they come
    Watch(Watch),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    name: String,
    /// Values of the first key columns, in order
    #[arg(required = true)]
    key: Vec<String>,
    #[command(flatten)]
    windows: Windows,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    name: String,
    /// The least value of the first key column
    #[arg(long, value_name = "KEY")]
    from: Option<String>,
    /// The value of the first key column before which the rows end
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    #[command(flatten)]
    windows: Windows,
    /// Rows at most [default: all]
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    name: String,
    /// Only rows with these values of the first key columns
    key: Vec<String>,
    /// Prints so many of the rows that are there first
    #[arg(long, value_name = "ROWS", conflicts_with = "from_beginning")]
    snapshot: Option<usize>,
    /// Prints the changes that the view's topic still has first
    #[arg(long)]
    from_beginning: bool,
    #[command(flatten)]
    at: At,
}

/// Which windows.
#[derive(Debug, clap::Args)]
struct Windows {
    /// Only windows that start then or later: 2026-01-31T08:00:00Z, or @ and milliseconds
    #[arg(long, value_name = "TIME")]
    window_from: Option<String>,
    /// Only windows that start before then
    #[arg(long, value_name = "TIME")]
    window_to: Option<String>,
}

impl Windows {
    fn query(self) -> impl Iterator<Item = (&'static str, String)> {
        let from = self.window_from.map(|time| ("window_from", time));
        from.into_iter().chain(self.window_to.map(|time| ("window_to", time)))
    }
}

pub(crate) async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { at } => list(common, &Views::at(&at)).await,
        Command::Explain { name, at } => explain(common, &Views::at(&at), &name).await,
        Command::Get(get) => {
            let mut query: RowQuery = get.windows.query().collect();
            query.push(("key", key(&get.key)));
            print_all(&Views::at(&get.at), &get.name, query, None).await
        }
        Command::Scan(scan) => {
            let mut query: RowQuery = scan.windows.query().collect();
            query.extend(scan.from.map(|from| ("from", from)));
            query.extend(scan.to.map(|to| ("to", to)));
            print_all(&Views::at(&scan.at), &scan.name, query, scan.limit).await
        }
        Command::Watch(watch) => follow(common, watch).await,
    }
}

async fn list(common: &Common, views: &Views) -> Result<(), Failure> {
    let (told, views) = views.list().await?;
    if common.json {
        return terminal::line(told.to_string());
    }
    let row = |view: &View| {
        vec![
            view.name.clone(),
            view.state.replace('_', " "),
            view.from.join(", "),
            view.to.clone(),
            view.key.as_ref().map_or_else(|| "-".to_owned(), |key| key.join(", ")),
            view.records_in.to_string(),
            view.late.to_string(),
            view.lag.to_string(),
            view.watermark.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let head = ["VIEW", "STATE", "FROM", "TO", "KEY", "IN", "LATE", "LAG", "WATERMARK"];
    terminal::table(&head, &views.iter().map(row).collect::<Vec<_>>())
}

async fn explain(common: &Common, views: &Views, name: &str) -> Result<(), Failure> {
    let (told, view) = views.view(name).await?;
    if common.json {
        return terminal::line(told["operators"].to_string());
    }
    terminal::line(format!("view {}: {} → {}\n", view.name, view.from.join(", "), view.to))?;
    terminal::line(format!("{}\n", view.sql.trim_end()))?;
    let row = |operator: &Operator| {
        let inputs: Vec<_> = operator.inputs.iter().map(ToString::to_string).collect();
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        vec![
            operator.id.to_string(),
            or_none(inputs.join(", ")),
            operator.name.clone(),
            or_none(operator.tables.join(", ")),
            operator.cost.clone(),
            operator.words.split_whitespace().collect::<Vec<_>>().join(" "),
        ]
    };
    let rows: Vec<_> = view.operators.iter().map(row).collect();
    terminal::table(&["ID", "READS", "OPERATOR", "STATE", "COST OF A RECORD", "WORDS"], &rows)
}

/// Prints rows, a line each, page by page.
async fn print_all(
    views: &Views,
    name: &str,
    query: RowQuery,
    limit: Option<usize>,
) -> Result<(), Failure> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let mut query = query.clone();
        query.push(("limit", left.min(PAGE_ROWS).to_string()));
        query.extend(after.map(|after| ("after", after)));
        let page = views.rows(name, &query).await?;
        left = left.saturating_sub(page.rows.len());
        terminal::whole_lines(lines(&page.rows).as_bytes())?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn lines(rows: &[Box<RawValue>]) -> String {
    rows.iter().map(|row| format!("{}\n", row.get())).collect()
}

async fn follow(common: &Common, watch: Watch) -> Result<(), Failure> {
    let mut query = RowQuery::new();
    if !watch.key.is_empty() {
        query.push(("key", key(&watch.key)));
    }
    query.extend(watch.snapshot.map(|rows| ("snapshot", rows.to_string())));
    if watch.from_beginning {
        query.push(("from", "earliest".to_owned()));
    }
    let mut events = Views::at(&watch.at).watch(&watch.name, query);
    loop {
        let Event { name, data, .. } = events.next().await?;
        match name.as_str() {
            "snapshot" => {
                let rows: Vec<Box<RawValue>> = serde_json::from_str(&data).unwrap_or_default();
                terminal::whole_lines(lines(&rows).as_bytes())?;
            }
            "change" if common.json => terminal::line(data)?,
            "change" => terminal::line(change(&data))?,
            _ => {}
        }
    }
}

/// A change as a line: the row, or the key that is gone.
fn change(data: &str) -> String {
    let change: Value = serde_json::from_str(data).unwrap_or_default();
    match &change["row"] {
        Value::Null => format!("gone {}", change["key"]),
        row => row.to_string(),
    }
}

/// Values of key columns as the API takes them.
fn key(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        many => {
            let read = |text: &String| {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            };
            Value::Array(many.iter().map(read).collect()).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_stays_as_it_was_written_and_several_are_a_list() {
        assert_eq!(key(&["P1".to_owned()]), "P1");
        assert_eq!(key(&["P1".to_owned(), "7".to_owned()]), r#"["P1",7]"#);
    }

    #[test]
    fn a_change_is_its_row_or_says_what_is_gone() {
        assert_eq!(change(r#"{"key": {"name": "P1"}, "row": {"visits": 3}}"#), r#"{"visits":3}"#);
        assert_eq!(change(r#"{"key": {"name": "P1"}, "row": null}"#), r#"gone {"name":"P1"}"#);
    }
}
