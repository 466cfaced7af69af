//! The real binary with a bucket that fails, hangs, answers late, loses its listings or is away, under
//! load: acks go on, answers are whole or say that they are partial, nothing is lost.

use std::time::{Duration, Instant};

use crate::harness::http::{self, Answer};
use crate::harness::object_server::ObjectServer as _;
use crate::harness::s3::{Kind, S3};
use crate::harness::server::{Server, Site};
use crate::harness::unreliable::{Befalls, Fault, Unreliable};
use crate::harness::{eventually, eventually_within, metrics, seconds};
use crate::steady::{Acked, Plan, Steady, all_whole, each_is_stored_once, is_whole};

use super::{Sent, flush, send, strs};

/// Far more than a sync takes on a busy machine, and far less than anything waits for a bucket.
const ACK_MAX: Duration = Duration::from_secs(5);
const FAULT: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(1);
/// Longer than the client waits for an answer (30 s), and than any call may take with all that is tried again (60 s).
const SILENCE: Duration = Duration::from_secs(75);

/// In this order, one after the other.
const FAULTS: &[(Fault, Befalls)] = &[
    (Fault::Refuse, Befalls::All),
    (Fault::Reset, Befalls::All),
    (Fault::Unanswered, Befalls::Writes),
    (Fault::Unanswered, Befalls::EachOf(3)),
    (Fault::Slow(SECOND), Befalls::All),
    (Fault::Silent, Befalls::All),
    (Fault::Silent, Befalls::Writes),
    (Fault::Late(Duration::from_secs(3)), Befalls::Writes),
    (Fault::Late(Duration::from_secs(3)), Befalls::EachOf(3)),
    (Fault::EmptyListing, Befalls::All),
    (Fault::Away, Befalls::All),
];

/// A server behind a proxy, under load.
struct Scene {
    // Dropped in this order.
    steady: Steady,
    server: Server,
    site: Site,
    proxy: Unreliable,
    s3: S3,
}

#[test]
fn whatever_the_bucket_does_acks_go_on_and_nothing_is_lost() {
    let scene = Scene::start(20, &[]);
    scene.is_uploading();
    let mut n_partial = 0;
    for (fault, befalls) in FAULTS {
        n_partial += scene.endure(*fault, *befalls);
    }
    println!("faults: {:?}", scene.proxy.counts());
    assert!(n_partial > 0, "no question ever went to the bucket in vain");
    scene.end(&Sent::new());
}

#[test]
fn a_bucket_that_is_away_under_load_gets_everything_in_the_end() {
    let lasts = seconds("TRACEWELL_AWAY_SECONDS", 20);
    let scene = Scene::start(30, &[]);
    scene.is_uploading();
    scene.disturb(Fault::Away, Befalls::All);
    let (start, mut waiting) = (Instant::now(), (0.0, 0.0));
    while start.elapsed() < lasts {
        scene.is_ready();
        let blocks = scene.metric("tracewell_bucket_waiting_blocks");
        let bytes = scene.metric("tracewell_bucket_waiting_bytes");
        waiting = (f64::max(waiting.0, blocks), f64::max(waiting.1, bytes));
        std::thread::sleep(SECOND / 2);
    }
    scene.calm();
    let (back, n_sent) = (Instant::now(), scene.steady.acked().len());
    eventually_within(Duration::from_secs(180), "what waited is uploaded", || {
        let failing = scene.metric("tracewell_bucket_failing");
        let oldest = scene.metric("tracewell_bucket_oldest_waiting_seconds");
        let arrived = failing == 0.0 && oldest < back.elapsed().as_secs_f64();
        let seen = || format!("failing {failing}, the oldest waits for {oldest} s");
        arrived.then_some(()).ok_or_else(seen)
    });
    let arrived = back.elapsed();
    let seen = scene.steady.take();
    seen.check("away");
    assert_eq!(seen.refused, 0, "there was room for all of it");
    assert!(seen.worst_ack() < ACK_MAX, "{:?}", seen.worst_ack());
    println!(
        "away for {lasts:?}: {n_sent} acks, the worst after {:?}; {} answers whole, {} partial; at most {} blocks \
         and {} KiB waited, all there {arrived:?} after the bucket was back",
        seen.worst_ack(),
        seen.whole,
        seen.partial,
        waiting.0,
        waiting.1 as u64 >> 10
    );
    scene.end(&Sent::new());
}

/// Nothing but the end of a client's patience tells that a store hangs.
#[test]
fn a_bucket_that_hangs_for_longer_than_calls_may_take_gets_everything_in_the_end() {
    let scene = Scene::start(50, &[]);
    scene.is_uploading();
    drop(scene.steady.take());
    scene.disturb(Fault::Silent, Befalls::All);
    let (start, mut told_after) = (Instant::now(), None);
    while start.elapsed() < SILENCE {
        scene.is_ready();
        let failing = scene.metric("tracewell_bucket_failing");
        if failing > 0.0 && told_after.is_none() {
            told_after = Some(start.elapsed());
        }
        std::thread::sleep(SECOND / 2);
    }
    let during = scene.steady.take();
    scene.calm();
    let back = Instant::now();
    eventually_within(Duration::from_secs(180), "a flush succeeds", || {
        let flushed = scene.flush();
        let is_done = flushed.status == 200;
        is_done.then_some(()).ok_or_else(|| flushed.text())
    });
    println!(
        "silent for {SILENCE:?}, told after {told_after:?}: {} acks, the worst after {:?}; {} answers whole, {} \
         partial; all there {:?} after the bucket was back",
        during.acks.len(),
        during.worst_ack(),
        during.whole,
        during.partial,
        back.elapsed()
    );
    during.check("silent");
    assert_eq!(during.refused, 0);
    assert!(during.worst_ack() < ACK_MAX, "{:?}", during.worst_ack());
    assert!(during.acks.len() > 200, "{}", during.acks.len());
    assert!(during.partial > 0, "no question went to the bucket");
    let told_after = told_after.expect("a silent bucket is told of");
    assert!(told_after < SILENCE, "{told_after:?}");
    scene.end(&Sent::new());
}

/// A merge in the bucket goes on for as long as the bucket is slow; first blocks, for which ingest waits,
/// are merged meanwhile.
#[test]
fn first_blocks_do_not_wait_for_a_slow_bucket() {
    // It uploads nothing by itself, and so has nothing to do with the bucket but to merge.
    let scene = Scene::start(
        40,
        &["limits.waiting_blocks_max=9", "bucket.upload_after=1h"],
    );
    eventually("something is sent", || {
        let is_sent = !scene.steady.acked().is_empty();
        is_sent.then_some(()).ok_or("nothing yet".to_owned())
    });
    // Whoever commits first is the keeper.
    assert_eq!(scene.flush().status, 200);
    scene.disturb(Fault::Slow(5 * SECOND), Befalls::Writes);
    let mut sent = Sent::new();
    {
        // Another process that knows a better way to the bucket.
        let site = Site::new();
        let server = site.start(&strs(&scene.s3.settings()));
        for round in 41..49 {
            send(&site, round, 1, &mut sent);
            flush(&server);
        }
    }
    let merged = |level: u8| {
        scene.metric(&format!(
            "tracewell_merged_blocks_total{{level=\"{level}\"}}"
        ))
    };
    let (start, before) = (Instant::now(), merged(0));
    eventually_within(
        Duration::from_secs(150),
        "a merge in the bucket ends",
        || {
            scene.is_ready();
            let n = merged(1);
            (n >= 8.0).then_some(()).ok_or(format!("{n} blocks"))
        },
    );
    let (lasted, n_first) = (start.elapsed(), merged(0) - before);
    scene.calm();
    let seen = scene.steady.take();
    println!(
        "within {lasted:?} a merge in a slow bucket ended, and {n_first} first blocks were merged beside it; \
         {} acks, {} refused, the worst after {:?}",
        seen.acks.len(),
        seen.refused,
        seen.worst_ack()
    );
    seen.check("slow");
    assert_eq!(seen.refused, 0, "first blocks waited for the bucket");
    assert!(n_first >= 8.0, "{n_first}");
    scene.end(&sent);
}

// === impl Scene ===

impl Scene {
    fn start(round: u64, more: &[&str]) -> Self {
        let s3 = S3::start(Kind::Versity);
        let proxy = Unreliable::start(s3.endpoint());
        let site = Site::new();
        let mut settings = s3.settings_by(&proxy.endpoint());
        for setting in [
            "bucket.upload_after=1s",
            "storage.max_block_duration=1s",
            // So little that nearly every question goes to the bucket.
            "bucket.cache=64KiB",
        ] {
            settings.push(setting.to_owned());
        }
        settings.extend(more.iter().map(|it| (*it).to_owned()));
        let server = site.start(&strs(&settings));
        let plan = Plan {
            round,
            senders: 2,
            pace: Duration::from_millis(100),
            askers: 2,
            seed: round,
            kept: Duration::MAX,
            gone: Duration::ZERO,
        };
        Self {
            steady: Steady::start(&site, plan),
            server,
            site,
            proxy,
            s3,
        }
    }

    fn disturb(&self, fault: Fault, befalls: Befalls) {
        self.steady.disturbed();
        self.proxy.set(fault, befalls);
    }

    fn calm(&self) {
        self.proxy.calm();
        self.steady.calm();
    }

    fn metric(&self, name: &str) -> f64 {
        let seen = metrics::scrape(&self.server);
        let exact = seen.get(name).copied();
        exact.unwrap_or_else(|| metrics::of(&seen, name).sum())
    }

    fn is_ready(&self) {
        let ready = self.server.get("/ready");
        assert_eq!(ready.status, 200, "{}", ready.text());
    }

    fn is_uploading(&self) {
        eventually("something is uploaded", || {
            match self.metric("tracewell_store_blocks_uploaded_total") {
                0.0 => Err("nothing yet".to_owned()),
                _ => Ok(()),
            }
        });
    }

    fn flush(&self) -> Answer {
        self.server.get("/flush")
    }

    /// One fault, and what comes after it. Returns how many answers were partial meanwhile.
    fn endure(&self, fault: Fault, befalls: Befalls) -> u64 {
        let name = format!("{} of {befalls:?}", fault.name());
        drop(self.steady.take());
        let n_requests = self.proxy.n_requests();
        self.disturb(fault, befalls);
        let (start, port) = (Instant::now(), self.site.http);
        // It may take as long as the fault does.
        let flushing = std::thread::spawn(move || http::get(port, "/flush"));
        while start.elapsed() < FAULT {
            self.is_ready();
            std::thread::sleep(Duration::from_millis(100));
        }
        let n_requests = self.proxy.n_requests() - n_requests;
        let during = self.steady.take();
        self.calm();
        let flushed = flushing.join().unwrap().unwrap();
        println!(
            "{name}: {n_requests} requests reached it, {} acks, the worst after {:?}; {} answers whole, {} partial; \
             flush: {} {}",
            during.acks.len(),
            during.worst_ack(),
            during.whole,
            during.partial,
            flushed.status,
            flushed.text().trim()
        );
        during.check(&name);
        assert_eq!(during.refused, 0, "{name}");
        assert!(during.worst_ack() < ACK_MAX, "{name}");
        if matches!(fault, Fault::Refuse | Fault::Reset | Fault::Away) {
            assert_eq!(flushed.status, 500, "{name}");
            assert!(flushed.text().contains("team/tempo/"), "{name}");
        }
        eventually("a flush succeeds", || {
            let flushed = self.flush();
            let is_done = flushed.status == 200;
            is_done.then_some(()).ok_or_else(|| flushed.text())
        });
        eventually("the bucket answers again", || {
            match self.metric("tracewell_bucket_failing") {
                0.0 => Ok(()),
                failing => Err(format!("failing is {failing}")),
            }
        });
        for acked in self.steady.acked().iter().rev().step_by(5).take(50) {
            eventually(&name, || is_whole(self.site.http, acked.id));
        }
        self.steady.take().check(&format!("after {name}"));
        during.partial
    }

    /// The end of the load: all of it lies in the bucket, once.
    fn end(self, others: &Sent) {
        let Self {
            steady,
            server,
            site,
            proxy,
            s3,
        } = self;
        let (mut acked, seen) = steady.stop();
        let at = Instant::now();
        acked.extend(others.iter().map(|id| Acked { id: *id, at }));
        assert_eq!(seen.wrong, Vec::<String>::new());
        eventually("a flush succeeds", || {
            let flushed = server.get("/flush");
            let is_done = flushed.status == 200;
            is_done.then_some(()).ok_or_else(|| flushed.text())
        });
        all_whole(site.http, &acked, "at the end");
        assert!(server.stop().success());
        let other = Site::new();
        let server = other.start(&strs(&s3.settings_by(&proxy.endpoint())));
        all_whole(other.http, &acked, "another disk");
        each_is_stored_once(&server, acked.len());
    }
}
