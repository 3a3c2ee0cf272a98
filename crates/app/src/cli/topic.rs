//! `courant topic …`: topics and their records, in a folder, on a cluster or in a
//! running Courant.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::PathBuf,
};

use courant_log::{Retention, TopicSettings, TopicSpec};
use courant_model::{ByteSize, Span, TopicName};
use indicatif::ProgressBar;
use serde_json::json;

use super::Common;
use crate::{
    access::{Access, Begin, Outgoing, Place, Wanted},
    error::Failure,
    terminal,
};

/// Records in one request; large enough to amortise a sync, small enough to show progress.
const BATCH_RECORDS: usize = 10_000;

/// Bytes in one request.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the topics
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Shows a topic's settings and partitions
    Describe {
        name: TopicName,
        #[command(flatten)]
        place: Place,
    },
    /// Creates a topic
    Create(Create),
    /// Deletes a topic and its records
    Delete {
        name: TopicName,
        #[command(flatten)]
        place: Place,
    },
    /// Sends lines of files or standard input, a record each
    Produce(Produce),
    /// Prints records
    Consume(Consume),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    name: TopicName,
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// How long records stay, such as 7d, or `forever` [default: 7d]
    #[arg(long, value_name = "SPAN")]
    retention: Option<String>,
    /// How large a partition may grow before its oldest records go, such as 10GiB
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<ByteSize>,
    /// Keeps the latest record of each key instead of deleting by age
    #[arg(long)]
    compact: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Produce {
    topic: TopicName,
    /// Files to read, in order; standard input without any, or as `-`
    files: Vec<PathBuf>,
    /// What a line holds: `json` is checked, `text` is sent as it is
    #[arg(long, value_enum, default_value_t = Lines::Json)]
    format: Lines,
    /// The field of each document that becomes the record's key, such as customer.id
    #[arg(long, value_name = "FIELD")]
    key: Option<courant_model::json::FieldPath>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lines {
    Json,
    Text,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Consume {
    topic: TopicName,
    /// Begins with the oldest record instead of the next new one
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Begins at this offset of one partition
    #[arg(long, requires = "partition")]
    offset: Option<i64>,
    /// Reads this partition only
    #[arg(long)]
    partition: Option<i32>,
    /// Ends after this many records
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Ends once everything that was there at the start was printed
    #[arg(long)]
    until_end: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { place } => list(common, &Access::open(common, &place).await?).await,
        Command::Describe { name, place } => {
            describe(common, &Access::open(common, &place).await?, &name).await
        }
        Command::Create(arguments) => create(common, arguments).await,
        Command::Delete { name, place } => {
            let access = Access::open(common, &place).await?;
            access.delete_topic(&name).await?;
            access.close().await?;
            terminal::line(format!("topic \"{name}\" is deleted"))
        }
        Command::Produce(arguments) => produce(common, arguments).await,
        Command::Consume(arguments) => consume(common, arguments).await,
    }
}

async fn list(common: &Common, access: &Access) -> Result<(), Failure> {
    let topics = access.topics().await?;
    if common.json {
        return terminal::line(json!(topics).to_string());
    }
    let rows: Vec<Vec<String>> = topics
        .iter()
        .map(|topic| {
            let records: i64 = topic.partitions.iter().map(|at| at.end - at.start).sum();
            let size: u64 = topic.partitions.iter().map(|at| at.size_bytes).sum();
            let partitions = topic.partitions.len();
            vec![
                topic.name.to_string(),
                partitions.to_string(),
                records.to_string(),
                size.to_string(),
            ]
        })
        .collect();
    terminal::table(&["TOPIC", "PARTITIONS", "RECORDS", "BYTES"], &rows)
}

async fn describe(common: &Common, access: &Access, name: &TopicName) -> Result<(), Failure> {
    let topic = access.topic(name).await?;
    if common.json {
        return terminal::line(json!(topic).to_string());
    }
    terminal::line(format!("topic     {}\nid        {}", topic.name, topic.id))?;
    terminal::line(format!("settings  {}\n", json!(topic.settings)))?;
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(number, at)| {
            vec![
                number.to_string(),
                at.start.to_string(),
                at.end.to_string(),
                at.size_bytes.to_string(),
            ]
        })
        .collect();
    terminal::table(&["PARTITION", "START", "END", "BYTES"], &rows)
}

async fn create(common: &Common, arguments: Create) -> Result<(), Failure> {
    let mut settings =
        TopicSettings { retention_bytes: arguments.retention_bytes, ..TopicSettings::default() };
    match arguments.retention.as_deref() {
        None => {}
        Some("forever") => settings.retention_time = None,
        Some(text) => {
            let span: Span = text.parse().map_err(|error| {
                Failure::Usage(format!("--retention {error}; or write `forever`"))
            })?;
            settings.retention_time = Some(span);
        }
    }
    if arguments.compact {
        settings.cleanup = Retention::Compact;
    }
    let access = Access::open(common, &arguments.place).await?;
    let spec = TopicSpec { name: arguments.name, partitions: arguments.partitions, settings };
    let topic = access.create_topic(&spec).await?;
    access.close().await?;
    if common.json {
        return terminal::line(json!(topic).to_string());
    }
    let count = topic.partitions.len();
    terminal::line(format!("topic \"{}\" has {count} partition(s)", topic.name))
}

async fn produce(common: &Common, arguments: Produce) -> Result<(), Failure> {
    let access = Access::open(common, &arguments.place).await?;
    let (inputs, total_bytes) = open_inputs(&arguments.files)?;
    // A topic that does not exist is told before anything is read.
    access.topic(&arguments.topic).await?;
    let mut sender = Sender {
        access: &access,
        arguments: &arguments,
        batch: Vec::new(),
        batch_bytes: 0,
        sent: 0,
        bar: terminal::progress(total_bytes),
    };
    let outcome = async {
        for (name, input) in inputs {
            sender.send_lines(&name, input).await?;
        }
        sender.flush().await
    }
    .await;
    sender.bar.finish_and_clear();
    let sent = sender.sent;
    access.close().await?;
    match outcome {
        Ok(()) if common.json => terminal::line(json!({ "records": sent }).to_string()),
        Ok(()) => terminal::line(format!("{sent} records are in topic \"{}\"", arguments.topic)),
        Err(Failure::Failed(why)) => {
            Err(Failure::Failed(format!("{why}; the {sent} records before are in the topic")))
        }
        Err(other) => Err(other),
    }
}

type Input = (String, Box<dyn BufRead>);

/// Opens all inputs before the first record is sent, so that a missing file sends nothing.
fn open_inputs(files: &[PathBuf]) -> Result<(Vec<Input>, Option<u64>), Failure> {
    let standard = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard } else { files };
    let (mut inputs, mut total) = (Vec::new(), Some(0));
    for file in files {
        let name = file.display().to_string();
        if name == "-" {
            if io::stdin().is_terminal() {
                terminal::note("reading records from the terminal, one a line; end with Ctrl-D");
            }
            total = None;
            inputs.push(("standard input".into(), Box::new(BufReader::new(io::stdin())) as _));
        } else {
            let opened = File::open(file).map_err(|error| {
                Failure::Failed(format!("file {name:?} cannot be read: {error}"))
            })?;
            let size = opened.metadata().map(|metadata| metadata.len()).unwrap_or_default();
            total = total.map(|sum: u64| sum + size);
            inputs.push((name, Box::new(BufReader::with_capacity(1 << 20, opened)) as _));
        }
    }
    Ok((inputs, total))
}

/// Gathers lines into batches and sends them, in order.
struct Sender<'a> {
    access: &'a Access,
    arguments: &'a Produce,
    batch: Vec<Outgoing>,
    batch_bytes: usize,
    sent: u64,
    bar: ProgressBar,
}

impl Sender<'_> {
    async fn send_lines(&mut self, name: &str, mut input: Box<dyn BufRead>) -> Result<(), Failure> {
        let max = courant_model::limits::MESSAGE_BYTES_MAX;
        let mut number = 0_u64;
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            let at = || format!("{name}:{number}");
            if line.len() > max {
                let why = format!("{}: line is longer than {max} bytes", at());
                return Err(Failure::Failed(why));
            }
            while line.last().is_some_and(u8::is_ascii_whitespace) {
                line.pop();
            }
            if line.is_empty() {
                continue;
            }
            let record =
                self.outgoing(line).map_err(|why| Failure::Failed(format!("{}: {why}", at())))?;
            self.batch_bytes += record.value.len();
            self.batch.push(record);
            if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
                self.flush().await?;
            }
        }
    }

    /// Reads a line as its format says and finds its key.
    fn outgoing(&self, line: Vec<u8>) -> Result<Outgoing, String> {
        if self.arguments.format == Lines::Text && self.arguments.key.is_none() {
            return Ok(Outgoing { key: None, value: line.into() });
        }
        let Some(path) = &self.arguments.key else {
            serde_json::from_slice::<serde::de::IgnoredAny>(&line)
                .map_err(|error| format!("not JSON: {error}; send it with --format text"))?;
            return Ok(Outgoing { key: None, value: line.into() });
        };
        let document: serde_json::Value =
            serde_json::from_slice(&line).map_err(|error| format!("not JSON: {error}"))?;
        let value =
            path.get(&document).ok_or_else(|| format!("no field \"{path}\" for the key"))?;
        let key = courant_model::json::scalar_text(value)
            .ok_or_else(|| format!("field \"{path}\" is {value}, which cannot be a key"))?;
        Ok(Outgoing { key: Some(key), value: line.into() })
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let (count, bytes) = (batch.len() as u64, self.batch_bytes as u64);
        self.batch_bytes = 0;
        self.access.produce(&self.arguments.topic, batch).await?;
        self.sent += count;
        self.bar.inc(bytes + count);
        let seconds = self.bar.elapsed().as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        self.bar.set_message(format!("{:.0} records/s", self.sent as f64 / seconds));
        Ok(())
    }
}

async fn consume(common: &Common, arguments: Consume) -> Result<(), Failure> {
    let access = Access::open(common, &arguments.place).await?;
    let begin = match (arguments.offset, arguments.from_beginning) {
        (Some(offset), _) => Begin::Offset(offset),
        (None, true) => Begin::Earliest,
        (None, false) => Begin::Latest,
    };
    let wanted = Wanted {
        topic: arguments.topic,
        partition: arguments.partition,
        begin,
        until_end: arguments.until_end,
    };
    let mut tail = access.tail(wanted).await?;
    let mut left = arguments.max.unwrap_or(u64::MAX);
    while left > 0 {
        let records = tokio::select! {
            records = tail.next() => records?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(records) = records else { break };
        let mut lines = Vec::new();
        for record in records.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            left -= 1;
            if common.json {
                lines.extend_from_slice(record.json.get().as_bytes());
            } else {
                lines.extend_from_slice(record.value.as_deref().unwrap_or_default());
            }
            lines.push(b'\n');
        }
        terminal::whole_lines(&lines)?;
    }
    access.close().await
}
