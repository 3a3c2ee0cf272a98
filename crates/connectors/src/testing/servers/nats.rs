//! A NATS server with JetStream for a test.

use std::{fmt::Write, fs};

use courant_testing::program;

use super::{Server, certificate};

/// What a server asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    /// User `someone` with the password `pass word`.
    Users,
    Tls,
}

/// A started server; `None` where NATS is missing.
pub(crate) async fn start(kind: Kind) -> Option<Server> {
    let program = program("nats-server", "nats-server")?;
    let mut server = Server::new(tempfile::tempdir().unwrap(), program);
    let (at, port) = (server.folder().to_owned(), server.port);
    let mut text = format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: 100000\njetstream {{ store_dir: \"{}\" }}\n",
        at.display()
    );
    match kind {
        Kind::Open => {}
        Kind::Users => {
            text.push_str("authorization { user: someone, password: \"pass word\" }\n");
        }
        Kind::Tls => {
            certificate(&at);
            let at = at.display();
            writeln!(text, "tls {{ cert_file: \"{at}/cert.pem\", key_file: \"{at}/key.pem\" }}")
                .unwrap();
        }
    }
    fs::write(at.join("nats.conf"), text).unwrap();
    server.command().arg("-c").arg(at.join("nats.conf"));
    server.start().await;
    Some(server)
}
