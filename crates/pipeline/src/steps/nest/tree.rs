//! The tree of tables, laid flat: which table stands where, and what is read of its rows.
//!
//! Node 0 is the root. A table that stands at two places is two nodes, each with rows of
//! its own, so that nothing here or in `rows` has to ask which place is meant. It knows
//! columns by name only, and no rows.

use crate::plan::{NestKind, NestPlan, NestSort, NestTable};

/// All nodes; a node's parent comes before it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// A table at its place.
#[derive(Debug)]
pub(super) struct Node {
    /// Names of fields from the root, joined by dots; it names the node in the state.
    pub(super) path: String,
    pub(super) table: String,
    pub(super) key: Vec<String>,
    /// Columns that are kept; `None`: all but the hidden.
    pub(super) fields: Option<Vec<String>>,
    /// Columns in whose place something else stands.
    pub(super) hidden: Vec<String>,
    /// Columns that are remembered; `None`: all.
    pub(super) needed: Option<Vec<String>>,
    /// What orders rows of one list; of the root: what its place depends on.
    pub(super) order: Vec<NestSort>,
    /// To the row around; `None` at the root.
    pub(super) up: Option<Up>,
    /// To the rows within, in the order of the document.
    pub(super) down: Vec<Down>,
}

/// From a row to the rows that it is in.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) parent: usize,
    /// This node's columns of the join.
    pub(super) inner: Vec<String>,
}

/// From a row to the rows in it.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) child: usize,
    /// This node's columns of the join.
    pub(super) outer: Vec<String>,
    /// `"name":`
    pub(super) label: Vec<u8>,
    pub(super) kind: NestKind,
}

impl Tree {
    pub(super) fn new(plan: &NestPlan) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.add(&plan.root, String::new(), None);
        let root = &mut tree.nodes[0];
        root.hidden.extend(plan.version.clone());
        let place = |column: &String| NestSort { column: column.clone(), descending: false };
        root.order = plan.moves_with.iter().map(place).collect();
        tree.nodes.iter_mut().for_each(Node::count_columns);
        tree
    }

    fn add(&mut self, table: &NestTable, path: String, up: Option<Up>) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node {
            path,
            table: table.table.clone(),
            key: table.key.clone(),
            fields: table.fields.clone(),
            hidden: table.brought().into_iter().map(str::to_owned).collect(),
            needed: None,
            order: Vec::new(),
            up,
            down: Vec::new(),
        });
        for relation in &table.relations {
            let inner = relation.on.iter().map(|join| join.inner.clone()).collect();
            let path = match self.nodes[index].path.as_str() {
                "" => relation.name.clone(),
                outer => format!("{outer}.{}", relation.name),
            };
            let child = self.add(&relation.of, path, Some(Up { parent: index, inner }));
            if let NestKind::Many { sort, .. } = &relation.kind {
                self.nodes[child].order.clone_from(sort);
            }
            let outer = relation.on.iter().map(|join| join.outer.clone()).collect();
            let label = label(&relation.name);
            let kind = relation.kind.clone();
            self.nodes[index].down.push(Down { child, outer, label, kind });
        }
        index
    }
}

impl Node {
    /// Whether rows of this table, as `database.table`, belong here.
    pub(super) fn takes(&self, table: &str) -> bool {
        let without_database = || table.split_once('.').map_or(table, |(_, table)| table);
        table == self.table || (!self.table.contains('.') && without_database() == self.table)
    }

    /// Finds which columns the step has to remember, where not all are kept.
    fn count_columns(&mut self) {
        let Some(fields) = &self.fields else { return };
        let mut needed = fields.clone();
        needed.extend(self.key.iter().cloned());
        needed.extend(self.order.iter().map(|sort| sort.column.clone()));
        needed.extend(self.up.iter().flat_map(|up| up.inner.iter().cloned()));
        needed.extend(self.down.iter().flat_map(|down| down.outer.iter().cloned()));
        self.needed = Some(needed);
    }
}

/// A field's name as it begins in an object: `"name":`.
pub(super) fn label(name: &str) -> Vec<u8> {
    let mut label = Vec::new();
    put_label(name, &mut label);
    label
}

/// Appends a field's [`label`].
pub(super) fn put_label(name: &str, text: &mut Vec<u8>) {
    serde_json::to_writer(&mut *text, name).expect("a text is JSON, and memory takes it");
    text.push(b':');
}
