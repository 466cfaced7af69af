//! What differs over gRPC: frames, streams and heads of HTTP/2 that no honest client sends.
//!
//! Frames are written as they are, so that each may be wrong. What the server sends back is counted by kind.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{Bench, CHEAP, bodies};
use crate::harness::grpc::{
    DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADERS, SETTINGS, frame_bytes, head_with,
    message, opening, write_field, write_frame,
};
use crate::harness::metrics;

const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Of settings that are the answer to others.
const ACK: u8 = 1;
/// A server that says nothing for so long has nothing more to say.
const QUIET: Duration = Duration::from_millis(500);
/// For what has to be answered: less than the ten seconds after which a server gives up a client that says nothing,
/// which is no answer.
const PATIENCE: Duration = Duration::from_secs(8);
const STREAMS: u32 = 5_000;
/// So much a client may send before the server has said more than its settings, and how long it has to read that.
const WINDOW: usize = 48 << 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What a server did with a connection, in frames.
#[derive(Debug, Default)]
struct Seen {
    heads: usize,
    /// Heads that end their stream: errors, or the ends of answers.
    ends: usize,
    messages: usize,
    resets: usize,
    goaways: usize,
    is_closed: bool,
}

#[test]
fn hostile_frames_are_answered_and_cost_little() {
    let mut bench = Bench::new();
    frames(&mut bench);
    messages(&mut bench);
    streams(&mut bench);
    heads(&mut bench);
    bench.end();
}

fn frames(bench: &mut Bench) {
    bench.case("gRPC: no HTTP/2 at all", CHEAP, |bench| {
        closed(bench, &[b'\0'; 64])
    });
    bench.case("gRPC: a frame of 16 MiB", CHEAP, |bench| {
        let mut out = opening();
        out.extend([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
        out.extend([0; 1 << 10]);
        closed(bench, &out)
    });
    bench.case("gRPC: data for a stream that is not open", CHEAP, |bench| {
        let mut out = opening();
        write_frame(&mut out, DATA, END_STREAM, 7, b"nothing");
        closed(bench, &out)
    });
    bench.case("gRPC: a window that overflows", CHEAP, |bench| {
        let mut out = opening();
        for _ in 0..2 {
            write_frame(
                &mut out,
                WINDOW_UPDATE,
                0,
                0,
                &0x7fff_ffff_u32.to_be_bytes(),
            );
        }
        closed(bench, &out)
    });
    bench.case("gRPC: 20,000 pings", CHEAP, |bench| {
        let mut out = opening();
        for _ in 0..20_000 {
            write_frame(&mut out, PING, 0, 0, &[7; 8]);
        }
        format!("{:?}", bench.connection(&out))
    });
    bench.case("gRPC: 20,000 settings", CHEAP, |bench| {
        let mut out = opening();
        for _ in 0..20_000 {
            write_frame(&mut out, SETTINGS, 0, 0, &[]);
        }
        write_frame(&mut out, SETTINGS, ACK, 0, &[]);
        format!("{:?}", bench.connection(&out))
    });
}

fn messages(bench: &mut Bench) {
    bench.case("gRPC: a message of 1 GiB, announced", CHEAP, |bench| {
        let announced = [0, 0x40, 0, 0, 0, 1, 2, 3];
        failed(bench, &call(&[], &announced))
    });
    bench.case("gRPC: a message cut short", CHEAP, |bench| {
        failed(bench, &call(&[], &[0, 0, 0, 1, 0, 1, 2, 3]))
    });
    bench.case("gRPC: a flag that is none", CHEAP, |bench| {
        failed(bench, &call(&[], &message(7, b"x")))
    });
    for (name, bomb) in [
        ("gzip", bodies::gzip_bomb(200 << 20)),
        ("zstd", bodies::zstd_bomb(1 << 30)),
    ] {
        let case = match name {
            "gzip" => "gRPC: gzip bomb, 200 MiB in 0.2",
            _ => "gRPC: zstd bomb, 1 GiB",
        };
        bench.case(case, CHEAP, |bench| {
            let answer = failed(bench, &call(&[("grpc-encoding", name)], &message(1, &bomb)));
            let seen = metrics::scrape(&bench.server);
            let key = "limits.request_decoded_bytes_max";
            let hits: f64 = seen
                .iter()
                .filter(|(name, _)| name.starts_with("tracewell_limit_hits") && name.contains(key))
                .map(|(_, n)| n)
                .sum();
            assert!(hits > 0.0, "{key} was not met");
            answer
        });
    }
    bench.case("gRPC: 60,000 data frames of a byte", CHEAP, |bench| {
        let mut out = opening();
        write_frame(&mut out, HEADERS, END_HEADERS, 1, &head_with(&[]));
        for _ in 0..60_000 {
            write_frame(&mut out, DATA, 0, 1, &[0]);
        }
        format!("{:?}", bench.connection(&out))
    });
}

fn streams(bench: &mut Bench) {
    bench.case("gRPC: 5,000 streams opened and reset", CHEAP, |bench| {
        let mut out = opening();
        let head = head_with(&[]);
        for stream in 0..STREAMS {
            write_frame(&mut out, HEADERS, END_HEADERS, stream * 2 + 1, &head);
            write_frame(&mut out, RST_STREAM, 0, stream * 2 + 1, &8u32.to_be_bytes());
        }
        format!("{:?}", bench.connection(&out))
    });
    bench.case("gRPC: 5,000 streams left open", CHEAP, |bench| {
        let mut out = opening();
        let head = head_with(&[]);
        for stream in 0..STREAMS {
            write_frame(&mut out, HEADERS, END_HEADERS, stream * 2 + 1, &head);
        }
        let seen = bench.connection(&out);
        assert!(seen.resets > 0 || seen.goaways > 0, "{seen:?}");
        format!("{seen:?}")
    });
}

fn heads(bench: &mut Bench) {
    bench.case("gRPC: a thousand fields of 100 bytes", CHEAP, |bench| {
        let value = "v".repeat(100);
        let names: Vec<String> = (0..1_000).map(|n| format!("x-{n}")).collect();
        let more: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*value)).collect();
        let head = head_with(&more);
        let mut out = opening();
        in_parts(&mut out, 1, &head, true);
        write_frame(&mut out, DATA, END_STREAM, 1, &message(0, &[]));
        let seen = bench.connection(&out);
        assert_eq!(seen.messages, 0, "{seen:?}");
        format!("{seen:?}")
    });
    bench.case("gRPC: a head of 16 MiB", CHEAP, |bench| {
        let mut head = head_with(&[]);
        let value = "v".repeat(100);
        while head.len() < 16 << 20 {
            write_field(&mut head, "x-more", &value);
        }
        let mut out = opening();
        in_parts(&mut out, 1, &head, true);
        let seen = bench.connection(&out);
        assert_eq!(seen.messages, 0, "{seen:?}");
        format!("{seen:?}")
    });
    bench.case("gRPC: a head that never ends", CHEAP, |bench| {
        let mut out = opening();
        in_parts(&mut out, 1, &head_with(&[]), false);
        for _ in 0..20_000 {
            write_frame(&mut out, CONTINUATION, 0, 1, &[]);
        }
        closed(bench, &out)
    });
    bench.case("gRPC: a name from a table that is empty", CHEAP, |bench| {
        let mut out = opening();
        write_frame(
            &mut out,
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &[0xff, 0xff, 0x7f],
        );
        closed(bench, &out)
    });
}

/// One call on a connection of its own.
fn call(more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = opening();
    write_frame(&mut out, HEADERS, END_HEADERS, 1, &head_with(more));
    let mut parts = body.chunks(FRAME_BYTES_MAX).peekable();
    while let Some(part) = parts.next() {
        let end = if parts.peek().is_none() {
            END_STREAM
        } else {
            0
        };
        write_frame(&mut out, DATA, end, 1, part);
    }
    out
}

/// A head in as many frames as it takes.
fn in_parts(out: &mut Vec<u8>, stream: u32, head: &[u8], is_whole: bool) {
    let mut parts = head.chunks(FRAME_BYTES_MAX).enumerate().peekable();
    while let Some((number, part)) = parts.next() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let is_last = parts.peek().is_none() && is_whole;
        write_frame(
            out,
            kind,
            if is_last { END_HEADERS } else { 0 },
            stream,
            part,
        );
    }
}

/// What ends a connection or a stream.
fn closed(bench: &Bench, out: &[u8]) -> String {
    let is_ended = |seen: &Seen| seen.is_closed || seen.goaways > 0 || seen.resets > 0;
    let seen = bench.connection_until(out, is_ended);
    assert!(is_ended(&seen), "{seen:?}");
    assert_eq!(seen.messages, 0, "{seen:?}");
    format!("{seen:?}")
}

/// A call that is answered by an error.
fn failed(bench: &Bench, out: &[u8]) -> String {
    let is_answered = |seen: &Seen| seen.ends > 0 || seen.resets > 0;
    let seen = bench.connection_until(out, is_answered);
    assert_eq!(seen.messages, 0, "{seen:?}");
    assert!(is_answered(&seen), "{seen:?}");
    format!("{seen:?}")
}

impl Bench {
    /// Writes all of it to the port for gRPC, and reads until the server has nothing more to say.
    fn connection(&self, out: &[u8]) -> Seen {
        self.connection_until(out, |_| true)
    }

    /// As [`Self::connection`], but a server that has not said enough may take its time.
    fn connection_until(&self, out: &[u8], is_enough: impl Fn(&Seen) -> bool) -> Seen {
        let give_up = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect(("127.0.0.1", self.site.otlp_grpc)).unwrap();
        stream.set_read_timeout(Some(QUIET)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for part in out.chunks(WINDOW) {
                    // A server that has enough closes the connection in the middle of it.
                    if writer.write_all(part).is_err() {
                        return;
                    }
                    std::thread::sleep(PAUSE);
                }
            });
            let mut seen = Seen::default();
            loop {
                let Some((kind, flags, content)) = frame(&mut stream, &mut seen.is_closed) else {
                    if seen.is_closed || is_enough(&seen) || Instant::now() > give_up {
                        break;
                    }
                    continue;
                };
                match kind {
                    HEADERS => {
                        seen.heads += 1;
                        seen.ends += usize::from(flags & END_STREAM != 0);
                    }
                    DATA => seen.messages += usize::from(!content.is_empty()),
                    RST_STREAM => seen.resets += 1,
                    GOAWAY => seen.goaways += 1,
                    _ => {}
                }
            }
            // What was not read must not hold the writer.
            drop(stream.shutdown(Shutdown::Both));
            seen
        })
    }
}

/// `None` when the connection is closed or quiet.
fn frame(stream: &mut TcpStream, is_closed: &mut bool) -> Option<(u8, u8, Vec<u8>)> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let mut read = |buffer: &mut [u8]| match stream.read_exact(buffer) {
        Ok(()) => Some(()),
        Err(error) => {
            *is_closed |= ![TimedOut, WouldBlock].contains(&error.kind());
            None
        }
    };
    let mut head = [0; 9];
    read(&mut head)?;
    let mut content = vec![0; frame_bytes(&head)];
    read(&mut content)?;
    Some((head[3], head[4], content))
}
