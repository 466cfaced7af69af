//! Which allocator the program runs on, and how it is set.
//!
//! With glibc: its own, held to few arenas. Memory of one thread is freed by another here (a request
//! is decoded by one, kept by the log's, cut and merged by two more), and every arena keeps what it
//! was once given. With 1.3 million spans sent at once, on two cores: 250 MB at the peak and 4.9 s of
//! processor time, against 330 MB with as many arenas as glibc likes, and 420 MB and 6.2 s with
//! mimalloc 3 (330 MB and 5.9 s with mimalloc 2). Elsewhere, musl first of all, mimalloc.

#[cfg(target_env = "gnu")]
use std::time::{Duration, Instant};

#[cfg(not(target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many threads as allocate all the time: the log's writer, a cut, a merge.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: i32 = 3;

/// What is as large comes from the kernel and goes back there at once: the columns that a merge holds
/// for a moment. Left to itself glibc soon keeps up to 32 MB of each arena for such; that took 35 MB
/// more of 290, and 0.3 s of processor time less for each million spans.
#[cfg(target_env = "gnu")]
const MMAP_BYTES_MIN: i32 = 1 << 20;

/// To be called before a second thread is started.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "glibc is set by a C call and no other way but the environment"
)]
pub(crate) fn set_up() {
    // SAFETY: mallopt takes two integers and may be called at any time. If it refuses (it returns 0),
    // the default stays, which costs memory and nothing else.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_BYTES_MIN);
    }
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn set_up() {}

/// How often free memory is given back. Giving back and taking again 100 MB costs some 30 ms of the
/// processor.
#[cfg(target_env = "gnu")]
const GIVE_BACK_EVERY: Duration = Duration::from_millis(500);
/// The same once the process is larger than its budget. With ten million spans sent at once that took
/// 25 MB less of 305; all the time it took 0.5 s of the processor more for each million.
#[cfg(target_env = "gnu")]
const GIVE_BACK_EVERY_BEYOND: Duration = Duration::from_millis(100);
/// A smaller process keeps what it has.
#[cfg(target_env = "gnu")]
const RESIDENT_MIN: u64 = 96 << 20;

/// Gives free memory back from time to time on a thread of its own: glibc gives back by itself only
/// what lies at the end of an arena, and after a burst that was a tenth of it.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_small(budget_bytes: u64) -> std::io::Result<()> {
    let keep = move || {
        let mut given_back = Instant::now();
        loop {
            let resident = resident_bytes().unwrap_or(u64::MAX);
            let is_due = given_back.elapsed() >= GIVE_BACK_EVERY && resident >= RESIDENT_MIN;
            if is_due || resident >= budget_bytes {
                give_back();
                given_back = Instant::now();
            }
            // A small one wakes up seldom.
            std::thread::sleep(match resident < budget_bytes / 2 {
                true => GIVE_BACK_EVERY,
                false => GIVE_BACK_EVERY_BEYOND,
            });
        }
    };
    let thread = std::thread::Builder::new().name("memory".to_owned());
    thread.spawn(keep).map(drop)
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_small(_budget_bytes: u64) -> std::io::Result<()> {
    Ok(())
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc gives memory back by a C call only")]
fn give_back() {
    // SAFETY: malloc_trim takes the locks of the arenas that it works on, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `None` where the kernel does not say.
#[cfg(target_env = "gnu")]
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
