//! `sort`: keys in order, everywhere; those that begin with `~` first. Lists stay.

use crate::{
    java,
    value::{Slot, own_array, own_object},
};

pub(crate) fn sort(slot: &Slot<'_>) {
    if let Some(array) = own_array(slot) {
        array.slots().iter().for_each(sort);
    } else if let Some(object) = own_object(slot) {
        object.entries().iter().for_each(|entry| sort(&entry.value));
        object.sort_by(|a, b| {
            let tilde_first = b.starts_with('~').cmp(&a.starts_with('~'));
            tilde_first.then_with(|| java::compare(a, b))
        });
    }
}
