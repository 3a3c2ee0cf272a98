//! From pieces to record values: NDJSON, CSV and text; and whole files of JSON.
//!
//! A value is always checked before it becomes a record, so that what reaches a
//! topic from a file is what its format promises. JSON is kept byte by byte as it
//! stood. A piece that does not fit gives a [`Fault`] with its column and never
//! stops the reader. Files and positions are the callers' business.

use bytes::Bytes;
use courant_model::{Column, Columns, limits::CSV_FIELDS_MAX};
use courant_pipeline::connector::OptionProblem;
use indexmap::IndexMap;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, value::RawValue};

use super::{Format, pieces::Piece, typed};

/// Why a piece is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Column of the fault, from 1, in bytes.
    pub(crate) column: Option<usize>,
    pub(crate) why: String,
}

/// What CSV needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CsvLayout {
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    pub(crate) columns: Columns,
}

/// Turns pieces of one stream into values; remembers the header of CSV.
#[derive(Debug)]
pub(crate) enum Decoder {
    Ndjson,
    Text,
    Csv(Box<CsvDecoder>),
}

/// A reader of CSV rows.
#[derive(Debug)]
pub(crate) struct CsvDecoder {
    layout: CsvLayout,
    /// Names of the fields, once the header was read.
    names: Option<Vec<String>>,
    reader: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Decoder {
    /// A decoder for pieces of this format; `names` is a header that was read before.
    pub(crate) fn new(format: Format, layout: &CsvLayout, names: Option<Vec<String>>) -> Self {
        match format {
            Format::Ndjson | Format::Json => Self::Ndjson,
            Format::Text => Self::Text,
            Format::Csv => Self::Csv(Box::new(CsvDecoder::new(layout.clone(), names))),
        }
    }

    /// The header of CSV, as far as it was read.
    pub(crate) fn names(&self) -> Option<&[String]> {
        match self {
            Self::Csv(csv) => csv.names.as_deref(),
            Self::Ndjson | Self::Text => None,
        }
    }

    /// The record's value in this piece; `None` for empty lines and headers.
    pub(crate) fn decode(&mut self, piece: &Piece) -> Result<Option<Bytes>, Fault> {
        if let Some(why) = &piece.fault {
            return Err(Fault { column: None, why: why.clone() });
        }
        match self {
            Self::Text => Ok(Some(piece.bytes.clone())),
            _ if piece.bytes.trim_ascii().is_empty() => Ok(None),
            Self::Ndjson => match serde_json::from_slice::<IgnoredAny>(&piece.bytes) {
                Ok(_) => Ok(Some(piece.bytes.slice_ref(piece.bytes.trim_ascii()))),
                Err(error) => Err(Fault {
                    column: Some(error.column()),
                    why: format!("line is not JSON: {}", without_place(&error)),
                }),
            },
            Self::Csv(csv) => csv.decode(&piece.bytes),
        }
    }
}

impl CsvLayout {
    /// Reads the options that every reader of CSV has.
    pub(crate) fn read(
        format: Format,
        header: bool,
        delimiter: char,
        columns: &IndexMap<String, String>,
    ) -> Result<Self, Vec<OptionProblem>> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], what: String, remedy: &str| {
            let path = path.iter().map(|part| (*part).to_owned()).collect();
            problems.push(OptionProblem { path, what, remedy: Some(remedy.into()) });
        };
        let mut known = Vec::new();
        for (name, text) in columns {
            match Column::parse(name, text) {
                Ok(column) => known.push(column),
                Err(error) => {
                    let (what, remedy) = (error.to_string(), "write a type such as int64");
                    problem(&["columns", name], what, remedy);
                }
            }
        }
        if format != Format::Csv && !columns.is_empty() {
            problem(&["columns"], "columns are CSV's alone".into(), "set format: csv");
        }
        if format == Format::Csv && !header && columns.is_empty() {
            let what = "fields have no names without a header";
            problem(&["header"], what.into(), "name them in order with columns");
        }
        if !delimiter.is_ascii() || matches!(delimiter, '"' | '\n' | '\r') {
            let what = format!("{delimiter:?} cannot separate fields");
            problem(&["delimiter"], what, "use a character such as ',', ';' or a tab");
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let delimiter = u8::try_from(delimiter).unwrap_or(b',');
        Ok(Self { header, delimiter, columns: Columns::new(known) })
    }
}

impl CsvDecoder {
    fn new(layout: CsvLayout, names: Option<Vec<String>>) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(layout.delimiter).build();
        let given = layout.columns.iter().map(|column| column.name.clone());
        let names = if layout.header { names } else { Some(given.collect()) };
        Self { layout, names, reader, fields: Vec::new(), ends: vec![0; 16] }
    }

    fn decode(&mut self, row: &[u8]) -> Result<Option<Bytes>, Fault> {
        let count = self.split(row)?;
        let fault = |why: String| Fault { column: None, why };
        let mut texts = Vec::with_capacity(count);
        for index in 0..count {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            let bytes = &self.fields[start..self.ends[index]];
            let text = std::str::from_utf8(bytes)
                .map_err(|_| fault(format!("field {} is not UTF-8", index + 1)))?;
            texts.push(text);
        }
        let Some(names) = &self.names else {
            self.names = Some(header(&texts, &self.layout.columns).map_err(fault)?);
            return Ok(None);
        };
        if texts.len() != names.len() {
            let (expected, found) = (names.len(), texts.len());
            return Err(fault(format!("row has {found} fields, expected {expected}")));
        }
        let mut object = Map::with_capacity(names.len());
        for (index, (name, text)) in names.iter().zip(texts).enumerate() {
            let value = match self.layout.columns.get(name) {
                Some(column) => typed::value(column, text)
                    .map_err(|why| fault(format!("field {} ({name:?}) {why}", index + 1)))?,
                None => Value::String(text.into()),
            };
            object.insert(name.clone(), value);
        }
        Ok(serde_json::to_vec(&object).ok().map(Bytes::from))
    }

    /// Splits a row into `fields` and `ends`; answers how many there are.
    fn split(&mut self, row: &[u8]) -> Result<usize, Fault> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
        self.reader.reset();
        self.fields.resize(row.len().max(1), 0);
        let (mut input, mut written, mut count) = (row, 0, 0);
        loop {
            let (result, read, wrote, found) = self.reader.read_record(
                input,
                &mut self.fields[written..],
                &mut self.ends[count..],
            );
            input = &input[read..];
            written += wrote;
            count += found;
            match result {
                Record | End => return Ok(count),
                InputEmpty => {}
                OutputFull => self.fields.push(0),
                OutputEndsFull if self.ends.len() >= CSV_FIELDS_MAX => {
                    let why = format!("row has more than {CSV_FIELDS_MAX} fields");
                    return Err(Fault { column: None, why });
                }
                OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
            }
        }
    }
}

/// Checks a header: names distinct, and every required column there.
fn header(texts: &[&str], columns: &Columns) -> Result<Vec<String>, String> {
    let names: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
    if let Some(index) = names.iter().enumerate().position(|(i, name)| names[..i].contains(name)) {
        return Err(format!("header has the name {:?} twice", names[index]));
    }
    let missing = columns.iter().find(|column| column.required && !names.contains(&column.name));
    match missing {
        Some(column) => {
            Err(format!("header lacks {:?}, a column of {}", column.name, column.type_text()))
        }
        None => Ok(names),
    }
}

/// The records of a whole JSON document: its value, each of several values, and for
/// lists their items. What stands before a fault is given, then the fault with its line.
pub(crate) fn json_values(document: &[u8]) -> (Vec<Bytes>, Option<(usize, Fault)>) {
    let document = document.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(document);
    let mut values = Vec::new();
    for found in serde_json::Deserializer::from_slice(document).into_iter::<&RawValue>() {
        let items = found.and_then(|raw| match raw.get().as_bytes() {
            [b'[', ..] => serde_json::from_str::<Vec<&RawValue>>(raw.get()),
            _ => Ok(vec![raw]),
        });
        match items {
            Ok(items) => {
                values
                    .extend(items.iter().map(|item| Bytes::copy_from_slice(item.get().as_bytes())));
            }
            Err(error) => {
                let why = format!("file is not JSON: {}", without_place(&error));
                return (values, Some((error.line(), Fault { column: Some(error.column()), why })));
            }
        }
    }
    (values, None)
}

/// serde_json's message without its place, which is told apart.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::formats::pieces::{Splitter, Start};

    fn layout(header: bool, columns: &[(&str, &str)]) -> CsvLayout {
        let columns = columns.iter().map(|(n, t)| ((*n).into(), (*t).into())).collect();
        CsvLayout::read(Format::Csv, header, ',', &columns).unwrap()
    }

    fn piece(text: &str) -> Piece {
        Piece { bytes: Bytes::copy_from_slice(text.as_bytes()), line: 1, end: 0, fault: None }
    }

    fn value(decoder: &mut Decoder, text: &str) -> Value {
        serde_json::from_slice(&decoder.decode(&piece(text)).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_header_names_the_fields_and_columns_type_them() {
        let layout = layout(true, &[("stake", "decimal(10,2)"), ("won", "boolean")]);
        let mut decoder = Decoder::new(Format::Csv, &layout, None);
        assert_eq!(decoder.decode(&piece("id,stake,won")), Ok(None));
        let bet = value(&mut decoder, "7,12.50,true");
        assert_eq!(bet, json!({ "id": "7", "stake": 12.5, "won": true }));
        assert_eq!(value(&mut decoder, "8,,"), json!({ "id": "8", "stake": null, "won": null }));
        let fault = decoder.decode(&piece("7,many,true")).unwrap_err();
        assert!(fault.why.starts_with("field 2 (\"stake\") is \"many\""), "{}", fault.why);
        let fault = decoder.decode(&piece("7,1")).unwrap_err();
        assert_eq!(fault.why, "row has 2 fields, expected 3");
    }

    #[test]
    fn a_line_that_is_not_json_tells_its_column() {
        let mut decoder = Decoder::new(Format::Ndjson, &layout(true, &[]), None);
        let fault = decoder.decode(&piece("{\"a\": nope}")).unwrap_err();
        assert_eq!(fault.column, Some(8));
        assert_eq!(decoder.decode(&piece("  ")), Ok(None));
        let kept = decoder.decode(&piece(" {\"a\":  1.0} ")).unwrap().unwrap();
        assert_eq!(&*kept, b"{\"a\":  1.0}");
    }

    #[test]
    fn a_json_document_gives_its_items_up_to_the_fault() {
        let (values, fault) = json_values(b"[{\"a\":1},\n {\"a\":2}] {\"a\":3}\n oops");
        assert_eq!(values, ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        assert_eq!(fault.unwrap().0, 3);
    }

    proptest! {
        #[test]
        fn what_a_csv_writer_writes_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-c,\"\r\n é]{0,6}", 3), 1..8),
        ) {
            let mut builder = csv::WriterBuilder::new();
            let mut writer = builder.quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            let mut splitter = Splitter::rows(Start::BEGINNING, b',', 10_000);
            splitter.push(&writer.into_inner().unwrap());
            let layout = layout(false, &[("0", "string"), ("1", "string"), ("2", "string")]);
            let mut decoder = Decoder::new(Format::Csv, &layout, None);
            let mut found = Vec::new();
            while let Some(piece) = splitter.next(true) {
                let value = decoder.decode(&piece).unwrap().unwrap();
                let value: IndexMap<String, String> = serde_json::from_slice(&value).unwrap();
                found.push(value.into_values().collect::<Vec<_>>());
            }
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let piece = Piece { bytes: bytes.clone().into(), line: 1, end: 0, fault: None };
            for format in [Format::Ndjson, Format::Csv, Format::Text] {
                let _ = Decoder::new(format, &layout(true, &[]), None).decode(&piece);
            }
            let _ = json_values(&bytes);
        }
    }
}
