//! PostgreSQL for a test.
//!
//! The server refuses to run as root, so there it runs as one of this system's users who
//! own nothing else.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

use courant_testing::{Process, free_port, is_root, program};
use tokio_postgres::{Client, NoTls};

use super::certificate;

/// A server with one database and an account that needs no password.
#[derive(Debug)]
pub(crate) struct Postgres {
    port: u16,
    process: Process,
}

impl Postgres {
    /// Starts a server that also speaks TLS, with the certificate `cert.pem` of
    /// [`Postgres::folder`]; `None` where PostgreSQL is missing.
    pub(crate) async fn start() -> Option<Self> {
        let (server, install) =
            (program("postgres", "postgresql")?, program("initdb", "postgresql")?);
        let (port, mut process) = (free_port(), Process::new(tempfile::tempdir().unwrap(), server));
        let (at, owner) = (process.folder().to_owned(), owner());
        certificate(&at);
        if let Some((user, group)) = owner {
            for path in [at.clone(), at.join("cert.pem"), at.join("key.pem")] {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(at.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        let prepare = |command: &mut Command| {
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.current_dir(&at).arg("-D").arg(at.join("data"));
        };
        let mut made = Command::new(install);
        prepare(&mut made);
        made.args(["-U", "courant", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let run = process.command();
        prepare(run);
        run.arg("-p").arg(port.to_string()).arg("-k").arg(&at);
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", at.join("cert.pem").display()),
            format!("ssl_key_file={}", at.join("key.pem").display()),
        ];
        settings.iter().for_each(|setting| {
            run.args(["-c", setting]);
        });
        let mut server = Self { port, process };
        server.run().await;
        Some(server)
    }

    /// Runs a server that was killed, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let url = self.url();
        // It takes connections before its recovery is through.
        let answers = async || tokio_postgres::connect(&url, NoTls).await.is_ok();
        self.process.start(answers).await;
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
        // What it left behind would keep another one from this folder.
        let _ = fs::remove_file(self.folder().join("data/postmaster.pid"));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.process.folder()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://courant@localhost:{}/postgres?hostaddr=127.0.0.1", self.port)
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// User and group to run as, where this process is root.
fn owner() -> Option<(u32, u32)> {
    is_root().then_some(())?;
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let user = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = user.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap())
}
