//! A server's process for a test: it comes and goes, its folder stays.
//!
//! It can be stopped, killed and started again with the same data, and is gone when the
//! test is, also when the test's own process is killed: a shell stands between them, which
//! ends the server once its input closes.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to start or end on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the server in a session of its own, sends it and its children the signals that are
/// read, and ends with it. The shell's own input is passed on by number, because what runs
/// in the background has none.
const GUARD: &str = r#"
exec 3<&0
setsid "$0" "$@" </dev/null 3<&- & server=$!
{ while read -r signal; do kill -"$signal" -$server; done; kill -KILL -$server; } <&3 & guard=$!
exec 3<&-
wait $server; kill $guard
"#;

/// A server's process and its folder.
#[derive(Debug)]
pub struct Process {
    folder: TempDir,
    command: Command,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// Takes the names of signals; when it closes the server is killed.
    signals: ChildStdin,
}

impl Process {
    /// A process that runs this program in the background; not started yet.
    pub fn new(folder: TempDir, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).arg(program);
        Self { folder, command, running: None }
    }

    /// Where arguments, variables and the user of the program are told.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; with what it said.
    pub async fn start(&mut self, mut ready: impl AsyncFnMut() -> bool) {
        let log = fs::File::create(self.log()).expect("the log can be written");
        self.command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut shell = self.command.stdin(Stdio::piped()).spawn().expect("the shell runs");
        let signals = shell.stdin.take().expect("piped");
        self.running = Some(Running { shell, signals });
        let started = Instant::now();
        while !ready().await {
            assert!(!self.has_ended(), "server ended as it started: {}", self.said());
            assert!(started.elapsed() < PATIENCE, "server does not start: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn has_ended(&mut self) -> bool {
        let Some(running) = &mut self.running else { return true };
        running.shell.try_wait().expect("it is a child").is_some()
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(&mut self) {
        self.end("TERM").await;
    }

    /// Ends the process at once, as a power cut of it would.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn kill(&mut self) {
        self.end("KILL").await;
    }

    async fn end(&mut self, signal: &str) {
        let Some(running) = &mut self.running else { return };
        // An error says that it has ended already.
        let _ = writeln!(running.signals, "{signal}");
        let asked = Instant::now();
        while !self.has_ended() {
            assert!(asked.elapsed() < PATIENCE, "server does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.running = None;
    }

    /// Ends the process at once, for those who cannot wait as others do.
    pub fn end_now(&mut self) {
        if let Some(Running { mut shell, signals }) = self.running.take() {
            drop(signals);
            let _ = shell.wait();
        }
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
        self.end_now();
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

/// Whether this process runs as root, as which some servers refuse to run.
pub fn is_root() -> bool {
    own_user() == 0
}

/// The number of the user as whom this process runs.
pub(crate) fn own_user() -> u32 {
    fs::metadata("/proc/self").expect("a process has its folder").uid()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that says how it was ended, with a child.
    fn sleeper() -> Process {
        let mut process = Process::new(tempfile::tempdir().unwrap(), "sh");
        let file = process.folder().join("ids");
        let text = r#"trap 'echo asked; exit' TERM; sleep 1000 & echo $$ $! >"$0"; wait"#;
        process.command().args(["-c", text]).arg(file);
        process
    }

    async fn start(process: &mut Process) -> Vec<PathBuf> {
        let file = process.folder().join("ids");
        let _ = fs::remove_file(&file);
        let ids = || fs::read_to_string(&file).unwrap_or_default();
        process.start(async || ids().ends_with('\n')).await;
        ids().split_whitespace().map(|id| Path::new("/proc").join(id)).collect()
    }

    async fn until_gone(of: &[PathBuf]) {
        until(async || of.iter().all(|process| !process.exists())).await;
    }

    #[tokio::test]
    async fn a_process_is_stopped_killed_and_started_again_with_its_children() {
        let mut process = sleeper();
        let ids = start(&mut process).await;
        process.stop().await;
        assert!(!ids[0].exists(), "its end is waited for");
        until_gone(&ids).await;
        assert_eq!(process.said(), "asked\n");
        let ids = start(&mut process).await;
        process.kill().await;
        assert!(!ids[0].exists(), "its end is waited for");
        until_gone(&ids).await;
        assert!(!process.said().contains("asked"), "{}", process.said());
        let ids = start(&mut process).await;
        drop(process);
        until_gone(&ids).await;
    }

    #[tokio::test]
    #[should_panic(expected = "server ended as it started: no room")]
    async fn what_a_process_said_that_ended_is_told() {
        let mut process = Process::new(tempfile::tempdir().unwrap(), "sh");
        process.command().args(["-c", "echo no room; exit 1"]);
        process.start(async || false).await;
    }
}
