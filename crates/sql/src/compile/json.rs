//! `json_as_text(json, key, …)`: the one way into columns of type `json`.
//!
//! Follows the keys (names of fields, indexes of lists from 0) and gives the value as
//! text: a string as it is, everything else in its JSON form, digit for digit; null
//! where there is nothing. Only the levels on the way are parsed. Name and form are
//! those of `datafusion-functions-json`.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arrow::{
    array::{AsArray, StringArray},
    compute::cast,
    datatypes::DataType,
};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::value::RawValue;

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonAsText {
    signature: Signature,
}

enum Key {
    Field(String),
    Index(usize),
}

/// The function, for the catalogue.
pub(super) fn json_as_text() -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(JsonAsText { signature }.into())
}

impl ScalarUDFImpl for JsonAsText {
    fn name(&self) -> &'static str {
        "json_as_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((json, keys)) = args.args.split_first() else {
            return exec_err!("json_as_text needs a JSON text");
        };
        let keys = keys.iter().map(key_of).collect::<Result<Vec<_>>>()?;
        let json = cast(&json.to_array(args.number_rows)?, &DataType::Utf8)?;
        let texts = json.as_string::<i32>().iter().map(|json| match json {
            None => Ok(None),
            Some(json) => match text_at(json, &keys) {
                Ok(text) => Ok(text),
                Err(error) => exec_err!("json_as_text was given text that is no JSON: {error}"),
            },
        });
        Ok(ColumnarValue::Array(Arc::new(texts.collect::<Result<StringArray>>()?)))
    }
}

fn key_of(key: &ColumnarValue) -> Result<Key> {
    match key {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))) => Ok(Key::Field(name.clone())),
        ColumnarValue::Scalar(ScalarValue::Int64(Some(index))) => match usize::try_from(*index) {
            Ok(index) => Ok(Key::Index(index)),
            Err(_) => exec_err!("the index {index} of json_as_text is below 0"),
        },
        _ => exec_err!("the keys of json_as_text are constants: text or whole numbers"),
    }
}

fn text_at(json: &str, keys: &[Key]) -> serde_json::Result<Option<String>> {
    let mut value: &RawValue = serde_json::from_str(json)?;
    for key in keys {
        let Some(next) = step(value, key)? else { return Ok(None) };
        value = next;
    }
    match value.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => serde_json::from_str(text).map(Some),
        text => Ok(Some(text.to_owned())),
    }
}

fn step<'a>(value: &'a RawValue, key: &Key) -> serde_json::Result<Option<&'a RawValue>> {
    Ok(match (key, value.get().as_bytes().first()) {
        (Key::Field(name), Some(b'{')) => {
            let fields: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(value.get())?;
            fields.get(name.as_str()).copied()
        }
        (Key::Index(index), Some(b'[')) => {
            let items: Vec<&'a RawValue> = serde_json::from_str(value.get())?;
            items.get(*index).copied()
        }
        _ => None,
    })
}
