//! Redis for a test: alone, as a cluster of three masters, or with a replica and a sentinel.

use std::process::Command;

use courant_testing::{Process, free_port, program, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PACKAGE: &str = "redis-server";

/// One Redis, which keeps every write it answered.
#[derive(Debug)]
pub struct RedisServer {
    pub port: u16,
    process: Process,
}

impl RedisServer {
    /// Starts a server with more options (`["--requirepass", "secret"]`); `None` where
    /// Redis is missing.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: &[&str]) -> Option<Self> {
        let program = program("redis-server", PACKAGE)?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let data = folder.path().to_owned();
        let mut process = Process::new(folder, program);
        let command = process.command();
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--dir").arg(data).args(options);
        let mut server = Self { port, process };
        server.start_again().await;
        Some(server)
    }

    /// The URL for a client without TLS and login.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        let port = self.port;
        self.process.start(async || is_ready(port).await).await;
    }
}

/// A cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts a cluster and waits until it serves all slots; `None` where Redis is missing.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        let cli = program("redis-cli", PACKAGE)?;
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            nodes.push(RedisServer::start(&options).await?);
        }
        let mut create = Command::new(cli);
        create.args(["--cluster", "create", "--cluster-yes"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let made = tokio::task::spawn_blocking(move || create.output()).await.expect("it is run");
        let made = made.expect("redis-cli runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for node in &nodes {
            let port = node.port;
            until(async || ask(port, "CLUSTER INFO").await.contains("cluster_state:ok")).await;
        }
        Some(Self { nodes })
    }

    /// The URL with one node's address; the others are to be found.
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.nodes[0].port)
    }
}

/// A master, its replica and a sentinel that promotes it within a second or two.
#[derive(Debug)]
pub struct RedisSentinel {
    pub master: RedisServer,
    pub replica: RedisServer,
    port: u16,
    _process: Process,
}

impl RedisSentinel {
    /// Starts all three and waits until the sentinel knows the replica; `None` where Redis
    /// is missing.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start() -> Option<Self> {
        let program = program("redis-sentinel", "redis-sentinel")?;
        let master = RedisServer::start(&[]).await?;
        let of = master.port.to_string();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &of]).await?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {of} 1\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 5000\n"
        );
        std::fs::write(&file, text).expect("the file can be written");
        let mut process = Process::new(folder, program);
        process.command().arg(file);
        let known = async || {
            ask(port, "SENTINEL MASTER mymaster").await.contains("num-slaves\r\n$1\r\n1")
                && ask(master.port, "INFO replication").await.contains("state=online")
        };
        process.start(known).await;
        Some(Self { master, replica, port, _process: process })
    }

    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/mymaster", self.port)
    }
}

async fn is_ready(port: u16) -> bool {
    let answer = ask(port, "PING").await;
    // A port for TLS answers nothing to this.
    answer.starts_with("+PONG") || answer.starts_with("-NOAUTH") || answer == CLOSED
}

/// What [`ask`] answers where the connection was closed without a word.
const CLOSED: &str = "closed";

/// Sends one command and reads what comes at once.
async fn ask(port: u16, command: &str) -> String {
    let answer = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut bytes = vec![0; 16 * 1024];
        let count = stream.read(&mut bytes).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes[..count]).into_owned())
    };
    match answer.await {
        Ok(answer) if answer.is_empty() => CLOSED.into(),
        Ok(answer) => answer,
        Err(_) => String::new(),
    }
}
