//! From records to rows: what each record changes, by the tables' columns.
//!
//! A [`Layout`] is the sink's options met with the tables as they are: every name is a
//! place, so that records are read without looking names up again. It decides what one
//! record does; what a transaction does with many is decided in [`super::batch`].

use courant_model::{Operation, json::FieldPath, limits::DATABASE_CHILD_ROWS_MAX};
use courant_pipeline::event::Event;
use serde_json::{Map, Value};

use super::{Child, Mode, Settings, cell::Cell, table::Table};

/// The sink's tables and what is read from a record for each.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) mode: Mode,
    /// The record's own table, then those of its lists.
    pub(super) tables: Vec<Table>,
    pub(super) master: Rows,
    pub(super) children: Vec<ChildRows>,
}

/// How an object becomes a row.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) key: Vec<usize>,
    /// Named columns and where their values stand; `None`: each field has the column of
    /// its name.
    columns: Option<Vec<(usize, FieldPath)>>,
}

/// How a list within a record becomes rows of another table.
#[derive(Debug)]
pub(super) struct ChildRows {
    from: FieldPath,
    rows: Rows,
    /// Columns that have the record's values, and where those stand in it.
    parent: Vec<(usize, FieldPath)>,
    pub(super) replace: bool,
}

/// What a record does.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    Put {
        key: Vec<Cell>,
        row: Row,
        children: Vec<Option<Family>>,
    },
    /// The parents' values for each list's table come along.
    Remove {
        key: Vec<Cell>,
        children: Vec<Vec<Cell>>,
    },
}

/// A row's columns, in the table's order, and their values.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) columns: Vec<usize>,
    pub(super) cells: Vec<Cell>,
}

/// The rows of one list, and of whom.
#[derive(Debug, PartialEq)]
pub(super) struct Family {
    pub(super) of: Vec<Cell>,
    pub(super) keys: Vec<Vec<Cell>>,
    pub(super) rows: Vec<Row>,
}

impl Layout {
    /// Meets options with tables, given in the order of [`Settings::tables`].
    ///
    /// # Errors
    /// The column, or the key, that a table lacks.
    pub(super) fn new(settings: &Settings, tables: Vec<Table>) -> Result<Self, String> {
        let mut master = Rows::new(&tables[0], &settings.key, settings.columns.as_deref())?;
        match settings.mode {
            Mode::Upsert => require_unique(&tables[0], &master.key)?,
            // Whatever key a row that is there has, it stays.
            Mode::Insert => master.key.clear(),
            Mode::Update | Mode::Delete if master.key.is_empty() => {
                let name = &tables[0].name;
                return Err(format!("table \"{name}\" has no primary key; set \"key\""));
            }
            Mode::Update | Mode::Delete => {}
        }
        let children = settings.children.iter().zip(&tables[1..]);
        let children = children
            .map(|(child, table)| ChildRows::new(child, table))
            .collect::<Result<_, _>>()?;
        Ok(Self { mode: settings.mode, tables, master, children })
    }

    /// What an event does; `None` where the mode passes it over.
    ///
    /// # Errors
    /// Why it is no row: where, what was expected and found.
    pub(super) fn change(&self, event: &Event) -> Result<Option<Change>, String> {
        let removes = event.payload.is_null()
            || Operation::of(&event.headers) == Some(Operation::Delete)
            || self.mode == Mode::Delete;
        if self.mode == Mode::Insert && removes {
            return Ok(None);
        }
        if event.payload.is_null() {
            return self.remove(&self.key_document(event)?).map(Some);
        }
        let document = event.payload.json().map_err(|error| error.to_string())?;
        if !document.is_object() {
            return Err("value is not an object; a row needs fields".into());
        }
        if removes { self.remove(document) } else { self.put(document) }.map(Some)
    }

    fn put(&self, document: &Value) -> Result<Change, String> {
        let table = &self.tables[0];
        let row = self.master.row(table, document)?;
        let key = self.master.key_of(table, &row)?;
        if row.columns.is_empty() {
            return Err(format!("no field has a column in table \"{}\"", table.name));
        }
        let family = |(at, child): (usize, &ChildRows)| child.family(&self.tables[at], document);
        let children = (1..).zip(&self.children).map(family).collect::<Result<_, _>>()?;
        Ok(Change::Put { key, row, children })
    }

    fn remove(&self, document: &Value) -> Result<Change, String> {
        let key = self.master.key_in(&self.tables[0], document)?;
        let of = |(at, child): (usize, &ChildRows)| child.of(&self.tables[at], document);
        let children = (1..).zip(&self.children).map(of).collect::<Result<_, _>>()?;
        Ok(Change::Remove { key, children })
    }

    /// The document that a tombstone's key stands for: the key itself where it is an
    /// object, else the only column of the table's key with the key's text.
    fn key_document(&self, event: &Event) -> Result<Value, String> {
        let missing = || "tombstone has no key that names a row; give the record a key".to_owned();
        let text = event.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let text = text.ok_or_else(missing)?;
        if let Ok(document @ Value::Object(_)) = serde_json::from_str(text) {
            return Ok(document);
        }
        let [only] = self.master.key.as_slice() else {
            return Err("tombstone's key is not an object with the key's columns".into());
        };
        let field = self.master.field(&self.tables[0], *only);
        let leaf = Value::String(text.to_owned());
        Ok(field
            .segments()
            .iter()
            .rev()
            .fold(leaf, |inner, name| Value::Object(Map::from_iter([(name.clone(), inner)]))))
    }
}

impl Rows {
    fn new(
        table: &Table,
        key: &[String],
        columns: Option<&[(String, FieldPath)]>,
    ) -> Result<Self, String> {
        let at = |name: &String| place(table, name);
        let key = if key.is_empty() { &table.primary } else { key };
        let key = key.iter().map(at).collect::<Result<Vec<usize>, _>>()?;
        let columns = columns.map(|columns| {
            let one = |(name, field): &(String, FieldPath)| Ok((at(name)?, field.clone()));
            let mut columns = columns.iter().map(one).collect::<Result<Vec<_>, String>>()?;
            for at in &key {
                if columns.iter().all(|(named, _)| named != at) {
                    columns.push((*at, FieldPath::field(&table.columns[*at].name)));
                }
            }
            Ok::<_, String>(columns)
        });
        Ok(Self { key, columns: columns.transpose()? })
    }

    /// Where a column's value stands in a document.
    fn field(&self, table: &Table, column: usize) -> FieldPath {
        let named = self.columns.iter().flatten().find(|(at, _)| *at == column);
        let own = || FieldPath::field(&table.columns[column].name);
        named.map_or_else(own, |(_, field)| field.clone())
    }

    /// The columns that a document has values for. A field that is missing is left out: a
    /// row that is there keeps what it has.
    fn row(&self, table: &Table, document: &Value) -> Result<Row, String> {
        let mut found: Vec<(usize, &Value)> = match &self.columns {
            Some(columns) => {
                columns.iter().filter_map(|(at, field)| Some((*at, field.get(document)?))).collect()
            }
            None => document
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((table.column(name)?, value)))
                .collect(),
        };
        found.sort_by_key(|(at, _)| *at);
        if let Some(twice) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = &table.columns[twice[0].0].name;
            return Err(format!(
                "two fields stand for column {name:?}; name the one in \"columns\""
            ));
        }
        let mut row = Row { columns: Vec::new(), cells: Vec::new() };
        for (at, value) in found {
            row.columns.push(at);
            row.cells.push(cell(table, at, value)?);
        }
        Ok(row)
    }

    /// The key of a row.
    fn key_of(&self, table: &Table, row: &Row) -> Result<Vec<Cell>, String> {
        let cell = |at: &usize| match row.cell(*at) {
            Some(cell) if *cell != Cell::Null => Ok(cell.clone()),
            _ => Err(self.keyless(table, *at)),
        };
        self.key.iter().map(cell).collect()
    }

    /// The key that a document names, whatever else it holds.
    fn key_in(&self, table: &Table, document: &Value) -> Result<Vec<Cell>, String> {
        let value = |at: usize| match &self.columns {
            Some(_) => self.field(table, at).get(document),
            None => {
                let mut fields = document.as_object().into_iter().flatten();
                fields.find(|(name, _)| table.column(name) == Some(at)).map(|(_, value)| value)
            }
        };
        let key = |at: &usize| match value(*at) {
            Some(value) if !value.is_null() => cell(table, *at, value),
            _ => Err(self.keyless(table, *at)),
        };
        self.key.iter().map(key).collect()
    }

    fn keyless(&self, table: &Table, at: usize) -> String {
        let (field, name) = (self.field(table, at), &table.columns[at].name);
        format!("field \"{field}\" of key column {name:?} is missing or null")
    }
}

impl Row {
    fn cell(&self, column: usize) -> Option<&Cell> {
        let at = self.columns.iter().position(|at| *at == column)?;
        self.cells.get(at)
    }
}

impl ChildRows {
    fn new(child: &Child, table: &Table) -> Result<Self, String> {
        let rows = Rows::new(table, &child.key, child.columns.as_deref())?;
        require_unique(table, &rows.key)?;
        let parent = |(name, field): &(String, FieldPath)| Ok((place(table, name)?, field.clone()));
        let parent = child.parent.iter().map(parent).collect::<Result<_, String>>()?;
        Ok(Self { from: child.from.clone(), rows, parent, replace: child.replace })
    }

    /// Places of the columns that have the record's values.
    pub(super) fn parent(&self) -> Vec<usize> {
        self.parent.iter().map(|(at, _)| *at).collect()
    }

    pub(super) fn key(&self) -> &[usize] {
        &self.rows.key
    }

    /// The record's values in the table of its list.
    fn of(&self, table: &Table, document: &Value) -> Result<Vec<Cell>, String> {
        let cell = |(at, field): &(usize, FieldPath)| match field.get(document) {
            Some(value) if !value.is_null() => cell(table, *at, value),
            _ => Err(format!("field \"{field}\" for table \"{}\" is missing or null", table.name)),
        };
        self.parent.iter().map(cell).collect()
    }

    /// The rows of the record's list; `None` where it has no such list.
    fn family(&self, table: &Table, document: &Value) -> Result<Option<Family>, String> {
        let items = match self.from.get(document) {
            None => return Ok(None),
            Some(Value::Null) => &[],
            Some(Value::Array(items)) => items.as_slice(),
            Some(_) => return Err(format!("field \"{}\" is not a list", self.from)),
        };
        if items.len() > DATABASE_CHILD_ROWS_MAX {
            let (from, count) = (&self.from, items.len());
            return Err(format!(
                "list \"{from}\" has {count} items; at most {DATABASE_CHILD_ROWS_MAX} are written"
            ));
        }
        let of = self.of(table, document)?;
        let mut family = Family { of, keys: Vec::new(), rows: Vec::new() };
        for (number, item) in items.iter().enumerate() {
            let at = |why| format!("{}.{number}: {why}", self.from);
            let mut row = self.rows.row(table, item).map_err(at)?;
            for ((column, _), value) in self.parent.iter().zip(&family.of) {
                row.set(*column, value.clone());
            }
            let key = self.rows.key_of(table, &row).map_err(at)?;
            if family.keys.contains(&key) {
                return Err(at("an earlier item has the same key".into()));
            }
            family.keys.push(key);
            family.rows.push(row);
        }
        Ok(Some(family))
    }
}

impl Row {
    /// Sets a column's value, whatever the row had there.
    fn set(&mut self, column: usize, cell: Cell) {
        match self.columns.binary_search(&column) {
            Ok(at) => self.cells[at] = cell,
            Err(at) => {
                self.columns.insert(at, column);
                self.cells.insert(at, cell);
            }
        }
    }
}

fn cell(table: &Table, at: usize, value: &Value) -> Result<Cell, String> {
    let column = &table.columns[at];
    column.kind.cell(value).map_err(|why| {
        format!("column {:?} ({}) of table \"{}\": {why}", column.name, column.sql_type, table.name)
    })
}

fn place(table: &Table, name: &str) -> Result<usize, String> {
    table.column(name).ok_or_else(|| {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        format!(
            "table \"{}\" has no column {name:?} that can be written; it has {}",
            table.name,
            names.join(", ")
        )
    })
}

fn require_unique(table: &Table, key: &[usize]) -> Result<(), String> {
    let name = &table.name;
    if key.is_empty() {
        return Err(format!("table \"{name}\" has no primary key; add one, or set \"key\""));
    }
    if !table.is_unique(key) {
        let columns: Vec<&str> = key.iter().map(|at| table.columns[*at].name.as_str()).collect();
        let columns = columns.join(", ");
        return Err(format!(
            "table \"{name}\" has no unique index over exactly ({columns}); create one, or set \
             \"key\" to the columns of one"
        ));
    }
    Ok(())
}
