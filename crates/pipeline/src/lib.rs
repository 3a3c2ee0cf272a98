//! The engine: from a file to running tasks.
//!
//! Three phases that never mix. [`config`] reads a file and finds everything wrong
//! with it; [`plan`] is the result, plain data that can be printed; [`runtime`] runs a plan on
//! the roles it is given. [`driver`] runs the same plan in a test, on virtual time.
//! Connectors implement the contracts of [`connector`]; this crate knows none.

pub mod config;
pub mod connector;
pub mod core;
pub mod driver;
pub mod event;
mod lookup;
pub mod options;
pub mod plan;
pub mod routes;
pub mod runtime;
pub mod sinks;
pub mod steps;
pub mod template;
mod view;

#[cfg(test)]
mod testing;
