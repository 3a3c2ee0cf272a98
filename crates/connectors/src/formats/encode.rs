//! From JSON values to lines: NDJSON and CSV.
//!
//! CSV takes its columns from the first object, or is given them; an object that
//! lacks one leaves the field empty, and fields that no column names are refused,
//! because leaving them out would lose data silently. Lists and objects within a
//! field are written as JSON. The caller owns the file and says when a header is due.

use courant_pipeline::connector::OptionProblem;
use serde_json::Value;

/// Writes JSON objects as rows of CSV.
#[derive(Debug, Clone, Default)]
pub struct CsvEncoder {
    columns: Vec<String>,
}

impl CsvEncoder {
    /// An encoder with these columns; with none it takes those of the first object.
    pub const fn new(columns: Vec<String>) -> Self {
        Self { columns }
    }

    /// The columns as far as they are known.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The header line, with its line break.
    pub fn header(&self) -> Vec<u8> {
        row(self.columns.iter().map(String::as_str))
    }

    /// One row, with its line break.
    ///
    /// # Errors
    /// A value that is no object, and a field that no column names.
    pub fn row(&mut self, value: &Value) -> Result<Vec<u8>, String> {
        let Value::Object(fields) = value else {
            return Err("value is not an object; CSV needs fields".into());
        };
        if self.columns.is_empty() {
            self.columns = fields.keys().cloned().collect();
        }
        if let Some(name) = fields.keys().find(|name| !self.columns.contains(name)) {
            let known = self.columns.join(", ");
            return Err(format!("field {name:?} has no column; the columns are {known}"));
        }
        let texts = self.columns.iter().map(|name| text(fields.get(name)));
        Ok(row(texts.collect::<Vec<_>>().iter().map(String::as_str)))
    }
}

/// Refuses columns where the format has none.
pub(crate) fn check_columns(is_csv: bool, columns: &[String]) -> Option<OptionProblem> {
    (!is_csv && !columns.is_empty()).then(|| OptionProblem {
        path: vec!["columns".into()],
        what: "columns are CSV's alone".into(),
        remedy: Some("set format: csv".into()),
    })
}

/// A JSON text on one line. Bytes that are no JSON are `None`.
pub(crate) fn json_line(bytes: &[u8]) -> Option<Vec<u8>> {
    let raw: &serde_json::value::RawValue = serde_json::from_slice(bytes).ok()?;
    if !raw.get().contains(['\n', '\r']) {
        return Some(raw.get().as_bytes().to_vec());
    }
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    serde_json::to_vec(&value).ok()
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn row<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(fields)
        .and_then(|()| writer.into_inner().map_err(|error| error.into_error().into()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_object_gives_the_columns() {
        let mut encoder = CsvEncoder::default();
        let first = encoder.row(&json!({ "id": 1, "text": "a \"b\", c" })).unwrap();
        assert_eq!(encoder.header(), b"id,text\n");
        assert_eq!(first, b"1,\"a \"\"b\"\", c\"\n");
        assert_eq!(encoder.row(&json!({ "text": null, "id": [1] })).unwrap(), b"[1],\n");
        let error = encoder.row(&json!({ "id": 1, "more": 2 })).unwrap_err();
        assert_eq!(error, "field \"more\" has no column; the columns are id, text");
        assert!(encoder.row(&json!(1)).is_err());
    }

    #[test]
    fn json_becomes_one_line() {
        assert_eq!(json_line(b" {\"a\":  1} ").unwrap(), b"{\"a\":  1}");
        assert_eq!(json_line(b"{\"a\":\n1}").unwrap(), b"{\"a\":1}");
        assert_eq!(json_line(b"nope"), None);
    }
}
