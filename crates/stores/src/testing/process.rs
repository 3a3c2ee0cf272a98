//! A server's process for a test: it comes and goes, its folder stays.
//!
//! It has a free port and a folder of its own, can be stopped, killed and started again
//! with the same data, and is gone when the test is.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to start or end on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server's process and its folder.
#[derive(Debug)]
pub struct Process {
    folder: TempDir,
    command: Command,
    child: Option<Child>,
}

impl Process {
    /// A process that runs this command; not started yet.
    pub fn new(folder: TempDir, mut command: Command) -> Self {
        command.process_group(0).stdin(Stdio::null());
        Self { folder, command, child: None }
    }

    /// Starts and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; with what it said.
    pub async fn start(&mut self, mut ready: impl AsyncFnMut() -> bool) {
        let log = fs::File::create(self.log()).expect("the log can be written");
        self.command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(self.command.spawn().expect("the program runs"));
        let started = Instant::now();
        while !ready().await {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let late = started.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "server does not start: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the process to end and waits for it.
    pub async fn stop(&mut self) {
        self.end("-TERM").await;
    }

    /// Ends the process at once, as a power cut of it would.
    pub async fn kill(&mut self) {
        self.end("-KILL").await;
    }

    async fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        send(signal, child.id());
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the server ends");
        ended.expect("somebody waits").expect("it is a child");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the process said since it was started last.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder().join("said.log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            send("-KILL", child.id());
            let _ = child.wait();
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "what the test waits for does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a signal to a process and its children.
fn send(signal: &str, group: u32) {
    let sent = Command::new("kill").args([signal, "--", &format!("-{group}")]).status();
    assert!(sent.is_ok(), "{sent:?}");
}

/// A program, or `None` with the reason on standard error.
///
/// # Panics
/// With `CI=true`, when it is missing.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is missing; install Debian's package {package}"));
    }
    found
}

/// Says why a test is skipped.
///
/// # Panics
/// With `CI=true`, where nothing may be skipped.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A port that is free now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
