//! Mosquitto for a test.

use std::{fmt::Write, fs, process::Command};

use courant_testing::program;

use super::{Server, certificate};

/// A user that may do all below `allowed/`, where a server has users.
pub(crate) const USER: (&str, &str) = ("someone", "pass word");

/// What a server asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    /// User and password, and an access list.
    Users,
    Tls,
}

/// A started server; `None` where Mosquitto is missing.
pub(crate) async fn start(kind: Kind) -> Option<Server> {
    let program = program("mosquitto", "mosquitto")?;
    let mut server = Server::new(tempfile::tempdir().unwrap(), program);
    let (at, port) = (server.folder().to_owned(), server.port);
    // Mosquitto 2.0 takes no bound at all for no room at all, so it is a large one.
    let mut text = format!(
        "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {}/\n\
         max_queued_messages 60000\n",
        at.display()
    );
    match kind {
        Kind::Open => text.push_str("allow_anonymous true\n"),
        Kind::Users => {
            let file = at.join("users");
            let mut make = Command::new("mosquitto_passwd");
            make.arg("-b").arg("-c").arg(&file).args([USER.0, USER.1]);
            assert!(make.status().unwrap().success());
            let list = at.join("list");
            fs::write(&list, format!("user {}\ntopic readwrite allowed/#\n", USER.0)).unwrap();
            let (file, list) = (file.display(), list.display());
            write!(text, "allow_anonymous false\npassword_file {file}\nacl_file {list}\n").unwrap();
        }
        Kind::Tls => {
            certificate(&at);
            let at = at.display();
            write!(text, "allow_anonymous true\ncertfile {at}/cert.pem\nkeyfile {at}/key.pem\n")
                .unwrap();
        }
    }
    fs::write(at.join("mosquitto.conf"), text).unwrap();
    server.command().arg("-c").arg(at.join("mosquitto.conf"));
    server.start().await;
    Some(server)
}
