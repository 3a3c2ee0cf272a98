//! Which tables and columns are captured: names with `*` and `?`.
//!
//! Tables are matched as `database.table`, columns as `database.table.column`. A pattern
//! of a table without a database, or of a column with only its table, belongs to the
//! database of the connection. Matching knows case, as Linux servers do.

use serde::{Deserialize, Serialize};

/// What is captured; by default all tables of the connection's database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Tables; empty means all of the connection's database.
    pub tables: Vec<String>,
    /// Tables that are left out although `tables` has them.
    pub tables_except: Vec<String>,
    /// The only columns that are captured of the tables that they name, as
    /// `table.column`; other tables come with all of theirs.
    pub columns: Vec<String>,
    /// Columns that are left out, as `table.column`; passwords, large objects.
    pub columns_except: Vec<String>,
}

/// Databases of the server itself; never captured.
const OWN: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

impl Selection {
    /// The same selection with every pattern naming its database.
    ///
    /// # Errors
    /// When a pattern needs the connection's database and there is none; the pattern.
    pub fn in_database(&self, database: Option<&str>) -> Result<Self, String> {
        let whole = |patterns: &[String], dots: usize| {
            let full = |pattern: &String| {
                if pattern.matches('.').count() >= dots {
                    return Ok(pattern.clone());
                }
                database.map(|database| format!("{database}.{pattern}")).ok_or(pattern.clone())
            };
            patterns.iter().map(full).collect::<Result<Vec<_>, _>>()
        };
        let all = [String::from("*")];
        Ok(Self {
            tables: whole(if self.tables.is_empty() { &all } else { &self.tables }, 1)?,
            tables_except: whole(&self.tables_except, 1)?,
            columns: whole(&self.columns, 2)?,
            columns_except: whole(&self.columns_except, 2)?,
        })
    }

    /// Whether a table is captured; for selections of [`Self::in_database`].
    pub fn has_table(&self, database: &str, table: &str) -> bool {
        let name = format!("{database}.{table}");
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &name));
        !OWN.contains(&database) && any(&self.tables) && !any(&self.tables_except)
    }

    /// Where a captured table stands in the order of `tables`.
    pub fn rank(&self, database: &str, table: &str) -> usize {
        let name = format!("{database}.{table}");
        let found = self.tables.iter().position(|pattern| matches(pattern, &name));
        found.unwrap_or(self.tables.len())
    }

    /// Whether a captured table's column is captured.
    pub fn has_column(&self, database: &str, table: &str, column: &str) -> bool {
        if self.columns.is_empty() && self.columns_except.is_empty() {
            return true;
        }
        let of_table = format!("{database}.{table}");
        let name = format!("{of_table}.{column}");
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &name));
        let names_table = |pattern: &String| {
            pattern.rsplit_once('.').is_some_and(|(tables, _)| matches(tables, &of_table))
        };
        let chosen = !self.columns.iter().any(names_table) || any(&self.columns);
        chosen && !any(&self.columns_except)
    }
}

/// Whether `name` fits `pattern`: `*` is any text, `?` any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                // The last star takes one character more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_shells_do() {
        for (pattern, name, fits) in [
            ("shop.*", "shop.orders", true),
            ("shop.order?", "shop.orders", true),
            ("shop.order?", "shop.order", false),
            ("*.o*r*s", "shop.orders", true),
            ("*.o*r*x", "shop.orders", false),
            ("**", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} on {name}");
        }
    }

    #[test]
    fn patterns_without_a_database_belong_to_the_connections() {
        let selection = Selection {
            tables: vec!["orders*".into(), "other.*".into()],
            tables_except: vec!["orders_old".into()],
            columns: vec!["*_wide.id".into(), "*_wide.secret_id".into()],
            columns_except: vec!["orders*.secret*".into()],
        };
        let selection = selection.in_database(Some("shop")).unwrap();
        assert!(selection.has_table("shop", "orders"));
        assert!(selection.has_table("other", "anything"));
        assert!(!selection.has_table("shop", "orders_old"));
        assert!(!selection.has_table("third", "orders"));
        assert!(!selection.has_column("shop", "orders", "secret_word"));
        assert!(selection.has_column("shop", "orders", "status"));
        assert!(selection.has_column("shop", "orders_wide", "id"));
        assert!(!selection.has_column("shop", "orders_wide", "status"));
        assert!(!selection.has_column("shop", "orders_wide", "secret_id"));
        assert!(selection.rank("shop", "orders") < selection.rank("other", "anything"));
        assert_eq!(Selection::default().in_database(None), Err("*".into()));
    }

    #[test]
    fn a_servers_own_tables_are_never_captured() {
        let all = Selection { tables: vec!["*.*".into()], ..Selection::default() };
        assert!(!all.has_table("mysql", "user"));
        assert!(all.has_table("shop", "user"));
    }
}
