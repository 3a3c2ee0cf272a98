//! `${NAME}` and `${NAME:-default}` in values, `$${` for a literal `${`.
//!
//! Applied to the texts of the tree, never to keys, after parsing: a value cannot
//! change the file's structure. What a text means is decided afterwards, so that
//! `port: ${PORT}` is a number. Values are remembered beside the text, for hiding.
//! In the specification and context of a `jolt` step `${…}` is the record's and stays;
//! the environment's is written `${env:NAME}` there.

use super::{
    node::{Node, Scalar, Yaml},
    report::{At, Report},
};

/// Looks a variable up; `None` where it is not set.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whose `${…}` is, where no prefix says so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Environment,
    Record,
}

/// Puts variables into every text of a node; notes those that are missing.
pub(crate) fn resolve(node: &mut Node, path: &str, lookup: Lookup<'_>, report: &mut Report) {
    resolve_for(Owner::Environment, node, path, lookup, report);
}

fn resolve_for(owner: Owner, node: &mut Node, path: &str, lookup: Lookup<'_>, report: &mut Report) {
    let owner = if is_of_records(path, node) { Owner::Record } else { owner };
    match &mut node.yaml {
        Yaml::Scalar(scalar) => {
            let done = match owner {
                Owner::Environment => scalar.substitute(lookup),
                Owner::Record => scalar.substitute_prefixed(lookup),
            };
            if let Err(Refusal { what, remedy }) = done {
                let at = At { node, spot: &node.spot, path: path.into() };
                report.at(&at, what, &remedy);
            }
        }
        Yaml::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve_for(owner, item, &format!("{path}[{index}]"), lookup, report);
            }
        }
        Yaml::Map(entries) => {
            for entry in entries {
                let path = format!("{path}.{}", entry.key);
                resolve_for(owner, &mut entry.node, &path, lookup, report);
            }
        }
    }
}

/// Whether a node is the specification or the context of a `jolt` step.
fn is_of_records(path: &str, node: &Node) -> bool {
    let steps = path.strip_prefix("pipelines.");
    match steps.and_then(|path| path.split_once("].jolt")) {
        Some((_, "")) => matches!(node.yaml, Yaml::List(_)),
        Some((_, below)) => matches!(below, ".spec" | ".context"),
        None => false,
    }
}

struct Refusal {
    what: String,
    remedy: String,
}

impl Scalar {
    fn substitute(&mut self, lookup: Lookup<'_>) -> Result<(), Refusal> {
        if !self.text.contains("${") {
            return Ok(());
        }
        let source = std::mem::take(&mut self.text);
        let mut rest = source.as_str();
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                self.text.push_str(before);
                self.text.push_str("${");
                rest = after;
                continue;
            }
            let Some(end) = after.find('}') else {
                return Err(Refusal {
                    what: "variable has no end".into(),
                    remedy: "write ${NAME}, or $${ for the two characters themselves".into(),
                });
            };
            let value = value(&after[..end], lookup)?;
            self.text.push_str(before);
            self.text.push_str(&value.1);
            self.variables.push(value);
            rest = &after[end + 1..];
        }
        self.text.push_str(rest);
        Ok(())
    }

    /// Puts in what is written `${env:NAME}`; everything else stays for records.
    fn substitute_prefixed(&mut self, lookup: Lookup<'_>) -> Result<(), Refusal> {
        const PREFIX: &str = "${env:";
        let source = std::mem::take(&mut self.text);
        let mut rest = source.as_str();
        while let Some(at) = rest.find(PREFIX) {
            let (before, after) = (&rest[..at], &rest[at + PREFIX.len()..]);
            self.text.push_str(before);
            if before.ends_with('$') {
                self.text.push_str(PREFIX);
                rest = after;
                continue;
            }
            let Some(end) = after.find('}') else {
                return Err(Refusal {
                    what: "variable has no end".into(),
                    remedy: "write ${env:NAME}".into(),
                });
            };
            let value = value(&after[..end], lookup)?;
            // A value is a text; what looks like a placeholder in it is none.
            self.text.push_str(&value.1.replace("${", "$${"));
            self.variables.push(value);
            rest = &after[end + 1..];
        }
        self.text.push_str(rest);
        Ok(())
    }
}

/// Name and value of what stands between the braces.
fn value(inside: &str, lookup: Lookup<'_>) -> Result<(String, String), Refusal> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(Refusal {
            what: format!("{name:?} is no variable name"),
            remedy: "use letters, digits and '_', or write $${ for the two characters".into(),
        });
    }
    let set = lookup(name).filter(|value| default.is_none() || !value.is_empty());
    match set.or_else(|| default.map(Into::into)) {
        Some(value) => Ok((name.into(), value)),
        None => Err(Refusal {
            what: format!("variable {name:?} is not set"),
            remedy: format!("set it, or give a default: ${{{name}:-…}}"),
        }),
    }
}
