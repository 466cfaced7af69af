//! More than a server can take: it refuses the rest, keeps within its memory, and takes about as much as it
//! did before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracewell_model::TraceId;

use super::memory::BESIDE_KIB;
use crate::harness::server::{Server, Site};
use crate::harness::{eventually, is_release, metrics, process, seconds};
use crate::load;
use crate::steady::{each_is_stored_once, is_whole};

/// The least that `limits.memory_bytes` may be.
const MEMORY_BYTES: u64 = 64 << 20;
const CONNECTIONS: u64 = 4;
/// So many times what was sustained is offered, over so many connections: each waits for its answer, and one that
/// waits offers nothing.
const TIMES: u64 = 4;
const CONNECTIONS_OVER: u64 = 64;
/// What is allowed beside it counts the buffers of four connections: those of the others.
const MORE_KIB: u64 = (CONNECTIONS_OVER - CONNECTIONS) * 512;
/// What is kept of the rate: in a debug build on a machine with other things to do, and as is claimed of a release
/// binary, over a time in which no rate comes out of memory.
const SHARE_MIN: f64 = 0.6;
const SHARE_CLAIMED: f64 = 0.95;
const SUSTAINED: Duration = Duration::from_secs(12);
/// Of each load in each turn.
const SECONDS: u64 = 3;
const N_TURNS: usize = 3;
/// Of each request: some 500 spans, as exporters send them.
const TRACES: u64 = 25;

/// When senders send.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// As fast as they are answered; who is refused waits.
    Answered,
    /// So many requests a second of all together, whatever came of the others.
    Offered(f64),
}

/// What all senders of a load share.
struct Load<'a> {
    port: u16,
    template: &'a Template,
    /// Of requests.
    numbers: &'a AtomicU64,
    pace: Pace,
    start: Instant,
    lasts: Duration,
    n_sent: AtomicU64,
}

/// What came of one load.
#[derive(Debug, Default)]
struct Outcome {
    acked: Vec<TraceId>,
    /// Requests, each of [`TRACES`].
    n_refused: u64,
    took: Duration,
}

#[test]
fn four_times_what_is_sustainable_costs_neither_memory_nor_rate() {
    let lasts = seconds("TRACEWELL_OVERLOAD_SECONDS", SECONDS);
    let site = Site::new();
    let memory = format!("limits.memory_bytes={MEMORY_BYTES}");
    let server = site.start(&[&memory, "limits.request_decoded_bytes_max=8MiB"]);
    process::forget_peak(server.pid());
    let numbers = AtomicU64::new(0);
    let template = Template::new();
    let run = |connections, pace| {
        // Each begins with an empty head and nothing that waits for a merge.
        assert_eq!(server.get("/flush").status / 100, 2);
        eventually("first blocks are merged", || {
            let waiting = metrics::scrape(&server)["tracewell_merge_waiting_blocks"];
            let told = || format!("{waiting} wait");
            (waiting < 8.0).then_some(()).ok_or_else(told)
        });
        load((&site, &template, &numbers), connections, pace, lasts)
    };
    let offer = |sustained: &Outcome| {
        let spans = (TRACES * load::N_SPANS as u64) as f64;
        Pace::Offered(TIMES as f64 * sustained.rate() / spans)
    };
    // Buffers grow to their size.
    let mut acked = run(CONNECTIONS, Pace::Answered).acked;
    let (mut rates, mut rates_over, mut offered) = (Vec::new(), Vec::new(), Vec::new());
    let (mut n_refused, mut n_over) = (0, 0);
    let mut last_pace = Pace::Answered;
    // In turns, because others use the machine too.
    for _ in 0..N_TURNS {
        let sustained = run(CONNECTIONS, Pace::Answered);
        let pace = offer(&sustained);
        let over = run(CONNECTIONS_OVER, pace);
        rates.push(sustained.rate());
        rates_over.push(over.rate());
        offered.push(over.offered());
        n_refused += sustained.n_refused;
        n_over += over.n_refused;
        acked.extend([sustained.acked, over.acked].concat());
        last_pace = pace;
    }
    if n_over == 0 {
        // What memory holds lasted for all of that: a turn that is longer.
        let shared = (&site, &template, &numbers);
        let over = load(shared, CONNECTIONS_OVER, last_pace, SUSTAINED);
        n_over += over.n_refused;
        acked.extend(over.acked);
    }
    let (rate, rate_over, offered) = (median(rates), median(rates_over), median(offered));
    let peak = process::usage(server.pid()).peak_kib;
    let bound = (MEMORY_BYTES >> 10) + BESIDE_KIB + MORE_KIB;
    println!(
        "{CONNECTIONS} connections: {rate:.0} spans/s, {n_refused} requests refused; {} connections, which offer \
         {offered:.0} spans/s ({:.1} times as many): {rate_over:.0} spans/s ({:.0} %), {n_over} requests refused; {} MiB at \
         the peak, {} MiB allowed",
        CONNECTIONS_OVER,
        offered / rate,
        100.0 * rate_over / rate,
        peak >> 10,
        bound >> 10
    );
    assert!(peak <= bound, "{peak} KiB of {bound} KiB");
    assert!(n_over > 0, "nobody was refused");
    let is_claim = is_release() && lasts >= SUSTAINED;
    let share_min = if is_claim { SHARE_CLAIMED } else { SHARE_MIN };
    assert!(rate_over >= rate * share_min, "{rate_over} of {rate}");
    all_is_there(&site, &server, &acked);
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn all_is_there(site: &Site, server: &Server, acked: &[TraceId]) {
    assert_eq!(server.get("/flush").status / 100, 2);
    each_is_stored_once(server, acked.len());
    for id in acked.iter().step_by(acked.len() / 200 + 1) {
        assert_eq!(is_whole(site.http, *id), Ok(()));
    }
}

fn load(
    (site, template, numbers): (&Site, &Template, &AtomicU64),
    connections: u64,
    pace: Pace,
    lasts: Duration,
) -> Outcome {
    let load = Load {
        port: site.otlp_http,
        template,
        numbers,
        pace,
        start: Instant::now(),
        lasts,
        n_sent: AtomicU64::new(0),
    };
    let outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| load.send()))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect::<Vec<Outcome>>()
    });
    let mut all = Outcome::default();
    for outcome in outcomes {
        all.acked.extend(outcome.acked);
        all.n_refused += outcome.n_refused;
    }
    all.took = load.start.elapsed();
    all
}

// === impl Outcome ===

impl Outcome {
    /// Spans that were taken each second.
    fn rate(&self) -> f64 {
        (self.acked.len() * load::N_SPANS) as f64 / self.took.as_secs_f64()
    }

    /// Spans that were sent each second.
    fn offered(&self) -> f64 {
        let refused = self.n_refused * TRACES * load::N_SPANS as u64;
        self.rate() + refused as f64 / self.took.as_secs_f64()
    }
}

// === impl Load ===

impl Load<'_> {
    /// Sends over one connection, a request after the other.
    fn send(&self) -> Outcome {
        let (mut template, mut outcome) = (self.template.clone(), Outcome::default());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        while self.is_due() {
            let ids = template.number(self.numbers.fetch_add(1, Ordering::Relaxed));
            stream.write_all(&template.bytes).unwrap();
            let head = answer(&mut stream);
            match head.split(' ').nth(1) {
                Some("200") => outcome.acked.extend(ids),
                Some("429") => {
                    assert!(header(&head, "retry-after").is_some(), "{head}");
                    outcome.n_refused += 1;
                    if self.pace == Pace::Answered {
                        // As long as it is told to would be longer than all of this takes.
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
                _ => panic!("{head}"),
            }
        }
        outcome
    }

    /// Waits for the time of the next request; false if that is after the end.
    fn is_due(&self) -> bool {
        if let Pace::Offered(rate) = self.pace {
            let number = self.n_sent.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(number as f64 / rate).min(self.lasts);
            std::thread::sleep(due.saturating_sub(self.start.elapsed()));
        }
        self.start.elapsed() < self.lasts
    }
}

/// The head of an answer, in lower case but for its text; its body is read.
fn answer(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4 << 10];
    let mut read = |seen: &mut Vec<u8>| {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(seen));
        seen.extend_from_slice(&buffer[..n]);
    };
    let end = loop {
        if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read(&mut seen);
    };
    let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
    let length = header(&head, "content-length").unwrap_or_else(|| panic!("{head}"));
    while (seen.len() as u64) < end as u64 + length {
        read(&mut seen);
    }
    head
}

fn header(head: &str, name: &str) -> Option<u64> {
    let mut lines = head.lines();
    lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

/// A request of which only the ids change: making one costs the sender next to nothing.
#[derive(Clone)]
struct Template {
    bytes: Vec<u8>,
    /// Where the ids of each trace stand, and where their texts do.
    places: Vec<(Vec<usize>, Vec<usize>)>,
}

// === impl Template ===

impl Template {
    fn new() -> Self {
        let (ids, bodies): (Vec<TraceId>, Vec<Vec<u8>>) = (0..TRACES)
            .map(|number| load::request(70, 0, number))
            .unzip();
        // Messages that follow each other are one with the lists of all.
        let body = bodies.concat();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-protobuf\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let bytes = [head.as_bytes(), &body].concat();
        let places_of = |part: &[u8]| {
            let windows = bytes.windows(part.len()).enumerate();
            let found = windows.filter(|(_, window)| *window == part);
            let found: Vec<usize> = found.map(|(at, _)| at).collect();
            assert_eq!(found.len(), load::N_SPANS);
            found
        };
        let places = ids.iter();
        let places = places.map(|id| (places_of(&id.0), places_of(id.to_string().as_bytes())));
        Self {
            places: places.collect(),
            bytes,
        }
    }

    /// Becomes the request of this number, with traces of these ids.
    fn number(&mut self, number: u64) -> Vec<TraceId> {
        let mut ids = Vec::with_capacity(self.places.len());
        for (trace, (binary, text)) in (number * TRACES..).zip(&self.places) {
            // Ids are random elsewhere, and some structures may rely on it.
            let low = trace.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let id = TraceId((71u128 << 96 | u128::from(low)).to_be_bytes());
            for at in binary {
                self.bytes[*at..*at + 16].copy_from_slice(&id.0);
            }
            for at in text {
                self.bytes[*at..*at + 32].copy_from_slice(id.to_string().as_bytes());
            }
            ids.push(id);
        }
        ids
    }
}
