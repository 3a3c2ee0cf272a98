//! Real message brokers and databases, from this system's packages, each for one test alone.
//!
//! A server has a free port and a folder of its own, can be stopped, killed and started
//! again with the same data, and is gone when the test is. Where its program is missing
//! the test is skipped with the reason; with `CI=true` it fails.

pub(crate) mod mosquitto;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod rabbitmq;

use std::{ffi::OsStr, fs, path::Path, process::Command};

use courant_testing::{Process, free_port, is_listening};
use tempfile::TempDir;

/// A server that is ready once it takes connections.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Process,
}

impl Server {
    /// A server that is told of its port and folder with [`Server::command`].
    fn new(folder: TempDir, program: impl AsRef<OsStr>) -> Self {
        Self { port: free_port(), process: Process::new(folder, program) }
    }

    fn command(&mut self) -> &mut Command {
        self.process.command()
    }

    pub(crate) async fn start(&mut self) {
        let port = self.port;
        self.process.start(async || is_listening(port).await).await;
    }

    pub(crate) async fn stop(&mut self) {
        self.process.stop().await;
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }
}

/// Writes a certificate for `localhost` and its key: `cert.pem` and `key.pem`.
pub(crate) fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}
