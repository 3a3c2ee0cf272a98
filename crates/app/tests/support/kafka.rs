//! Outside programs of the Kafka world: kcat, and real Apache Kafka by `scripts/kafka`.
//!
//! Where one is missing its tests are skipped with the reason, unless `CI=true` says that
//! nothing may be missing.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use courant_testing::skip;

use super::root;

/// Whether kcat is there; `false`: the test is skipped, and the reason was printed.
pub(crate) fn has_kcat() -> bool {
    let found = Command::new("kcat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        skip("kcat is missing; install Debian's package kcat");
    }
    found.is_ok()
}

/// Runs kcat, which must succeed, with an input; answers what it printed.
pub(crate) fn kcat(arguments: &[&str], input: &str) -> String {
    try_kcat(arguments, input)
        .unwrap_or_else(|errors| panic!("kcat {arguments:?} failed: {errors}"))
}

/// Runs kcat with an input; answers what it printed, or its errors.
pub(crate) fn try_kcat(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kcat")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kcat runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // From a thread of its own, so that neither side waits for the other.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("kcat ends");
    // A kcat that gives up closes its input early.
    let _ = writer.join().expect("the writer ends");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// Whether the tools of Apache Kafka are there; `false`: the test is skipped, and the reason
/// was printed.
pub(crate) fn has_tools() -> bool {
    match script(&["jars"], "") {
        Ok(_) => true,
        Err(why) => {
            skip(&format!("Apache Kafka is not to be had: {why}"));
            false
        }
    }
}

/// Runs a tool of Apache Kafka, which must succeed, with an input; answers what it printed.
pub(crate) fn tool(name: &str, arguments: &[&str], input: &str) -> String {
    script(&[&["run", name], arguments].concat(), input)
        .unwrap_or_else(|errors| panic!("{name} {arguments:?} failed: {errors}"))
}

/// A real Kafka cluster in a folder; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    pub(crate) servers: String,
}

impl Cluster {
    /// Starts a cluster; `None`: the test is skipped, and the reason was printed.
    pub(crate) fn start(folder: &Path, nodes: u32) -> Option<Self> {
        Self::start_with(folder, nodes, &[])
    }

    /// As [`Cluster::start`], with lines for its `server.properties`.
    pub(crate) fn start_with(folder: &Path, nodes: u32, settings: &[&str]) -> Option<Self> {
        if !has_tools() {
            return None;
        }
        let text = folder.to_str().expect("UTF-8");
        let nodes = nodes.to_string();
        let start = [&["start", text, "0", &nodes], settings].concat();
        let servers = script(&start, "").expect("Kafka starts");
        Some(Self { folder: folder.to_owned(), servers: servers.trim().to_owned() })
    }

    /// `kill -9` of a node.
    pub(crate) fn kill(&self, node: u32) {
        self.script(&["kill"], node);
    }

    /// Starts a node again; it serves when this returns.
    pub(crate) fn start_node(&self, node: u32) {
        self.script(&["start-node"], node);
    }

    /// Runs one of Kafka's own tools at the cluster; what it says is in the error.
    pub(crate) fn tool(&self, tool: &str, arguments: &[&str]) -> Result<String, String> {
        script(&[&["run", tool, "--bootstrap-server", &self.servers], arguments].concat(), "")
    }

    fn script(&self, command: &[&str], node: u32) {
        let (folder, node) = (self.folder.to_str().expect("UTF-8"), node.to_string());
        script(&[command, &[folder, &node]].concat(), "").expect("the script succeeds");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = script(&["stop", self.folder.to_str().unwrap_or_default()], "");
    }
}

/// Runs `scripts/kafka` with an input; answers what it printed, or its errors.
fn script(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(root().join("scripts/kafka"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
