//! The aggregates of one GROUP BY, on DataFusion's accumulators.
//!
//! A batch's rows are accumulated by group in fresh accumulators, beginning with the states
//! that were stored; what the accumulators then hold is stored again. Nothing stays in an
//! accumulator between two batches.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, UInt64Array},
    compute::{SortColumn, SortOptions, lexsort_to_indices, take},
    datatypes::DataType,
};
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;

/// One aggregate and where its arguments stand among the calculated arrays.
#[derive(Debug, Clone)]
pub(in crate::stream) struct Aggregate {
    pub(in crate::stream) function: Arc<AggregateFunctionExpr>,
    /// Arguments, the ORDER BY's expressions after them.
    pub(in crate::stream) arguments: Range<usize>,
    /// Of the ORDER BY within the call, in its order.
    pub(in crate::stream) order: Vec<SortOptions>,
    /// The condition of FILTER.
    pub(in crate::stream) filter: Option<usize>,
}

/// All aggregates of one GROUP BY.
#[derive(Debug, Clone)]
pub(in crate::stream) struct Aggregates(pub(in crate::stream) Vec<Aggregate>);

/// The state columns of each aggregate; a row for each group.
pub(in crate::stream) type States = Vec<Vec<ArrayRef>>;

impl Aggregates {
    /// Types of the state columns, aggregate by aggregate.
    pub(in crate::stream) fn state_types(&self) -> Result<Vec<Vec<DataType>>> {
        let types = |aggregate: &Aggregate| {
            let fields = aggregate.function.state_fields()?;
            Ok(fields.iter().map(|field| field.data_type().clone()).collect())
        };
        self.0.iter().map(types).collect()
    }

    /// Accumulates rows by group, behind what is stored of some of the groups.
    ///
    /// `arrays` are the calculated ones; `rows` says which of their rows count and
    /// `groups` the group of each of those.
    pub(in crate::stream) fn accumulate(
        &self,
        arrays: &[ArrayRef],
        rows: &Rows<'_>,
        stored: &Stored,
    ) -> Result<States> {
        self.each(|index, aggregate| {
            let mut accumulator = aggregate.accumulator()?;
            if aggregate.order.is_empty() || stored.groups.is_empty() {
                stored.merge_into(index, accumulator.as_mut(), rows.groups_total)?;
                aggregate.update(accumulator.as_mut(), arrays, rows)?;
                return accumulator.state(EmitTo::All);
            }
            // An ordered accumulator takes rows in one order only: the batch's are apart.
            aggregate.update(accumulator.as_mut(), arrays, rows)?;
            let batch = accumulator.state(EmitTo::All)?;
            let mut whole = aggregate.accumulator()?;
            stored.merge_into(index, whole.as_mut(), rows.groups_total)?;
            let groups: Vec<usize> = (0..rows.groups_total).collect();
            whole.merge_batch(&batch, &groups, rows.groups_total)?;
            whole.state(EmitTo::All)
        })
    }

    /// Merges states by group, behind what is stored of some of the groups.
    ///
    /// `parts` are the pairs of a row of `states` and the group that takes it in.
    pub(in crate::stream) fn merge(
        &self,
        states: &States,
        parts: &[(usize, usize)],
        stored: &Stored,
        groups_total: usize,
    ) -> Result<States> {
        let rows: UInt64Array = parts.iter().map(|(row, _)| *row as u64).collect();
        let groups: Vec<usize> = parts.iter().map(|(_, group)| *group).collect();
        self.each(|index, aggregate| {
            let mut accumulator = aggregate.accumulator()?;
            stored.merge_into(index, accumulator.as_mut(), groups_total)?;
            let picked = states[index].iter().map(|array| Ok(take(array, &rows, None)?));
            let picked = picked.collect::<Result<Vec<_>>>()?;
            accumulator.merge_batch(&picked, &groups, groups_total)?;
            accumulator.state(EmitTo::All)
        })
    }

    /// The result of every group, one array for each aggregate.
    pub(in crate::stream) fn evaluate(
        &self,
        states: &[Vec<ArrayRef>],
        groups_total: usize,
    ) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..groups_total).collect();
        self.each(|index, aggregate| {
            let mut accumulator = aggregate.accumulator()?;
            accumulator.merge_batch(&states[index], &groups, groups_total)?;
            accumulator.evaluate(EmitTo::All)
        })
    }

    fn each<T>(&self, mut work: impl FnMut(usize, &Aggregate) -> Result<T>) -> Result<Vec<T>> {
        self.0.iter().enumerate().map(|(index, aggregate)| work(index, aggregate)).collect()
    }
}

/// Which rows count, and for which groups.
pub(in crate::stream) struct Rows<'a> {
    /// Positions in the calculated arrays; `None`: all.
    pub(in crate::stream) chosen: Option<&'a UInt64Array>,
    /// The group of each row that counts.
    pub(in crate::stream) groups: &'a [usize],
    pub(in crate::stream) groups_total: usize,
}

/// States that were stored, and the groups they are of.
#[derive(Debug, Default)]
pub(in crate::stream) struct Stored {
    pub(in crate::stream) states: States,
    pub(in crate::stream) groups: Vec<usize>,
}

impl Stored {
    fn merge_into(
        &self,
        aggregate: usize,
        accumulator: &mut dyn GroupsAccumulator,
        groups_total: usize,
    ) -> Result<()> {
        if self.groups.is_empty() {
            return Ok(());
        }
        accumulator.merge_batch(&self.states[aggregate], &self.groups, groups_total)
    }
}

impl Aggregate {
    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    fn update(
        &self,
        accumulator: &mut dyn GroupsAccumulator,
        arrays: &[ArrayRef],
        rows: &Rows<'_>,
    ) -> Result<()> {
        let choose = |array: &ArrayRef| match rows.chosen {
            Some(chosen) => Ok(take(array, chosen, None)?),
            None => Ok(Arc::clone(array)),
        };
        let values =
            arrays[self.arguments.clone()].iter().map(choose).collect::<Result<Vec<_>>>()?;
        let filter = self.filter.map(|filter| choose(&arrays[filter])).transpose()?;
        let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
        if self.order.is_empty() {
            return accumulator.update_batch(&values, rows.groups, filter, rows.groups_total);
        }
        self.update_in_order(accumulator, &values, filter, rows)
    }

    /// Accumulators with an ORDER BY expect each batch in that order.
    fn update_in_order(
        &self,
        accumulator: &mut dyn GroupsAccumulator,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
        rows: &Rows<'_>,
    ) -> Result<()> {
        let ordering = &values[values.len() - self.order.len()..];
        let columns = ordering.iter().zip(&self.order).map(|(values, options)| SortColumn {
            values: Arc::clone(values),
            options: Some(*options),
        });
        // Equal rows stay in the order in which they came.
        let places: UInt64Array = (0..rows.groups.len() as u64).collect();
        let columns = columns.chain([SortColumn { values: Arc::new(places), options: None }]);
        let indices = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
        let sort = |array: &ArrayRef| take(array, &indices, None);
        let values = values.iter().map(sort).collect::<std::result::Result<Vec<_>, _>>()?;
        let groups: Vec<usize> =
            indices.values().iter().map(|row| rows.groups[*row as usize]).collect();
        let filter = match filter {
            Some(filter) => Some(take(filter, &indices, None)?),
            None => None,
        };
        let filter = filter.as_ref().map(|filter| filter.as_boolean());
        accumulator.update_batch(&values, &groups, filter, rows.groups_total)
    }
}
