//! The real process on a small real file system: twice as much as fits is sent, and the disk
//! never fills. Retention drops the oldest, in the reserve senders are told to wait, and when there is
//! room again they are served.
//!
//! The file system is a tmpfs in a mount namespace (see [`crate::harness::volume`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_model::{AttributeValue, KeyValue, Span, SpanId, TraceId};
use tracewell_store::disk::{Disk, DiskSpace, LocalDisk};

use crate::harness::http::{self, Answer};
use crate::harness::server::{Server, Site};
use crate::harness::volume::Volume;
use crate::harness::{binary, eventually};

const VOLUME: u64 = 160 << 20;
/// Of the bytes that are sent: random text, so that compression does not save the disk.
const SENT: u64 = 2 * VOLUME;
const SPANS: u64 = 50;
const TEXT_BYTES: usize = 2_000;
const SENDERS: u64 = 2;

/// The least memory there is; retention and reserve are the defaults.
const SETTINGS: &[&str] = &[
    "limits.memory_bytes=64MiB",
    "limits.request_decoded_bytes_max=1MiB",
    "limits.request_bytes_max=1MiB",
    "storage.max_block_duration=1s",
];

/// A server whose data folder is a small file system.
struct SmallDisk {
    site: Site,
    server: Server,
    volume: Volume,
}

/// What the sampler saw.
#[derive(Debug)]
struct Seen {
    free_min: AtomicU64,
    samples: AtomicU64,
}

#[test]
fn a_small_disk_never_fills_and_the_newest_is_there() {
    let disk = SmallDisk::start();
    assert_eq!(disk.space().total, VOLUME);
    let seen = Seen {
        free_min: AtomicU64::new(u64::MAX),
        samples: AtomicU64::new(0),
    };
    let stop = AtomicBool::new(false);
    let accepted = std::thread::scope(|scope| {
        scope.spawn(|| disk.sample(&seen, &stop));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let disk = &disk;
                scope.spawn(move || disk.send_much(sender))
            })
            .collect();
        let accepted: Vec<Vec<TraceId>> =
            senders.into_iter().map(|it| it.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        accepted
    });
    let free_min = seen.free_min.load(Ordering::Relaxed);
    let samples = seen.samples.load(Ordering::Relaxed);
    println!(
        "{samples} samples, at least {} KiB were free",
        free_min >> 10
    );
    assert!(free_min > 0, "the disk was full");
    let log = disk.server.log();
    assert!(!log.contains("No space left"), "{log}");
    for of_sender in &accepted {
        check_oldest_gone(&disk, of_sender);
    }
    eventually("most of the volume is used, and the policy is kept", || {
        let kept = metric(&disk.server, "tracewell_block_bytes");
        // 80 % is the policy, a block is dropped whole, and the log counts.
        match kept {
            kept if kept > VOLUME * 8 / 10 => Err(format!("{kept} bytes")),
            kept if kept < VOLUME * 5 / 10 => Err(format!("{kept} bytes, too much was dropped")),
            _ => Ok(()),
        }
    });
    in_the_reserve(&disk);
    assert!(disk.server.stop().success());
}

/// Those that are gone were accepted before all that are there, but for blocks at the border.
fn check_oldest_gone(disk: &SmallDisk, accepted: &[TraceId]) {
    let there: Vec<bool> = accepted.iter().map(|id| disk.is_there(*id)).collect();
    let n_there = there.iter().filter(|there| **there).count();
    let first = there.iter().position(|there| *there).unwrap();
    let holes = there[first..].iter().filter(|there| !**there).count();
    println!(
        "{} accepted, {n_there} are there, {holes} gone behind the oldest",
        accepted.len()
    );
    assert!(first > 0, "two volumes do not fit into one");
    assert_eq!(holes, 0, "the oldest go first");
    assert!(there.last().unwrap());
}

/// Something else takes the rest of the disk: senders wait, queries go on, and both recover.
fn in_the_reserve(disk: &SmallDisk) {
    let ballast = disk.volume.path().join("ballast");
    let reserve = VOLUME / 10;
    let free = disk.space().free;
    let ballast_bytes = free.saturating_sub(reserve / 2);
    std::fs::write(&ballast, vec![1; ballast_bytes as usize]).unwrap();
    let mut random = SmallRng::seed_from_u64(99);
    let refused = eventually("senders are told to wait", || {
        match disk.send(&mut random) {
            (_, answer) if answer.status == 429 => Ok(answer),
            (_, answer) => Err(format!("{}: {}", answer.status, answer.text())),
        }
    });
    assert!(
        refused.text().contains("limits.disk_reserve_bytes"),
        "{}",
        refused.text()
    );
    assert!(
        refused.head.to_ascii_lowercase().contains("retry-after:"),
        "{}",
        refused.head
    );
    assert_eq!(disk.server.get("/api/search?q=%7B%7D").status, 200);
    assert!(disk.space().free > 0);
    std::fs::remove_file(ballast).unwrap();
    let id = eventually("senders are served again", || {
        match disk.send(&mut random) {
            (id, answer) if answer.status == 200 => Ok(id),
            (_, answer) => Err(format!("{}: {}", answer.status, answer.text())),
        }
    });
    assert!(disk.is_there(id));
}

// === impl SmallDisk ===

impl SmallDisk {
    fn start() -> Self {
        let site = Site::new();
        let volume = Volume::new(&site.data(), VOLUME);
        let mut command = volume.command(binary());
        command.args(site.arguments(SETTINGS));
        let server = site.start_command(command);
        Self {
            site,
            server,
            volume,
        }
    }

    fn space(&self) -> DiskSpace {
        LocalDisk.space(&self.volume.path()).unwrap()
    }

    fn sample(&self, seen: &Seen, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            seen.free_min
                .fetch_min(self.space().free, Ordering::Relaxed);
            seen.samples.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Sends its share; what is refused with 429 is sent again, as another request.
    fn send_much(&self, sender: u64) -> Vec<TraceId> {
        let mut random = SmallRng::seed_from_u64(sender);
        let mut accepted = Vec::new();
        let wanted = SENT / SENDERS / (SPANS * TEXT_BYTES as u64);
        while (accepted.len() as u64) < wanted {
            let id = eventually("a request is taken", || match self.send(&mut random) {
                (id, answer) if answer.status == 200 => Ok(id),
                (_, answer) if answer.status == 429 => Err(answer.text()),
                (_, answer) => panic!("{}: {}", answer.status, answer.text()),
            });
            accepted.push(id);
        }
        accepted
    }

    fn send(&self, random: &mut SmallRng) -> (TraceId, Answer) {
        let id = TraceId(random.random::<u128>().to_be_bytes());
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let start = u64::try_from(start.unwrap().as_nanos()).unwrap();
        let spans: Vec<Span> = (1..=SPANS)
            .map(|number| Span {
                trace_id: id,
                span_id: SpanId(number.to_be_bytes()),
                start_unix_nano: start,
                end_unix_nano: start + 1,
                attributes: vec![KeyValue {
                    key: "text".to_owned(),
                    value: AttributeValue::String(text(random)),
                }],
                ..Span::default()
            })
            .collect();
        let body = tracewell_wire::otlp::encode_spans(&spans);
        let kind = "application/x-protobuf";
        let answer = http::post(self.site.otlp_http, "/v1/traces", kind, &body);
        (
            id,
            answer.unwrap_or_else(|error| panic!("{error}\n{}", self.server.log())),
        )
    }

    fn is_there(&self, id: TraceId) -> bool {
        let answer = self.server.get(&format!("/api/traces/{id}"));
        assert!([200, 404].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    }
}

fn text(random: &mut SmallRng) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut sign = || char::from(SIGNS[random.random_range(0..SIGNS.len())]);
    (0..TEXT_BYTES).map(|_| sign()).collect()
}

/// The sum over all labels of a metric.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.sum::<f64>() as u64
}
