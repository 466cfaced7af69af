//! Objects on disks: as every object store behaves, and durable when a put returns.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use proptest::prelude::*;
use tracewell_store::disk::{Disk, LocalDisk};
use tracewell_store::objects::DiskObjects;
use tracewell_testkit::RecordingDisk;

const ROOT: &str = "/data/objects";

fn store(disk: &RecordingDisk) -> DiskObjects {
    DiskObjects::open(Arc::new(disk.clone()), ROOT).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn create() -> PutOptions {
    PutMode::Create.into()
}

/// Keys with sizes.
async fn listed(store: &dyn ObjectStore, prefix: Option<&Path>) -> Vec<(String, u64)> {
    let metas: Vec<_> = store.list(prefix).try_collect().await.unwrap();
    let mut found: Vec<_> = metas
        .into_iter()
        .map(|meta| (meta.location.to_string(), meta.size))
        .collect();
    found.sort();
    found
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Vec<u8>, bool),
    Upload(usize, Vec<Vec<u8>>),
    Get(usize, std::ops::Range<u64>),
    Delete(usize),
    Copy(usize, usize, bool),
    List(usize),
}

const KEYS: [&str; 6] = [
    "a",
    "b/one",
    "b/two",
    "b/c/three",
    "b/c/{odd} %name~",
    "d/e/f/g",
];
const PREFIXES: [&str; 6] = ["", "b", "b/c", "d", "a", "none"];

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        4 => (key.clone(), bytes(), any::<bool>()).prop_map(|(k, b, c)| Step::Put(k, b, c)),
        2 => (key.clone(), prop::collection::vec(bytes(), 0..4)).prop_map(|(k, p)| Step::Upload(k, p)),
        3 => (key.clone(), 0..120u64, 1..120u64).prop_map(|(k, from, n)| Step::Get(k, from..from + n)),
        2 => key.clone().prop_map(Step::Delete),
        1 => (key.clone(), key, any::<bool>()).prop_map(|(a, b, c)| Step::Copy(a, b, c)),
        2 => (0..PREFIXES.len()).prop_map(Step::List),
    ]
}

/// What a step answers, in words that are the same for every store.
async fn perform(store: &dyn ObjectStore, step: &Step) -> String {
    let path = |key: usize| Path::from(KEYS[key]);
    let kind = |error: Error| match error {
        Error::NotFound { .. } => "not found".to_owned(),
        Error::AlreadyExists { .. } => "already exists".to_owned(),
        other => format!("{other}"),
    };
    let done = match step {
        Step::Put(key, bytes, exclusive) => {
            let options = match exclusive {
                true => create(),
                false => PutOptions::default(),
            };
            let path = path(*key);
            let put = store.put_opts(&path, bytes.clone().into(), options);
            put.await.map(|_| String::new())
        }
        Step::Upload(key, parts) => {
            // Ours is exclusive where others overwrite: only fresh names can be compared.
            if store.head(&path(*key)).await.is_ok() {
                return String::new();
            }
            let mut upload = store.put_multipart(&path(*key)).await.unwrap();
            for part in parts {
                upload.put_part(part.clone().into()).await.unwrap();
            }
            upload.complete().await.map(|_| String::new())
        }
        Step::Get(key, range) => {
            let whole = store.get(&path(*key)).await;
            match whole {
                Ok(found) if range.start < found.meta.size => {
                    let ranges = [range.clone(), 0..1];
                    let parts = store.get_ranges(&path(*key), &ranges).await.unwrap();
                    let bytes = found.bytes().await.unwrap();
                    Ok(format!("{bytes:?} {parts:?}"))
                }
                Ok(found) => Ok(format!("{:?}", found.bytes().await.unwrap())),
                Err(error) => Err(error),
            }
        }
        Step::Delete(key) => {
            // Some stores do not mind a key that is not there.
            match store.head(&path(*key)).await {
                Ok(_) => store.delete(&path(*key)).await.map(|()| String::new()),
                Err(error) => Err(error),
            }
        }
        Step::Copy(from, to, exclusive) => match exclusive {
            true => store.copy_if_not_exists(&path(*from), &path(*to)).await,
            false => store.copy(&path(*from), &path(*to)).await,
        }
        .map(|()| String::new()),
        Step::List(prefix) => {
            let prefix = Path::from(PREFIXES[*prefix]);
            let all = listed(store, Some(&prefix)).await;
            let one = store.list_with_delimiter(Some(&prefix)).await.unwrap();
            let objects: Vec<_> = one.objects.into_iter().map(|o| o.location).collect();
            Ok(format!("{all:?} {objects:?} {:?}", one.common_prefixes))
        }
    };
    done.unwrap_or_else(kind)
}

proptest! {
    #[test]
    fn objects_behave_as_in_memory(steps in prop::collection::vec(step(), 1..40)) {
        let disk = RecordingDisk::new();
        let (ours, memory) = (store(&disk), InMemory::new());
        block_on(async {
            for step in &steps {
                let answers = (perform(&ours, step).await, perform(&memory, step).await);
                prop_assert_eq!(answers.0, answers.1, "{:?}", step);
            }
            Ok(())
        })?;
        // Nothing is left beside the objects.
        let n_objects = block_on(listed(&memory, None)).len();
        prop_assert_eq!(disk.files().len(), n_objects);
    }
}

/// Puts objects of many sizes, and says when each put returned.
fn put_many(disk: &RecordingDisk) -> Vec<(Path, Bytes, usize)> {
    let store = store(disk);
    let mut puts = Vec::new();
    for (i, size) in [0, 10, 5_000, 100_000, 700, 3_000_000].iter().enumerate() {
        let path = Path::from(format!("t{}/p{i}/object", i % 2));
        let bytes = Bytes::from(vec![i as u8 + 1; *size]);
        if i % 2 == 0 {
            block_on(store.put_opts(&path, bytes.clone().into(), create())).unwrap();
        } else {
            block_on(async {
                let mut upload = store.put_multipart(&path).await.unwrap();
                for part in bytes.chunks(40_000) {
                    let part = PutPayload::from(Bytes::copy_from_slice(part));
                    upload.put_part(part).await.unwrap();
                }
                upload.complete().await.unwrap();
            });
        }
        puts.push((path, bytes, disk.n_operations()));
    }
    puts
}

#[test]
fn what_was_put_survives_a_power_cut_whole() {
    let disk = RecordingDisk::new();
    let puts = put_many(&disk);
    let mut replay = disk.replay();
    for at in 0..=replay.n_operations() {
        replay.advance_to(at);
        for seed in 0..4 {
            let left = store(&replay.power_cut(seed * 1_000 + at as u64));
            let found = block_on(listed(&left, None));
            for (path, bytes, time) in &puts {
                let is_there = found.iter().any(|(key, _)| key == path.as_ref());
                assert!(
                    is_there || at < *time,
                    "{path} is lost: cut {at}, seed {seed}"
                );
                if is_there {
                    let seen = block_on(async { left.get(path).await.unwrap().bytes().await });
                    assert_eq!(seen.unwrap(), bytes, "{path}: cut {at}, seed {seed}");
                }
            }
        }
    }
    assert!(disk.unsynced_bytes_max() <= 1 << 20);
}

#[test]
fn one_of_many_creates_wins() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let store = DiskObjects::open(disk, dir.path().join("objects")).unwrap();
    let path = Path::from("manifests/0001");
    let won: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16u8)
            .map(|i| {
                let (store, path) = (store.clone(), path.clone());
                scope.spawn(move || {
                    let put = store.put_opts(&path, vec![i; 1_000].into(), create());
                    (i, block_on(put))
                })
            })
            .collect();
        let ends = racers.into_iter().map(|racer| racer.join().unwrap());
        ends.filter(|(_, end)| match end {
            Ok(_) => true,
            Err(Error::AlreadyExists { .. }) => false,
            Err(other) => panic!("{other}"),
        })
        .map(|(i, _)| i)
        .collect()
    });
    assert_eq!(won.len(), 1);
    let seen = block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
    assert_eq!(seen, vec![won[0]; 1_000]);
}

#[test]
fn large_objects_are_streamed() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskObjects::open(Arc::new(LocalDisk), dir.path()).unwrap();
    let bytes: Vec<u8> = (0..10_000_000u32).map(|i| (i % 251) as u8).collect();
    let path = Path::from("large");
    block_on(async {
        store.put(&path, bytes.clone().into()).await.unwrap();
        let pieces: Vec<Bytes> = store
            .get(&path)
            .await
            .unwrap()
            .into_stream()
            .try_collect()
            .await
            .unwrap();
        assert!(pieces.len() > 1);
        assert!(pieces.concat() == bytes);
    });
}

#[test]
fn nothing_outside_of_the_root_has_a_key() {
    let disk = RecordingDisk::new();
    disk.install(FilePath::new("/data/secret"), b"secret");
    disk.install(FilePath::new("/data/objects/foreign\nname"), b"x");
    let store = store(&disk);
    for key in [".staging", ".staging/0", ""] {
        let put = block_on(store.put(&Path::from(key), "x".into()));
        assert!(matches!(put, Err(Error::NotSupported { .. })), "{key}");
    }
    assert!(Path::parse("../secret").is_err());
    let encoded = Path::from("../secret");
    assert!(block_on(store.get(&encoded)).is_err());
    block_on(store.put(&encoded, "x".into())).unwrap();
    assert_eq!(
        disk.content(FilePath::new("/data/secret")).unwrap(),
        b"secret"
    );
    assert_eq!(
        block_on(listed(&store, None)),
        [("%2E%2E/secret".to_owned(), 1)]
    );
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let disk = RecordingDisk::new();
    let objects = store(&disk);
    let path = Path::from("x/y");
    block_on(async {
        let mut dropped = objects.put_multipart(&path).await.unwrap();
        dropped.put_part("part".into()).await.unwrap();
        drop(dropped);
        let mut aborted = objects.put_multipart(&path).await.unwrap();
        aborted.put_part("part".into()).await.unwrap();
        aborted.abort().await.unwrap();
        let mut missing = objects.put_multipart(&path).await.unwrap();
        drop(missing.put_part("never polled".into()));
        missing.complete().await.unwrap_err();
        assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new());

        let mut killed = objects.put_multipart(&path).await.unwrap();
        killed.put_part("part".into()).await.unwrap();
        let left = disk.after_kill();
        assert_eq!(left.files().len(), 1);
        store(&left);
        assert_eq!(left.files().len(), 0);
    });
}

#[test]
fn a_name_that_may_come_back_is_not_called_absent() {
    let disk = RecordingDisk::new();
    let objects = store(&disk);
    let path = Path::from("x/y");
    let is_absent =
        |result: object_store::Result<_>| match result.map(|_: object_store::ObjectMeta| ()) {
            Ok(()) => panic!("it is there"),
            Err(error) => matches!(error, object_store::Error::NotFound { .. }),
        };
    block_on(async {
        // Its name, and what says that it is gone.
        disk.fail_syncs(2, 2);
        let put = objects.put_opts(&path, "content".into(), create());
        put.await.unwrap_err();
        assert!(!is_absent(objects.head(&path).await));
        let comes_back = |seed: &u64| {
            let left = disk.power_cut(disk.n_operations(), *seed);
            left.files().iter().any(|file| file.ends_with("x/y"))
        };
        assert!((0..40).any(|seed| comes_back(&seed)));
        assert!(is_absent(objects.head(&path).await));
        assert!(!(0..40).any(|seed| comes_back(&seed)));
    });
}

#[test]
fn a_put_that_fails_is_not_there() {
    let disk = RecordingDisk::new();
    let objects = store(&disk);
    let path = Path::from("x/y");
    block_on(async {
        // Its content, the name of the directory above it, its name.
        for skip in 0..3 {
            disk.fail_syncs(skip, 1);
            objects
                .put_opts(&path, "content".into(), create())
                .await
                .unwrap_err();
            objects.head(&path).await.unwrap_err();
        }
        let mut upload = objects.put_multipart(&path).await.unwrap();
        disk.fail_syncs(0, 1);
        upload.put_part("part".into()).await.unwrap_err();
        upload.complete().await.unwrap_err();
        objects.head(&path).await.unwrap_err();

        disk.set_capacity(10);
        objects.put(&path, vec![0; 100].into()).await.unwrap_err();
        assert!(disk.files().is_empty(), "{:?}", disk.files());
        objects.put(&path, vec![0; 10].into()).await.unwrap();
    });
}

#[test]
fn empty_directories_go_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskObjects::open(Arc::new(LocalDisk), dir.path()).unwrap();
    block_on(async {
        for _ in 0..3 {
            store
                .put(&Path::from("t/p/b/spans"), "x".into())
                .await
                .unwrap();
            store.delete(&Path::from("t/p/b/spans")).await.unwrap();
            assert!(!dir.path().join("t").exists());
        }
        store
            .put(&Path::from("t/p/b/spans"), "x".into())
            .await
            .unwrap();
        // Somebody cleans up by hand.
        std::fs::remove_dir_all(dir.path().join("t")).unwrap();
        store
            .put(&Path::from("t/p/c/spans"), "x".into())
            .await
            .unwrap();
    });
}
