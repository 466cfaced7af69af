//! The real process killed at random points while it uploads to a bucket and merges there, again and again
//! over one data folder. The objects in the bucket and the manifests of both chains say what a kill cut short.
//! Each life is asked for what the last one acknowledged; at the end a machine with nothing but the bucket has
//! all of it, once.
//!
//! `TRACEWELL_BUCKET_KILLS` sets the number of kills, `TRACEWELL_SEED` the seed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_store::manifest::{BlockId, Manifest};

use crate::doomed::{Acknowledged, expect_nothing_twice, load_and_kill, sample};
use crate::harness::blocks::{manifests, names_in};
use crate::harness::s3::{Kind, S3};
use crate::harness::server::{Server, Site};
use crate::harness::unreliable::{Befalls, Fault, Unreliable};
use crate::harness::{eventually, metrics, setting};
use crate::load::N_SPANS;

use super::{flush, n_spans, strs};

/// Enough for CI; each takes two seconds.
const KILLS: u64 = 30;
const SENDERS: u64 = 3;
/// Of each request to the bucket, so that a life has time to be cut short in one.
const SLOWNESS: Duration = Duration::from_millis(15);
/// Traces of a life that the next one is asked for.
const SAMPLE: usize = 20;
const SAMPLE_AT_THE_END: usize = 1_000;

/// Many lives of one data folder beside a bucket.
struct Lives {
    // Dropped in this order.
    site: Site,
    proxy: Unreliable,
    s3: S3,
    random: StdRng,
    bucket: Objects,
    acknowledged: Vec<Acknowledged>,
    cut_short: CutShort,
}

/// What lies in the bucket, and what of it a kill has been blamed for already.
struct Objects {
    folder: PathBuf,
    /// Blocks that a manifest of the bucket lists, or listed.
    listed: BTreeSet<BlockId>,
    uploads: BTreeSet<BlockId>,
    merges: BTreeSet<BlockId>,
    /// Blocks of level 2, which are made in the bucket alone.
    merged: BTreeSet<BlockId>,
}

/// Kills by what they cut short.
#[derive(Debug, Default)]
struct CutShort {
    starts: u64,
    /// A block of the local disk of which a part lies in the bucket.
    uploads: u64,
    /// Committed in the bucket, and not locally yet.
    commits: u64,
    /// A result of which a part lies in the bucket: now and then, where lives are long enough for one.
    merges: u64,
}

#[test]
fn what_was_acknowledged_survives_kills_beside_a_bucket() {
    let kills = setting("TRACEWELL_BUCKET_KILLS", KILLS);
    let seed = setting("TRACEWELL_SEED", 20_261_129);
    println!("{kills} kills, seed {seed}");
    let mut lives = Lives::new(seed);
    for round in 0..kills {
        lives.live_and_die(round);
    }
    let cut_short = std::mem::take(&mut lives.cut_short);
    let n_merged = lives.bucket.merged.len();
    println!("{cut_short:?}; {n_merged} blocks are results of merges in the bucket");
    lives.end(kills);
    for (what, n, wanted) in [
        ("starts", cut_short.starts, kills / 20),
        ("uploads", cut_short.uploads, kills / 10),
        ("commits", cut_short.commits, kills / 20),
    ] {
        assert!(
            n >= wanted,
            "{n} {what} were cut short, at least {wanted} are wanted"
        );
    }
}

// === impl Lives ===

impl Lives {
    fn new(seed: u64) -> Self {
        let s3 = S3::start(Kind::Versity);
        Self {
            site: Site::new(),
            proxy: Unreliable::start(s3.endpoint()),
            random: StdRng::seed_from_u64(seed),
            bucket: Objects::new(s3.objects().join("team/tempo/tracewell")),
            s3,
            acknowledged: Vec::new(),
            cut_short: CutShort::default(),
        }
    }

    fn launch(&self, site: &Site) -> Server {
        let mut settings = self.s3.settings_by(&self.proxy.endpoint());
        for setting in [
            "limits.memory_bytes=64MiB",
            "limits.request_decoded_bytes_max=8MiB",
            "limits.request_bytes_max=8MiB",
            "storage.max_block_duration=1s",
            "bucket.upload_after=1s",
            "bucket.cache=64KiB",
        ] {
            settings.push(setting.to_owned());
        }
        let mut command = std::process::Command::new(crate::harness::binary());
        command.args(site.arguments(&strs(&settings)));
        site.launch(command)
    }

    fn live_and_die(&mut self, round: u64) {
        let newest = self.acknowledged.len().saturating_sub(300);
        let asked = sample(&self.acknowledged[newest..], SAMPLE, &mut self.random);
        let mut server = self.launch(&self.site);
        if self.random.random_ratio(1, 8) {
            std::thread::sleep(Duration::from_millis(self.random.random_range(5..300)));
            server.kill();
            self.cut_short.starts += 1;
        } else {
            server.await_ready();
            ask(&server, &asked);
            self.proxy.set(Fault::Slow(SLOWNESS), Befalls::All);
            let delay = Duration::from_millis(self.random.random_range(100..1_500));
            let sent = load_and_kill(&self.site, server, round, SENDERS, delay);
            self.proxy.calm();
            self.acknowledged.extend(sent);
        }
        let mut local = manifests(&self.site.data().join("manifest"));
        let newest = local.pop().unwrap_or_default();
        self.bucket.blame(&newest, &mut self.cut_short);
    }

    /// A last life, in which everything is uploaded, and one on another disk.
    fn end(mut self, kills: u64) {
        let asked = sample(&self.acknowledged, SAMPLE_AT_THE_END, &mut self.random);
        let mut server = self.launch(&self.site);
        server.await_ready();
        ask(&server, &asked);
        flush(&server);
        ask(&server, &asked);
        assert!(server.stop().success());
        let other = Site::new();
        let mut server = self.launch(&other);
        server.await_ready();
        ask(&server, &asked);
        let least = (self.acknowledged.len() * N_SPANS) as u64;
        // Of each sender the request whose answer it did not see any more.
        let most = least + kills * SENDERS * N_SPANS as u64;
        let mut stored = 0;
        eventually("all that is stored is counted", || {
            let seen = metrics::scrape(&server);
            stored = metrics::of(&seen, "tracewell_block_spans").sum::<f64>() as u64;
            let is_right = (least..=most).contains(&stored);
            let told = || format!("{stored} spans of {least} to {most}");
            is_right.then_some(()).ok_or_else(told)
        });
        println!(
            "{} acknowledged requests, {least} spans; {stored} are stored in the bucket",
            self.acknowledged.len()
        );
    }
}

/// Reads traces by id: each is whole, no span twice.
fn ask(server: &Server, requests: &[Acknowledged]) {
    for request in requests {
        // A block that is being read may have been merged: then the answer says that it is partial.
        eventually("a trace is whole", || match n_spans(server, request.id)? {
            N_SPANS => Ok(()),
            n => Err(format!("{}: {n} spans\n{}", request.id, server.log())),
        });
    }
    expect_nothing_twice(server);
}

// === impl Objects ===

impl Objects {
    fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            listed: BTreeSet::new(),
            uploads: BTreeSet::new(),
            merges: BTreeSet::new(),
            merged: BTreeSet::new(),
        }
    }

    /// Counts what is there that was not at the last kill.
    fn blame(&mut self, local: &Manifest, cut_short: &mut CutShort) {
        let here: BTreeSet<BlockId> = local.blocks.iter().map(|block| block.id).collect();
        for manifest in manifests(&self.folder.join("manifest")) {
            for block in manifest.blocks {
                self.listed.insert(block.id);
                if block.level == 2 {
                    self.merged.insert(block.id);
                }
                self.listed.extend(block.made_from);
            }
        }
        let both = here.iter().any(|id| self.listed.contains(id));
        cut_short.commits += u64::from(both);
        let begun = names_in(&self.folder.join("blocks"));
        let begun = begun.iter().filter_map(|name| BlockId::parse(name));
        let unlisted: Vec<BlockId> = begun.filter(|id| !self.listed.contains(id)).collect();
        let (mut is_upload, mut is_merge) = (false, false);
        for id in unlisted {
            match here.contains(&id) {
                true => is_upload |= self.uploads.insert(id),
                false => is_merge |= self.merges.insert(id),
            }
        }
        cut_short.uploads += u64::from(is_upload);
        cut_short.merges += u64::from(is_merge);
    }
}
