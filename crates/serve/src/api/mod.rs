//! `/api/v1`: everything that the console and the command line ask.
//!
//! One file for each thing that is asked about; each lists its routes, with what
//! people must know about them. Handlers translate: they read a request, ask one
//! role, and write the answer. They decide nothing about data.

use crate::table::Route;

mod cache;
mod dead_letters;
mod groups;
mod history;
mod info;
mod jolt;
mod pipelines;
pub(crate) mod records;
mod topics;
pub(crate) mod views;

/// Every route of the API.
pub(crate) fn routes() -> Vec<Route> {
    [
        info::routes(),
        topics::routes(),
        records::routes(),
        groups::routes(),
        pipelines::routes(),
        views::routes(),
        history::routes(),
        cache::routes(),
        dead_letters::routes(),
        jolt::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
