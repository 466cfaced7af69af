//! A folder of data that only this process uses; or why it cannot be had, with what to do about it.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use tracewell_store::disk::{Disk, DiskLock};

/// Who this process is to the file system.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// The file that keeps a second process out of a folder.
pub(super) const LOCK: &str = "lock";

/// Creates a folder and keeps other processes out of it for as long as the lock is held. The key is
/// the one that names the folder.
pub(super) fn claim(disk: &dyn Disk, folder: &Path, key: &str) -> Result<Box<dyn DiskLock>> {
    let claimed = std::fs::create_dir_all(folder).and_then(|()| disk.lock(&folder.join(LOCK)));
    claimed.map_err(|error| {
        let why = why(&error, folder, User::current());
        let elsewhere = format!("or keep this one's data elsewhere with --data-dir ({key})");
        anyhow::Error::new(error).context(format!("{why}, {elsewhere}"))
    })
}

/// What is wrong and the remedy, without the other remedy: another folder.
fn why(error: &io::Error, folder: &Path, user: User) -> String {
    let path = folder.display();
    match error.kind() {
        ErrorKind::WouldBlock => format!("{path} is used by another process; stop it"),
        ErrorKind::PermissionDenied => denied(folder, user),
        ErrorKind::ReadOnlyFilesystem => {
            format!("{path} lies on a file system that is read-only; mount it for writing")
        }
        _ => format!("{path} cannot be used; see that it is a folder whose disk is sound"),
    }
}

fn denied(folder: &Path, user: User) -> String {
    let User { uid, gid } = user;
    let path = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if found.uid() == uid && found.mode() & 0o700 != 0o700 => format!(
            "{path} cannot be written: it {}, which is this process's uid; run `chmod u+rwx {path}`",
            owned(&found)
        ),
        Ok(found) => format!(
            "{path} cannot be written, or something in it: the folder {}, and this process runs as \
             uid {uid}; run `chown -R {uid}:{gid} {path}` as root",
            owned(&found)
        ),
        Err(error) => {
            let is_missing = error.kind() == ErrorKind::NotFound;
            let (above, seen) = above(folder);
            let (cannot, run) = match is_missing {
                true => (
                    "created",
                    format!("mkdir -p {path} && chown {uid}:{gid} {path}"),
                ),
                false => ("reached", format!("chmod o+x {above}")),
            };
            format!(
                "{path} cannot be {cannot}: {above} {seen}, and this process runs as uid {uid}; run \
                 `{run}` as root"
            )
        }
    }
}

fn owned(found: &std::fs::Metadata) -> String {
    let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    format!("belongs to uid {uid} and gid {gid} with mode {mode:04o}")
}

/// The nearest folder above that can be seen, with its owner.
fn above(folder: &Path) -> (String, String) {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let mut folders = whole.ancestors().skip(1);
    let seen = folders.find_map(|above| Some((above, std::fs::metadata(above).ok()?)));
    match seen {
        Some((above, found)) => (above.display().to_string(), owned(&found)),
        None => ("what lies above it".to_owned(), "is not seen".to_owned()),
    }
}

// === impl User ===

impl User {
    fn current() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use tracewell_store::disk::LocalDisk;

    use super::*;

    /// A folder of this test alone, with mode 0750.
    fn folder(name: &str) -> PathBuf {
        let name = format!("tracewell-folder-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        folder
    }

    fn refused(folder: &Path) -> String {
        let claimed = claim(&LocalDisk, folder, "storage.path").map(drop);
        format!("{:#}", claimed.unwrap_err())
    }

    #[test]
    fn another_process_is_blamed_only_where_one_holds_the_lock() {
        let folder = folder("lock");
        let held = claim(&LocalDisk, &folder, "storage.path").unwrap();
        let text = refused(&folder);
        assert!(
            text.contains("is used by another process; stop it, or keep"),
            "{text}"
        );
        drop(held);
        std::fs::remove_file(folder.join(LOCK)).unwrap();
        std::fs::create_dir(folder.join(LOCK)).unwrap();
        let text = refused(&folder);
        assert!(!text.contains("another process"), "{text}");
        assert!(
            text.contains("--data-dir (storage.path): Is a directory"),
            "{text}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn who_may_not_write_reads_the_owner_and_what_to_run() {
        let folder = folder("denied");
        let path = folder.display();
        let own = User::current();
        let denied = |folder: &Path, user| {
            let error = io::Error::from(ErrorKind::PermissionDenied);
            why(&error, folder, user)
        };
        let found = std::fs::metadata(&folder).unwrap();
        let owner = format!("uid {} and gid {}", found.uid(), found.gid());
        let other = User {
            uid: 4711,
            gid: 4712,
        };
        assert_eq!(
            denied(&folder, other),
            format!(
                "{path} cannot be written, or something in it: the folder belongs to {owner} with mode \
                 0750, and this process runs as uid 4711; run `chown -R 4711:4712 {path}` as root"
            )
        );
        let missing = folder.join("a/b");
        let text = denied(&missing, other);
        let run = format!("`mkdir -p {path}/a/b && chown 4711:4712 {path}/a/b`");
        assert!(
            text.contains(&format!("cannot be created: {path} belongs to {owner}")),
            "{text}"
        );
        assert!(text.contains(&run), "{text}");
        std::fs::set_permissions(&folder, Permissions::from_mode(0o550)).unwrap();
        let text = denied(&folder, own);
        assert!(
            text.contains("with mode 0550") && text.contains("`chmod u+rwx "),
            "{text}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_read_only_file_system_is_named_as_one() {
        let error = io::Error::from(ErrorKind::ReadOnlyFilesystem);
        let text = why(&error, Path::new("/data"), User::current());
        assert_eq!(
            text,
            "/data lies on a file system that is read-only; mount it for writing"
        );
    }
}
