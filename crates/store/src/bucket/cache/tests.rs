//! A cache gives what the store behind it has, whatever becomes of its files.

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::disk::LocalDisk;

struct Fixture {
    folder: tempfile::TempDir,
    remote: Arc<InMemory>,
    metrics: Arc<StoreMetrics>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            remote: Arc::default(),
            metrics: Arc::default(),
        }
    }

    fn open(&self, bytes_max: u64) -> CachedObjects {
        let remote: Arc<dyn ObjectStore> = Arc::clone(&self.remote) as Arc<dyn ObjectStore>;
        let dir = self.folder.path().join("cache");
        let metrics = Arc::clone(&self.metrics);
        CachedObjects::open(remote, Arc::new(LocalDisk), dir, (bytes_max, 0), metrics).unwrap()
    }

    fn n_reads(&self) -> u64 {
        self.metrics.bucket_reads.load(Ordering::Relaxed)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().join("cache")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files
    }
}

fn object(rng: &mut SmallRng, bytes: u64) -> Bytes {
    (0..bytes)
        .map(|_| rng.random::<u8>())
        .collect::<Vec<u8>>()
        .into()
}

fn path_of(name: &str) -> Path {
    Path::from(format!("t/blocks/0a/{name}"))
}

#[tokio::test]
async fn ranges_are_those_of_the_store_behind_it() {
    let fixture = Fixture::new();
    let mut rng = SmallRng::seed_from_u64(1);
    let sizes = [
        0,
        1,
        PIECE_BYTES - 1,
        PIECE_BYTES,
        3 * PIECE_BYTES + 17,
        40 * PIECE_BYTES,
    ];
    let mut objects = Vec::new();
    for (n, size) in sizes.into_iter().enumerate() {
        let (path, bytes) = (path_of(&n.to_string()), object(&mut rng, size));
        fixture
            .remote
            .put(&path, PutPayload::from(bytes.clone()))
            .await
            .unwrap();
        objects.push((path, bytes));
    }
    // Room for everything, for some of it, and for nothing.
    for bytes_max in [1 << 30, 5 * PIECE_BYTES, 0] {
        let mut cached = fixture.open(bytes_max);
        for round in 0..150 {
            let (path, bytes) = &objects[rng.random_range(0..objects.len())];
            let len = bytes.len() as u64;
            let ranges: Vec<Range<u64>> = (0..rng.random_range(1..5))
                .map(|_| {
                    let start = rng.random_range(0..=len);
                    start..rng.random_range(start..=len)
                })
                .filter(|range| !range.is_empty())
                .collect();
            let found = cached.get_ranges(path, &ranges).await.unwrap();
            for (range, found) in ranges.iter().zip(&found) {
                let (from, to) = (range.start as usize, range.end as usize);
                assert!(*found == bytes[from..to], "{path} {range:?}");
            }
            assert_eq!(cached.head(path).await.unwrap().size, len);
            if rng.random_ratio(1, 10) {
                let whole = cached.get(path).await.unwrap().bytes().await.unwrap();
                assert!(whole == *bytes, "{path}");
            }
            assert!(cached.stats().bytes <= bytes_max);
            if round % 50 == 49 {
                cached = fixture.open(bytes_max);
            }
        }
    }
    let absent = fixture
        .open(1 << 20)
        .get_ranges(&path_of("absent"), std::slice::from_ref(&(0..5)))
        .await;
    assert!(matches!(absent, Err(object_store::Error::NotFound { .. })));
}

#[tokio::test]
async fn what_is_kept_is_not_asked_for_again() {
    let fixture = Fixture::new();
    let mut rng = SmallRng::seed_from_u64(2);
    let (path, bytes) = (path_of("spans"), object(&mut rng, 20 * PIECE_BYTES));
    fixture
        .remote
        .put(&path, bytes.clone().into())
        .await
        .unwrap();
    let cached = fixture.open(1 << 30);
    // Pieces side by side come in one request, and only those that are missing.
    cached
        .get_ranges(&path, &[0..10, 5..3 * PIECE_BYTES])
        .await
        .unwrap();
    assert_eq!(fixture.n_reads(), 1);
    cached
        .get_ranges(&path, std::slice::from_ref(&(0..4 * PIECE_BYTES)))
        .await
        .unwrap();
    assert_eq!(fixture.n_reads(), 2);
    let cached = fixture.open(1 << 30);
    cached
        .get_ranges(&path, std::slice::from_ref(&(7..4 * PIECE_BYTES)))
        .await
        .unwrap();
    assert_eq!(fixture.n_reads(), 2);
    // What was uploaded is here already.
    let other = path_of("traces");
    fixture
        .remote
        .put(&other, bytes.clone().into())
        .await
        .unwrap();
    cached
        .keep(&other, 0, bytes.clone(), bytes.len() as u64)
        .await;
    let found = cached
        .get_ranges(&other, std::slice::from_ref(&(100..18 * PIECE_BYTES)))
        .await
        .unwrap();
    assert!(found[0] == bytes[100..18 * PIECE_BYTES as usize]);
    assert_eq!(fixture.n_reads(), 2);
    cached.forget(&Path::from("t/blocks/0a")).await;
    assert_eq!((cached.stats().pieces, fixture.files().len()), (0, 0));
    // Manifests change hands: they are never kept.
    let manifest = Path::from("t/manifest/1.manifest");
    fixture.remote.put(&manifest, "x".into()).await.unwrap();
    cached.get(&manifest).await.unwrap();
    assert_eq!(cached.stats().pieces, 0);
}

#[tokio::test]
async fn a_piece_that_is_spoiled_is_fetched_again() {
    let fixture = Fixture::new();
    let mut rng = SmallRng::seed_from_u64(3);
    let (path, bytes) = (path_of("spans"), object(&mut rng, 2 * PIECE_BYTES + 9));
    fixture
        .remote
        .put(&path, bytes.clone().into())
        .await
        .unwrap();
    for spoil in 0..40u64 {
        let cached = fixture.open(1 << 30);
        cached
            .get_ranges(&path, std::slice::from_ref(&(0..bytes.len() as u64)))
            .await
            .unwrap();
        let files = fixture.files();
        let file = &files[rng.random_range(0..files.len())];
        let mut content = std::fs::read(file).unwrap();
        match spoil % 4 {
            0 => content.clear(),
            1 => content.truncate(rng.random_range(0..content.len())),
            2 => content.extend_from_slice(b"more"),
            _ => {
                let at = rng.random_range(0..content.len());
                content[at] ^= 1 << rng.random_range(0..8);
            }
        }
        std::fs::write(file, content).unwrap();
        // As a process that knew it, and as one that finds it.
        let cached = if spoil % 2 == 0 {
            cached
        } else {
            fixture.open(1 << 30)
        };
        let found = cached
            .get_ranges(&path, std::slice::from_ref(&(0..bytes.len() as u64)))
            .await;
        assert!(found.unwrap()[0] == bytes, "{spoil}");
    }
    assert_eq!(
        fixture.metrics.cache_pieces_damaged.load(Ordering::Relaxed),
        40
    );
}
