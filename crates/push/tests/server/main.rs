//! The push server as pages and servers see it: over real sockets, on free ports.
//!
//! One binary, one module for each subject; `libraries` runs other people's clients.

mod api;
mod channels;
mod connections;
mod hostile;
mod libraries;
mod outside;
mod presence;
mod resume;
mod support;
mod webhooks;
