//! The list of hostile input of the design, sent to the real binary: what it answers, what that
//! cost, and that it serves everybody else as before afterwards.
//!
//! Answers, memory and processor time are asserted, the last two with a factor on the bars of the
//! design (100 ms, 32 MB) in a debug build; each case serves an honest sender and a few workers too. With
//! `TRACEWELL_BINARY`, which is a release build, the bars themselves are asserted. What a request leaves in the head is memory too, within the budget of the head; those
//! cases have a bound of their own.

mod bodies;
mod grpc;
mod heavy;
mod merged;

use std::io::{Read, Write};
use std::net::TcpStream;

use tracewell_model::TraceId;

use super::find;
use crate::harness;
use crate::harness::http::{self, Answer};
use crate::harness::process::{self, Usage};
use crate::harness::server::{Server, Site};
use crate::load;
use bodies::{SpanBody, attribute, nested, nested_json, request};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// What a case may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    kib: u64,
    cpu_ms: u64,
}

/// The bars, for what is refused or small.
const BAR: Bound = Bound {
    kib: 32 << 10,
    cpu_ms: 100,
};
/// The same in a debug build.
const CHEAP: Bound = Bound {
    kib: 48 << 10,
    cpu_ms: 1_000,
};
/// Several of those at once.
const CHEAP_TOGETHER: Bound = Bound {
    kib: 2 * CHEAP.kib,
    ..CHEAP
};
/// For clients that are waited for: the server works for others in that minute.
const SLOW: Bound = Bound {
    cpu_ms: u64::MAX,
    ..CHEAP
};
/// For what is kept: `limits.memory_bytes`, and a quarter for the answer that is made of it.
const KEPT: Bound = Bound {
    kib: (256 + 64) << 10,
    cpu_ms: u64::MAX,
};

/// A server, and what was measured of it.
struct Bench {
    site: Site,
    server: Server,
    rows: Vec<Row>,
    n_traces: u64,
}

struct Row {
    case: &'static str,
    answer: String,
    cpu_ms: u64,
    peak_kib: u64,
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let site = Site::new();
        let server = site.start(&[]);
        let mut bench = Self {
            site,
            server,
            rows: Vec::new(),
            n_traces: 0,
        };
        // The first of everything makes room that is used again.
        for _ in 0..3 {
            bench.serves_others();
        }
        bench
    }

    /// Runs a case, whose answer it returns, and checks that the server serves others after it.
    fn case(&mut self, case: &'static str, bound: Bound, run: impl FnOnce(&mut Self) -> String) {
        let before = self.measure();
        let answer = run(self);
        let after = process::usage(self.server.pid());
        let row = Row {
            case,
            answer,
            cpu_ms: after.cpu_ms - before.cpu_ms,
            peak_kib: after.peak_kib.saturating_sub(before.resident_kib),
        };
        println!("{row}");
        let bound = match bound == CHEAP && harness::is_release() {
            true => BAR,
            false => bound,
        };
        let is_within = row.peak_kib <= bound.kib && row.cpu_ms <= bound.cpu_ms;
        assert!(is_within, "{row}: {bound:?} is allowed");
        self.rows.push(row);
        self.serves_others();
    }

    fn measure(&self) -> Usage {
        process::forget_peak(self.server.pid());
        process::usage(self.server.pid())
    }

    fn trace(&mut self) -> TraceId {
        self.n_traces += 1;
        TraceId((0xbad << 64 | u128::from(self.n_traces)).to_be_bytes())
    }

    fn send(&self, kind: &str, body: &[u8]) -> Answer {
        http::post(self.site.otlp_http, "/v1/traces", kind, body).unwrap()
    }

    fn send_encoded(&self, encoding: &str, body: &[u8]) -> Answer {
        let head = format!("content-encoding: {encoding}\r\n");
        let port = self.site.otlp_http;
        http::post_with(port, "/v1/traces", PROTOBUF, &head, body).unwrap()
    }

    /// Sends spans of which those at `refused` must be refused alone, for this reason.
    fn send_partly(&self, spans: &[SpanBody], n_refused: usize, reason: &str) -> String {
        let answer = self.send(PROTOBUF, &request(spans));
        partial(&answer, n_refused, reason)
    }

    fn n_spans(&self, id: TraceId) -> usize {
        let answer = self.server.get(&format!("/api/v2/traces/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        load::n_spans(&answer.json()["trace"]["resourceSpans"])
    }

    fn query(&self, query: &str) -> Answer {
        let path = format!("/api/search?q={}&limit=5", http::encode(query));
        self.server.get(&path)
    }

    /// An honest request is acknowledged and found, by search and by id.
    fn serves_others(&mut self) {
        self.n_traces += 1;
        let (id, body) = load::request(9, 0, self.n_traces);
        let answer = self.send(PROTOBUF, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        find(&self.server, id);
    }

    /// Prints the table; the server ends as it should.
    fn end(self) {
        let mut table = String::from("\n| case | answer | CPU ms | peak MB |\n|---|---|--:|--:|\n");
        for row in &self.rows {
            table.push_str(&format!("{row}\n"));
        }
        println!("{table}");
        assert!(self.server.stop().success());
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer: String = self.answer.chars().take(110).collect();
        let megabytes = self.peak_kib as f64 / 1024.0;
        let Self { case, cpu_ms, .. } = self;
        write!(f, "| {case} | {answer} | {cpu_ms} | {megabytes:.1} |")
    }
}

/// Checks a 200 that says which spans were refused, and why.
fn partial(answer: &Answer, n_refused: usize, reason: &str) -> String {
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    let wanted = format!("refused {n_refused} of");
    assert!(text.contains(&wanted) && text.contains(reason), "{text}");
    let from = text.find("refused").unwrap_or_default();
    let end = text.find(';').unwrap_or(text.len());
    format!("200, {}", &text[from..end])
}

fn refused(answer: &Answer, status: u16, words: &str) -> String {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(words), "{text}");
    let printable = |c: &char| !c.is_control() && *c != '|';
    format!(
        "{status}, {}",
        text.chars().filter(printable).collect::<String>()
    )
}

#[test]
fn hostile_bodies_are_answered_and_cost_little() {
    let mut bench = Bench::new();
    bombs(&mut bench);
    depths_and_lengths(&mut bench);
    many_items(&mut bench);
    bad_spans(&mut bench);
    bench.end();
}

#[test]
fn hostile_traces_are_kept_and_cost_their_share() {
    let mut bench = Bench::new();
    odd_traces(&mut bench);
    bench.end();
}

#[test]
fn hostile_clients_and_queries_hold_nobody_up() {
    // On both sides of 520 connections, and for what other tests have open meanwhile.
    process::allow_open_files(4_096);
    let mut bench = Bench::new();
    slow_clients(&mut bench);
    queries(&mut bench);
    bench.end();
}

fn bombs(bench: &mut Bench) {
    let gzip = bodies::gzip_bomb(200 << 20);
    assert!(gzip.len() < 256 << 10, "a thousand to one: {}", gzip.len());
    bench.case("gzip bomb, 200 MiB in 0.2", CHEAP, |bench| {
        let limit = "limits.request_decoded_bytes_max";
        refused(&bench.send_encoded("gzip", &gzip), 413, limit)
    });
    let zstd = bodies::zstd_bomb(1 << 30);
    bench.case("zstd bomb, 1 GiB", CHEAP, |bench| {
        let limit = "limits.request_decoded_bytes_max";
        refused(&bench.send_encoded("zstd", &zstd), 413, limit)
    });
    for (case, encoding, unit) in [
        ("8 MiB of empty gzip members", "gzip", bodies::EMPTY_GZIP),
        ("8 MiB of empty zstd frames", "zstd", bodies::EMPTY_ZSTD),
        (
            "8 MiB of empty deflate blocks",
            "deflate",
            bodies::EMPTY_DEFLATE,
        ),
    ] {
        let body = unit.repeat((8 << 20) / unit.len());
        bench.case(case, CHEAP, |bench| {
            refused(&bench.send_encoded(encoding, &body), 400, "decompress to 0")
        });
    }
    bench.case("ten zstd bombs at once", CHEAP_TOGETHER, |bench| {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| bench.send_encoded("zstd", &zstd).status))
                .collect();
            senders.into_iter().map(|s| s.join().unwrap()).collect()
        });
        assert!(
            statuses.iter().all(|s| [413, 429].contains(s)),
            "{statuses:?}"
        );
        format!("{statuses:?}")
    });
}

fn depths_and_lengths(bench: &mut Bench) {
    const LEVELS: usize = 200_000;
    bench.case("200,000 levels, protobuf", CHEAP, |bench| {
        let id = bench.trace();
        let mut deep = SpanBody::new(id, 2);
        deep.more = nested(LEVELS);
        let spans = [SpanBody::new(id, 1), deep];
        let answer = bench.send_partly(&spans, 1, "attribute_too_large");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("20,000 levels within the size", CHEAP, |bench| {
        let id = bench.trace();
        let mut deep = SpanBody::new(id, 2);
        deep.more = nested(20_000);
        let spans = [SpanBody::new(id, 1), deep];
        let answer = bench.send_partly(&spans, 1, "attribute_too_deep");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("200,000 levels, JSON", CHEAP, |bench| {
        let id = bench.trace();
        let answer = bench.send(JSON, &nested_json(id, LEVELS));
        assert!(answer.text().contains("levels of messages"));
        let answer = partial(&answer, 1, "invalid_value");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("200,000 open brackets", CHEAP, |bench| {
        refused(
            &bench.send(JSON, "[".repeat(LEVELS).as_bytes()),
            400,
            "not OTLP/JSON",
        )
    });
    bench.case("length prefix of 1 GiB", CHEAP, |bench| {
        let body = [0x0a, 0x80, 0x80, 0x80, 0x80, 0x04, 1, 2, 3];
        refused(&bench.send(PROTOBUF, &body), 400, "not OTLP protobuf")
    });
    bench.case("Content-Length of 1 GiB", CHEAP, |bench| {
        let mut stream = TcpStream::connect(("127.0.0.1", bench.site.otlp_http)).unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            content-type: application/x-protobuf\r\ncontent-length: 1073741824\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(answer, "HTTP/1.1 413");
        answer
    });
}

fn many_items(bench: &mut Bench) {
    const MILLION: usize = 1_000_000;
    bench.case("a million empty attributes", CHEAP, |bench| {
        let id = bench.trace();
        let mut many = SpanBody::new(id, 2);
        many.more = [0x4a, 0].repeat(MILLION);
        let spans = [SpanBody::new(id, 1), many];
        let answer = bench.send_partly(&spans, 1, "too_many_attributes");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("a million attributes with keys", CHEAP, |bench| {
        let id = bench.trace();
        let mut many = SpanBody::new(id, 2);
        for number in 0..MILLION {
            many.more.extend(attribute(9, &format!("k{number}"), "v"));
        }
        let spans = [SpanBody::new(id, 1), many];
        let answer = bench.send_partly(&spans, 1, "too_many_attributes");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("1,200,000 empty events", CHEAP, |bench| {
        let id = bench.trace();
        let mut many = SpanBody::new(id, 2);
        many.more = [0x5a, 0].repeat(MILLION * 12 / 10);
        let spans = [SpanBody::new(id, 1), many];
        let answer = bench.send_partly(&spans, 1, "too_many_items");
        assert_eq!(bench.n_spans(id), 1);
        answer
    });
    bench.case("a million empty spans", CHEAP, |bench| {
        let mut body = Vec::new();
        let spans = [0x12, 0].repeat(MILLION);
        for content in [0x12u8, 0x0a] {
            let inner = if body.is_empty() { &spans } else { &body };
            let mut out = tracewell_wire::protobuf::Writer::default();
            out.bytes(u32::from(content >> 3), inner);
            body = out.into_bytes();
        }
        partial(&bench.send(PROTOBUF, &body), MILLION, "invalid_trace_id")
    });
    bench.case("a million empty events, kept", KEPT, |bench| {
        let id = bench.trace();
        let mut many = SpanBody::new(id, 2);
        many.more = [0x5a, 0].repeat(MILLION - 100);
        let answer = bench.send(PROTOBUF, &request(&[many]));
        assert!([200, 413].contains(&answer.status), "{}", answer.text());
        answer.status.to_string()
    });
}

fn bad_spans(bench: &mut Bench) {
    /// What is wrong, the reason in the answer, and how a good span is made bad.
    type Damage = (&'static str, &'static str, fn(&mut SpanBody));
    let damages: [Damage; 8] = [
        ("a name that is not UTF-8", "invalid_utf8", |span| {
            span.name = vec![b'a', 0xff];
        }),
        ("an attribute that is not UTF-8", "invalid_utf8", |span| {
            span.more = vec![0x4a, 5, 0x0a, 1, 0xc0, 0x12, 0];
        }),
        ("a trace id of zeros", "invalid_trace_id", |span| {
            span.trace_id = vec![0; 16];
        }),
        ("a trace id of 15 bytes", "invalid_trace_id", |span| {
            span.trace_id.pop();
        }),
        ("a trace id of a megabyte", "invalid_trace_id", |span| {
            span.trace_id = vec![7; 1 << 20];
        }),
        ("a span id of zeros", "invalid_span_id", |span| {
            span.span_id = vec![0; 8];
        }),
        ("a span id of 9 bytes", "invalid_span_id", |span| {
            span.span_id.push(1);
        }),
        ("a parent id of 7 bytes", "invalid_parent_span_id", |span| {
            span.parent = vec![1; 7];
        }),
    ];
    for (case, reason, damage) in damages {
        bench.case(case, CHEAP, |bench| {
            let id = bench.trace();
            let mut bad = SpanBody::new(id, 2);
            damage(&mut bad);
            let spans = [SpanBody::new(id, 1), bad, SpanBody::new(id, 3)];
            let answer = bench.send_partly(&spans, 1, reason);
            assert_eq!(bench.n_spans(id), 2);
            answer
        });
    }
    let metrics = bench.server.get("/metrics").text();
    for (_, reason, _) in damages {
        let counted = format!("tempo_discarded_spans_total{{reason=\"{reason}\"");
        assert!(metrics.contains(&counted), "{counted}");
    }
}

fn odd_traces(bench: &mut Bench) {
    const NANOS_PER_YEAR: u64 = 31_556_952_000_000_000;
    for (case, start) in [
        ("a span of 1970", 1),
        ("a span of 2200", 230 * NANOS_PER_YEAR),
        ("a span at the end of time", u64::MAX),
    ] {
        bench.case(case, CHEAP, |bench| {
            let id = bench.trace();
            let mut odd = SpanBody::new(id, 2);
            odd.start_unix_nano = start;
            let spans = [SpanBody::new(id, 1), odd];
            let answer = bench.send(PROTOBUF, &request(&spans));
            assert_eq!(bench.n_spans(id), 2);
            assert_eq!(bench.server.get("/flush").status / 100, 2);
            assert_eq!(bench.n_spans(id), 2);
            answer.status.to_string()
        });
    }
    bench.case("two spans of one id", CHEAP, |bench| {
        let id = bench.trace();
        let mut other = SpanBody::new(id, 1);
        other.name = b"another".to_vec();
        let answer = bench.send(PROTOBUF, &request(&[SpanBody::new(id, 1), other]));
        assert_eq!(bench.n_spans(id), 2);
        answer.status.to_string()
    });
    bench.case("a thousand spans of one id", CHEAP, |bench| {
        let id = bench.trace();
        let spans: Vec<SpanBody> = (0..1_000)
            .map(|number| {
                let mut span = SpanBody::new(id, 1);
                span.name = format!("twin {number}").into_bytes();
                span.parent = 1u64.to_be_bytes().to_vec();
                span
            })
            .collect();
        let answer = bench.send(PROTOBUF, &request(&spans));
        assert_eq!(bench.n_spans(id), 1_000);
        assert_eq!(
            bench.query(r#"{ name = "twin 7" }"#).json()["traces"][0]["spanSets"][0]["matched"],
            1
        );
        answer.status.to_string()
    });
    bench.case("a span that is its own ancestor", CHEAP, |bench| {
        let id = bench.trace();
        let parents = [(1u64, 1u64), (2, 3), (3, 4), (4, 2)];
        let spans = parents.map(|(span, parent)| {
            let mut span = SpanBody::new(id, span);
            span.parent = parent.to_be_bytes().to_vec();
            span
        });
        let answer = bench.send(PROTOBUF, &request(&spans));
        assert_eq!(bench.n_spans(id), 4);
        let url = format!("http://127.0.0.1:{}", bench.site.http);
        let text = super::tracewell(&["trace", &id.to_string(), "--server", &url]);
        for span in 1..=4 {
            assert!(text.contains(&format!("span {span}")), "{text}");
        }
        let found = bench.query(r#"{ resource.service.name = "hostile" }"#);
        assert_eq!(found.status, 200, "{}", found.text());
        answer.status.to_string()
    });
}

/// Sends again after each 429, as a sender does; returns how often that was.
fn send_until_kept(bench: &Bench, body: &[u8]) -> usize {
    let mut refusals = 0;
    crate::harness::eventually("the request is taken", || {
        let answer = bench.send(PROTOBUF, body);
        match answer.status {
            200 => Ok(()),
            429 => {
                refusals += 1;
                Err(answer.text())
            }
            status => panic!("{status}: {}", answer.text()),
        }
    });
    refusals
}

fn slow_clients(bench: &mut Bench) {
    let id = bench.trace();
    let body = request(&[SpanBody::new(id, 1)]);
    let head = |n_bytes: usize| {
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x";
        format!("{head}\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {n_bytes}\r\n\r\n")
            .into_bytes()
    };
    let message = [head(body.len()), body].concat();
    let stops_in_body = &message[..message.len() - 5];
    // Together they claim more than the 32 MB that requests in flight may hold.
    let claims = head(64 << 10);
    for (case, n, sent) in [
        ("300 clients that say nothing", 300, &[][..]),
        ("300 clients that stop in the head", 300, &message[..40]),
        ("300 clients that stop in the body", 300, stops_in_body),
        ("520 clients that claim 64 KiB", 520, &claims),
    ] {
        bench.case(case, SLOW, |bench| {
            let clients: Vec<TcpStream> = (0..n)
                .map(|_| {
                    let mut stream =
                        TcpStream::connect(("127.0.0.1", bench.site.otlp_http)).unwrap();
                    stream.write_all(sent).unwrap();
                    stream
                })
                .collect();
            for _ in 0..3 {
                bench.serves_others();
            }
            if sent.len() == 40 {
                // They are closed after 90 seconds, for which the tests of the receivers set less.
                return format!("{} are left open, others are served", clients.len());
            }
            // They are closed or answered in the end: none is kept for ever.
            for mut client in clients {
                client
                    .set_read_timeout(Some(crate::harness::PATIENCE))
                    .unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                let answer = String::from_utf8_lossy(&answer);
                let is_expected = answer.is_empty() || answer.starts_with("HTTP/1.1 408");
                assert!(is_expected, "{answer}");
            }
            "closed or answered 408, others are served".to_owned()
        });
    }
}

fn queries(bench: &mut Bench) {
    let id = bench.trace();
    let mut span = SpanBody::new(id, 1);
    span.name = [vec![b'a'; 16_000], vec![b'!']].concat();
    span.more = attribute(9, "url.path", &"ab".repeat(100_000));
    assert_eq!(bench.send(PROTOBUF, &request(&[span])).status, 200);
    assert_eq!(bench.n_spans(id), 1);
    bench.case("TraceQL of 1 MB", CHEAP, |bench| {
        let query = format!("{{ name = \"{}\" }}", "x".repeat(1 << 20));
        let answer = bench.query(&query);
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        answer.status.to_string()
    });
    bench.case("16,000 tags", CHEAP, |bench| {
        let letters = "abcdefghijklmnopqrstuvwxyz".chars();
        let keys = (0..26 * 26 * 26).take(16_000).map(|key| {
            let letter = |at: usize| letters.clone().nth(at % 26).unwrap();
            let [a, b, c] = [key / 676, key / 26, key].map(letter);
            format!("{a}{b}{c}+")
        });
        let path = format!("/api/search?tags={}", keys.collect::<String>());
        refused(&bench.server.get(&path), 400, "limit is 63")
    });
    // As much as fits into a URL, which may have 64 KiB.
    let long = format!("{{ {} }}", vec!["name=\"x\""; 1_500].join("||"));
    let deep = format!("{{ {}true{} }}", "(".repeat(9_000), ")".repeat(9_000));
    let nots = format!("{{ {}true }}", "!".repeat(20_000));
    for (case, query) in [
        ("TraceQL of 1,500 alternatives", long),
        ("TraceQL of 9,000 parentheses", deep),
        ("TraceQL of 20,000 negations", nots),
    ] {
        bench.case(case, CHEAP, |bench| {
            let answer = bench.query(&query);
            assert!([200, 400].contains(&answer.status), "{}", answer.text());
            let text: String = answer.text().chars().take(80).collect();
            format!("{}, {text}", answer.status)
        });
    }
    for (case, regex, statuses) in [
        ("regex (a+)+$", "(a+)+$", [200, 200]),
        ("regex (a|aa)*b", "(a|aa)*b", [200, 200]),
        (
            "regex ((a{100}){100}){100}",
            "((a{100}){100}){100}",
            [400, 400],
        ),
        (r"regex (\\w{1,500}){500}", r"(\\w{1,500}){500}", [400, 400]),
        ("regex of 2,000 levels", &"(".repeat(2_000), [400, 400]),
    ] {
        bench.case(case, CHEAP, |bench| {
            let query = format!(r#"{{ name =~ "{regex}" || span.url.path =~ "{regex}" }}"#);
            let answer = bench.query(&query);
            assert!(statuses.contains(&answer.status), "{}", answer.text());
            let text: String = answer.text().chars().take(80).collect();
            format!("{}, {text}", answer.status)
        });
    }
}
