//! A small file system of a test's own, which outlives the servers that work on it.
//!
//! It is a tmpfs in a mount namespace that a sleeping process holds (`unshare`), and servers are
//! started in that namespace (`nsenter`). This needs root or user namespaces; where neither is there a
//! test fails and says so.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted volume; gone when dropped.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Ends with its standard input, so also if this process is killed.
    holder: Child,
    place: PathBuf,
    namespaces: &'static Namespaces,
}

/// What holds the mount, and how it is entered.
#[derive(Debug)]
struct Namespaces {
    unshare: &'static [&'static str],
    nsenter: &'static [&'static str],
}

/// As root a mount namespace, else a user namespace besides.
const NAMESPACES: [Namespaces; 2] = [
    Namespaces {
        unshare: &["--mount"],
        nsenter: &["--mount"],
    },
    Namespaces {
        unshare: &["--mount", "--map-root-user"],
        nsenter: &["--mount", "--user", "--preserve-credentials"],
    },
];

// === impl Volume ===

impl Volume {
    /// Mounts a volume of so many bytes in a new folder.
    pub(crate) fn new(place: &Path, bytes: u64) -> Self {
        std::fs::create_dir(place).unwrap();
        let script =
            format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\" && echo mounted && exec cat");
        let namespaces = Namespaces::that_work();
        let mut holder = Command::new("unshare")
            .args(namespaces.unshare)
            .args(["sh", "-c", &script])
            .arg(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "{bytes} bytes at {}", place.display());
        Self {
            holder,
            place: place.to_owned(),
            namespaces,
        }
    }

    /// A command of that program which sees the volume; the process is the program's own.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string()])
            .args(self.namespaces.nsenter)
            .arg(program);
        command
    }

    /// The folder as this process sees it.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.place.strip_prefix("/").unwrap())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A holder that has ended already is just what is wanted.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

// === impl Namespaces ===

impl Namespaces {
    fn that_work() -> &'static Self {
        let works = |namespaces: &&Self| {
            let status = Command::new("unshare")
                .args(namespaces.unshare)
                .args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"])
                .status();
            status.is_ok_and(|status| status.success())
        };
        NAMESPACES.iter().find(works).expect(
            "a small file system is mounted for this test: run it as root, or where user \
             namespaces are allowed (sysctl kernel.unprivileged_userns_clone=1), with `unshare` \
             and `nsenter` of util-linux",
        )
    }
}
