//! Ports for servers that tests start.
//!
//! A port that the system gives out (`bind` to port 0) may become the local end of any
//! connection before its server binds it, or while the server is down. These are below
//! that range, and each is held by a lock file until this process ends, so that no two
//! tests of one machine take the same.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File, OpenOptions},
    hash::BuildHasher,
    net::TcpListener,
    path::PathBuf,
    sync::Mutex,
};

use tokio::net::TcpStream;

use crate::process::own_user;

/// Below what Linux gives to connections (32768 on), above those of `scripts/kafka`.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// The locks of the ports that this process took.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 at which nothing listens, and which is this process's own.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    // From a random place on, so that tests that begin together do not meet at each port.
    let skipped = RandomState::new().hash_one(0) % RANGE.len() as u64;
    let mut ports = RANGE.cycle().skip(skipped as usize).take(RANGE.len());
    let port = ports.find(|port| take(*port));
    port.expect("a port below 32000 is free")
}

/// Whether a server takes connections at this port of 127.0.0.1.
pub async fn is_listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// Takes a port, unless another process holds it or something listens there.
fn take(port: u16) -> bool {
    let folder = locks();
    fs::create_dir_all(&folder).expect("the folder of the locks can be made");
    let file = OpenOptions::new().create(true).append(true).open(folder.join(port.to_string()));
    let file = file.expect("a lock file can be made");
    let free = file.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
    if free {
        HELD.lock().expect("nobody panics with the locks").push(file);
    }
    free
}

/// A folder for each user, who may not write in that of another.
fn locks() -> PathBuf {
    std::env::temp_dir().join(format!("courant-test-ports-{}", own_user()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn no_port_is_given_out_twice_and_none_that_connections_use() {
        let ports: Vec<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(ports.iter().all(|port| *port < first), "{range} {ports:?}");
        assert!(!is_listening(ports[0]).await);
        assert!(!take(ports[0]), "it is held");
    }

    #[test]
    fn a_port_at_which_something_listens_is_not_taken() {
        let mut listening = None;
        for port in RANGE {
            listening = TcpListener::bind(("127.0.0.1", port)).ok();
            if listening.is_some() {
                break;
            }
        }
        let port = listening.as_ref().unwrap().local_addr().unwrap().port();
        assert!(!take(port));
    }
}
