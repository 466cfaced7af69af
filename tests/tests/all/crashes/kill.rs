//! The real process, killed at random points under load, again and again over one data folder.
//!
//! Blocks are cut all the time (`/flush`), so that they are merged all the time, and in a third of the
//! lives retention may keep a few megabytes only. The manifests in the data folder say what happened
//! (see [`chain`]), the log what was at work at a kill. After each kill the next life is asked for what
//! the last one had acknowledged: every trace is there, whole and once, or retention dropped a block
//! with requests of that moment, as it had to.
//!
//! `TRACEWELL_KILLS` sets the number of kills, `TRACEWELL_SEED` the seed.

mod chain;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_store::manifest::BlockId;

use crate::doomed::{Acknowledged, Raise, expect_nothing_twice, load_and_kill, sample};
use crate::harness::metrics::{of, scrape};
use crate::harness::server::{Server, Site};
use crate::harness::volume::Volume;
use crate::harness::{binary, setting};
use crate::load::{N_SPANS, n_spans};
use chain::{Chain, Counts};

/// Enough for CI; each takes about a second.
const KILLS: u64 = 220;
const SENDERS: u64 = 3;
/// Traces of a life that the next one is asked for, newest and oldest among them.
const SAMPLE: usize = 40;
/// Small, so that files of the log are small too: they count as kept.
const VOLUME: u64 = 32 << 20;
/// What retention may keep, log and blocks: those of a dozen lives, or hardly those of one.
const KEPT_BYTES: Range<u64> = 1 << 20..3 << 20;

const SETTINGS: &[&str] = &[
    "limits.memory_bytes=64MiB",
    "limits.request_decoded_bytes_max=8MiB",
    "limits.request_bytes_max=8MiB",
    "limits.disk_reserve_bytes=1MiB",
    "storage.max_block_duration=1s",
    "log.level=info,tracewell_store=debug",
];

/// Many lives of one data folder.
struct Lives {
    volume: Volume,
    site: Site,
    random: StdRng,
    chain: Mutex<Chain>,
    acknowledged: Vec<Acknowledged>,
    /// Bytes of the log that were read.
    log_read: usize,
    tally: Tally,
}

/// Kills by what they met, and what became of what was asked for.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    during_start: u64,
    during_cut: u64,
    during_merge: u64,
    /// Between the commit that drops blocks and the end of their files.
    during_retention: u64,
    asked: Asked,
}

/// Traces that were asked for.
#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    there: u64,
    /// Dropped by retention.
    retired: u64,
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let kills = setting("TRACEWELL_KILLS", KILLS);
    let seed = setting("TRACEWELL_SEED", 20_261_122);
    println!("{kills} kills, seed {seed}");
    let mut lives = Lives::new(seed);
    let mut before = 0..0;
    for round in 0..kills {
        let from = lives.acknowledged.len();
        lives.live_and_die(round, before);
        before = from..lives.acknowledged.len();
    }
    let stored = lives.look_back();
    let Lives { chain, tally, .. } = &lives;
    let counts = chain.lock().unwrap().counts;
    let n = lives.acknowledged.len() as u64;
    let (there, retired) = (tally.asked.there, tally.asked.retired);
    println!(
        "{n} acknowledged requests of {N_SPANS} spans; asked for by id {} times: {there} there, {retired} dropped, \
         none lost\n{stored} spans are stored, {} were dropped\n{tally:?}\n{counts:?}",
        there + retired,
        counts.dropped_spans
    );
    lives.check_sum(stored, counts);
    // Far below what happens on a quiet machine.
    for (what, n, wanted) in [
        ("cuts", counts.cuts, kills * 2),
        ("first merges", counts.merges[1], kills / 4),
        ("second merges", counts.merges[2], kills / 100),
        ("blocks dropped", counts.dropped, kills / 10),
        ("commits of retention", counts.retentions, kills / 20),
        ("kills during a start", tally.during_start, kills / 20),
        ("kills during a cut", tally.during_cut, kills / 10),
        ("kills during a merge", tally.during_merge, kills / 20),
        (
            "kills during retention",
            tally.during_retention,
            kills / 100,
        ),
        ("traces that are there", tally.asked.there, kills * 10),
    ] {
        assert!(n >= wanted, "{n} {what}, at least {wanted} are wanted");
    }
}

// === impl Lives ===

impl Lives {
    fn new(seed: u64) -> Self {
        let site = Site::new();
        let volume = Volume::new(&site.data(), VOLUME);
        Self {
            chain: Mutex::new(Chain::new(volume.path())),
            volume,
            site,
            random: StdRng::seed_from_u64(seed),
            acknowledged: Vec::new(),
            log_read: 0,
            tally: Tally::default(),
        }
    }

    /// Starts a server, asks it for what the last one acknowledged, sends more, and kills it.
    fn live_and_die(&mut self, round: u64, before: Range<usize>) {
        let bound = self.random.random_ratio(1, 3);
        let bytes_max = bound.then(|| self.random.random_range(KEPT_BYTES));
        let is_early = self.random.random_ratio(1, 8);
        let delay = Duration::from_millis(match is_early {
            true => self.random.random_range(5..300),
            false => self.random.random_range(20..500),
        });
        let sample = self.sample(before, SAMPLE);
        let mut server = self.launch(bytes_max);
        let stop = AtomicBool::new(false);
        let this = &*self;
        let (sent, asked) = std::thread::scope(|scope| {
            let watching = Raise(&stop);
            scope.spawn(|| this.watch(&stop));
            if is_early {
                std::thread::sleep(delay);
                server.kill();
                return (Vec::new(), Asked::default());
            }
            server.await_ready();
            let asked = this.ask(&server, &sample);
            let sent = load_and_kill(&this.site, server, round, SENDERS, delay);
            drop(watching);
            (sent, asked)
        });
        self.acknowledged.extend(sent);
        self.tally.kills += 1;
        self.tally.during_start += u64::from(is_early);
        self.tally.asked.add(asked);
        self.examine();
    }

    /// After the last kill: the newest, and some of all. Returns how many spans are stored.
    fn look_back(&mut self) -> u64 {
        let all = self.acknowledged.len();
        let is_sum_known = self.chain.lock().unwrap().counts.unseen == 0;
        let sample = match is_sum_known {
            true => {
                let mut sample = self.sample(all.saturating_sub(3_000)..all, 1_000);
                sample.extend(self.sample(0..all, 500));
                sample
            }
            // Without the sum each has to be asked for.
            false => self.sample(0..all, all),
        };
        let mut server = self.launch(None);
        server.await_ready();
        let asked = self.ask(&server, &sample);
        self.tally.asked.add(asked);
        // What is left is merged: a span that is stored twice is met there.
        assert_eq!(server.get("/flush").status / 100, 2);
        std::thread::sleep(Duration::from_secs(2));
        expect_nothing_twice(&server);
        let seen = scrape(&server);
        let of_blocks: f64 = of(&seen, "tracewell_block_spans").sum();
        let of_head: f64 = of(&seen, "tracewell_head_spans").sum();
        assert!(server.stop().success());
        let mut chain = self.chain.lock().unwrap();
        chain.look();
        println!("at the end: {}", chain.folders());
        (of_blocks + of_head) as u64
    }

    /// Every request that was acknowledged is stored or was dropped, and besides them at most those that were
    /// on their way at a kill.
    fn check_sum(&self, stored: u64, counts: Counts) {
        // Of commits that nobody saw it is not known what they dropped; every request was asked for instead.
        if counts.unseen > 0 {
            return;
        }
        let n = self.acknowledged.len() as u64;
        let on_their_way = SENDERS * self.tally.kills;
        let sum = stored + counts.dropped_spans;
        let range = n * N_SPANS as u64..=(n + on_their_way) * N_SPANS as u64;
        assert!(range.contains(&sum), "{sum} spans of {range:?}");
    }

    fn launch(&self, bytes_max: Option<u64>) -> Server {
        let mut chain = self.chain.lock().unwrap();
        chain.look();
        chain.begin(bytes_max);
        let bytes_max = bytes_max.unwrap_or(1 << 40);
        let retention = format!("retention.disk={bytes_max}");
        let settings: Vec<&str> = SETTINGS.iter().copied().chain([&*retention]).collect();
        let mut command = self.volume.command(binary());
        command.args(self.site.arguments(&settings));
        self.site.launch(command)
    }

    fn watch(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.chain.lock().unwrap().look();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn sample(&mut self, of: Range<usize>, n: usize) -> Vec<Acknowledged> {
        sample(&self.acknowledged[of], n, &mut self.random)
    }

    /// Reads traces by id: each is whole, no span twice, unless retention dropped it.
    fn ask(&self, server: &Server, requests: &[Acknowledged]) -> Asked {
        let mut asked = Asked::default();
        for request in requests {
            let id = request.id;
            let answer = server.get(&format!("/api/traces/{id}"));
            if answer.status == 404 {
                let mut chain = self.chain.lock().unwrap();
                // A block leaves the answers after the manifest that drops it.
                chain.look();
                let log = || server.log();
                assert!(
                    chain.has_dropped(request.arrival),
                    "{id} is lost\n{}",
                    log()
                );
                asked.retired += 1;
                continue;
            }
            assert_eq!(
                answer.status,
                200,
                "{id}: {}\n{}",
                answer.text(),
                server.log()
            );
            let trace = answer.json();
            let n = n_spans(&trace["batches"]);
            assert_eq!(n, N_SPANS, "{id}: {trace}\n{}", server.log());
            asked.there += 1;
        }
        expect_nothing_twice(server);
        asked
    }

    /// What was at work when the process was killed.
    fn examine(&mut self) {
        let log = std::fs::read(self.site.log()).unwrap();
        let text = String::from_utf8_lossy(&log[self.log_read..]);
        let ids = |words: &str| -> BTreeSet<BlockId> {
            let lines = text.lines().filter(|line| line.contains(words));
            let words = lines.flat_map(str::split_whitespace);
            let ids = words.filter_map(|word| BlockId::parse(word.strip_prefix("block=")?));
            ids.collect()
        };
        let mut chain = self.chain.lock().unwrap();
        chain.look();
        let (begun, of_cuts) = (ids("a block is begun"), ids("a generation is cut"));
        let mut cut_short = begun.iter().filter(|id| !chain.is_listed(**id));
        let is_cut = cut_short.clone().any(|id| of_cuts.contains(id));
        let is_merge = cut_short.any(|id| !of_cuts.contains(id));
        self.tally.during_cut += u64::from(is_cut);
        self.tally.during_merge += u64::from(is_merge);
        self.tally.during_retention += u64::from(chain.is_dropping());
        self.log_read = log.len();
    }
}

impl Asked {
    fn add(&mut self, other: Self) {
        self.there += other.there;
        self.retired += other.retired;
    }
}
