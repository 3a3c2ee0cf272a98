//! A server of MongoDB's protocol for a test; see `scripts/mongo` for what it is.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use courant_testing::{Process, free_port, skip};
use mongodb::{Client, bson::doc};

/// One server, which keeps every write it answered.
#[derive(Debug)]
pub struct MongoServer {
    pub port: u16,
    process: Process,
}

impl MongoServer {
    /// Starts a server; `None` where it cannot be had.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        let jars = tokio::task::spawn_blocking(jars).await.expect("it is run")?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let data = folder.path().join("journal");
        let mut process = Process::new(folder, "java");
        let command = process.command();
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.arg("-cp").arg(format!("{0}:{0}/*", jars.display())).arg("StandIn");
        command.arg(data).arg(port.to_string());
        let mut server = Self { port, process };
        server.start_again().await;
        Some(server)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?directConnection=true", self.port)
    }

    /// Asks the server to end and waits for it.
    pub async fn stop(&mut self) {
        self.process.stop().await;
    }

    /// Ends the server at once.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts the server again with its data, at its port.
    pub async fn start_again(&mut self) {
        let url = self.url("admin") + "&serverSelectionTimeoutMS=500";
        let client = Client::with_uri_str(url).await.expect("the address is right");
        let database = client.database("admin");
        // It takes connections before it has answers for them.
        self.process.start(async || database.run_command(doc! { "ping": 1 }).await.is_ok()).await;
    }
}

/// The folder with the server's classes, made by the first test that asks.
fn jars() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/mongo");
    match Command::new(&script).output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).trim().into())
        }
        Ok(output) => {
            skip(String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            skip(&format!("{script:?} does not run: {error}"));
            None
        }
    }
}
