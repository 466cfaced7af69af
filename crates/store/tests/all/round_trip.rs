//! What was sent comes back by id as it was sent: every field and every type of OTLP, from the head,
//! from the log after a power cut, and from blocks of each level.
//!
//! A span is compared as it prints and as it is encoded, so that a field which only one of the two
//! knows, a NaN or the sign of a zero counts too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracewell_model::{AttributeValue, Clock, KeyValue, Span, TenantId, Trace, TraceId};
use tracewell_store::StoreConfig;
use tracewell_testkit::random::{TraceOptions, random_traces, scatter};
use tracewell_testkit::{FakeClock, Random, RecordingDisk};

use crate::world::*;

const SEEDS: u64 = 16;
const TRACES: usize = 60;
/// Requests of one seed; half of them are sent after the first became blocks of level 1.
const REQUESTS: usize = 16;

/// A trace with more spans lies in several groups after a merge, which joins equal spans in each alone.
const GROUP_SPANS: usize = 12;

/// Everything there is of a span: equal for two spans only if they are equal in every field.
type Form = (String, Vec<u8>);
type Key = (TenantId, TraceId);

/// How often each span was sent.
#[derive(Debug, Default)]
struct Sent {
    by_trace: BTreeMap<Key, BTreeMap<Form, usize>>,
    n_spans: u64,
}

/// How often a span that was sent more than once may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equal {
    /// No merge has joined its fragments yet.
    AsSent,
    One,
}

#[derive(Debug, Default)]
struct Counts {
    spans: u64,
    traces: usize,
    equal: u64,
    reads: usize,
    groups_copied: u64,
    groups_encoded: u64,
}

fn form(span: &Span) -> Form {
    let encoded = tracewell_wire::otlp::encode_spans([span]);
    (format!("{span:?}"), encoded)
}

/// Random traces of two tenants, dealt out to requests; some spans are sent twice, in one request or
/// in two, and some beside a twin that differs in one field.
fn requests(seed: u64, now: u64) -> Vec<Request> {
    let mut random = Random::new(seed);
    let tenants = [TenantId::single(), TenantId::new("other").unwrap()];
    let mut requests = Vec::new();
    for tenant in &tenants {
        let options = TraceOptions {
            start: now - 10 * SECOND,
            wild: true,
            ..TraceOptions::default()
        };
        let mut spans = random_traces(&mut random, TRACES / tenants.len(), &options);
        for index in 0..spans.len() {
            let span = &mut spans[index];
            if random.percent(3) {
                span.start_unix_nano = *random.pick(&[0, 17, 1 << 63, u64::MAX]);
            }
            if random.percent(3) {
                let odd = *random.pick(&[-0.0, f64::NAN, f64::from_bits(u64::MAX)]);
                span.attributes.push(attribute(AttributeValue::Double(odd)));
            }
            if random.percent(20) {
                let twin = twin(&mut random, span);
                spans.push(twin);
            }
        }
        for part in scatter(&mut random, spans, REQUESTS / tenants.len(), 25) {
            requests.push(request(tenant, part));
        }
    }
    random.shuffle(&mut requests);
    // A sender that cuts a retry differently repeats spans, not requests.
    for tenant in &tenants {
        let of_tenant = requests.iter().filter(|sent| sent.batch.tenant == *tenant);
        let spans = of_tenant.flat_map(|sent| &sent.spans);
        let again: Vec<Span> = spans.step_by(7).cloned().collect();
        requests.push(request(tenant, again));
    }
    requests.retain(|request| !request.spans.is_empty());
    requests
}

fn attribute(value: AttributeValue) -> KeyValue {
    KeyValue {
        key: "n".to_owned(),
        value,
    }
}

/// The same span but for one field, however small.
fn twin(random: &mut Random, span: &Span) -> Span {
    let mut twin = span.clone();
    let resource = Arc::make_mut(&mut twin.resource);
    let scope = Arc::make_mut(&mut twin.scope);
    match random.below(16) {
        0 => twin.flags ^= 1 << 31,
        1 => twin.dropped_links_count ^= 1,
        2 => twin.dropped_events_count ^= 1,
        3 => twin.dropped_attributes_count ^= 1,
        4 => twin.trace_state.push(' '),
        5 => twin.name.push('\0'),
        6 => twin.kind ^= 1,
        7 => twin.end_unix_nano ^= 1,
        8 => twin.attributes.push(attribute(AttributeValue::Empty)),
        9 => {
            let list = Vec::new();
            twin.attributes.push(attribute(AttributeValue::Array(list)));
        }
        10 => twin.events.push(tracewell_model::Event::default()),
        11 => twin.links.push(tracewell_model::Link::default()),
        12 => {
            let mut status = twin.status.take().unwrap_or_default();
            status.message.push('!');
            twin.status = Some(status);
        }
        13 => {
            resource.present = true;
            resource.dropped_attributes_count ^= 1;
        }
        14 => {
            scope.present = true;
            scope.dropped_attributes_count ^= 1;
        }
        _ => resource.schema_url.push('/'),
    }
    assert!(form(&twin) != form(span));
    twin
}

fn config(random: u128) -> StoreConfig {
    let mut config = small_config(random);
    // One merge takes all blocks that wait, so that levels can be looked at one by one.
    config.merge.blocks_max = 1_000;
    config.limits.memory_bytes = 16 << 20;
    // Few traces to a group, so that some are not split over blocks.
    config.group_spans = GROUP_SPANS;
    config
}

// === impl Sent ===

impl Sent {
    fn add(&mut self, request: &Request) {
        for span in &request.spans {
            let key = (request.batch.tenant.clone(), span.trace_id);
            let forms = self.by_trace.entry(key).or_default();
            *forms.entry(form(span)).or_default() += 1;
            self.n_spans += 1;
        }
    }

    fn n_distinct(&self) -> u64 {
        self.by_trace.values().map(|forms| forms.len() as u64).sum()
    }

    async fn check(&self, world: &World, equal: Equal, what: &str) {
        let ids: Vec<Key> = self.by_trace.keys().cloned().collect();
        let mut found: BTreeMap<Key, Vec<Span>> = BTreeMap::new();
        for (tenant, span) in world.read(&ids).await {
            found.entry((tenant, span.trace_id)).or_default().push(span);
        }
        for (key, sent) in &self.by_trace {
            let spans = found.remove(key).unwrap_or_default();
            let mut counts: BTreeMap<Form, usize> = BTreeMap::new();
            for span in &spans {
                *counts.entry(form(span)).or_default() += 1;
            }
            let is_joined = sent.values().sum::<usize>() <= GROUP_SPANS;
            for (form, n) in &counts {
                let n_sent = sent.get(form).copied().unwrap_or(0);
                let n_most = if equal == Equal::One && is_joined {
                    n_sent.min(1)
                } else {
                    n_sent
                };
                assert!(*n <= n_most, "{what}: {n} times, sent {n_sent}: {}", form.0);
            }
            let lost = sent.keys().find(|form| !counts.contains_key(*form));
            assert!(lost.is_none(), "{what}: {key:?} lost {lost:?}");
            self.check_answer(key, spans, what);
        }
    }

    /// What a query makes of the fragments.
    fn check_answer(&self, key: &Key, spans: Vec<Span>, what: &str) {
        let mut trace = Trace {
            trace_id: key.1,
            spans,
        };
        trace.deduplicate();
        let mut answer: Vec<Form> = trace.spans.iter().map(form).collect();
        answer.sort();
        let sent: Vec<Form> = self.by_trace[key].keys().cloned().collect();
        assert!(answer == sent, "{what}: {key:?} is answered as {answer:?}");
    }
}

async fn send(world: &World, requests: &[Request], sent: &mut Sent, cut: bool) {
    for request in requests {
        assert!(!world.write(request).await.unwrap());
        assert!(world.write(request).await.unwrap(), "a repeat is known");
        sent.add(request);
        if cut {
            world.store.flush().await.unwrap();
        }
    }
}

async fn levels(world: &World) -> Vec<u8> {
    let status = world.store.status().await;
    status.by_level.keys().copied().collect()
}

/// Cuts the power and starts again.
async fn restart(
    world: World,
    disk: &mut RecordingDisk,
    clock: &Arc<FakeClock>,
    start: u64,
) -> World {
    drop(world);
    *disk = disk.power_cut(disk.n_operations(), start);
    let config = config(start.into());
    let world = World::open(Arc::new(disk.clone()), clock, config).await;
    let world = world.unwrap();
    assert!(world.store.recovery().is_clean(), "start {start}");
    world
}

async fn round_trip(seed: u64, counts: &mut Counts) {
    let clock = Arc::new(FakeClock::default());
    clock.advance(minutes(30));
    let mut disk = new_disk(&clock);
    let mut sent = Sent::default();
    let requests = requests(seed, clock.now_unix_nano());
    let (first, second) = requests.split_at(requests.len() / 2);
    let what = |place: &str| format!("seed {seed}, {place}");
    let world = World::open(Arc::new(disk.clone()), &clock, config(1)).await;
    let world = world.unwrap();

    send(&world, first, &mut sent, false).await;
    assert!(levels(&world).await.is_empty());
    sent.check(&world, Equal::AsSent, &what("head")).await;

    let world = restart(world, &mut disk, &clock, seed * 4 + 2).await;
    let recovery = world.store.recovery();
    assert_eq!(recovery.records_replayed, first.len() as u64);
    sent.check(&world, Equal::AsSent, &what("log after a power cut"))
        .await;

    world.store.flush().await.unwrap();
    assert_eq!(levels(&world).await, [0]);
    assert_eq!(world.store.status().await.head_bytes, 0);
    sent.check(&world, Equal::AsSent, &what("level 0")).await;
    let world = restart(world, &mut disk, &clock, seed * 4 + 3).await;
    assert_eq!(world.store.recovery().records_replayed, 0);
    sent.check(&world, Equal::AsSent, &what("level 0 after a power cut"))
        .await;

    assert!(world.store.merge_next(true).await.unwrap());
    assert_eq!(levels(&world).await, [1]);
    sent.check(&world, Equal::One, &what("level 1")).await;

    send(&world, second, &mut sent, true).await;
    sent.check(&world, Equal::AsSent, &what("level 0 and 1"))
        .await;
    while world.store.merge_next(true).await.unwrap() {}
    assert_eq!(levels(&world).await, [2]);
    sent.check(&world, Equal::One, &what("level 2")).await;
    let metrics = world.store.metrics();
    let equal = metrics.spans_deduplicated.load(Ordering::Relaxed);
    counts.groups_copied += metrics.groups_copied.load(Ordering::Relaxed);
    counts.groups_encoded += metrics.groups_encoded.load(Ordering::Relaxed);
    assert!(equal > 0, "seed {seed}: nothing was sent twice");
    world.store.settle(true).await.unwrap();
    world.store.delete_retired().await.unwrap();
    let world = restart(world, &mut disk, &clock, seed * 4 + 5).await;
    assert_eq!(world.store.recovery().records_replayed, 0);
    assert_eq!(levels(&world).await, [2]);
    sent.check(&world, Equal::One, &what("level 2 after a power cut"))
        .await;
    assert_eq!(equal, sent.n_spans - sent.n_distinct(), "seed {seed}");

    counts.spans += sent.n_spans;
    counts.traces += sent.by_trace.len();
    counts.equal += equal;
    counts.reads += 8;
}

#[test]
fn every_field_comes_back_from_head_log_and_every_level() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        runtime().block_on(round_trip(seed, &mut counts));
    }
    println!("round trips of seeds 0..{SEEDS}: {counts:?}");
    assert!(counts.groups_copied > 0 && counts.groups_encoded > 0);
}
