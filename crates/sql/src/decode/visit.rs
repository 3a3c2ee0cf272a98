//! Drives the builders from the JSON parser, and tells what did not fit.
//!
//! One visitor serves all column types; decimals and `json` columns take the raw
//! text instead. On the way out of an error each level adds its name to the
//! [`Fault`], so that paths cost nothing while records fit.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use courant_model::{ColumnType, json::FieldPath};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::{
    civil,
    decode::{
        scalars::{DecimalFault, is_shallow, parse_decimal},
        slots::{Fields, Slot, Values, offset},
    },
};

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Characters of a found text that a reason repeats.
const FOUND_CHARS_MAX: usize = 60;

/// What did not fit, and where; empty while all is well.
#[derive(Debug, Default)]
pub(super) struct Fault {
    reason: Option<String>,
    /// Innermost first.
    path: Vec<String>,
}

/// Reads an object into its fields.
pub(super) struct RowVisitor<'a> {
    pub(super) fields: &'a mut Fields,
    pub(super) row: usize,
    pub(super) fault: &'a mut Fault,
}

/// Reads one value into its slot.
struct SlotReader<'a> {
    slot: &'a mut Slot,
    fault: &'a mut Fault,
}

/// Finds the field that a key names.
struct KeyReader<'a> {
    fields: &'a Fields,
    guess: usize,
    fault: &'a mut Fault,
}

impl Fault {
    /// The reason in words; `error` is what the parser says when no value misfits.
    pub(super) fn tell(self, error: &serde_json::Error) -> String {
        let path: Vec<_> =
            self.path.iter().rev().map(|name| FieldPath::field(name).to_string()).collect();
        match (self.reason, path.is_empty()) {
            (Some(reason), true) => reason,
            (Some(reason), false) => format!("field {:?}: {reason}", path.join(".")),
            (None, true) => format!("the value is not valid JSON: {error}"),
            (None, false) => {
                format!("the value is not valid JSON: {error}, within field {:?}", path.join("."))
            }
        }
    }

    fn fail<E: Error>(&mut self, reason: String) -> E {
        self.reason = Some(reason);
        E::custom("")
    }

    /// Notes the name of the level that the error passes on its way out.
    fn within<E>(&mut self, name: &str, error: E) -> E {
        self.path.push(name.to_owned());
        error
    }
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { fields, row, fault } = self;
        let mut guess = 0;
        while let Some(found) =
            map.next_key_seed(KeyReader { fields, guess, fault: &mut *fault })?
        {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (name, slot) = &mut fields.slots[index];
            if slot.len() > row {
                slot.truncate(row);
            }
            let result = map.next_value_seed(SlotReader { slot, fault: &mut *fault });
            if let Err(error) = result {
                return Err(fault.within(name, error));
            }
            guess = index + 1;
        }
        for (name, slot) in &mut fields.slots {
            if slot.len() > row {
                continue;
            }
            if slot.required {
                let reason = format!("expected {}, found nothing", slot.expected());
                let error = fault.fail(reason);
                return Err(fault.within(name, error));
            }
            slot.push_null();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for KeyReader<'_> {
    /// The field's index; `None` for a field without a column.
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let found = self.fields.find(name, self.guess);
        if found.is_none() && self.fields.strict {
            let known = self.fields.slots.iter().map(|(name, _)| name.as_str());
            let remedy = match courant_model::problem::nearest(name, known) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => String::new(),
            };
            let name = name.chars().take(FOUND_CHARS_MAX).collect::<String>();
            return Err(self.fault.fail(format!("there is no column for field {name:?}{remedy}")));
        }
        Ok(found)
    }
}

impl<'de> DeserializeSeed<'de> for SlotReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if matches!(self.slot.values, Values::Decimal { .. } | Values::Json(_)) {
            let raw = <&RawValue>::deserialize(deserializer)?;
            return self.raw(raw.get());
        }
        deserializer.deserialize_any(self)
    }
}

impl SlotReader<'_> {
    fn raw<E: Error>(self, text: &str) -> Result<(), E> {
        if text == "null" {
            return self.null();
        }
        match &mut self.slot.values {
            Values::Json(blobs) => {
                if !is_shallow(text) {
                    return Err(self.misfit("a deeper nesting than 128"));
                }
                blobs.push(text.as_bytes());
            }
            Values::Decimal { values, precision, scale } => {
                let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                match parse_decimal(unquoted.unwrap_or(text), *precision, *scale) {
                    Ok(value) => values.push(value),
                    Err(DecimalFault::TooManyDigits) => {
                        let found = format!("{}, which has too many digits", shortened(text));
                        return Err(self.misfit(&found));
                    }
                    Err(DecimalFault::NotANumber) => return Err(self.misfit(&raw_found(text))),
                }
            }
            _ => unreachable!("only decimals and json take raw text"),
        }
        self.slot.wrote();
        Ok(())
    }

    fn null<E: Error>(self) -> Result<(), E> {
        if self.slot.required {
            return Err(self.misfit("null"));
        }
        self.slot.push_null();
        Ok(())
    }

    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match &mut self.slot.values {
            Values::Int64(values) => values.push(value),
            Values::Int32(values) => match i32::try_from(value) {
                Ok(value) => values.push(value),
                Err(_) => return Err(self.misfit(&format!("{value}, which does not fit"))),
            },
            #[expect(clippy::cast_precision_loss, reason = "a JSON number is a double here")]
            Values::Float64(values) => values.push(value as f64),
            Values::Timestamp(values) => match civil::instant_of_millis(value) {
                Some(micros) => values.push(micros),
                None => return Err(self.misfit(&format!("{value}, which is out of range"))),
            },
            _ => return Err(self.misfit(&format!("number {value}"))),
        }
        self.slot.wrote();
        Ok(())
    }

    fn misfit<E: Error>(self, found: &str) -> E {
        let reason = format!("expected {}, found {found}", self.slot.expected());
        self.fault.fail(reason)
    }
}

impl Slot {
    /// The type in words, with the form where it is not obvious.
    fn expected(&self) -> String {
        let form = match self.column_type {
            ColumnType::Timestamp => " (RFC 3339 text or milliseconds since the epoch)",
            ColumnType::Date => " (YYYY-MM-DD)",
            ColumnType::Bytes => " (base64 text)",
            _ => "",
        };
        let not_null = if self.required { " not null" } else { "" };
        format!("{}{not_null}{form}", self.column_type)
    }
}

impl<'de> Visitor<'de> for SlotReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.null()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        let Values::Boolean(values) = &mut self.slot.values else {
            return Err(self.misfit(&format!("boolean {value}")));
        };
        values.append(value);
        self.slot.wrote();
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if let Ok(value) = i64::try_from(value) {
            return self.integer(value);
        }
        let Values::Float64(values) = &mut self.slot.values else {
            return Err(self.misfit(&format!("{value}, which does not fit")));
        };
        #[expect(clippy::cast_precision_loss, reason = "a JSON number is a double here")]
        values.push(value as f64);
        self.slot.wrote();
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let Values::Float64(values) = &mut self.slot.values else {
            return Err(self.misfit(&format!("number {value:?}")));
        };
        values.push(value);
        self.slot.wrote();
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let fits = match &mut self.slot.values {
            Values::String(blobs) => {
                blobs.push(text.as_bytes());
                true
            }
            Values::Bytes(blobs) => BASE64.decode(text).map(|bytes| blobs.push(&bytes)).is_ok(),
            Values::Date(values) => civil::parse_day(text).map(|day| values.push(day)).is_some(),
            Values::Timestamp(values) => {
                civil::parse_instant(text).map(|micros| values.push(micros)).is_some()
            }
            _ => false,
        };
        if !fits {
            return Err(self.misfit(&format!("string {:?}", shortened(text))));
        }
        self.slot.wrote();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Values::List { ends, items } = &mut self.slot.values else {
            return Err(self.misfit("an array"));
        };
        let start = items.len();
        loop {
            let reader = SlotReader { slot: &mut *items, fault: &mut *self.fault };
            match seq.next_element_seed(reader) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    let index = (items.len() - start).to_string();
                    return Err(self.fault.within(&index, error));
                }
            }
        }
        ends.push(offset(items.len()));
        self.slot.wrote();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let row = self.slot.len();
        let Values::Struct(fields) = &mut self.slot.values else {
            return Err(self.misfit("an object"));
        };
        RowVisitor { fields, row, fault: self.fault }.visit_map(map)?;
        self.slot.wrote();
        Ok(())
    }
}

fn raw_found(text: &str) -> String {
    match text.as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b't' | b'f') => format!("boolean {text}"),
        _ => format!("string {}", shortened(text)),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
