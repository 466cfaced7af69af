//! Limits of single tenants on the real binary: one that bites a tenant leaves the others alone, and a new
//! version of the file holds without a restart.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracewell_model::TraceId;

use super::PROTOBUF;
use super::metrics::wait_for;
use super::tenants::named;
use crate::harness::http::{self, Answer};
use crate::harness::metrics::scrape;
use crate::harness::server::{Server, Site};
use crate::harness::{binary, eventually, grpc, is_release};
use crate::load::{N_SPANS, n_spans, request};

const ON: &str = "tenants.enabled=true";

/// A server with a file of overrides that it looks at every second.
fn start(site: &Site, file: &Path, more: &[&str]) -> Server {
    let path = format!("tenants.overrides_path={}", file.display());
    let settings = [ON, &path, "tenants.overrides_period=1s"];
    site.start(&[&settings[..], more].concat())
}

fn overrides(site: &Site, text: &str) -> PathBuf {
    let file = site.folder().join("overrides.yaml");
    // As an editor or a ConfigMap does: the file is never half there.
    let beside = site.folder().join("overrides.new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    file
}

fn post(site: &Site, tenant: &str, body: &[u8]) -> Answer {
    http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, &named(tenant), body).unwrap()
}

fn discarded(reason: &str, tenant: &str) -> String {
    format!(r#"tempo_discarded_spans_total{{reason="{reason}",tenant="{tenant}"}}"#)
}

fn discarded_of(reason: &str, service: &str, tenant: &str) -> String {
    format!(
        r#"tracewell_ingest_discarded_spans_of_services_total{{reason="{reason}",service="{service}",tenant="{tenant}"}}"#
    )
}

/// So slow that what is over does not pass within a test.
const SLOW: &str = "
overrides:
  slow:
    tenant_bytes_per_second_max: 10
    tenant_burst_bytes_max: 5KB
";

#[test]
fn who_sends_too_much_is_told_when_to_come_again_and_others_are_not() {
    let site = Site::new();
    let server = start(&site, &overrides(&site, SLOW), &[]);
    let (_, body) = request(60, 0, 0);
    assert!(body.len() > 2_500 && body.len() < 5_000, "{}", body.len());
    assert_eq!(post(&site, "slow", &body).status, 200);
    let (id, body) = request(60, 0, 1);
    let refused = post(&site, "slow", &body);
    assert_eq!(refused.status, 429, "{}", refused.text());
    let head = refused.head.to_lowercase();
    let after = head.split("retry-after: ").nth(1).unwrap();
    let seconds: usize = after.split_whitespace().next().unwrap().parse().unwrap();
    assert!(seconds > 10 && seconds <= body.len() / 10 + 1, "{seconds}");
    for words in [
        "RATE_LIMITED",
        "slow",
        "limits.tenant_bytes_per_second_max is 10",
    ] {
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    let head = [("x-scope-orgid", "slow")];
    assert!(grpc::export_with(site.otlp_grpc, &body, &head).is_err());
    // More than ever passes at once: no time is named.
    let large = [body.clone(), request(60, 0, 2).1].concat();
    let refused = post(&site, "slow", &large);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.text().contains("limits.tenant_burst_bytes_max"));
    for tenant in ["other", "another"] {
        for _ in 0..3 {
            assert_eq!(post(&site, tenant, &body).status, 200);
        }
    }
    let path = format!("/api/v2/traces/{id}");
    let found = http::get_with(site.http, &path, &named("slow")).unwrap();
    assert!(!found.text().contains("spanId"), "{}", found.text());
    let seen = scrape(&server);
    let n = N_SPANS as f64;
    assert_eq!(seen[&discarded("rate_limited", "slow")], 2.0 * n);
    assert_eq!(seen[&discarded("too_large", "slow")], 2.0 * n);
    let hits = r#"tracewell_limit_hits_total{limit="limits.tenant_bytes_per_second_max"}"#;
    assert_eq!(seen[hits], 2.0);
    assert!(!seen.contains_key(&discarded("rate_limited", "other")));
    assert_eq!(seen[&discarded_of("rate_limited", "load", "slow")], 2.0 * n);
}

#[test]
fn traces_of_a_tenant_are_limited_in_number_and_in_size() {
    let text = "
overrides:
  few:
    tenant_traces_max: 2
  small:
    global:
      max_bytes_per_trace: 1000
  none:
    ingestion:
      max_traces_per_user: 0
";
    let site = Site::new();
    let server = start(&site, &overrides(&site, text), &[]);
    let n = N_SPANS as f64;
    let bodies: Vec<_> = (0..3).map(|n| request(64, 0, n)).collect();
    for tenant in ["few", "none", "other"] {
        for (number, (id, body)) in bodies.iter().enumerate() {
            // What was sent already is no new trace.
            for _ in 0..2 {
                let answer = post(&site, tenant, body);
                assert_eq!(answer.status, 200, "{}", answer.text());
                let is_refused = tenant == "few" && number == 2;
                let says_so = answer.text().contains("limits.tenant_traces_max");
                assert_eq!(says_so, is_refused, "{tenant}: {}", answer.text());
            }
            let path = format!("/api/v2/traces/{id}");
            let found = http::get_with(site.http, &path, &named(tenant)).unwrap();
            let is_there = found.text().contains("spanId");
            assert_eq!(is_there, tenant != "few" || number < 2, "{tenant} {number}");
        }
    }
    let (id, body) = &bodies[0];
    let answer = post(&site, "small", body);
    assert!(
        answer.text().contains("limits.trace_bytes_max"),
        "{}",
        answer.text()
    );
    let path = format!("/api/traces/{id}");
    let found = http::get_with(site.http, &path, &named("small")).unwrap();
    let kept = n_spans(&found.json()["batches"]);
    assert!((1..N_SPANS).contains(&kept), "{kept}");
    let seen = wait_for(&server, r#"tracewell_head_traces{tenant="few"}"#, 2.0);
    assert_eq!(seen[r#"tracewell_head_traces{tenant="other"}"#], 3.0);
    assert_eq!(seen[&discarded("live_traces_exceeded", "few")], 2.0 * n);
    let of_service = discarded_of("live_traces_exceeded", "load", "few");
    assert_eq!(seen[&of_service], 2.0 * n);
    let refused = (N_SPANS - kept) as f64;
    assert_eq!(
        seen[&discarded_of("trace_too_large", "load", "small")],
        refused
    );
    assert_eq!(
        seen[r#"tempo_limits_overrides{limit_name="max_bytes_per_trace",tenant="small"}"#],
        1_000.0
    );
}

const RELOADS: &str = r#"tracewell_reloads_total{file="overrides"}"#;
const FAILURES: &str = r#"tracewell_reload_failures_total{file="overrides"}"#;
const FAILING: &str = r#"tracewell_reloads_failing{file="overrides"}"#;

#[test]
fn a_new_version_holds_without_a_restart_and_a_broken_one_does_not() {
    let site = Site::new();
    let file = overrides(&site, SLOW);
    let server = start(&site, &file, &[]);
    let bodies: Vec<_> = (0..8).map(|n| request(61, 0, n).1).collect();
    assert_eq!(post(&site, "slow", &bodies[0]).status, 200);
    assert_eq!(post(&site, "slow", &bodies[1]).status, 429);
    overrides(
        &site,
        "overrides:\n  slow:\n    tenant_bytes_per_secnd_max: off\n",
    );
    let seen = wait_for(&server, FAILURES, 1.0);
    assert_eq!(seen[FAILING], 1.0);
    let log = server.log();
    for words in [
        "refused",
        "overrides.yaml:3",
        "did you mean tenant_bytes_per_second_max?",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    assert_eq!(
        post(&site, "slow", &bodies[1]).status,
        429,
        "the old one holds"
    );
    let page = server.get("/status/overrides").text();
    for words in ["newest version is refused", "overrides.yaml:3", "  'slow':"] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    let of_slow = server.get("/status/overrides/slow").text();
    assert!(
        of_slow.contains("slow has an entry of its own"),
        "{of_slow}"
    );
    std::fs::remove_file(&file).unwrap();
    wait_for(&server, FAILURES, 2.0);
    assert_eq!(
        post(&site, "slow", &bodies[1]).status,
        429,
        "without a file, too"
    );
    // As Tempo writes it, in both of its forms.
    overrides(
        &site,
        "overrides:\n  slow:\n    ingestion:\n      rate_limit_bytes: 50000000\n    block_retention: 1m\n  '*':\n    ingestion_rate_limit_bytes: 0\n",
    );
    let seen = wait_for(&server, RELOADS, 1.0);
    assert_eq!(seen[FAILING], 0.0);
    assert_eq!(post(&site, "slow", &bodies[1]).status, 200);
    let refused = post(&site, "anybody", &bodies[2]);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(
        refused
            .text()
            .contains("limits.tenant_bytes_per_second_max, which is 0")
    );
    let name = "tempo_limits_overrides{limit_name=\"tenant_bytes_per_second_max\",tenant=\"slow\"}";
    assert_eq!(seen[name], 50_000_000.0);
    // What is shown is a file of overrides itself.
    let page = server.get("/status/overrides").text();
    for words in ["    retention.age: 1209600s", "    retention.age: 60s"] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    overrides(&site, &page);
    let seen = wait_for(&server, RELOADS, 2.0);
    assert_eq!(seen[FAILING], 0.0);
    assert_eq!(server.get("/status/runtime_config").text(), page);
    let stranger = server.get("/status/overrides/stranger").text();
    assert!(stranger.contains("no entry of its own"), "{stranger}");
}

#[test]
fn a_broken_file_of_overrides_starts_no_server() {
    let site = Site::new();
    let file = overrides(&site, "overrides:\n  a:\n    request_spans_max: many\n");
    let path = format!("tenants.overrides_path={}", file.display());
    for (path, words) in [
        (path, "overrides.yaml:3"),
        (
            "tenants.overrides_path=/no/such/file".to_owned(),
            "cannot be read",
        ),
    ] {
        let output = std::process::Command::new(binary())
            .args(site.arguments(&[ON, &path]))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

/// Attribute bytes, spans of a request and the time of a query, each of one tenant alone.
#[test]
fn spans_and_queries_have_the_limits_of_their_tenant() {
    let site = Site::new();
    let text = "
overrides:
  short: { attribute_value_bytes_max: 10 }
  few: { request_spans_max: 5 }
  hasty: { query_ms_max: 1 }
";
    let server = start(&site, &overrides(&site, text), &[]);
    let (id, body) = request(62, 0, 0);
    let n_kept = |tenant: &str| {
        let path = format!("/api/v2/traces/{id}");
        let found = http::get_with(site.http, &path, &named(tenant)).unwrap();
        let spans = &found.json()["trace"]["resourceSpans"];
        if spans.is_null() { 0 } else { n_spans(spans) }
    };
    for (tenant, wanted) in [
        ("short", 0),
        ("few", 5),
        ("hasty", N_SPANS),
        ("other", N_SPANS),
    ] {
        let answer = post(&site, tenant, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.text().contains("limits.");
        assert_eq!(told, wanted < N_SPANS, "{tenant}: {}", answer.text());
        if tenant != "hasty" {
            eventually("the spans are there", || match n_kept(tenant) {
                n if n == wanted => Ok(()),
                n => Err(format!("{tenant}: {n} spans, {wanted} are wanted")),
            });
        }
    }
    // More than can be looked through in a millisecond, in several sources: time is looked at between them.
    let endpoint = format!("http://127.0.0.1:{}", site.otlp_http);
    let spans = ["--spans", "5000", "--tenant", "hasty"];
    for _ in 0..3 {
        super::tracewell(&[&["demo", "--endpoint", &endpoint], &spans[..]].concat());
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let query = http::encode(r#"{ name =~ ".*a.*e.*i.*" || .none =~ ".*a.*e.*i.*" }"#);
    let path = format!("/api/search?q={query}&since=24h");
    let search = |tenant: &str| http::get_with(site.http, &path, &named(tenant)).unwrap();
    let partial = "x-tracewell-partial";
    let hasty = search("hasty");
    let said = hasty.head.to_lowercase();
    assert!(said.contains(partial), "{said}{}", hasty.text());
    assert!(!search("other").head.to_lowercase().contains(partial));
    let seen = scrape(&server);
    let n = N_SPANS as f64;
    assert_eq!(seen[&discarded("attribute_too_large", "short")], n);
    assert_eq!(seen[&discarded("too_many_spans", "few")], n - 5.0);
}

const TENANTS: u64 = 1_000;
const REQUESTS: u64 = 2;
/// Bytes a second that each tenant may send, and 100 times as much.
const RATE: u64 = 5_000;
const OVER: u64 = 100;

/// Latencies of the others beside the loud one: so many times those without it, and a bit, since cores are shared.
const SLOWER_MAX: u32 = 3;
const SLACK: Duration = Duration::from_millis(60);

/// How long requests of the 999 others took.
#[derive(Debug, Default)]
struct Took {
    sent: Vec<Duration>,
    asked: Vec<Duration>,
}

/// One tenant sends a hundred times what it may while 999 others send what they have and ask for it.
#[test]
fn a_thousand_tenants_do_not_notice_one_that_is_far_over_its_limit() {
    let site = Site::new();
    let text = "overrides:\n  '*':\n    tenant_bytes_per_second_max: 5KB\n    tenant_burst_bytes_max: 20KB\n";
    let server = start(&site, &overrides(&site, text), &[]);
    let quiet = others_send(&site, 0, &AtomicBool::new(false));
    let (done, offered, accepted) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let loud = std::thread::scope(|scope| {
        let (site, done, offered, accepted) = (&site, &done, &offered, &accepted);
        scope.spawn(move || {
            for number in 0.. {
                let so_far = offered.load(Ordering::Relaxed);
                let due = Duration::from_millis(so_far * 1_000 / (RATE * OVER));
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let (_, body) = request(70, 99, number);
                offered.fetch_add(body.len() as u64, Ordering::Relaxed);
                if post(site, "greedy", &body).status == 200 {
                    accepted.fetch_add(body.len() as u64, Ordering::Relaxed);
                }
            }
        });
        others_send(site, 1, done)
    });
    let seconds = start.elapsed().as_secs_f64();
    let (offered, accepted) = (offered.into_inner() as f64, accepted.into_inner() as f64);
    let over = offered / seconds / RATE as f64;
    println!("{TENANTS} tenants, one of which sends {over:.0} times its limit:");
    for (what, quiet, loud) in [
        ("requests", &quiet.sent, &loud.sent),
        ("queries", &quiet.asked, &loud.asked),
    ] {
        println!(
            "{} and {} {what} of the others: p50 {:?}, p99 {:?} alone; p50 {:?}, p99 {:?} beside it",
            quiet.len(),
            loud.len(),
            percentile(quiet, 50),
            percentile(quiet, 99),
            percentile(loud, 50),
            percentile(loud, 99),
        );
        for percent in [50, 99] {
            let (alone, beside) = (percentile(quiet, percent), percentile(loud, percent));
            assert!(
                beside <= alone * SLOWER_MAX + SLACK,
                "p{percent} of {what}: {alone:?} alone, {beside:?} beside"
            );
        }
    }
    // On its way a request of the loud one needs the core that refuses it.
    let over_min = if is_release() { 0.9 } else { 0.2 } * OVER as f64;
    assert!(over >= over_min, "only {over:.0} times its limit");
    assert!(
        accepted <= 20_000.0 + RATE as f64 * (seconds + 1.0),
        "{accepted} in {seconds} s"
    );
    everything_is_there(&site, &server);
}

/// Every other tenant sends its requests of a round, and some ask meanwhile for what they have sent before.
fn others_send(site: &Site, round: u64, done: &AtomicBool) -> Took {
    let next = AtomicU64::new(0);
    let took = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(site, round, &next));
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| send_in_turn(site, round, &next)))
            .collect();
        let threads = threads.into_iter();
        let sent = threads.flat_map(|it| it.join().unwrap()).collect();
        let asked = asking.join().unwrap();
        Took { sent, asked }
    });
    done.store(true, Ordering::Relaxed);
    took
}

fn send_in_turn(site: &Site, round: u64, next: &AtomicU64) -> Vec<Duration> {
    let mut took = Vec::new();
    loop {
        let tenant = next.fetch_add(1, Ordering::Relaxed);
        if tenant >= TENANTS - 1 {
            return took;
        }
        for number in 0..REQUESTS {
            let (_, body) = request(70, round, tenant * REQUESTS + number);
            let start = Instant::now();
            let answer = post(site, &format!("tenant-{tenant}"), &body);
            took.push(start.elapsed());
            assert_eq!(answer.status, 200, "{tenant}: {}", answer.text());
        }
    }
}

/// Asks until all have sent: who has just done so searches for a trace, and finds it.
fn ask(site: &Site, round: u64, next: &AtomicU64) -> Vec<Duration> {
    let mut took = Vec::new();
    let path = format!("/api/search?q={}&limit=1", http::encode("{ true }"));
    loop {
        let tenant = next.load(Ordering::Relaxed);
        if tenant >= TENANTS - 1 {
            return took;
        }
        // Those that are next are being served by four threads.
        let Some(tenant) = tenant.checked_sub(8) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let start = Instant::now();
        let head = named(&format!("tenant-{tenant}"));
        let found = http::get_with(site.http, &path, &head).unwrap();
        took.push(start.elapsed());
        assert_eq!(found.status, 200, "{tenant}: {}", found.text());
        let traces = found.json()["traces"].as_array().unwrap().len();
        // In the first round one that was overtaken may be about to send.
        assert!(traces == 1 || round == 0, "{tenant}");
    }
}

fn everything_is_there(site: &Site, server: &Server) {
    let seen = scrape(server);
    for tenant in 0..TENANTS - 1 {
        let counted =
            format!(r#"tracewell_ingest_accepted_spans_total{{tenant="tenant-{tenant}"}}"#);
        assert_eq!(
            seen[&counted],
            (2 * REQUESTS) as f64 * N_SPANS as f64,
            "{counted}"
        );
        assert!(!seen.contains_key(&discarded("rate_limited", &format!("tenant-{tenant}"))));
    }
    assert!(seen[&discarded("rate_limited", "greedy")] >= N_SPANS as f64);
    for tenant in (0..TENANTS - 1).step_by(37) {
        for round in 0..2 {
            let (id, _): (TraceId, _) = request(70, round, tenant * REQUESTS);
            let path = format!("/api/v2/traces/{id}");
            let whose = |tenant: u64| {
                let head = named(&format!("tenant-{tenant}"));
                let found = http::get_with(site.http, &path, &head).unwrap();
                let spans = &found.json()["trace"]["resourceSpans"];
                if spans.is_null() { 0 } else { n_spans(spans) }
            };
            assert_eq!((whose(tenant), whose(tenant + 1)), (N_SPANS, 0), "{tenant}");
        }
    }
}

fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() * percent / 100]
}
