//! Ingest, queries, merging, retention and an unreliable bucket together, for two minutes or as long as
//! `TRACEWELL_SOAK_SECONDS` says: memory stays flat, nothing is lost, and what the policy keeps no longer goes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::e2e::memory::BESIDE_KIB;
use crate::harness::s3::{Kind, S3};
use crate::harness::server::{Server, Site};
use crate::harness::unreliable::{Befalls, Counts, Fault, Unreliable};
use crate::harness::{binary, eventually, eventually_within, http, metrics, process, seconds};
use crate::steady::{Acked, Plan, Seen, Steady, is_absent, is_whole, times};

const SECONDS: u64 = 120;
/// The least that the configuration takes.
const MEMORY_BYTES: u64 = 64 << 20;
/// Peaks of the last third are above those of the middle third by no more: what merges may hold, of whose peaks
/// each third sees a few.
const MARGIN_KIB: u64 = MEMORY_BYTES >> 12;
/// The least that the configuration takes.
const AGE_MIN: Duration = Duration::from_secs(60);
/// Beside what others need: a part of an upload, which is read whole.
const UPLOAD_KIB: u64 = 8 << 10;
/// Beyond what is kept: what a merged block covers, a round of retention in the bucket, and a few faults.
const GONE: Duration = Duration::from_secs(240);
const TRACES_PER_SECOND: &str = "20";

/// What is drawn from. Listings and connections fail as a whole.
const FAULTS: &[Fault] = &[
    Fault::Refuse,
    Fault::Reset,
    Fault::Unanswered,
    Fault::Slow(Duration::from_millis(700)),
    Fault::Silent,
    Fault::Late(Duration::from_secs(3)),
    Fault::EmptyListing,
    Fault::Away,
];

/// Live traffic of the demo; ends when dropped.
struct Demo(Child);

/// Everything that runs.
struct Soak {
    // Dropped in this order.
    steady: Steady,
    demo: Demo,
    server: Server,
    site: Site,
    proxy: Unreliable,
    _s3: S3,
    kept: Duration,
    rng: SmallRng,
    n_faults: u64,
}

#[test]
fn everything_at_once_loses_nothing_in_flat_memory() {
    let lasts = seconds("TRACEWELL_SOAK_SECONDS", SECONDS);
    let seed = match std::env::var("TRACEWELL_SOAK_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    };
    println!("soak of {lasts:?}, TRACEWELL_SOAK_SEED={seed}");
    let mut soak = Soak::start(lasts, seed);
    let mut peaks = Vec::new();
    let mut seen = Seen::default();
    for _ in 0..3 {
        process::forget_peak(soak.server.pid());
        let third = Instant::now();
        while third.elapsed() < lasts / 3 {
            soak.calm_and_fault();
            seen.add(soak.steady.take());
        }
        peaks.push(process::usage(soak.server.pid()).peak_kib);
    }
    soak.end(seen, &peaks);
}

// === impl Soak ===

impl Soak {
    fn start(lasts: Duration, seed: u64) -> Self {
        let s3 = S3::start(Kind::Versity);
        let proxy = Unreliable::start(s3.endpoint());
        let site = Site::new();
        let age = AGE_MIN.max(lasts / 6);
        let mut settings = s3.settings_by(&proxy.endpoint());
        settings.extend([
            format!("limits.memory_bytes={MEMORY_BYTES}"),
            "limits.request_decoded_bytes_max=8MiB".to_owned(),
            format!("retention.age={}s", age.as_secs()),
            "storage.max_block_duration=2s".to_owned(),
            "bucket.upload_after=1s".to_owned(),
            // Questions about what is old go to the bucket.
            "bucket.cache=64KiB".to_owned(),
        ]);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = site.start(&settings);
        // Arrivals are counted by the server, and an answer takes its time.
        let kept = age - Duration::from_secs(5);
        let plan = Plan {
            round: 50,
            senders: 2,
            pace: Duration::from_millis(50),
            askers: 1,
            seed,
            kept,
            gone: GONE,
        };
        Self {
            steady: Steady::start(&site, plan),
            demo: Demo::start(&site),
            server,
            site,
            proxy,
            _s3: s3,
            kept,
            rng: SmallRng::seed_from_u64(seed),
            n_faults: 0,
        }
    }

    /// A while without a fault, in which everything gets whole, and a while with one.
    fn calm_and_fault(&mut self) {
        let calm = Duration::from_millis(self.rng.random_range(4_000..10_000));
        self.pass(calm / 2);
        eventually("a flush succeeds in calm", || {
            let flushed = self.server.get("/flush");
            let is_done = flushed.status == 200;
            is_done.then_some(()).ok_or_else(|| flushed.text())
        });
        self.newest_are_whole();
        self.pass(calm / 2);
        // All of them in turn, the first time.
        let fault = match FAULTS.get(self.n_faults as usize) {
            Some(fault) => *fault,
            None => FAULTS[self.rng.random_range(0..FAULTS.len())],
        };
        let befalls = match (fault, self.rng.random_range(0..3)) {
            (Fault::EmptyListing | Fault::Away, _) | (_, 0) => Befalls::All,
            (_, 1) => Befalls::Writes,
            _ => Befalls::EachOf(3),
        };
        self.n_faults += 1;
        let lasts = Duration::from_millis(self.rng.random_range(2_000..6_000));
        self.steady.disturbed();
        self.proxy.set(fault, befalls);
        // So that the fault has something to befall. It may take as long as the fault does, and may fail.
        let port = self.site.http;
        let flushing = std::thread::spawn(move || http::get(port, "/flush"));
        self.pass(lasts);
        self.proxy.calm();
        self.steady.calm();
        let flushed = flushing.join().unwrap().unwrap();
        assert!([200, 500].contains(&flushed.status), "{}", flushed.text());
    }

    /// Load and questions go on meanwhile.
    fn pass(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            let ready = self.server.get("/ready");
            assert_eq!(ready.status, 200, "{}", ready.text());
            std::thread::sleep(Duration::from_millis(500).min(time));
        }
    }

    fn newest_are_whole(&self) {
        for acked in self.steady.acked().iter().rev().step_by(7).take(20) {
            eventually("it is whole in calm", || is_whole(self.site.http, acked.id));
        }
    }

    fn end(self, mut seen: Seen, peaks: &[u64]) {
        let Self {
            steady,
            demo,
            server,
            site,
            proxy,
            kept,
            ..
        } = self;
        drop(demo);
        let (acked, last) = steady.stop();
        seen.add(last);
        eventually("a flush succeeds at the end", || {
            let flushed = server.get("/flush");
            let is_done = flushed.status == 200;
            is_done.then_some(()).ok_or_else(|| flushed.text())
        });
        let n_checked = inside_is_whole(&site, &acked, kept);
        let first = acked[0].id;
        eventually_within(kept + GONE, "what left the policy goes", || {
            is_absent(site.http, first)
        });
        let counts = proxy.counts();
        report(&server, &seen, &counts, peaks);
        println!(
            "{} requests acknowledged, {n_checked} of them inside the policy at the end, all whole",
            acked.len()
        );
        seen.check("soak");
        check(&server, &counts, peaks);
        assert!(server.stop().success());
    }
}

/// Returns how many are looked at, the oldest first: the policy goes on.
fn inside_is_whole(site: &Site, acked: &[Acked], kept: Duration) -> usize {
    let mut n_checked = 0;
    for acked in acked {
        let found = is_whole(site.http, acked.id);
        if acked.at.elapsed() < kept {
            assert_eq!(found, Ok(()), "inside the policy");
            n_checked += 1;
        }
    }
    n_checked
}

/// Counters that show that all of it took part.
const DONE: &[(&str, &str)] = &[
    ("spans accepted", "tracewell_store_spans_accepted_total"),
    (
        "first blocks merged",
        "tracewell_merged_blocks_total{level=\"0\"}",
    ),
    (
        "blocks merged in the bucket",
        "tracewell_merged_blocks_total{level=\"1\"}",
    ),
    ("blocks uploaded", "tracewell_store_blocks_uploaded_total"),
    (
        "blocks expired",
        "tracewell_store_blocks_expired_by_age_total",
    ),
    (
        "rounds with the bucket failed",
        "tracewell_store_bucket_rounds_failed_total",
    ),
];

fn report(server: &Server, seen: &Seen, counts: &Counts, peaks: &[u64]) {
    println!(
        "{:<12} {:>8} {:>8} {:>8} {:>8}",
        "ms", "n", "p50", "p99", "max"
    );
    println!("{:<12} {}", "acks", times(&seen.acks));
    println!("{:<12} {}", "by id", times(&seen.by_id));
    println!("{:<12} {}", "searches", times(&seen.searches));
    println!(
        "answers: {} whole, {} partial, {} absent; {} sends refused",
        seen.whole, seen.partial, seen.absent, seen.refused
    );
    let scraped = metrics::scrape(server);
    for (what, name) in DONE {
        println!("{what}: {}", scraped.get(*name).copied().unwrap_or(0.0));
    }
    println!("requests by fault: {counts:?}");
    println!("peak memory by thirds, KiB: {peaks:?}");
}

fn check(server: &Server, counts: &Counts, peaks: &[u64]) {
    let scraped = metrics::scrape(server);
    for (what, name) in DONE {
        let n = scraped.get(*name).copied().unwrap_or(0.0);
        assert!(n > 0.0, "{what}: {n}");
    }
    let mut names = counts.keys();
    assert!(names.any(|name| *name != Fault::None.name()), "{counts:?}");
    let [_, middle, last] = peaks[..] else {
        panic!("thirds: {peaks:?}");
    };
    assert!(last <= middle + MARGIN_KIB, "memory grows: {peaks:?} KiB");
    let bound = (MEMORY_BYTES >> 10) + BESIDE_KIB + UPLOAD_KIB;
    let most = peaks.iter().copied().max().unwrap_or(0);
    assert!(most <= bound, "{most} KiB of {bound} KiB");
}

// === impl Demo ===

impl Demo {
    fn start(site: &Site) -> Self {
        let endpoint = format!("grpc://127.0.0.1:{}", site.otlp_grpc);
        let child = Command::new(binary())
            .args(["demo", "--rate", TRACES_PER_SECOND, "--endpoint", &endpoint])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
