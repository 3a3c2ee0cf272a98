//! A real Courant process for the end-to-end tests: started, asked, killed.
//!
//! The binary is `COURANT_BIN` (the optimised one, set by `make test`) or the one that
//! cargo built with the tests. Every process gets its own data folder and a free port.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stdout, reason = "tests say what they count and why they are skipped")]

pub(crate) mod crash;
pub(crate) mod kafka;
pub(crate) mod page;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use serde_json::Value;

/// Longest wait for anything that must come; generous, machines differ.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("COURANT_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_courant")), PathBuf::from)
}

/// A number from the environment that makes a test longer, or the default.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a command to its end.
pub(crate) fn courant(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary runs")
}

/// Runs a command that must succeed; answers what it printed.
pub(crate) fn courant_ok(arguments: &[&str]) -> String {
    let output = courant(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "courant {arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The records of a topic as JSON, up to its present end, partition by partition.
pub(crate) fn read_topic(topic: &str, place: &[&str]) -> Vec<Value> {
    let consume = ["topic", "consume", topic, "--from-beginning", "--until-end", "--json"];
    let said = courant_ok(&[&consume, place, &["--log-level", "warn"]].concat());
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A running `courant run`.
#[derive(Debug)]
pub(crate) struct Courant {
    child: Child,
    pub(crate) url: String,
    /// Address of the Kafka port; empty where there is none.
    pub(crate) kafka: String,
    pub(crate) client: Client,
    log: PathBuf,
}

impl Courant {
    /// Starts a file and waits until it listens.
    pub(crate) fn start(file: &Path, data: &Path) -> Self {
        Self::try_start(file, data).unwrap_or_else(|said| panic!("courant did not start: {said}"))
    }

    /// As [`Courant::start`]; the error is what the process said.
    pub(crate) fn try_start(file: &Path, data: &Path) -> Result<Self, String> {
        Self::try_start_with(file, data, &["--kafka-port", "0"], &[])
    }

    /// As [`Courant::try_start`], with these flags and variables instead.
    pub(crate) fn try_start_with(
        file: &Path,
        data: &Path,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        fs::create_dir_all(data).unwrap();
        let log = data.with_extension("log");
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let port = if flags.contains(&"--http-port") { &[][..] } else { &["--http-port", "0"] };
        let mut child = Command::new(binary())
            .arg("run")
            .args(port)
            .args(["--log-level", "info", "--data"])
            .arg(data)
            .args(flags)
            .arg(file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the binary runs");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let (mut line, mut kafka) = (String::new(), String::new());
        while said.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Some(address) = line.trim().strip_prefix("Kafka clients connect to ") {
                address.clone_into(&mut kafka);
            }
            if let Some(url) = line.trim().strip_prefix("listening on ") {
                let url = url.to_owned();
                // Whatever is printed later must not fill the pipe.
                std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
                // An error only says that another test was first.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let client = Client::builder().timeout(PATIENCE).build().unwrap();
                return Ok(Self { child, url, kafka, client, log });
            }
            line.clear();
        }
        let _ = child.wait();
        Err(fs::read_to_string(&log).unwrap_or_default())
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(self.at(path)).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (StatusCode, Value) {
        let answer = self
            .client
            .post(self.at(path))
            .header("content-type", "application/json")
            .body(body.into())
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Asks again until the answer pleases.
    pub(crate) async fn get_until(&self, path: &str, pleases: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (status, body) = self.get(path).await;
            if status.is_success() && pleases(&body) {
                return body;
            }
            assert!(start.elapsed() < PATIENCE, "GET {path} still answers {status} {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the process has logged so far, also in earlier lives on the same folder.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Courant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            let from = said.lines().count().saturating_sub(40);
            let end: Vec<_> = said.lines().skip(from).collect();
            println!("{} said:\n{}", self.log.display(), end.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
