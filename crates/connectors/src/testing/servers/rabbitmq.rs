//! RabbitMQ for a test: a node of its own name, with its own port mapper.

use std::{fs, path::Path, process::Command, time::Duration};

use courant_testing::{Process, free_port, is_listening, program};

use super::certificate;

/// How often a port mapper is asked to end; it knows a killed node for a moment.
const TRIES: usize = 200;

/// A node; its port mapper runs apart from it and is ended with it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) port: u16,
    /// The port that speaks TLS.
    pub(crate) tls_port: u16,
    mapper_port: u16,
    process: Process,
}

impl Node {
    /// Starts and waits until both ports take connections.
    pub(crate) async fn start(&mut self) {
        let ports = [self.port, self.tls_port];
        let ready = async || is_listening(ports[0]).await && is_listening(ports[1]).await;
        self.process.start(ready).await;
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

/// A started node; `None` where RabbitMQ is missing.
pub(crate) async fn start() -> Option<Node> {
    let program = program("rabbitmq-server", "rabbitmq-server")?;
    let mut process = Process::new(tempfile::tempdir().unwrap(), program);
    let at = process.folder().to_owned();
    let [port, tls_port, node_port, mapper_port] = std::array::from_fn(|_| free_port());
    certificate(&at);
    let shown = at.display();
    let text = format!(
        "listeners.tcp.default = 127.0.0.1:{port}\nlisteners.ssl.default = 127.0.0.1:{tls_port}\n\
         ssl_options.certfile = {shown}/cert.pem\nssl_options.keyfile = {shown}/key.pem\n\
         ssl_options.verify = verify_none\ndisk_free_limit.absolute = 10MB\n\
         vm_memory_high_watermark.absolute = 1GB\n"
    );
    fs::write(at.join("rabbitmq.conf"), text).unwrap();
    fs::write(at.join("plugins"), "[].").unwrap();
    process
        .command()
        .env("HOME", &at)
        .env("ERL_EPMD_PORT", mapper_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("courant-{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", node_port.to_string())
        .env("RABBITMQ_MNESIA_BASE", at.join("data"))
        .env("RABBITMQ_LOG_BASE", at.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", at.join("pid"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at.join("plugins"))
        .env("RABBITMQ_CONFIG_FILE", at.join("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none");
    let mut node = Node { port, tls_port, mapper_port, process };
    node.start().await;
    Some(node)
}

impl Drop for Node {
    fn drop(&mut self) {
        // The node goes before its mapper, which does not end while it knows one.
        self.process.end_now();
        let port = self.mapper_port.to_string();
        for _ in 0..TRIES {
            let asked = Command::new("epmd").args(["-port", &port, "-kill"]).output();
            let refused = |said: &[u8]| String::from_utf8_lossy(said).contains("not allowed");
            if !asked.is_ok_and(|asked| refused(&asked.stdout) || refused(&asked.stderr)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
