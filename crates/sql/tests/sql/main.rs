//! The crate from outside: SQL texts and JSON documents in, JSON documents and
//! reasons out. One binary, because linking the engine takes longer than the tests.
//! Decoding has its own tests beside it.

mod errors;
mod functions;
mod statements;
mod support;
