//! How often what was found: over all documents, and by operation and function.
//!
//! A chain counts for each operation and each function that it names, so the lines do not
//! add up to the first.

use std::{collections::BTreeMap, fmt};

use serde_json::Value as Json;

use crate::{
    generate::{FUNCTIONS, OPERATIONS},
    judge::{Verdict, operations},
};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) compared: usize,
    specifications: usize,
    all: Verdicts,
    operations: BTreeMap<&'static str, Verdicts>,
    functions: BTreeMap<&'static str, Verdicts>,
}

type Verdicts = BTreeMap<Verdict, usize>;

impl Tally {
    pub(crate) fn count(&mut self, spec: &Json, verdicts: &[Verdict]) {
        self.specifications += 1;
        self.compared += verdicts.len();
        add(&mut self.all, verdicts);
        for name in OPERATIONS.into_iter().filter(|name| operations(spec).any(|n| n == *name)) {
            add(self.operations.entry(name).or_default(), verdicts);
        }
        let text = spec.to_string();
        let is_called = |name: &&str| {
            text.contains(&format!("\"={name}\"")) || text.contains(&format!("\"={name}("))
        };
        for name in FUNCTIONS.into_iter().filter(is_called) {
            add(self.functions.entry(name).or_default(), verdicts);
        }
    }
}

fn add(counts: &mut Verdicts, verdicts: &[Verdict]) {
    for verdict in verdicts {
        *counts.entry(*verdict).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} documents in {} specifications", self.compared, self.specifications)?;
        line(f, "all", &self.all)?;
        for (name, verdicts) in &self.operations {
            line(f, name, verdicts)?;
        }
        for (name, verdicts) in &self.functions {
            line(f, &format!("={name}"), verdicts)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, verdicts: &Verdicts) -> fmt::Result {
    write!(f, "{name:22} {:>8}:", verdicts.values().sum::<usize>())?;
    for (verdict, count) in verdicts {
        write!(f, " {verdict:?} {count}")?;
    }
    writeln!(f)
}
