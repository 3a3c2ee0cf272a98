//! The HTTP side as its clients see it, on the embedded log, history and cache.
//!
//! Requests go to the router without a network, except where the network is what is
//! tested. One binary, one module for each subject.

mod dead_letters;
mod endpoints;
mod groups;
mod guard;
mod hostile;
mod jolt;
mod pages;
mod records;
mod stores;
mod streams;
mod support;
mod topics;
mod views;
