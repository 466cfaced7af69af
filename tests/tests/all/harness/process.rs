//! Starting a process with its log, what it used, read from `/proc`, how many files it may hold, and asking it to
//! stop.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

/// Processor time and memory of one process at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_ms: u64,
    pub(crate) resident_kib: u64,
    /// The largest resident size since [`forget_peak`].
    pub(crate) peak_kib: u64,
}

/// Linux counts processor time in hundredths of a second everywhere.
const MS_PER_TICK: u64 = 10;

pub(crate) fn usage(pid: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    Usage {
        cpu_ms: (ticks(11) + ticks(12)) * MS_PER_TICK,
        resident_kib: kib(&status, "VmRSS:"),
        peak_kib: kib(&status, "VmHWM:"),
    }
}

/// Starts a command without input; what it says is added to a log.
pub(crate) fn spawn_with_log(command: &mut Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Asks a process that still runs to stop.
pub(crate) fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}

/// The peak becomes what is resident now.
pub(crate) fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Lets this process, and those that it starts from now on, hold so many files, if the system lets it.
pub(crate) fn allow_open_files(n: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < n) {
        limit.current = Some(limit.maximum.map_or(n, |maximum| maximum.min(n)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
