//! Continuous queries, from text to results, on rows made by hand and by chance.

mod aggregates;
mod joins;
mod properties;
mod sessions;
mod support;
mod tables;
mod tops;
mod windows;
