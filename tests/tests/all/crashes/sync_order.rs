//! The real binary under `strace -f`: for every acknowledged request, the sync of its record
//! returned before the answer was written.
//!
//! A kill leaves the page cache alive and so says nothing about syncs; the order of system calls
//! does. The same check must find fault with a server that is told not to sync.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use tracewell_model::TraceId;

use crate::harness::server::Site;
use crate::harness::{binary, grpc, http};
use crate::load::{marker, request};

const SENDERS: u64 = 3;
const REQUESTS: u64 = 25;

/// One list: of several, strace takes the last.
const TRACED: &str = "trace=read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,\
    pwrite64,pwritev,pwritev2,fdatasync,fsync";

#[test]
fn no_answer_leaves_before_its_record_is_synced() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let trace = run(protocol, &[]);
        let verdict = judge(protocol, &trace);
        assert!(
            verdict.early.is_empty(),
            "{protocol:?}: answered before the sync: {:?}",
            verdict.early
        );
        assert_eq!(verdict.in_order, trace.ids.len());
        println!(
            "{protocol:?}: {} acknowledged requests, each after the sync of its record",
            verdict.in_order
        );
    }
}

#[test]
fn a_server_without_syncs_is_caught() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let trace = run(protocol, &["storage.durability=os"]);
        let early = judge(protocol, &trace).early;
        assert_eq!(
            early.len(),
            trace.ids.len(),
            "{protocol:?}: the check cannot fail"
        );
    }
}

/// How requests come in.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http,
    Grpc,
}

/// One step of a system call, in the order in which the kernel reported it.
#[derive(Debug)]
struct Call {
    name: String,
    text: String,
    /// Index of the line at which it returned; its own for a call in one line.
    returned: usize,
    entered: usize,
}

struct Trace {
    calls: Vec<Call>,
    ids: Vec<TraceId>,
}

struct Verdict {
    in_order: usize,
    early: Vec<TraceId>,
}

fn run(protocol: Protocol, settings: &[&str]) -> Trace {
    let site = Site::new();
    let output = site.folder().join("strace.log");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-s", "65536", "-o"])
        .arg(&output)
        .args(["-e", TRACED])
        .arg(binary())
        .args(site.arguments(settings));
    let mut server = site.start_command(command);
    let ids: Vec<TraceId> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let site = &site;
                    move || send(protocol, site, sender)
                })
            })
            .collect();
        senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect()
    });
    // strace passes the signal of its child on: stop the server itself, and strace ends with it.
    drop(http::get(site.http, "/shutdown"));
    server.wait();
    Trace {
        calls: parse(&output),
        ids,
    }
}

/// Every request on a connection of its own.
fn send(protocol: Protocol, site: &Site, sender: u64) -> Vec<TraceId> {
    (0..REQUESTS)
        .map(|number| {
            let (id, body) = request(0, sender, number);
            match protocol {
                Protocol::Grpc => grpc::export(site.otlp_grpc, &body).unwrap(),
                Protocol::Http => {
                    let kind = "application/x-protobuf";
                    let answer = http::post(site.otlp_http, "/v1/traces", kind, &body).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            }
            id
        })
        .collect()
}

/// Reads strace's lines, joining the two halves of calls that others interrupted.
fn parse(path: &Path) -> Vec<Call> {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut pending: HashMap<String, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(mut call) = pending.remove(pid) {
                call.text.push_str(resumed);
                call.returned = index;
                calls.push(call);
            }
            continue;
        }
        let Some((name, _)) = rest.split_once('(') else {
            continue;
        };
        let call = Call {
            name: name.to_owned(),
            text: rest.to_owned(),
            returned: index,
            entered: index,
        };
        if rest.ends_with("<unfinished ...>") {
            pending.insert(pid.to_owned(), call);
        } else {
            calls.push(call);
        }
    }
    calls.sort_by_key(|call| call.entered);
    calls
}

/// For each request: it was received on a connection, its record was written to a file, a sync of
/// that file began after that and returned, and only then the answer was written to the connection.
fn judge(protocol: Protocol, trace: &Trace) -> Verdict {
    let Trace { calls, ids } = trace;
    let mut verdict = Verdict {
        in_order: 0,
        early: Vec::new(),
    };
    for id in ids {
        let needle = marker(*id);
        let on_socket = |call: &Call| descriptor(call).contains("socket:");
        let received = calls
            .iter()
            .find(|call| on_socket(call) && call.text.contains(&needle))
            .unwrap_or_else(|| panic!("{id} was never received"));
        let connection = descriptor(received);
        let answered = calls
            .iter()
            .find(|call| {
                call.entered > received.entered
                    && descriptor(call) == connection
                    && is_write(call)
                    && protocol.begins_answer(&call.text)
            })
            .unwrap_or_else(|| panic!("{id} was never answered"));
        let written = calls
            .iter()
            .find(|call| is_write(call) && !on_socket(call) && call.text.contains(&needle))
            .unwrap_or_else(|| panic!("{id} was never written"));
        let synced = calls.iter().find(|call| {
            matches!(&*call.name, "fdatasync" | "fsync")
                && call.entered >= written.returned
                && descriptor(call) == descriptor(written)
                && call.text.ends_with("= 0")
        });
        match synced {
            Some(sync) if sync.returned < answered.entered => verdict.in_order += 1,
            _ => verdict.early.push(*id),
        }
    }
    verdict
}

// === impl Protocol ===

impl Protocol {
    /// Whether this call wrote the head of an answer; HTTP/2 writes other frames before it.
    fn begins_answer(self, text: &str) -> bool {
        match self {
            Self::Http => text.contains("HTTP/1."),
            Self::Grpc => grpc::has_headers(&quoted(text)),
        }
    }
}

/// The bytes of all strings among the arguments of a call, as strace spells them.
fn quoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut signs = text.bytes().peekable();
    let mut is_inside = false;
    while let Some(sign) = signs.next() {
        match sign {
            b'"' => is_inside = !is_inside,
            b'\\' if is_inside => match signs.next() {
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let Some(digit) = signs.next_if(|sign| (b'0'..=b'7').contains(sign)) else {
                            break;
                        };
                        value = value * 8 + u32::from(digit - b'0');
                    }
                    bytes.push(value as u8);
                }
                Some(b'n') => bytes.push(b'\n'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b'v') => bytes.push(0x0b),
                Some(b'f') => bytes.push(0x0c),
                Some(other) => bytes.push(other),
                None => {}
            },
            _ if is_inside => bytes.push(sign),
            _ => {}
        }
    }
    bytes
}

fn is_write(call: &Call) -> bool {
    call.name.contains("write") || call.name.starts_with("send")
}

/// The first argument: `12</path/of/file>` or `9<socket:[4711]>`.
fn descriptor(call: &Call) -> &str {
    let arguments = call
        .text
        .split_once('(')
        .map_or("", |(_, arguments)| arguments);
    let end = arguments.find(">").map_or(0, |end| end + 1);
    arguments.get(..end).unwrap_or_default()
}
