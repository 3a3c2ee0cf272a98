//! `courant generate SCENARIO`: made-up data on standard output, as fast as it is read
//! or at a rate.

use std::{sync::Arc, time::Instant};

use courant_connectors::{
    formats::encode::CsvEncoder,
    generate::{Generator, Rate, Schedule},
};
use courant_model::SystemClock;

use crate::{error::Failure, terminal};

/// Documents that are written at once when no rate is set.
const BATCH: u64 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_enum)]
    scenario: Scenario,
    /// How many documents; without end when a rate is set, else 10
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How fast, such as 10000/s, 30/m or 5/h [default: as fast as it is read]
    #[arg(long)]
    rate: Option<Rate>,
    /// The same seed gives the same documents
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scenario {
    /// Orders with their lines
    Orders,
    /// Page events
    Pages,
    /// Messages
    Messages,
    /// Bets
    Bets,
    /// The customers who bet
    Customers,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One JSON document a line
    Json,
    /// With a header
    Csv,
}

impl Scenario {
    const fn template(self) -> &'static str {
        match self {
            Self::Orders => "order",
            Self::Pages => "page_event",
            Self::Messages => "message",
            Self::Bets => "bet",
            Self::Customers => "customer",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.scenario.template();
    let generator = Generator::built_in(name, arguments.seed, Arc::new(SystemClock))
        .ok_or_else(|| Failure::Failed(format!("template \"{name}\" does not exist")))?;
    let csv = matches!(arguments.format, Format::Csv).then(CsvEncoder::default);
    let mut printer = Printer { generator, csv, first: true };
    match arguments.rate {
        None => printer.at_once(arguments.count.unwrap_or(10)),
        Some(rate) => printer.at_rate(arguments.count.unwrap_or(u64::MAX), rate),
    }
}

/// Makes documents and prints them.
struct Printer {
    generator: Generator,
    csv: Option<CsvEncoder>,
    first: bool,
}

impl Printer {
    fn at_once(&mut self, count: u64) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            self.print(batch)?;
            left -= batch;
        }
        Ok(())
    }

    fn at_rate(&mut self, count: u64, rate: Rate) -> Result<(), Failure> {
        let (mut schedule, start, mut left) = (Schedule::new(rate), Instant::now(), count);
        while left > 0 {
            let due = left.min(schedule.due(start.elapsed()) as u64);
            self.print(due)?;
            left -= due;
            if left > 0 {
                std::thread::sleep(schedule.wait(start.elapsed()));
            }
        }
        Ok(())
    }

    fn print(&mut self, count: u64) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for _ in 0..count {
            let document = self.generator.next_document();
            let Some(csv) = &mut self.csv else {
                lines.extend_from_slice(document.to_string().as_bytes());
                lines.push(b'\n');
                continue;
            };
            let row = csv.row(&document).map_err(Failure::Failed)?;
            if std::mem::take(&mut self.first) {
                lines.extend(csv.header());
            }
            lines.extend(row);
        }
        terminal::whole_lines(&lines)
    }
}
