//! The attributes of one group, dealt out to promoted columns, the attribute table and shapes.
//!
//! One pass over the attributes; keys are small numbers, and whether a key has a column is one look
//! into an array, so that nothing is hashed but each list's shape.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use tracewell_model::value::AttributeType;

use super::keys::{CountsOfKey, KeyCounts, KeyNumbers, Promotion};
use super::schema::{Owner, PromotedKey};
use super::shape::Shape;
use crate::table::{AttributeRows, Runs, Strings};

const TYPES: usize = AttributeType::ALL.len();
const NONE: u16 = u16::MAX;

/// The values of one promoted column.
#[derive(Debug, Default)]
pub(super) struct PromotedCells {
    pub(super) rows: Vec<u32>,
    /// Where they lie in the [`AttributeRows`].
    pub(super) places: Vec<u32>,
}

/// A row of the attribute table.
#[derive(Debug, Clone, Copy)]
pub(super) struct RestRow {
    pub(super) owner: Owner,
    /// Number of the key.
    pub(super) key: u32,
    pub(super) row: u32,
    pub(super) value_type: AttributeType,
    pub(super) value: u64,
}

/// The shapes of the owners of one level.
#[derive(Debug, Default)]
pub(super) struct ShapeCells {
    pub(super) rows: Vec<u32>,
    /// Index in [`Collector::shapes`].
    pub(super) codes: Vec<u32>,
}

pub(super) struct Collector<'a> {
    attributes: &'a AttributeRows,
    strings: &'a Strings,
    pub(super) keys: KeyNumbers<'a>,
    /// The columns of promoted keys: index in `plans`.
    plan_of: HashMap<&'a str, u32, RandomState>,
    /// By level, then type: index in `columns`. The first is that of keys without a column.
    plans: Vec<[[u16; TYPES]; 3]>,
    /// By number of the key: index in `plans`. There may be a million keys, and few of them have columns.
    plan_of_key: Vec<u32>,
    met: Vec<u32>,
    n_lists: u32,
    counts: Vec<CountsOfKey>,
    owners: [u64; 3],
    /// In the order of the promotion.
    pub(super) columns: Vec<PromotedCells>,
    pub(super) rest: Vec<RestRow>,
    /// Tokens (key number and type) of the distinct lists, end to end.
    tokens: Vec<u32>,
    /// Where each distinct list's tokens end.
    ends: Vec<usize>,
    found: HashTable<u32>,
    hasher: RandomState,
    /// By [`Owner::index`].
    pub(super) shape_cells: [ShapeCells; 3],
}

// === impl Collector ===

impl<'a> Collector<'a> {
    pub(super) fn new(
        attributes: &'a AttributeRows,
        strings: &'a Strings,
        promotion: &'a Promotion,
    ) -> Self {
        let mut plan_of = HashMap::<&str, u32, _>::default();
        let mut plans = vec![[[NONE; TYPES]; 3]];
        for (
            index,
            PromotedKey {
                owner,
                key,
                value_type,
            },
        ) in promotion.keys.iter().enumerate()
        {
            let plan = *plan_of.entry(&**key).or_insert_with(|| {
                plans.push([[NONE; TYPES]; 3]);
                plans.len() as u32 - 1
            });
            let levels = plans.get_mut(plan as usize);
            let types = levels.and_then(|levels| levels.get_mut(owner.index()));
            let place = types.and_then(|types| types.get_mut(usize::from(value_type.code())));
            if let Some(place) = place {
                *place = u16::try_from(index).unwrap_or(NONE);
            }
        }
        Self {
            attributes,
            strings,
            keys: KeyNumbers::new(strings),
            plan_of,
            plans,
            plan_of_key: Vec::new(),
            met: Vec::new(),
            n_lists: 0,
            counts: Vec::new(),
            owners: [0; 3],
            columns: promotion
                .keys
                .iter()
                .map(|_| PromotedCells::default())
                .collect(),
            rest: Vec::new(),
            tokens: Vec::new(),
            ends: Vec::new(),
            found: HashTable::new(),
            hasher: RandomState::default(),
            shape_cells: Default::default(),
        }
    }

    /// Takes the list of row `from` of `runs` as that of row `row` of the group.
    pub(super) fn list(&mut self, owner: Owner, runs: &Runs, from: usize, row: u32) {
        self.n_lists = self.n_lists.wrapping_add(1);
        if let Some(owners) = self.owners.get_mut(owner.index()) {
            *owners += 1;
        }
        let run = runs.get(from);
        let begin = self.tokens.len();
        let attributes = self.attributes;
        let entries = (attributes.key.get(run.clone()).unwrap_or_default().iter())
            .zip(attributes.value_type.get(run.clone()).unwrap_or_default())
            .zip(attributes.value.get(run.clone()).unwrap_or_default());
        for (place, ((key, value_type), value)) in (run.start as u32..).zip(entries) {
            let Some(number) = self.keys.number(*key) else {
                debug_assert!(false, "attribute key without a string");
                continue;
            };
            if number >= self.met.len() {
                self.learn(number);
            }
            let first = match self.met.get_mut(number) {
                Some(met) => std::mem::replace(met, self.n_lists) != self.n_lists,
                None => false,
            };
            let key = number as u32;
            self.tokens.push(key << 4 | u32::from(value_type.code()));
            if let Some(counts) = self.counts.get_mut(number) {
                counts.add(owner, *value_type, first);
            }
            if *value_type == AttributeType::Empty {
                continue;
            }
            let column = match first {
                true => self.column_of(number, owner, *value_type),
                false => None,
            };
            match column.and_then(|column| self.columns.get_mut(column)) {
                Some(column) => {
                    column.rows.push(row);
                    column.places.push(place);
                    if let (AttributeType::Strings, Some(counts)) =
                        (*value_type, self.counts.get_mut(number))
                    {
                        counts.add_text(owner, *value_type, *value, self.strings);
                    }
                }
                None => {
                    if let Some(counts) = self.counts.get_mut(number) {
                        counts.add_text(owner, *value_type, *value, self.strings);
                    }
                    self.rest.push(RestRow {
                        owner,
                        key,
                        row,
                        value_type: *value_type,
                        value: *value,
                    });
                }
            }
        }
        if self.tokens.len() > begin {
            let code = self.shape(begin);
            if let Some(cells) = self.shape_cells.get_mut(owner.index()) {
                cells.rows.push(row);
                cells.codes.push(code);
            }
        }
    }

    /// The column that takes the first value of a key.
    fn column_of(&self, number: usize, owner: Owner, value_type: AttributeType) -> Option<usize> {
        let plan = self.plans.get(*self.plan_of_key.get(number)? as usize)?;
        let types = plan.get(owner.index())?;
        let column = *types.get(usize::from(value_type.code()))?;
        (column != NONE).then_some(usize::from(column))
    }

    fn learn(&mut self, number: usize) {
        let text = self.keys.texts.get(number).copied().unwrap_or_default();
        self.plan_of_key
            .push(self.plan_of.get(text).copied().unwrap_or(0));
        self.counts.push(CountsOfKey::default());
        self.met.push(u32::MAX);
    }

    /// The index of the distinct list whose tokens were just pushed from `begin` on.
    fn shape(&mut self, begin: usize) -> u32 {
        let (old, new) = self.tokens.split_at_checked(begin).unwrap_or_default();
        let hash = self.hasher.hash_one(new);
        let (ends, hasher) = (&self.ends, &self.hasher);
        let tokens_of = |shape: u32| tokens_of(old, ends, shape);
        if let Some(shape) = self.found.find(hash, |shape| tokens_of(*shape) == new) {
            let shape = *shape;
            self.tokens.truncate(begin);
            return shape;
        }
        let shape = self.ends.len() as u32;
        self.found
            .insert_unique(hash, shape, |shape| hasher.hash_one(tokens_of(*shape)));
        self.ends.push(self.tokens.len());
        shape
    }

    /// What was taken so far. Bytes of strings in promoted columns are not counted.
    pub(super) fn counts(&self) -> KeyCounts {
        KeyCounts::of_keys(&self.keys.texts, &self.counts, self.owners)
    }

    /// The distinct shapes, by index.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let texts: Vec<Arc<str>> = self
            .keys
            .texts
            .iter()
            .map(|text| Arc::from(*text))
            .collect();
        (0..self.ends.len() as u32)
            .map(|shape| {
                let tokens = tokens_of(&self.tokens, &self.ends, shape);
                Shape::new(tokens.iter().filter_map(|token| {
                    let key = texts.get((token >> 4) as usize)?;
                    Some((
                        Arc::clone(key),
                        AttributeType::from_code((token & 15) as u8)?,
                    ))
                }))
            })
            .collect()
    }
}

fn tokens_of<'t>(tokens: &'t [u32], ends: &[usize], shape: u32) -> &'t [u32] {
    let shape = shape as usize;
    let from = shape
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .copied()
        .unwrap_or(0);
    let to = ends.get(shape).copied().unwrap_or(from);
    tokens.get(from..to).unwrap_or_default()
}
