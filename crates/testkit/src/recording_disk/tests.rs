use super::*;

fn disk_with_two_files() -> RecordingDisk {
    let disk = RecordingDisk::new();
    let dir = Path::new("/data");
    disk.create_dir_all(dir).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let kept = disk.create(&dir.join("kept")).unwrap();
    kept.write_at(&[1; 2_000], 0).unwrap();
    kept.sync_data().unwrap();
    disk.sync_dir(dir).unwrap();
    let lost = disk.create(&dir.join("lost")).unwrap();
    lost.write_at(&[2; 2_000], 0).unwrap();
    kept.write_at(&[3; 2_000], 1_000).unwrap();
    disk
}

#[test]
fn what_was_synced_survives_and_the_rest_by_chance() {
    let disk = disk_with_two_files();
    let (mut n_lost, mut n_mixed) = (0, 0);
    for seed in 0..200 {
        let left = disk.power_cut(disk.n_operations(), seed);
        let kept = left.content(Path::new("/data/kept")).unwrap();
        assert!(kept.len() >= 2_000, "seed {seed}");
        assert!(kept[..1_000].iter().all(|b| *b == 1), "seed {seed}");
        assert!(kept[1_000..].iter().all(|b| [0, 1, 3].contains(b)));
        n_mixed += u32::from(kept[1_000..2_000].contains(&1) && kept[1_000..2_000].contains(&3));
        n_lost += u32::from(left.content(Path::new("/data/lost")).is_err());
    }
    assert!(n_lost > 20 && n_lost < 180, "{n_lost}");
    assert!(n_mixed > 20, "{n_mixed}");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let disk = disk_with_two_files();
    let files = |disk: &RecordingDisk| -> Vec<_> {
        let files = disk.files().into_iter();
        files
            .map(|path| (disk.content(&path).unwrap(), path))
            .collect()
    };
    for seed in 0..20 {
        let at = disk.n_operations();
        assert_eq!(
            files(&disk.power_cut(at, seed)),
            files(&disk.power_cut(at, seed))
        );
    }
    assert_eq!(files(&disk.after_kill()), files(&disk));
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let disk = RecordingDisk::new();
    let path = Path::new("/file");
    let file = disk.create(path).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(&[7; 512], 0).unwrap();
    disk.fail_syncs(0, 1);
    assert!(file.sync_data().is_err());
    assert!(file.sync_data().is_ok());
    let lost = (0..100).filter(|seed| {
        let left = disk.power_cut(disk.n_operations(), *seed);
        left.content(path).unwrap() != [7; 512]
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = RecordingDisk::new();
    disk.set_capacity(1_000);
    let file = disk.create(Path::new("/file")).unwrap();
    let error = file.write_at(&[1; 1_500], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 1_000);
    file.write_at(&[2; 1_000], 0).unwrap();
    disk.remove(Path::new("/file")).unwrap();
    assert_eq!(disk.space(Path::new("/")).unwrap().free, 1_000);
}
