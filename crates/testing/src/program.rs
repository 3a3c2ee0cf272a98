//! The programs of real servers, from this system's packages.

use std::{fs, io::Write, path::PathBuf};

/// Where Debian keeps servers that are in nobody's path.
const FOLDERS: [&str; 2] = ["/usr/lib/rabbitmq/bin", "/usr/sbin"];

/// A folder for each version of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A program, or `None` with the reason on standard error.
///
/// # Panics
/// With `CI=true`, when it is missing.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    // These first: RabbitMQ's script in the path insists on a user of its own.
    let folders = versions.chain(FOLDERS.map(PathBuf::from)).chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is missing; install Debian's package {package}"));
    }
    found
}

/// Says why a test is skipped.
///
/// # Panics
/// With `CI=true`, where nothing may be skipped.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    // Not by the macro, whose output the tests keep to themselves.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
