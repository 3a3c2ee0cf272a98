//! Connections: accepting them, their frames, their bounds.
//!
//! `listener` accepts and stops; `connection` moves one client's requests through
//! the handlers, in order; `frame` reads them off the wire; `guard` holds them up until
//! the client has said who it is and its quotas allow; `limits` holds what all
//! connections share. Nothing here knows what a request means, but for its API's key.

mod connection;
mod frame;
mod guard;
mod limits;
mod listener;

pub(crate) use limits::Bounds;
pub use listener::serve;
