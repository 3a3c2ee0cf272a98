//! The placeholders of templates: one list, with their arguments.
//!
//! `{{name argument argument}}`; an argument with spaces stands in double quotes.
//! Arguments are checked here, once; a value is then made without a failure.

use courant_model::problem::nearest;
use fake::faker::{
    address::en::{CityName, CountryName, StreetName},
    company::en::CompanyName,
    internet::en::SafeEmail,
    lorem::en::{Sentence, Word},
    name::en::{FirstName, LastName, Name},
    phone_number::en::PhoneNumber,
};
use serde_json::{Number, Value};

use super::{Scene, builtin::date_text};

/// A placeholder with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Placeholder {
    Uuid,
    /// A whole number between both, ends included.
    Int(i64, i64),
    /// A number between both, with so many digits after the point.
    Float(f64, f64, i32),
    /// True in so many of a hundred cases.
    Bool(i64),
    OneOf(Vec<String>),
    /// The number of the document, counted from this one.
    Sequence(i64),
    /// The present, RFC 3339 with milliseconds.
    Now,
    /// The present in milliseconds since the epoch.
    Millis,
    /// A day, so many days from today: between both.
    Date(i64, i64),
    /// A named value from outside, such as a path's.
    Param(String),
    Fake(Kind),
}

/// Fake texts without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Name,
    FirstName,
    LastName,
    Email,
    Phone,
    City,
    Country,
    Street,
    Company,
    Word,
    Sentence,
}

/// Every placeholder, with its arguments as people read them.
const FORMS: [(&str, &str); 22] = [
    ("uuid", ""),
    ("int", "LEAST MOST"),
    ("float", "LEAST MOST [DIGITS]"),
    ("bool", "[PERCENT]"),
    ("oneof", "A B …"),
    ("sequence", "[FIRST]"),
    ("now", ""),
    ("millis", ""),
    ("today", ""),
    ("date", "DAYS_LEAST DAYS_MOST"),
    ("param", "NAME"),
    ("name", ""),
    ("first_name", ""),
    ("last_name", ""),
    ("email", ""),
    ("phone", ""),
    ("city", ""),
    ("country", ""),
    ("street", ""),
    ("company", ""),
    ("word", ""),
    ("sentence", ""),
];

impl Placeholder {
    /// Reads what stands between the braces; a refusal is `(what, remedy)`.
    pub(super) fn read(inner: &str) -> Result<Self, (String, String)> {
        let words = words(inner);
        let Some((name, arguments)) = words.split_first() else {
            return Err(("placeholder is empty".into(), "write one such as {{uuid}}".into()));
        };
        let Some((_, form)) = FORMS.iter().find(|(known, _)| known == name) else {
            let known = FORMS.map(|(known, _)| known);
            let remedy = nearest(name, known).map_or_else(
                || format!("use one of {}", known.join(", ")),
                |near| format!("did you mean {near:?}?"),
            );
            return Err((format!("unknown placeholder {name:?}"), remedy));
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::with(name, &arguments).ok_or_else(|| {
            let space = if form.is_empty() { "" } else { " " };
            let what = format!("placeholder {:?} has wrong arguments", inner.trim());
            (what, format!("write {{{{{name}{space}{form}}}}}"))
        })
    }

    fn with(name: &str, arguments: &[&str]) -> Option<Self> {
        let int = |text: &str| text.parse::<i64>().ok();
        let float = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        Some(match (name, arguments) {
            ("int", [least, most]) => {
                let (least, most) = (int(least)?, int(most)?);
                (least <= most).then_some(Self::Int(least, most))?
            }
            ("float", [least, most, digits @ ..]) if digits.len() <= 1 => {
                let (least, most) = (float(least)?, float(most)?);
                let digits = digits.first().map_or(Some(2), |text| text.parse().ok())?;
                let fits = least <= most && (0..=12).contains(&digits);
                fits.then_some(Self::Float(least, most, digits))?
            }
            ("bool", []) => Self::Bool(50),
            ("bool", [percent]) => Self::Bool(int(percent).filter(|p| (0..=100).contains(p))?),
            ("oneof", [_, ..]) => Self::OneOf(arguments.iter().map(|a| (*a).into()).collect()),
            ("sequence", []) => Self::Sequence(1),
            ("sequence", [first]) => Self::Sequence(int(first)?),
            ("date", [least, most]) => {
                let (least, most) = (int(least)?, int(most)?);
                (least <= most && least.abs() < 100_000 && most.abs() < 100_000)
                    .then_some(Self::Date(least, most))?
            }
            ("param", [name]) => Self::Param((*name).into()),
            ("uuid", []) => Self::Uuid,
            ("now", []) => Self::Now,
            ("millis", []) => Self::Millis,
            ("today", []) => Self::Date(0, 0),
            (name, []) => Self::Fake(Kind::named(name)?),
            _ => return None,
        })
    }

    /// Makes the value.
    pub(super) fn render(&self, scene: &mut Scene<'_>) -> Value {
        match self {
            Self::Uuid => scene.random.uuid().into(),
            Self::Int(least, most) => scene.random.int(*least, *most).into(),
            Self::Float(least, most, digits) => {
                let number = least + (most - least) * scene.random.fraction();
                let scale = 10_f64.powi(*digits);
                Number::from_f64((number * scale).round() / scale).map_or(Value::Null, Value::from)
            }
            Self::Bool(percent) => scene.random.percent(*percent).into(),
            Self::OneOf(choice) => {
                let last = i64::try_from(choice.len()).unwrap_or(i64::MAX) - 1;
                let index = usize::try_from(scene.random.int(0, last)).unwrap_or_default();
                choice.get(index).cloned().unwrap_or_default().into()
            }
            Self::Sequence(first) => {
                first.saturating_add(i64::try_from(scene.number).unwrap_or(i64::MAX)).into()
            }
            Self::Now => super::builtin::time_text(scene.now).into(),
            Self::Millis => scene.now.as_millis().into(),
            Self::Date(least, most) => {
                let days = scene.random.int(*least, *most);
                date_text(scene.now, days).into()
            }
            Self::Param(name) => scene.params.get(name).map_or(Value::Null, |v| v.as_str().into()),
            Self::Fake(kind) => kind.render(scene).into(),
        }
    }
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "first_name" => Self::FirstName,
            "last_name" => Self::LastName,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "city" => Self::City,
            "country" => Self::Country,
            "street" => Self::Street,
            "company" => Self::Company,
            "word" => Self::Word,
            "sentence" => Self::Sentence,
            _ => return None,
        })
    }

    fn render(self, scene: &mut Scene<'_>) -> String {
        let random = &mut *scene.random;
        match self {
            Self::Name => random.fake(&Name()),
            Self::FirstName => random.fake(&FirstName()),
            Self::LastName => random.fake(&LastName()),
            Self::Email => random.fake(&SafeEmail()),
            Self::Phone => random.fake(&PhoneNumber()),
            Self::City => random.fake(&CityName()),
            Self::Country => random.fake(&CountryName()),
            Self::Street => random.fake(&StreetName()),
            Self::Company => random.fake(&CompanyName()),
            Self::Word => random.fake(&Word()),
            Self::Sentence => random.fake(&Sentence(4..10)),
        }
    }
}

/// Words between spaces; double quotes hold several together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
