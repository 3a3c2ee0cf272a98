//! Capture from a real MariaDB server, compared with what SQL says of its tables.
//!
//! Each test has a server of its own. No test waits for time: it reads until the
//! source's position has the server's last transaction.

mod failures;
mod schema;
mod shop;
mod support;
mod types;
mod workload;
