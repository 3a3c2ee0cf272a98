//! A MariaDB server of one test's own, from this system's packages.
//!
//! It has a free port and a folder of its own, can be stopped, killed and started again
//! with the same data, and is gone when the test is. Where MariaDB is missing the test is
//! skipped with the reason; with `CI=true` it fails. For tests only: it panics. [`Shop`]
//! fills it and keeps it busy.

mod shop;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use courant_testing::{Process, free_port, is_root, program};
use mysql_async::{Conn, Opts, prelude::Queryable};

pub use shop::{Shop, TABLES as SHOP_TABLES, nest_orders};

const PACKAGE: &str = "mariadb-server";

/// A server, running or not.
#[derive(Debug)]
pub struct MariaDb {
    port: u16,
    process: Process,
}

impl MariaDb {
    /// Starts a server whose log is fit for capture; `None` where MariaDB is missing.
    /// Later arguments win: `--binlog-row-metadata=NO_LOG`.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let (server, install) =
            (program("mariadbd", PACKAGE)?, program("mariadb-install-db", PACKAGE)?);
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
        let mut process = Process::new(folder, server);
        let at = process.folder().to_owned();
        process.command().args([
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            format!("--tmpdir={}", at.display()),
            format!("--socket={}", at.join("socket").display()),
            format!("--pid-file={}", at.join("pid").display()),
            format!("--port={port}"),
            format!("--server-id={port}"),
        ]);
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
        process.command().args(fixed).args(user()).args(arguments);
        let mut server = Self { port, process };
        server.run().await;
        server.execute("CREATE DATABASE shop").await;
        Some(server)
    }

    /// Runs a server that was stopped or killed, and waits until it answers.
    pub async fn run(&mut self) {
        let opts = self.opts();
        self.process.start(async || Conn::new(opts.clone()).await.is_ok()).await;
    }

    /// Asks the server to end, and waits for it.
    pub async fn stop(&mut self) {
        self.process.stop().await;
    }

    /// Ends the server at once, as a power cut of its process would.
    pub async fn kill(&mut self) {
        self.process.kill().await;
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
        self.process.folder().join("data")
    }

    fn opts(&self) -> Opts {
        let url = format!("mysql://root@127.0.0.1:{}?prefer_socket=false", self.port);
        Opts::from_url(&url).expect("a url")
    }
}

/// The server refuses to run as root unless it is told to.
fn user() -> Option<&'static str> {
    is_root().then_some("--user=root")
}
