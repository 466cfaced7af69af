//! Steady load on a server and steady questions about what it acknowledged, while something else happens
//! to it. What this is not: it makes no traffic of other shapes (`tracewell demo` does), and it fails no
//! test by itself: what was wrong is told when it is asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_model::TraceId;

use crate::harness::server::{Server, Site};
use crate::harness::{eventually, http, metrics};
use crate::load;

/// After a fault so much time is given before an answer may not be partial any more.
const GRACE: Duration = Duration::from_secs(20);
/// Of what is wrong so many are told.
const N_WRONG_MAX: usize = 10;

/// What is sent and asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Of the requests, so that those of two tests differ.
    pub(crate) round: u64,
    pub(crate) senders: u64,
    /// Of each sender from request to request.
    pub(crate) pace: Duration,
    pub(crate) askers: u64,
    pub(crate) seed: u64,
    /// What is older may be absent, and what is twice as old and [`Plan::gone`] more must be.
    pub(crate) kept: Duration,
    pub(crate) gone: Duration,
}

/// Load and questions that go on until they are stopped.
#[derive(Debug)]
pub(crate) struct Steady {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    http: u16,
    otlp_http: u16,
    is_stopping: AtomicBool,
    acked: Mutex<Vec<Acked>>,
    seen: Mutex<Seen>,
    /// Since when nothing disturbs the server.
    calm_since: Mutex<Option<Instant>>,
}

/// A request that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    pub(crate) id: TraceId,
    pub(crate) at: Instant,
}

/// What happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) acks: Vec<Duration>,
    pub(crate) by_id: Vec<Duration>,
    pub(crate) searches: Vec<Duration>,
    /// Sends that were answered 429.
    pub(crate) refused: u64,
    /// Answers to questions about what was acknowledged.
    pub(crate) whole: u64,
    pub(crate) partial: u64,
    pub(crate) absent: u64,
    pub(crate) wrong: Vec<String>,
}

/// An answer about one trace.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Whole,
    /// Says that it may not be all there is.
    Partial,
    Absent,
    Wrong(String),
}

// === impl Steady ===

impl Steady {
    pub(crate) fn start(site: &Site, plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            plan,
            http: site.http,
            otlp_http: site.otlp_http,
            is_stopping: AtomicBool::new(false),
            acked: Mutex::default(),
            seen: Mutex::default(),
            calm_since: Mutex::new(Some(Instant::now())),
        });
        let mut threads = Vec::new();
        for sender in 0..plan.senders {
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || shared.send(sender)));
        }
        for asker in 0..plan.askers {
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || shared.ask(asker)));
        }
        Self { shared, threads }
    }

    /// From now on answers may be partial.
    pub(crate) fn disturbed(&self) {
        *lock(&self.shared.calm_since) = None;
    }

    /// From now on answers have to become whole.
    pub(crate) fn calm(&self) {
        *lock(&self.shared.calm_since) = Some(Instant::now());
    }

    pub(crate) fn acked(&self) -> Vec<Acked> {
        lock(&self.shared.acked).clone()
    }

    /// What happened since this was asked the last time.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *lock(&self.shared.seen))
    }

    /// Ends it; what was acknowledged, and what happened since the last [`Self::take`].
    pub(crate) fn stop(mut self) -> (Vec<Acked>, Seen) {
        self.end();
        (self.acked(), self.take())
    }

    fn end(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Shared ===

impl Shared {
    fn send(&self, sender: u64) {
        let start = Instant::now();
        for number in 0.. {
            let due = self.plan.pace * number;
            while start.elapsed() < due {
                if self.is_stopping() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10).min(due));
            }
            if self.is_stopping() {
                return;
            }
            let (id, body) = load::request(self.plan.round, sender, u64::from(number));
            let (at, kind) = (Instant::now(), "application/x-protobuf");
            let answer = http::post(self.otlp_http, "/v1/traces", kind, &body);
            let mut seen = lock(&self.seen);
            match answer {
                Ok(answer) if answer.status == 200 => {
                    seen.acks.push(at.elapsed());
                    drop(seen);
                    lock(&self.acked).push(Acked { id, at });
                }
                Ok(answer) if answer.status == 429 => seen.refused += 1,
                Ok(answer) => seen.wrong(format!("a send: {} {}", answer.status, answer.text())),
                Err(error) => seen.wrong(format!("a send: {error}")),
            }
        }
    }

    fn ask(&self, asker: u64) {
        let mut rng = SmallRng::seed_from_u64(self.plan.seed.wrapping_add(asker));
        for turn in 0u64.. {
            if self.is_stopping() {
                return;
            }
            let of = {
                let acked = lock(&self.acked);
                let n = acked.len();
                // What was just sent, and whatever is known of old.
                let from = if turn % 2 == 0 {
                    0
                } else {
                    n.saturating_sub(100)
                };
                (n > 0).then(|| acked[rng.random_range(from..n)])
            };
            let Some(of) = of else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            match turn % 8 {
                3 => self.by_marker(of),
                5 => self.plain("/api/search?q=%7B%20status%20%3D%20error%20%7D&limit=20"),
                7 => self.plain("/api/v2/search/tag/span.index/values"),
                _ => self.by_id(of),
            }
            // Queries are to find their time beside the load, not to take all of it.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn by_id(&self, of: Acked) {
        let (start, calm) = (Instant::now(), *lock(&self.calm_since));
        let found = trace(self.http, of.id);
        lock(&self.seen).by_id.push(start.elapsed());
        self.judge(of, found, calm, start, "by id");
    }

    fn by_marker(&self, of: Acked) {
        let query = format!("{{ span.marker = \"{}\" }}", load::marker(of.id));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let path = format!(
            "/api/search?q={}&limit=10&start={}&end={}",
            http::encode(&query),
            now.as_secs() - 3_600,
            now.as_secs() + 60
        );
        let (start, calm) = (Instant::now(), *lock(&self.calm_since));
        let answer = http::get(self.http, &path);
        lock(&self.seen).searches.push(start.elapsed());
        let found = match answer {
            Err(error) => Found::Wrong(error),
            Ok(answer) if answer.status != 200 => Found::Wrong(answer.text()),
            Ok(answer) => {
                let n = answer.json()["traces"].as_array().map_or(0, Vec::len);
                match (n, says_partial(&answer)) {
                    (1, false) => Found::Whole,
                    (0 | 1, true) => Found::Partial,
                    (0, false) => Found::Absent,
                    _ => Found::Wrong(format!("{n} traces of one id")),
                }
            }
        };
        self.judge(of, found, calm, start, "by marker");
    }

    /// A question whose answer is not known: that there is one.
    fn plain(&self, path: &str) {
        let start = Instant::now();
        let answer = http::get(self.http, path);
        let mut seen = lock(&self.seen);
        seen.searches.push(start.elapsed());
        match answer {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => seen.wrong(format!("{path}: {} {}", answer.status, answer.text())),
            Err(error) => seen.wrong(error),
        }
    }

    /// `start` is when it was asked, and `calm` since when it was calm then.
    fn judge(&self, of: Acked, found: Found, calm: Option<Instant>, start: Instant, how: &str) {
        let plan = &self.plan;
        // The server counts from when a request came.
        let (at_least, at_most) = (start - of.at, of.at.elapsed());
        let may_be_gone = at_most > plan.kept;
        let must_be_gone = at_least > plan.kept.saturating_mul(2).saturating_add(plan.gone);
        let is_calm = calm.is_some_and(|since| start - since > GRACE);
        let mut seen = lock(&self.seen);
        let wrong = match found {
            Found::Whole if must_be_gone => Some("is still there".to_owned()),
            Found::Whole => {
                seen.whole += 1;
                None
            }
            Found::Partial if is_calm => Some("partial in calm".to_owned()),
            Found::Partial => {
                seen.partial += 1;
                None
            }
            Found::Absent if may_be_gone => {
                seen.absent += 1;
                None
            }
            Found::Absent => Some("absent, and said to be all".to_owned()),
            Found::Wrong(what) => Some(what),
        };
        if let Some(what) = wrong {
            seen.wrong(format!("{} of {at_most:?} ago, {how}: {what}", of.id));
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

// === impl Seen ===

impl Seen {
    fn wrong(&mut self, what: String) {
        if self.wrong.len() < N_WRONG_MAX {
            self.wrong.push(what);
        }
    }

    /// Nothing was wrong, and some of all was done.
    pub(crate) fn check(&self, what: &str) {
        assert_eq!(self.wrong, Vec::<String>::new(), "{what}");
        assert!(!self.acks.is_empty(), "{what}: nothing was sent");
    }

    pub(crate) fn worst_ack(&self) -> Duration {
        self.acks.iter().copied().max().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.acks.extend(other.acks);
        self.by_id.extend(other.by_id);
        self.searches.extend(other.searches);
        self.refused += other.refused;
        self.whole += other.whole;
        self.partial += other.partial;
        self.absent += other.absent;
        other.wrong.into_iter().for_each(|what| self.wrong(what));
    }
}

/// Count, p50, p99 and the most, in milliseconds.
pub(crate) fn times(times: &[Duration]) -> String {
    let mut sorted: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * percent / 100).copied().unwrap_or(0)
    };
    format!(
        "{:>8} {:>8} {:>8} {:>8}",
        sorted.len(),
        at(50),
        at(99),
        at(100)
    )
}

/// Everything that was acknowledged is there, whole.
pub(crate) fn all_whole(http: u16, acked: &[Acked], what: &str) {
    for acked in acked {
        let found = trace(http, acked.id);
        assert_eq!(found, Found::Whole, "{what}: {}", acked.id);
    }
}

/// The same of one trace.
pub(crate) fn is_whole(http: u16, id: TraceId) -> Result<(), String> {
    match trace(http, id) {
        Found::Whole => Ok(()),
        found => Err(format!("{id}: {found:?}")),
    }
}

/// True if there is nothing of it, for certain.
pub(crate) fn is_absent(http: u16, id: TraceId) -> Result<(), String> {
    match trace(http, id) {
        Found::Absent => Ok(()),
        found => Err(format!("{id}: {found:?}")),
    }
}

fn trace(http: u16, id: TraceId) -> Found {
    let answer = match http::get(http, &format!("/api/v2/traces/{id}")) {
        Ok(answer) => answer,
        Err(error) => return Found::Wrong(error),
    };
    if answer.status != 200 {
        return Found::Wrong(format!("{} {}", answer.status, answer.text()));
    }
    let json = answer.json();
    let spans = &json["trace"]["resourceSpans"];
    let n = match spans.is_array() {
        true => load::n_spans(spans),
        false => 0,
    };
    match (n, json["status"] == "PARTIAL") {
        (load::N_SPANS, false) => Found::Whole,
        (0..=load::N_SPANS, true) => Found::Partial,
        (0, false) => Found::Absent,
        _ => Found::Wrong(format!("{n} spans")),
    }
}

fn says_partial(answer: &http::Answer) -> bool {
    answer.head.lines().any(|line| {
        line.to_ascii_lowercase()
            .starts_with("x-tracewell-partial:")
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

/// Of so many requests. An answer makes one of equal spans: what is stored is counted.
pub(crate) fn each_is_stored_once(server: &Server, n_requests: usize) {
    let expected = (n_requests * load::N_SPANS) as f64;
    eventually("what is stored is what was acknowledged", || {
        let seen = metrics::scrape(server);
        let stored: f64 = metrics::of(&seen, "tracewell_block_spans").sum();
        let told = || format!("{stored} spans of {expected}");
        (stored == expected).then_some(()).ok_or_else(told)
    });
}
