//! Groups as a whole: members, offsets and time over a store and a log in memory,
//! and a few of the same stories over the real log ([`embedded`]).
//!
//! In memory, time is tokio's paused clock, which jumps to the next deadline when
//! nothing can happen before it; so sessions expire in no time, and nothing sleeps.

mod consumer;
mod doubles;
mod embedded;
mod members;
mod offsets;
