//! The smallest broker: a folder, a port, and Kafka's protocol between them.
//!
//! `cargo run -p courant-broker --example broker -- --port 9092 --data /tmp/data`
//! Durability is `--durability fsync` (default), `interval(100ms)` or `os`; `--security
//! FILE` takes the options of `docs/kafka.md` in JSON; `--partitions` is for topics that
//! exist because a client named them. It stops on ctrl-c. For trying clients; the real
//! thing is `courant`.

use std::{error::Error, sync::Arc};

use courant_broker::{BrokerOptions, Security, serve};
use courant_log::{EmbeddedLog, Log, LogOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = LogOptions::default();
    let mut broker = BrokerOptions::default();
    let (mut port, mut data) = (9092, "courant-data".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => port = value.parse()?,
            "--data" => data = value,
            "--security" => {
                let config = serde_json::from_slice(&std::fs::read(value)?)?;
                let credentials = std::path::Path::new(&data).join("credentials.json");
                broker.security = Arc::new(Security::open(&config, Some(&credentials))?);
            }
            "--partitions" => broker.auto_creation.partitions = value.parse()?,
            "--durability" => options.durability = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let (log, _) = EmbeddedLog::open(data.as_ref(), options).await?;
    let log = Arc::new(log);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, Arc::clone(&log), broker, stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    served.await??;
    Ok(log.close().await?)
}
