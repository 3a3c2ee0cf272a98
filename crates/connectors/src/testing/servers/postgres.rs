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

use tokio_postgres::{Client, NoTls};

use super::{Process, certificate, free_port, program};

/// A server with one database and an account that needs no password.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: Process,
}

impl Postgres {
    /// Starts a server that also speaks TLS, with the certificate `cert.pem` of
    /// [`Postgres::folder`]; `None` where PostgreSQL is missing.
    pub(crate) async fn start() -> Option<Self> {
        let (server, install) =
            (program("postgres", "postgresql")?, program("initdb", "postgresql")?);
        let folder = tempfile::tempdir().unwrap();
        let (at, port, owner) = (folder.path(), free_port(), owner());
        certificate(at);
        if let Some((user, group)) = owner {
            for path in [at.to_owned(), at.join("cert.pem"), at.join("key.pem")] {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(at.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        let command = |program: &Path| {
            let mut command = Command::new(program);
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command.current_dir(at).arg("-D").arg(at.join("data"));
            command
        };
        let mut made = command(&install);
        made.args(["-U", "courant", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut run = command(&server);
        run.arg("-p").arg(port.to_string()).arg("-k").arg(at);
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
        let mut server = Self { process: Process::new(folder, port, run) };
        server.run().await;
        Some(server)
    }

    /// Runs a server that was killed, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        self.process.start().await;
        let answers = async {
            // It takes connections before its recovery is through.
            while tokio_postgres::connect(&self.url(), NoTls).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let answered = tokio::time::timeout(super::START, answers).await;
        assert!(answered.is_ok(), "postgres does not answer: {}", self.process.said());
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
        // What it left behind would keep another one from this folder.
        let _ = fs::remove_file(self.folder().join("data/postmaster.pid"));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.process.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://courant@localhost:{}/postgres?hostaddr=127.0.0.1", self.process.port)
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// User and group to run as, where this process is root.
fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0).then_some(())?;
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let user = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = user.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap())
}
