//! Real Kafka clusters for tests, started by `scripts/kafka`.
//!
//! Where Java or the jars are missing, a test that asks for a cluster is skipped with
//! the reason on standard error; with `CI=true` it fails. A watcher outside of the
//! test's process ends the cluster and removes its folder however the process ends.
//! Compiled with the feature `testing` only.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use courant_testing::skip;

use crate::ClusterOptions;

/// A cluster of one node or three on this machine.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    bootstrap: String,
    /// Ends the cluster when its standard input closes: with this, or with the process.
    watcher: Child,
}

impl Cluster {
    /// The cluster of one node that all tests of this process share; `None` where the
    /// test is to be skipped.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1, &[])).as_ref()
    }

    /// A cluster of its own; `None` where the test is to be skipped.
    ///
    /// # Panics
    /// With `CI=true`, when there is no Java or no Kafka; when the cluster does not start.
    pub fn start(nodes: usize, settings: &[&str]) -> Option<Self> {
        if let Err(why) = run(&["jars"]) {
            skip(&format!("Apache Kafka is missing: {why}"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let watcher = watch(&folder);
        let (place, nodes) = (folder.to_string_lossy().into_owned(), nodes.to_string());
        let mut arguments = vec!["start", &place, "0", &nodes];
        arguments.extend(settings);
        let started = run(&arguments).unwrap_or_else(|why| panic!("Kafka did not start: {why}"));
        let bootstrap = started.trim().to_owned();
        Some(Self { folder, bootstrap, watcher })
    }

    /// `host:port` of each node.
    pub fn brokers(&self) -> Vec<String> {
        self.bootstrap.split(',').map(str::to_owned).collect()
    }

    /// The port at which a node, counted from 1, takes clients; what it tells them to
    /// use may be another, where the settings say so.
    ///
    /// # Panics
    /// When the node has no such configuration.
    pub fn listener(&self, node: usize) -> u16 {
        let file = self.folder.join(format!("node-{node}/server.properties"));
        let text = std::fs::read_to_string(file).expect("the node's configuration");
        let listeners = text.lines().find_map(|line| line.strip_prefix("listeners="));
        let port =
            listeners.and_then(|all| all.split(',').next()?.rsplit(':').next()?.parse().ok());
        port.expect("a listener with a port")
    }

    /// Options that reach the cluster.
    pub fn options(&self) -> ClusterOptions {
        ClusterOptions::new(self.brokers())
    }

    /// Kills a node, counted from 1, as a power cut would.
    pub fn kill(&self, node: usize) {
        self.do_with("kill", node);
    }

    /// Starts a node again and waits until it serves.
    pub fn start_node(&self, node: usize) {
        self.do_with("start-node", node);
    }

    fn do_with(&self, what: &str, node: usize) {
        let folder = self.folder.to_string_lossy();
        let done = run(&[what, &folder, &node.to_string()]);
        done.unwrap_or_else(|why| panic!("{what} of Kafka's node {node} failed: {why}"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}

fn run(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(script());
    command.args(arguments).stdin(Stdio::null());
    let done = command.output().map_err(|error| error.to_string())?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }
}

/// Starts what ends the cluster, in a session of its own so that a signal to the tests
/// does not end it before.
fn watch(folder: &Path) -> Child {
    let end = r#"cat >/dev/null
        for node in "$1"/node-*; do "$0" kill "$1" "${node##*node-}"; done
        rm -rf "$1""#;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", end]).arg(script()).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("setsid and sh")
}
