//! The runtime at work on the embedded log, cache and history, in a temporary folder.
//!
//! Plans are built by hand. What must happen is waited for as a condition; nothing is
//! measured by the clock.

mod exactly_once;
mod failures;
mod faults;
mod flow;
mod groups;
mod lookups;
mod nest;
mod sources;
mod views;
mod world;
