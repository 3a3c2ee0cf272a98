//! Bounds of what a specification and a document may ask for, each with its reason.

/// Levels of a document, and steps of a path. Documents are walked by
/// recursion; this many levels fit a thread's stack ten times over.
pub const DEPTH_MAX: usize = 512;

/// The largest index that a specification or a document may make an array grow to by
/// naming it: `a[2000000000]` must not take the memory.
pub const INDEX_MAX: usize = 1_000_000;

/// Values that one transform may make or copy, over all its operations. A specification
/// can multiply a document at each operation; this is where it ends.
pub const NODES_MAX: usize = 10_000_000;

/// Matches that one transform may try.
pub const STEPS_MAX: usize = 100_000_000;

/// Bytes of memory that one transform may take from the system beside its document, give
/// or take a piece: an arena doubles its pieces, so the bound for all is
/// twice this and what the document took. It is what ten million plain values need.
pub const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Steps that compiling a regular expression is charged as when a document brings it.
pub const REGEX_STEPS: usize = 10_000;

/// Bytes of text that one transform may make or give a place. Text is borrowed where it can
/// be, but written out in each of its places.
pub const TEXT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Matches that an explanation keeps: more than a person reads, few enough for a page.
pub const MATCHES_MAX: usize = 10_000;

/// Bytes of text that an explanation keeps, give or take a match: keys can be long.
pub const EXPLAINED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a value that an explanation shows: a line.
pub const SHORT_BYTES_MAX: usize = 80;

/// Operations in a chain.
pub const OPERATIONS_MAX: usize = 1_000;

/// Bytes of memory that a compiled regular expression may take.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of memory that an arena keeps for its next document: enough for documents of a
/// few hundred kilobytes, little enough for each thread to have it.
pub const ARENA_KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
