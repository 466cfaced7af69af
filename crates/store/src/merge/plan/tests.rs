use super::*;
use crate::manifest::CLASS_DEFAULT;
use crate::partition::ARRIVAL_SPREAD_MAX_NANO;

const S: u64 = NANOS_PER_SECOND;
const HOUR: u64 = 3_600 * S;
/// The start of a day.
const T: u64 = 20_000 * 24 * HOUR;

fn entry(n: u16, level: u8, hour: u64, arrival: u64, bytes: u64) -> BlockEntry {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    BlockEntry {
        id: BlockId(id),
        level,
        format: 1,
        tenant: (level > 0).then(TenantId::single),
        partition: (level > 0).then(|| Partition::hour_of(hour)),
        class: CLASS_DEFAULT.to_owned(),
        spans: 10,
        traces: 10,
        trace_start: Bounds(hour, hour),
        span_start: Bounds(hour, hour),
        arrival: Bounds(arrival, arrival + S),
        bytes,
        files: Vec::new(),
        log: None,
        made_from: Vec::new(),
        delete_set: None,
        writer: None,
    }
}

fn policy() -> MergePolicy {
    MergePolicy::new(64 << 20, 1)
}

fn n_inputs(blocks: &[BlockEntry], now: u64) -> usize {
    policy()
        .next(blocks, now, false)
        .map_or(0, |plan| plan.inputs.len())
}

#[test]
fn eight_first_blocks_or_a_minute() {
    let blocks: Vec<_> = (0..40)
        .map(|n| entry(n, 0, T, T + u64::from(n), 5))
        .collect();
    let soon = T + 2 * S;
    assert_eq!(n_inputs(&blocks[..7], soon), 0);
    assert_eq!(n_inputs(&blocks[..8], soon), 8);
    assert_eq!(n_inputs(&blocks, soon), 32);
    assert_eq!(n_inputs(&blocks[..1], T + 61 * S), 1);
    assert_eq!(n_inputs(&blocks[..1], T + 61 * S - 1), 0);
    // The clock went back: nothing waits for it to come again.
    assert_eq!(n_inputs(&blocks[..1], T - HOUR), 1);
    // In a hurry nothing waits.
    let plan = policy().next(&blocks[..2], soon, true).unwrap();
    assert_eq!((plan.inputs.len(), plan.target), (2, Target::First));
    assert_eq!(n_inputs(&[], soon), 0);
}

#[test]
fn arrivals_a_day_apart_stay_apart() {
    let late = T + ARRIVAL_SPREAD_MAX_NANO;
    let blocks = [entry(1, 0, T, T, 5), entry(2, 0, T, late, 5)];
    let plan = policy().next(&blocks, late + HOUR, false).unwrap();
    assert_eq!(plan.inputs, [blocks[0].id]);
    // The same hour, long over.
    let blocks = [entry(1, 1, T, T, 5), entry(2, 1, T, late, 5)];
    assert_eq!(n_inputs(&blocks, late + 48 * HOUR), 0);
    let blocks = [entry(1, 1, T, T, 5), entry(2, 1, T, late - S, 5)];
    assert_eq!(n_inputs(&blocks, late + 48 * HOUR), 2);
}

#[test]
fn an_hour_is_merged_by_eights_while_it_lasts_and_whole_when_it_is_over() {
    let mut blocks: Vec<_> = (0..8)
        .map(|n| entry(n, 1, T, T + u64::from(n), 5))
        .collect();
    blocks.push(entry(100, 2, T, T, 40));
    blocks.push(entry(101, 1, T + HOUR, T, 40));
    let lasting = T + HOUR / 2;
    assert_eq!(n_inputs(&blocks[..7], lasting), 0);
    assert_eq!(n_inputs(&blocks, lasting), 8);
    let over = T + HOUR + 600 * S;
    assert_eq!(n_inputs(&blocks[7..], over - 1), 0);
    assert_eq!(n_inputs(&blocks[7..], over), 2);
    let plan = policy().next(&blocks[7..], over, false).unwrap();
    assert!(matches!(
        plan.target,
        Target::Partition { partition, .. } if partition == Partition::hour_of(T)
    ));
}

#[test]
fn a_day_is_merged_when_it_is_over() {
    let blocks: Vec<_> = (0..24)
        .map(|n| entry(n, 2, T + u64::from(n) * HOUR, T + u64::from(n) * HOUR, 100))
        .collect();
    assert_eq!(n_inputs(&blocks, T + 24 * HOUR), 0);
    let plan = policy().next(&blocks, T + 25 * HOUR, false).unwrap();
    assert_eq!(plan.inputs.len(), 24);
    let Target::Partition { partition, .. } = plan.target else {
        panic!("not a partition");
    };
    assert!(partition.is_day());
    // A day that is one block is left alone.
    let mut day = entry(30, 2, T, T, 2_400);
    day.partition = day.partition.map(Partition::day);
    assert_eq!(n_inputs(std::slice::from_ref(&day), T + 48 * HOUR), 0);
    // A small late block waits an hour before the day is written again for it.
    let late = entry(31, 1, T + HOUR, T + 20 * HOUR, 10);
    let both = [day, late];
    assert_eq!(n_inputs(&both, T + 24 * HOUR + 600 * S), 2);
    let soon = entry(32, 1, T + HOUR, T + 23 * HOUR + 3_590 * S, 10);
    let both = [both[0].clone(), soon];
    assert_eq!(n_inputs(&both, T + 24 * HOUR + 600 * S), 0);
    assert_eq!(n_inputs(&both, T + 25 * HOUR), 2);
}

#[test]
fn a_merge_takes_no_more_than_memory_allows() {
    let mut policy = policy();
    policy.traces_max = 35;
    let blocks: Vec<_> = (0..8).map(|n| entry(n, 0, T, T, 5)).collect();
    assert_eq!(policy.next(&blocks, T, false).unwrap().inputs.len(), 3);
    // What alone is too large is written again once at level 0, never at level 1.
    policy.traces_max = 5;
    assert_eq!(policy.next(&blocks, T, false).unwrap().inputs.len(), 1);
    let blocks: Vec<_> = (0..8).map(|n| entry(n, 1, T, T, 5)).collect();
    assert_eq!(policy.next(&blocks, T + 90 * HOUR, false), None);
}

#[test]
fn tenants_classes_and_newer_formats_stay_apart() {
    let now = T + 90 * HOUR;
    let one = entry(1, 1, T, T, 5);
    let mut tenant = entry(2, 1, T, T, 5);
    tenant.tenant = Some(TenantId::new("other").unwrap());
    let mut class = entry(3, 1, T, T, 5);
    class.class = "long".to_owned();
    let mut format = entry(4, 1, T, T, 5);
    format.format = 2;
    let mut deletes = entry(5, 1, T, T, 5);
    deletes.delete_set = Some("rows".to_owned());
    assert_eq!(
        n_inputs(&[one.clone(), tenant, class, format, deletes], now),
        0
    );
    assert_eq!(n_inputs(&[one, entry(6, 1, T, T, 5)], now), 2);
}
