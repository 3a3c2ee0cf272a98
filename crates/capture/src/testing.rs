//! A MariaDB server of one test's own, from this system's packages.
//!
//! It has a free port and a folder of its own, can be stopped, killed and started again
//! with the same data, and is gone when the test is. Where MariaDB is missing the test is
//! skipped with the reason; with `CI=true` it fails. For tests only: it panics. [`Shop`]
//! fills it and keeps it busy.

mod shop;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mysql_async::{Conn, Opts, prelude::Queryable};
use tempfile::TempDir;
use tokio::time::Instant;

pub use shop::{Shop, TABLES as SHOP_TABLES, nest_orders};

/// How long a server may take to start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server, running or not.
#[derive(Debug)]
pub struct MariaDb {
    folder: TempDir,
    port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl MariaDb {
    /// Starts a server whose log is fit for capture; `None` where MariaDB is missing.
    /// Later arguments win: `--binlog-row-metadata=NO_LOG`.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let program = program("mariadbd")?;
        let install = self::program("mariadb-install-db")?;
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let made = Command::new(install)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(user())
            .stdin(Stdio::null())
            .output()
            .expect("mariadb-install-db runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut all = vec![
            "--no-defaults".into(),
            format!("--datadir={}", data.display()),
            format!("--tmpdir={}", folder.path().display()),
            format!("--socket={}", folder.path().join("socket").display()),
            format!("--pid-file={}", folder.path().join("pid").display()),
            format!("--port={port}"),
            format!("--server-id={}", u32::from(port)),
        ];
        let fixed = [
            "--bind-address=127.0.0.1",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--binlog-row-metadata=FULL",
            "--gtid-strict-mode=ON",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--performance-schema=OFF",
            "--skip-name-resolve",
        ];
        let user = user();
        all.extend(fixed.iter().chain(&user).chain(arguments).map(|a| (*a).to_owned()));
        let mut server = Self { folder, port, program, arguments: all, child: None };
        server.run().await;
        server.execute("CREATE DATABASE shop").await;
        Some(server)
    }

    /// Runs a server that was stopped or killed, and waits until it answers.
    pub async fn run(&mut self) {
        let log = fs::File::create(self.log()).expect("a log");
        // The shell ends the server when the test's process is gone, however it went.
        const GUARD: &str =
            r#""$0" "$@" </dev/null & server=$!; (cat; kill -9 $server) <&3 & wait $server"#;
        let child = Command::new("sh")
            .args(["-c", &format!("exec 3<&0; {GUARD}")])
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("mariadbd starts"));
        let started = Instant::now();
        while Conn::new(self.opts()).await.is_err() {
            let ended = self.child.as_mut().expect("runs").try_wait().expect("its state");
            let late = started.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "mariadbd does not start: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the server to end, and waits for it.
    pub async fn stop(&mut self) {
        let id = fs::read_to_string(self.folder.path().join("pid")).expect("the server's id");
        let sent = Command::new("kill").args(["-TERM", id.trim()]).status();
        assert!(sent.is_ok(), "{sent:?}");
        self.ended().await;
    }

    /// Ends the server at once, as a power cut of its process would.
    pub async fn kill(&mut self) {
        drop(self.child.as_mut().and_then(|child| child.stdin.take()));
        self.ended().await;
    }

    /// The server's address for the root account and the database `shop`.
    pub fn url(&self) -> String {
        self.url_of("root", "")
    }

    /// The server's address for an account and the database `shop`.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/shop", self.port)
    }

    /// A connection to the database `shop`.
    pub async fn conn(&self) -> Conn {
        let mut conn = Conn::new(self.opts()).await.expect("a connection");
        conn.query_drop("USE shop").await.expect("the database");
        conn
    }

    /// Runs statements, each on the database `shop` where it exists.
    pub async fn execute(&self, statements: &str) {
        let mut conn = Conn::new(self.opts()).await.expect("a connection");
        let _ = conn.query_drop("USE shop").await;
        for statement in statements.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
            conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        conn.disconnect().await.expect("a connection's end");
    }

    /// The folder of its tables and logs.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn opts(&self) -> Opts {
        let url = format!("mysql://root@127.0.0.1:{}?prefer_socket=false", self.port);
        Opts::from_url(&url).expect("a url")
    }

    async fn ended(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Waiting closes the guard's input, so it must not begin before the end.
        let started = Instant::now();
        while child.try_wait().expect("its state").is_none() {
            assert!(started.elapsed() < PATIENCE, "mariadbd does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("said.log")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// The server refuses to run as root unless it is told to.
fn user() -> Vec<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if root { vec!["--user=root"] } else { Vec::new() }
}

/// A program, or `None` with the reason on standard error.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let why = format!("skipped: {name} is missing; install Debian's package mariadb-server");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    found
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}
