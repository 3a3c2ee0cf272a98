//! Mosquitto for a test.

use std::{fmt::Write, fs, process::Command};

use super::{Process, certificate, free_port, program};

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
pub(crate) async fn start(kind: Kind) -> Option<Process> {
    let program = program("mosquitto", "mosquitto")?;
    let folder = tempfile::tempdir().unwrap();
    let (at, port) = (folder.path(), free_port());
    // Mosquitto 2.0 takes no bound at all for no room at all, so it is a large one.
    let mut text = format!(
        "listener {port} 127.0.0.1
user root
persistence true
persistence_location {}/
\
         max_queued_messages 60000
",
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
            certificate(at);
            let at = at.display();
            write!(text, "allow_anonymous true\ncertfile {at}/cert.pem\nkeyfile {at}/key.pem\n")
                .unwrap();
        }
    }
    fs::write(at.join("mosquitto.conf"), text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(at.join("mosquitto.conf"));
    let mut process = Process::new(folder, port, command);
    process.start().await;
    Some(process)
}
