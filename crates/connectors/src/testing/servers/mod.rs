//! Real message brokers and databases, from this system's packages, each for one test alone.
//!
//! A server has a free port and a folder of its own, can be stopped, killed and started
//! again with the same data, and is gone when the test is. Where its program is missing
//! the test is skipped with the reason; with `CI=true` it fails.

pub(crate) mod mosquitto;
pub(crate) mod nats;
pub(crate) mod postgres;
pub(crate) mod rabbitmq;

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A server's process, which comes and goes, and its folder, which stays.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
    command: Command,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(folder: TempDir, port: u16, command: Command) -> Self {
        Self { port, folder, command, child: None }
    }

    /// Starts and waits until connections are taken.
    pub(crate) async fn start(&mut self) {
        let log = fs::File::create(self.log()).unwrap();
        self.command.process_group(0).stdin(Stdio::null());
        self.command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(self.command.spawn().unwrap());
        let (port, started) = (self.port, tokio::time::Instant::now());
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let late = started.elapsed() > START;
            assert!(ended.is_none() && !late, "server does not start: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the server to end and waits for it.
    pub(crate) async fn stop(&mut self) {
        self.end("-TERM").await;
    }

    /// Ends the server at once, as a power cut of its process would.
    pub(crate) async fn kill(&mut self) {
        self.end("-KILL").await;
    }

    async fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        send(signal, child.id());
        let ended = tokio::task::spawn_blocking(move || child.wait());
        tokio::time::timeout(START, ended).await.expect("server does not end").unwrap().unwrap();
    }

    /// Ends the server without waiting for anything else.
    pub(crate) fn end_now(&mut self) {
        if let Some(mut child) = self.child.take() {
            send("-KILL", child.id());
            let _ = child.wait();
        }
    }

    /// What the server said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("said.log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// Sends a signal to a process and its children.
fn send(signal: &str, group: u32) {
    let sent = Command::new("kill").args([signal, "--", &format!("-{group}")]).status();
    assert!(sent.is_ok(), "{sent:?}");
}

/// A program, or `None` with the reason on standard error.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut more = ["/usr/sbin", "/usr/lib/rabbitmq/bin"].map(PathBuf::from).to_vec();
    // A folder for each version.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    more.extend(versions.map(|version| version.path().join("bin")));
    // RabbitMQ's own script first: the one in the path insists on a user of its own.
    let found = more
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let why = format!("skipped: {name} is missing; install Debian's package {package}");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        writeln!(std::io::stderr(), "{why}").unwrap();
    }
    found
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Writes a certificate for `localhost` and its key: `cert.pem` and `key.pem`.
pub(crate) fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}
