//! The `nest` step in a plan: which tables make a document, and how they hang together.
//!
//! A tree of tables with the root first. Its text ([`NestPlan`]'s `Display`) is complete:
//! it is what `courant plan` prints, and by it the step sees that its memory was made by
//! another file. It knows no rows.

use std::{collections::BTreeSet, fmt};

/// A `nest` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestPlan {
    pub root: NestTable,
    /// The field that gets the document's version; `None`: it has none.
    pub version: Option<String>,
    /// Columns of the root that decide where its document is kept.
    pub moves_with: Vec<String>,
    /// Rows that are remembered, of all tables.
    pub rows_max: usize,
}

/// A table at its place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestTable {
    /// `table`, or `database.table`.
    pub table: String,
    /// Columns of the primary key; at least one.
    pub key: Vec<String>,
    /// The columns that are kept; `None`: all.
    pub fields: Option<Vec<String>>,
    pub relations: Vec<NestRelation>,
}

/// Rows of another table within a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestRelation {
    /// The field that holds them.
    pub name: String,
    /// Columns that are equal in both; at least one.
    pub on: Vec<NestJoin>,
    pub kind: NestKind,
    pub of: NestTable,
}

/// A column of the inner row that equals one of the outer row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestJoin {
    pub inner: String,
    pub outer: String,
}

/// How many rows a relation brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NestKind {
    /// One, or null; with `flatten` its columns are fields of the outer row.
    One { flatten: bool },
    /// A sorted list; with `cascade` its rows go with the outer row.
    Many { sort: Vec<NestSort>, cascade: bool },
}

/// A column that sorts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestSort {
    pub column: String,
    pub descending: bool,
}

impl NestTable {
    /// Fields that relations bring into an object, in place of columns of the same name. A
    /// name is there twice where two relations bring it.
    pub(crate) fn brought(&self) -> Vec<&str> {
        self.relations.iter().flat_map(NestRelation::brought).collect()
    }
}

impl NestRelation {
    fn brought(&self) -> Vec<&str> {
        if !matches!(self.kind, NestKind::One { flatten: true }) {
            return vec![&self.name];
        }
        let inner = self.of.brought();
        let known: BTreeSet<&str> = inner.iter().copied().collect();
        let own = self.of.fields.iter().flatten().map(String::as_str);
        own.filter(|name| !known.contains(name)).chain(inner.iter().copied()).collect()
    }
}

impl fmt::Display for NestPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        if let Some(version) = &self.version {
            write!(f, ", version in {version}")?;
        }
        if !self.moves_with.is_empty() {
            write!(f, ", moves with {}", self.moves_with.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for NestTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.table, self.key.join(", "))?;
        if let Some(fields) = &self.fields {
            write!(f, " [{}]", fields.join(", "))?;
        }
        for (index, relation) in self.relations.iter().enumerate() {
            write!(f, "{}{relation}", if index == 0 { " { " } else { "; " })?;
        }
        f.write_str(if self.relations.is_empty() { "" } else { " }" })
    }
}

impl fmt::Display for NestRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> = self.on.iter().map(ToString::to_string).collect();
        let on = on.join(", ");
        match &self.kind {
            NestKind::One { flatten } => {
                let flat = if *flatten { " flattened" } else { "" };
                write!(f, "{}: one{flat} on {on} of {}", self.name, self.of)
            }
            NestKind::Many { sort, cascade } => {
                let sort: Vec<String> = sort.iter().map(ToString::to_string).collect();
                let kept = if *cascade { "" } else { ", without cascade" };
                let (name, sort) = (&self.name, sort.join(", "));
                write!(f, "{name}: many on {on} sorted by {sort}{kept} of {}", self.of)
            }
        }
    }
}

impl fmt::Display for NestJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inner == self.outer {
            f.write_str(&self.inner)
        } else {
            write!(f, "{} = {}", self.inner, self.outer)
        }
    }
}

impl fmt::Display for NestSort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.column)
    }
}
