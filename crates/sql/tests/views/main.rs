//! Continuous queries, from text to results, on rows made by hand and by chance.

mod support;
mod windows;
