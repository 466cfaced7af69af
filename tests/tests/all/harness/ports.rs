//! Ports that stay free for a server between its starts.
//!
//! The system gives its outgoing connections ports from 32768 on (`ip_local_port_range`). A server that
//! was stopped and comes back on such a port may find it taken by any client, or a client that knocks at
//! it may be connected to itself; ports below are given to nobody who does not ask for them by number.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const N_PORTS: u16 = 20_000;

/// A port that nothing listens on, and that no other test of this process gets.
pub(crate) fn free() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Other processes of the kind begin elsewhere.
    let begin = u16::try_from(std::process::id() % u32::from(N_PORTS / 100)).unwrap() * 100;
    for _ in 0..N_PORTS {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(taken) % N_PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {FIRST} to {} is free", FIRST + N_PORTS);
}
