//! Which attributes become columns: counts of keys, and the choice made from them.
//!
//! Counting is one light pass over the attributes of a table; merged blocks add up the counts in
//! their meta instead. Nothing is configured.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::value::AttributeType;

use super::meta::{BlockMeta, KeyMeta};
use super::schema::{KEYS_LISTED_MAX, Owner, PROMOTED_COLUMNS_MAX, PROMOTED_ONE_IN, PromotedKey};
use crate::table::{Runs, SpanTable, StringCode, Strings};

/// Rows that the columns of a first block are chosen by.
const ROWS_SAMPLED: usize = 8_192;
/// Keys counted while a block is written.
const KEYS_COUNTED_MAX: usize = 4 * KEYS_LISTED_MAX;

/// Occurrences of one key with values of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCount {
    pub count: u64,
    /// Owners in whose list it is the first entry of its key.
    pub first: u64,
    /// Distinct values, as far as known; an estimate where groups or blocks were added up.
    pub distinct: u64,
    pub bytes: u64,
}

/// Counts of keys over some spans with their events and links.
#[derive(Debug, Clone, Default)]
pub struct KeyCounts {
    pub keys: HashMap<PromotedKey, KeyCount, RandomState>,
    /// Spans, events and links, by [`Owner::index`].
    pub owners: [u64; 3],
    /// True if keys are missing: those that a meta did not list.
    pub truncated: bool,
}

/// What is known without reading of the first occurrences of a key in the lists of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FirstTypes {
    /// `None` if it is not known: the block has more keys than its meta lists.
    types: Option<Vec<AttributeType>>,
    /// Whether a list may have the key more than once.
    pub(super) repeats: bool,
}

/// The promoted columns of a block, in the order of its schemas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promotion {
    pub keys: Vec<PromotedKey>,
}

// === impl KeyCounts ===

impl KeyCounts {
    /// Counts what some rows of a table have.
    pub fn of(table: &SpanTable, strings: &Strings, rows: &[u32]) -> Self {
        let mut counter = Counter::new(table, strings);
        for row in rows {
            let row = *row as usize;
            counter.list(Owner::Span, &table.spans.attributes, row);
            for event in table.spans.events.get(row) {
                counter.list(Owner::Event, &table.events.attributes, event);
            }
            for link in table.spans.links.get(row) {
                counter.list(Owner::Link, &table.links.attributes, link);
            }
        }
        counter.finish()
    }

    /// Like [`Self::of`] over a part of the rows, spread evenly: enough to choose columns by.
    pub fn sample(table: &SpanTable, strings: &Strings, rows: &[u32]) -> Self {
        let step = (rows.len() / ROWS_SAMPLED).max(1);
        let sampled: Vec<u32> = rows.iter().copied().step_by(step).collect();
        Self::of(table, strings, &sampled)
    }

    /// Where there are far more keys than a meta lists, the rarest are left out before anything is made of them.
    pub(super) fn of_keys(texts: &[&str], counts: &[CountsOfKey], owners: [u64; 3]) -> Self {
        let mut all: Vec<(&str, &CountsOfKey)> = texts.iter().copied().zip(counts).collect();
        let truncated = all.len() > KEYS_COUNTED_MAX;
        if truncated {
            all.select_nth_unstable_by(KEYS_LISTED_MAX, |a, b| {
                b.1.n().cmp(&a.1.n()).then_with(|| a.0.cmp(b.0))
            });
            all.truncate(KEYS_LISTED_MAX);
            all.shrink_to_fit();
        }
        let mut sums = Self {
            owners,
            truncated,
            ..Self::default()
        };
        for (text, counts) in all {
            let key: Arc<str> = Arc::from(text);
            for (owner, value_type, count) in counts.all() {
                let name = PromotedKey {
                    owner,
                    key: Arc::clone(&key),
                    value_type,
                };
                sums.keys.insert(name, count);
            }
        }
        sums
    }

    /// The counts of a block that is to be merged.
    pub fn of_meta(meta: &BlockMeta) -> Self {
        let mut counts = Self::default();
        if let Some(spans) = counts.owners.get_mut(Owner::Span.index()) {
            *spans = meta.spans;
        }
        for (owner, place) in Owner::ALL.into_iter().zip(&mut counts.owners) {
            *place = meta.table(owner.table()).map_or(0, |table| table.rows);
        }
        for key in &meta.keys {
            let value_type = AttributeType::ALL
                .into_iter()
                .find(|value_type| value_type.name() == key.value_type);
            if let (Some(owner), Some(value_type)) = (Owner::from_name(&key.level), value_type) {
                let name = PromotedKey {
                    owner,
                    key: Arc::from(&*key.key),
                    value_type,
                };
                counts.keys.insert(name, key.into());
            }
        }
        counts.truncated = meta.keys_truncated;
        counts
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, n) in self.owners.iter_mut().zip(other.owners) {
            *sum += n;
        }
        for (key, count) in &other.keys {
            let sum = self.keys.entry_ref(key).or_default();
            sum.count += count.count;
            sum.first += count.first;
            sum.distinct = sum.distinct.max(count.distinct);
            sum.bytes += count.bytes;
        }
        self.truncated |= other.truncated;
        self.bound();
    }

    /// Forgets the rarest where there are far more than a meta lists, as where every span has a key of
    /// its own.
    fn bound(&mut self) {
        if self.keys.len() <= KEYS_COUNTED_MAX {
            return;
        }
        let mut keys: Vec<(PromotedKey, KeyCount)> = self.keys.drain().collect();
        keys.select_nth_unstable_by(KEYS_LISTED_MAX, |a, b| {
            b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0))
        });
        keys.truncate(KEYS_LISTED_MAX);
        self.keys.extend(keys);
        self.keys.shrink_to_fit();
        self.truncated = true;
    }

    /// Takes away what was counted of a part. Of distinct values no part is known.
    pub fn subtract(&mut self, part: &Self) {
        for (sum, n) in self.owners.iter_mut().zip(part.owners) {
            *sum = sum.saturating_sub(n);
        }
        for (key, count) in &part.keys {
            if let Some(sum) = self.keys.get_mut(key) {
                sum.count = sum.count.saturating_sub(count.count);
                sum.first = sum.first.saturating_sub(count.first);
                sum.bytes = sum.bytes.saturating_sub(count.bytes);
            }
        }
        self.keys.retain(|_, count| count.count > 0);
    }

    /// The columns that a block with these counts is to have.
    pub fn choose(&self) -> Promotion {
        self.choose_beside(&[])
    }

    /// The same for a block that has some columns in any case: those of groups that are copied.
    pub(super) fn choose_beside(&self, held: &[PromotedKey]) -> Promotion {
        let mut candidates: Vec<(&PromotedKey, u64)> = self
            .keys
            .iter()
            .filter(|(key, count)| {
                let owners = self.owners.get(key.owner.index()).copied().unwrap_or(0);
                count.first > 0 && count.first.saturating_mul(PROMOTED_ONE_IN) >= owners
            })
            .map(|(key, count)| (key, count.first))
            .collect();
        candidates.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        // Readers ignore case: two keys whose names meet all the same cannot both have a column.
        let mut names = hashbrown::HashSet::<String>::new();
        let held = held.iter();
        let mut keys: Vec<PromotedKey> = held
            .chain(candidates.into_iter().map(|(key, _)| key))
            .filter(|key| {
                key.column()
                    .is_some_and(|column| names.insert(column.name.to_lowercase()))
            })
            .take(PROMOTED_COLUMNS_MAX)
            .cloned()
            .collect();
        keys.sort_unstable();
        Promotion { keys }
    }

    /// The list of keys for the meta, and whether it was cut.
    pub(super) fn listed(&self) -> (Vec<KeyMeta>, bool) {
        let mut keys: Vec<(&PromotedKey, &KeyCount)> = self.keys.iter().collect();
        keys.sort_unstable_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(b.0)));
        let truncated = self.truncated || keys.len() > KEYS_LISTED_MAX;
        keys.truncate(KEYS_LISTED_MAX);
        let keys = keys.into_iter().map(|(key, count)| KeyMeta {
            level: key.owner.name().to_owned(),
            key: key.key.to_string(),
            value_type: key.value_type.name().to_owned(),
            count: count.count,
            first: count.first,
            distinct: count.distinct,
            bytes: count.bytes,
        });
        (keys.collect(), truncated)
    }
}

// === impl FirstTypes ===

impl FirstTypes {
    pub(super) fn of(meta: &BlockMeta, owner: Owner, key: &str) -> Self {
        if meta.keys_truncated {
            return Self {
                types: None,
                repeats: true,
            };
        }
        let named = |known: &&KeyMeta| known.key == key && known.level == owner.name();
        let (mut types, mut repeats) = (Vec::new(), false);
        for known in meta.keys.iter().filter(named) {
            repeats |= known.count > known.first;
            if known.first > 0 {
                let mut all = AttributeType::ALL.into_iter();
                types.extend(all.find(|value_type| value_type.name() == known.value_type));
            }
        }
        let types = Some(types);
        Self { types, repeats }
    }

    pub(super) fn may_be(&self, value_type: AttributeType) -> bool {
        let types = self.types.as_ref();
        types.is_none_or(|types| types.contains(&value_type))
    }

    /// Whether there may be one that has a value and none of these types.
    pub(super) fn may_be_beside(&self, held: impl Fn(AttributeType) -> bool) -> bool {
        let lies_outside = |of: &AttributeType| *of != AttributeType::Empty && !held(*of);
        let types = self.types.as_ref();
        types.is_none_or(|types| types.iter().any(lies_outside))
    }
}

impl From<&KeyMeta> for KeyCount {
    fn from(meta: &KeyMeta) -> Self {
        Self {
            count: meta.count,
            first: meta.first,
            distinct: meta.distinct,
            bytes: meta.bytes,
        }
    }
}

// === impl Promotion ===

impl Promotion {
    pub(super) fn of(&self, owner: Owner) -> impl Iterator<Item = &PromotedKey> {
        self.keys.iter().filter(move |key| key.owner == owner)
    }
}

/// Counts of one key by level and type. There may be a key of its own for every span, and most are met
/// on one level with one type.
#[derive(Debug, Clone, Default)]
pub(super) struct CountsOfKey {
    usual: Option<CountOfType>,
    others: Option<Box<[CountOfType]>>,
}

type CountOfType = (Owner, AttributeType, KeyCount);

const UNSEEN: u32 = u32::MAX;

/// Keys as small numbers, found by string code without hashing.
#[derive(Debug)]
pub(super) struct KeyNumbers<'a> {
    strings: &'a Strings,
    /// Number of a key by its code.
    by_code: Vec<u32>,
    /// A key has two codes where tables were put together, and one number all the same.
    by_text: HashMap<&'a str, u32, RandomState>,
    pub(super) texts: Vec<&'a str>,
}

// === impl KeyNumbers ===

impl<'a> KeyNumbers<'a> {
    pub(super) fn new(strings: &'a Strings) -> Self {
        Self {
            strings,
            by_code: vec![UNSEEN; strings.n_strings()],
            by_text: HashMap::default(),
            texts: Vec::new(),
        }
    }

    /// The number of a key; numbers are dense in the order of first sight.
    pub(super) fn number(&mut self, key: StringCode) -> Option<usize> {
        let number = self.by_code.get_mut(key.0 as usize)?;
        if *number == UNSEEN {
            let text = self.strings.text(key);
            let next = u32::try_from(self.texts.len()).ok()?;
            *number = *self.by_text.entry(text).or_insert(next);
            if *number == next {
                self.texts.push(text);
            }
        }
        Some(*number as usize)
    }
}

struct Counter<'a> {
    table: &'a SpanTable,
    strings: &'a Strings,
    keys: KeyNumbers<'a>,
    counts: Vec<CountsOfKey>,
    /// The last list in which a key was met.
    met: Vec<u32>,
    n_lists: u32,
    owners: [u64; 3],
}

impl<'a> Counter<'a> {
    fn new(table: &'a SpanTable, strings: &'a Strings) -> Self {
        Self {
            table,
            strings,
            keys: KeyNumbers::new(strings),
            counts: Vec::new(),
            met: Vec::new(),
            n_lists: 0,
            owners: [0; 3],
        }
    }

    fn list(&mut self, owner: Owner, runs: &Runs, row: usize) {
        self.n_lists = self.n_lists.wrapping_add(1);
        if let Some(owners) = self.owners.get_mut(owner.index()) {
            *owners += 1;
        }
        let attributes = &self.table.attributes;
        for at in runs.get(row) {
            let (Some(key), Some(value_type), Some(value)) = (
                attributes.key.get(at),
                attributes.value_type.get(at),
                attributes.value.get(at),
            ) else {
                return;
            };
            let Some(number) = self.keys.number(*key) else {
                return;
            };
            if number >= self.counts.len() {
                self.counts.push(Default::default());
                self.met.push(UNSEEN);
            }
            let first = match self.met.get_mut(number) {
                Some(met) => std::mem::replace(met, self.n_lists) != self.n_lists,
                None => false,
            };
            if let Some(counts) = self.counts.get_mut(number) {
                counts.add(owner, *value_type, first);
                counts.add_text(owner, *value_type, *value, self.strings);
            }
        }
    }

    fn finish(self) -> KeyCounts {
        KeyCounts::of_keys(&self.keys.texts, &self.counts, self.owners)
    }
}

// === impl CountsOfKey ===

impl CountsOfKey {
    /// Counts one value, and its bytes unless it is a text.
    pub(super) fn add(&mut self, owner: Owner, value_type: AttributeType, first: bool) {
        let count = self.of(owner, value_type);
        count.count += 1;
        count.first += u64::from(first);
        count.bytes += match value_type {
            AttributeType::Bool => 1,
            AttributeType::Int | AttributeType::Double => 8,
            _ => 0,
        };
    }

    /// Adds the bytes of a value whose text lies among the strings.
    pub(super) fn add_text(
        &mut self,
        owner: Owner,
        value_type: AttributeType,
        value: u64,
        strings: &Strings,
    ) {
        let is_text = !matches!(
            value_type,
            AttributeType::Empty | AttributeType::Bool | AttributeType::Int | AttributeType::Double
        );
        if is_text {
            let n_bytes = strings.get(StringCode(value as u32)).len() as u64;
            self.of(owner, value_type).bytes += n_bytes;
        }
    }

    fn all(&self) -> impl Iterator<Item = CountOfType> {
        let others = self.others.iter().flat_map(|others| others.iter());
        self.usual.iter().chain(others).copied()
    }

    fn n(&self) -> u64 {
        self.all().map(|(_, _, count)| count.count).sum()
    }

    fn of(&mut self, owner: Owner, value_type: AttributeType) -> &mut KeyCount {
        let is_it = |of: &CountOfType| (of.0, of.1) == (owner, value_type);
        let new = (owner, value_type, KeyCount::default());
        let usual = self.usual.get_or_insert(new);
        if is_it(usual) {
            return &mut usual.2;
        }
        let known = self.others.as_deref().unwrap_or_default();
        if !known.iter().any(is_it) {
            self.others = Some([known, &[new]].concat().into());
        }
        let mut others = self.others.iter_mut().flatten();
        let found = others.find(|of| is_it(of));
        found.map_or(&mut usual.2, |of| &mut of.2)
    }
}
