//! `sort`: keys in order, everywhere; those that begin with `~` first. Lists stay.

use crate::{java, value::Value};

pub(crate) fn sort(value: &mut Value<'_>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Object(object) => {
            object.values_mut().for_each(|(_, value)| sort(value));
            object.sort_by(|a, b| {
                let tilde_first = b.starts_with('~').cmp(&a.starts_with('~'));
                tilde_first.then_with(|| java::compare(a, b))
            });
        }
        _ => {}
    }
}
