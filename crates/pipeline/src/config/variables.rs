//! `${NAME}` and `${NAME:-default}` in values, `$${` for a literal `${`.
//!
//! Applied to the texts of the tree, never to keys, after parsing: a value cannot
//! change the file's structure. What a text means is decided afterwards, so that
//! `port: ${PORT}` is a number. Values are remembered beside the text, for hiding.

use super::{
    node::{Node, Scalar, Yaml},
    report::{At, Report},
};

/// Looks a variable up; `None` where it is not set.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts variables into every text of a node; notes those that are missing.
pub(crate) fn resolve(node: &mut Node, path: &str, lookup: Lookup<'_>, report: &mut Report) {
    match &mut node.yaml {
        Yaml::Scalar(scalar) => {
            if let Err(Refusal { what, remedy }) = scalar.substitute(lookup) {
                let at = At { node, spot: &node.spot, path: path.into() };
                report.at(&at, what, &remedy);
            }
        }
        Yaml::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{index}]"), lookup, report);
            }
        }
        Yaml::Map(entries) => {
            for entry in entries {
                resolve(&mut entry.node, &format!("{path}.{}", entry.key), lookup, report);
            }
        }
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
