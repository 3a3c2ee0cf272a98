//! Statements with `?` in place of values, for the databases that know them so.
//!
//! A statement has a power of two of rows, so that few texts, and with them few prepared
//! statements, serve every count; placeholders stay within what servers take.

use courant_model::limits::{DATABASE_PLACEHOLDERS_MAX, DATABASE_STATEMENT_ROWS_MAX};

use crate::sql::{
    cell::Cell,
    table::{Action, Table, Work},
};

/// What differs between databases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) quote: char,
    pub(super) conflict: Conflict,
}

/// How a row that is there already is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// `ON DUPLICATE KEY UPDATE`.
    Duplicate,
    /// `ON CONFLICT (key) DO …`.
    Key,
}

/// A statement's text and its values.
pub(super) type Statement = (String, Vec<Cell>);

/// A name as SQL quotes it; a dot stands between a schema and a table.
pub(super) fn quoted(name: &str, quote: char) -> String {
    let part = |part: &str| {
        let doubled = part.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

impl Dialect {
    /// The statements of a piece of work, in order.
    pub(super) fn render(self, tables: &[Table], work: Work) -> Vec<Statement> {
        let table = &tables[work.table];
        match work.action {
            Action::Put { key, columns, rows } => {
                let head = self.insert(table, &columns);
                let tail = self.on_conflict(table, &key, &columns);
                let row = format!("({})", vec!["?"; columns.len()].join(", "));
                let text = |count: usize| format!("{head}{}{tail}", vec![&*row; count].join(", "));
                in_chunks(rows, text)
            }
            Action::Update { key, columns, rows } => self.update(table, &key, &columns, rows),
            Action::Remove { columns, rows } => {
                let (name, row) = (self.table(table), self.matching(table, &columns));
                let text = |count: usize| {
                    format!("DELETE FROM {name} WHERE {}", vec![&*row; count].join(" OR "))
                };
                in_chunks(rows, text)
            }
            Action::Prune { parent, of, key, kept } => {
                vec![self.prune(table, (&parent, of), (&key, kept))]
            }
        }
    }

    fn table(self, table: &Table) -> String {
        quoted(&table.name, self.quote)
    }

    fn column(self, table: &Table, at: usize) -> String {
        let name = &table.columns[at].name;
        let doubled = name.replace(self.quote, &format!("{0}{0}", self.quote));
        format!("{0}{doubled}{0}", self.quote)
    }

    fn list(self, table: &Table, columns: &[usize]) -> String {
        columns.iter().map(|at| self.column(table, *at)).collect::<Vec<_>>().join(", ")
    }

    fn insert(self, table: &Table, columns: &[usize]) -> String {
        format!("INSERT INTO {} ({}) VALUES ", self.table(table), self.list(table, columns))
    }

    fn on_conflict(self, table: &Table, key: &[usize], columns: &[usize]) -> String {
        let changed = columns.iter().filter(|at| !key.is_empty() && !key.contains(at));
        let names: Vec<String> = changed.map(|at| self.column(table, *at)).collect();
        let set = |value: &dyn Fn(&str) -> String| {
            let one = |name: &String| format!("{name} = {}", value(name));
            names.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        match (self.conflict, names.is_empty(), key.is_empty()) {
            (Conflict::Duplicate, true, _) => {
                // Nothing changes; other than IGNORE it hides no fault of the data.
                let (table, name) = (self.table(table), self.column(table, columns[0]));
                format!(" ON DUPLICATE KEY UPDATE {name} = {table}.{name}")
            }
            (Conflict::Duplicate, false, _) => {
                format!(" ON DUPLICATE KEY UPDATE {}", set(&|name| format!("VALUES({name})")))
            }
            (Conflict::Key, _, true) => " ON CONFLICT DO NOTHING".to_owned(),
            (Conflict::Key, true, _) => {
                format!(" ON CONFLICT ({}) DO NOTHING", self.list(table, key))
            }
            (Conflict::Key, false, _) => {
                let set = set(&|name| format!("excluded.{name}"));
                format!(" ON CONFLICT ({}) DO UPDATE SET {set}", self.list(table, key))
            }
        }
    }

    fn update(
        self,
        table: &Table,
        key: &[usize],
        columns: &[usize],
        rows: Vec<Vec<Cell>>,
    ) -> Vec<Statement> {
        let is_set = |at: &usize| !key.contains(at);
        let set: Vec<String> = (columns.iter().filter(|at| is_set(at)))
            .map(|at| format!("{} = ?", self.column(table, *at)))
            .collect();
        if set.is_empty() {
            return Vec::new();
        }
        let (name, row) = (self.table(table), self.matching(table, key));
        let text = format!("UPDATE {name} SET {} WHERE {row}", set.join(", "));
        let statement = |row: Vec<Cell>| {
            let cell =
                |at: &usize| columns.iter().position(|one| one == at).map(|at| row[at].clone());
            let changed = columns.iter().filter(|at| is_set(at)).filter_map(cell);
            let cells = changed.chain(key.iter().filter_map(cell)).collect();
            (text.clone(), cells)
        };
        rows.into_iter().map(statement).collect()
    }

    /// A condition that holds for the rows with these columns' values.
    fn matching(self, table: &Table, columns: &[usize]) -> String {
        let equal = |at: &usize| format!("{} = ?", self.column(table, *at));
        format!("({})", columns.iter().map(equal).collect::<Vec<_>>().join(" AND "))
    }

    fn prune(
        self,
        table: &Table,
        (parent, of): (&[usize], Vec<Cell>),
        (key, mut kept): (&[usize], Vec<Vec<Cell>>),
    ) -> Statement {
        let (name, is_child) = (self.table(table), self.matching(table, parent));
        let text = format!("DELETE FROM {name} WHERE {is_child}");
        let Some(last) = kept.last().cloned() else { return (text, of) };
        // The last one again, up to a power of two: it changes nothing but saves texts.
        kept.resize(kept.len().next_power_of_two(), last);
        let row = self.matching(table, key);
        let text = format!("{text} AND NOT ({})", vec![&*row; kept.len()].join(" OR "));
        (text, of.into_iter().chain(kept.into_iter().flatten()).collect())
    }
}

/// Statements for rows, each for a power of two of them within the bounds.
fn in_chunks(rows: Vec<Vec<Cell>>, text: impl Fn(usize) -> String) -> Vec<Statement> {
    let columns = rows.first().map_or(1, Vec::len).max(1);
    let most = (DATABASE_PLACEHOLDERS_MAX / columns).clamp(1, DATABASE_STATEMENT_ROWS_MAX);
    let mut statements = Vec::new();
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    while left > 0 {
        let room = left.min(most);
        let count = 1 << room.ilog2();
        statements.push((text(count), rows.by_ref().take(count).flatten().collect()));
        left -= count;
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{cell::Kind, table::Column};

    const MYSQL: Dialect = Dialect { quote: '`', conflict: Conflict::Duplicate };
    const SQLITE: Dialect = Dialect { quote: '"', conflict: Conflict::Key };

    fn tables() -> Vec<Table> {
        let column =
            |name: &str| Column { name: name.into(), kind: Kind::Integer, sql_type: "int".into() };
        let columns = ["a", "b", "c"].map(column).into();
        vec![Table { name: "s.t".into(), columns, primary: vec![], unique: vec![] }]
    }

    fn rows(count: i64) -> Vec<Vec<Cell>> {
        (0..count).map(|n| vec![Cell::Int(n), Cell::Int(-n)]).collect()
    }

    fn render(dialect: Dialect, action: Action) -> Vec<Statement> {
        dialect.render(&tables(), Work { table: 0, action })
    }

    #[test]
    fn rows_go_in_powers_of_two_and_none_is_lost() {
        for count in [1, 3, 511, 512, 1_000, 1_537] {
            let put = Action::Put { key: vec![0], columns: vec![0, 1], rows: rows(count) };
            let statements = render(MYSQL, put);
            let mut cells = Vec::new();
            for (text, values) in statements {
                assert_eq!(text.matches('?').count(), values.len());
                assert!((values.len() / 2).is_power_of_two());
                cells.extend(values);
            }
            assert_eq!(cells, rows(count).concat());
        }
    }

    #[test]
    fn a_row_that_is_there_is_changed_or_kept() {
        let put = |key, columns| Action::Put { key, columns, rows: rows(1) };
        let text = |dialect, action| render(dialect, action).remove(0).0;
        assert_eq!(
            text(MYSQL, put(vec![0], vec![0, 1])),
            "INSERT INTO `s`.`t` (`a`, `b`) VALUES (?, ?) ON DUPLICATE KEY UPDATE `b` = VALUES(`b`)"
        );
        assert_eq!(
            text(SQLITE, put(vec![0], vec![0, 2])),
            "INSERT INTO \"s\".\"t\" (\"a\", \"c\") VALUES (?, ?) ON CONFLICT (\"a\") DO UPDATE SET \"c\" = excluded.\"c\""
        );
        assert!(text(MYSQL, put(vec![], vec![0, 1])).ends_with("UPDATE `a` = `s`.`t`.`a`"));
        assert!(text(SQLITE, put(vec![], vec![0, 1])).ends_with(" ON CONFLICT DO NOTHING"));
    }

    #[test]
    fn changing_and_pruning_name_their_rows() {
        let update = Action::Update { key: vec![1], columns: vec![0, 1], rows: rows(1) };
        let update = render(MYSQL, update).remove(0);
        assert_eq!(update.0, "UPDATE `s`.`t` SET `a` = ? WHERE (`b` = ?)");
        let prune =
            |kept| Action::Prune { parent: vec![0], of: vec![Cell::Int(7)], key: vec![0, 1], kept };
        let all = render(SQLITE, prune(vec![])).remove(0);
        assert_eq!(all.0, "DELETE FROM \"s\".\"t\" WHERE (\"a\" = ?)");
        let some = render(SQLITE, prune(rows(3))).remove(0);
        assert_eq!(some.0.matches("(\"a\" = ? AND \"b\" = ?)").count(), 4);
        assert_eq!(some.1.len(), 9);
    }
}
