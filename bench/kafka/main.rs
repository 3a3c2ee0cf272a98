//! The same client against any Kafka broker: rates and latencies.
//!
//! `produce` and `consume` print records a second, `latency` the time from the call of
//! the producer to the record in the consumer's hands. One line of JSON each; `run.py`
//! beside this file starts the servers, alternates between them and draws the tables.
//! It measures what a client sees; what the server needs for it is read by `run.py`.

#![allow(clippy::print_stdout, reason = "prints its results")]
#![allow(clippy::cast_precision_loss, reason = "rates for people")]

mod latency;
mod throughput;

use std::error::Error;

use clap::{Args, Parser, Subcommand};
use rdkafka::ClientConfig;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a Kafka broker through librdkafka.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a topic
    Create {
        #[command(flatten)]
        place: Place,
        #[arg(long)]
        partitions: i32,
        /// Topic configs, such as flush.messages=1
        #[arg(long = "config")]
        configs: Vec<String>,
    },
    /// Produces as fast as acks=all allows
    Produce(throughput::Produce),
    /// Consumes a topic from its beginning
    Consume(throughput::Consume),
    /// Produces at a fixed rate and measures until each record is consumed
    Latency(latency::Latency),
}

/// Where to measure.
#[derive(Debug, Args)]
struct Place {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topic: String,
}

impl Place {
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

fn main() -> Outcome<()> {
    match Cli::parse().command {
        Command::Create { place, partitions, configs } => {
            throughput::create(&place, partitions, &configs)
        }
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Latency(latency) => latency.run(),
    }
}
