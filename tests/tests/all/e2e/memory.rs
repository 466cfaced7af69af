//! Under ordinary traffic that is sent as fast as it is taken, the process stays within what it is given.

use super::commands::run;
use crate::harness::process;
use crate::harness::server::Site;

const SPANS: &str = "300000";
/// The least that `limits.memory_bytes` may be.
const MEMORY_BYTES: u64 = 64 << 20;
/// Beside it: the program itself, its threads, the buffers of four connections and of the allocator. The queries
/// below find their own in the budget.
pub(crate) const BESIDE_KIB: u64 = 40 << 10;

#[test]
fn ordinary_traffic_stays_within_the_memory_that_it_is_given() {
    let site = Site::new();
    let memory = format!("limits.memory_bytes={MEMORY_BYTES}");
    let server = site.start(&[&memory, "limits.request_decoded_bytes_max=8MiB"]);
    let idle = process::usage(server.pid());
    process::forget_peak(server.pid());
    let endpoint = format!("grpc://127.0.0.1:{}", site.otlp_grpc);
    run(
        &[
            "demo",
            "--spans",
            SPANS,
            "--connections",
            "4",
            "--endpoint",
            &endpoint,
        ],
        0,
    );
    for query in [
        "{ status = error }",
        "{ duration > 1s }",
        "{ name =~ \".*a.*\" }",
    ] {
        assert!(server.search(query, 100)["traces"].is_array(), "{query}");
    }
    assert_eq!(server.get("/flush").status / 100, 2);
    let peak = process::usage(server.pid()).peak_kib;
    let bound = (MEMORY_BYTES >> 10) + BESIDE_KIB;
    println!(
        "{SPANS} spans within {} MiB: {} MiB idle, {} MiB at the peak, {} MiB allowed",
        MEMORY_BYTES >> 20,
        idle.resident_kib >> 10,
        peak >> 10,
        bound >> 10
    );
    assert!(peak <= bound, "{peak} KiB of {bound} KiB");
}
