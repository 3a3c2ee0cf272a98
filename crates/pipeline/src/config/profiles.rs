//! Profiles: which one is in force, and what stands behind each role in it.
//!
//! `embedded` always exists. A role with a URL is another implementation; where a
//! chosen profile asks for one that this build has not, it says so. URLs may hold
//! secrets, so messages show their scheme only.

use std::{fmt::Display, str::FromStr};

use courant_model::{Place, problem::nearest};
use courant_stores::{
    MongoOptions, RedisOptions, cache::redis::REDIS_SCHEMES, history::mongo::MONGO_SCHEMES,
};

use super::{
    document::Document,
    format::ProfileYaml,
    report::{At, Report},
};
use crate::{
    connector::Connectors,
    options::suggest,
    plan::{RoleChoice, Roles},
};

/// Reads a URL; the error is `what; remedy`.
type UrlCheck = fn(&str) -> Result<(), String>;

/// Name of the profile that needs no declaration.
const EMBEDDED: &str = "embedded";

/// Decides on the profile and checks every mention of one.
pub(super) fn choose(document: &Document, wanted: Option<&str>, report: &mut Report) -> String {
    let profile = wanted.unwrap_or(EMBEDDED);
    let mut known: Vec<&str> = document.section("profiles").map(|(name, _)| name).collect();
    if !known.contains(&EMBEDDED) {
        known.insert(0, EMBEDDED);
    }
    if !known.contains(&profile) {
        let what = format!("unknown profile {profile:?}");
        let place = Place { line: 0, column: 0, ..document.root.spot.place() };
        report.elsewhere(place, what, suggest(profile, "the file's profiles are", &known));
    }
    for section in ["sources", "pipelines", "endpoints", "channels"] {
        for (_, at) in document.section(section) {
            let Some(only) = at.get("profile") else { continue };
            let Some(name) = only.node.text() else { continue };
            if !known.contains(&name) {
                let remedy = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => {
                        format!(
                            "declare it under \"profiles\"; the profiles are {}",
                            known.join(", ")
                        )
                    }
                };
                report.at(&only, format!("unknown profile {name:?}"), &remedy);
            }
        }
    }
    profile.to_owned()
}

/// Reads the profiles; what the chosen one asks for must be in this build.
pub(super) fn roles(
    document: &Document,
    chosen: &str,
    connectors: &Connectors,
    report: &mut Report,
) -> Roles {
    let mut choices = Roles::default();
    for (name, at) in document.section("profiles") {
        let Some(profile) = report.read::<ProfileYaml>(&at) else { continue };
        let roles = [
            ("log", &profile.log),
            ("cache", &profile.cache),
            ("history", &profile.history),
            ("analytics", &profile.analytics),
            ("registry", &profile.registry),
            ("push", &profile.push),
        ];
        for (role, url) in roles {
            let (Some(url), Some(at)) = (url, at.get(role)) else { continue };
            let is_chosen = name == chosen;
            // Variables of other profiles were not put in: what begins with one has no scheme yet.
            if url == EMBEDDED || !is_chosen && url.starts_with("${") {
                continue;
            }
            let Some((scheme, _)) = url.split_once("://").filter(|(scheme, _)| !scheme.is_empty())
            else {
                let what = format!("role {role:?} of profile {name:?} has no URL");
                let remedy = "write one such as kafka://host:9092, or leave the role out";
                report.at(&at, what, remedy);
                continue;
            };
            let check: Option<UrlCheck> = match role {
                "cache" if REDIS_SCHEMES.contains(&scheme) => Some(check_store::<RedisOptions>),
                "history" if MONGO_SCHEMES.contains(&scheme) => Some(check_store::<MongoOptions>),
                "log" => connectors
                    .logs
                    .iter()
                    .find(|kind| kind.schemes.contains(&scheme))
                    .map(|kind| kind.check),
                "push" => connectors
                    .pushes
                    .iter()
                    .find(|kind| kind.schemes.contains(&scheme))
                    .map(|kind| kind.check),
                _ => None,
            };
            if let Some(check) = check {
                check_url(check, url, &at, report);
                let choice = match role {
                    "log" => &mut choices.log,
                    "cache" => &mut choices.cache,
                    "history" => &mut choices.history,
                    _ => &mut choices.push,
                };
                if is_chosen {
                    *choice = RoleChoice::External { url: url.clone() };
                }
            } else if is_chosen {
                let what = format!("profile {name:?} puts the {role} on {scheme}://…");
                report.at(&at, what, &format!("this build has only the embedded {role}"));
            }
        }
    }
    choices
}

/// What is wrong with the URL of a store.
fn check_store<T: FromStr<Err: Display>>(url: &str) -> Result<(), String> {
    url.parse::<T>().map(drop).map_err(|error| error.to_string())
}

/// Notes what is wrong with a server's URL. Variables of profiles that were not chosen are
/// not put in, so there a URL with one is left alone.
fn check_url(check: UrlCheck, url: &str, at: &At<'_>, report: &mut Report) {
    if !url.contains("${")
        && let Err(why) = check(url)
    {
        report.message(at, &why);
    }
}
