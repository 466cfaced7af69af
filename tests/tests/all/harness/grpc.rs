//! Just enough of HTTP/2 for one unary call on a connection of its own, frame by frame, so that a
//! test can find the frames again in what the system saw.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// Peers that say nothing about it take no larger frames.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 10;

/// Sends an export request for traces. `Ok` if the server answered with a message, which it does when it
/// has taken the spans; an error has trailers alone.
pub(crate) fn export(port: u16, body: &[u8]) -> Result<(), String> {
    export_with(port, body, &[])
}

/// With further fields of the head.
pub(crate) fn export_with(port: u16, body: &[u8], more: &[(&str, &str)]) -> Result<(), String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = opening();
    write_frame(&mut out, HEADERS, END_HEADERS, 1, &head_with(more));
    write_frame(&mut out, DATA, END_STREAM, 1, &message(0, body));
    stream.write_all(&out).map_err(|e| e.to_string())?;
    let mut has_message = false;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).map_err(|e| e.to_string())?;
        let mut content = vec![0; frame_bytes(&head)];
        stream.read_exact(&mut content).map_err(|e| e.to_string())?;
        has_message |= head[3] == DATA && !content.is_empty();
        if head[3] == HEADERS && head[4] & END_STREAM != 0 {
            break;
        }
    }
    match has_message {
        true => Ok(()),
        false => Err("the answer is an error".to_owned()),
    }
}

/// What a client says first.
pub(crate) fn opening() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    write_frame(&mut out, SETTINGS, 0, 0, &[]);
    out
}

/// The head of an export request, encoded.
pub(crate) fn head_with(more: &[(&str, &str)]) -> Vec<u8> {
    let mut head = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", TRACES),
        (":authority", "127.0.0.1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields.iter().chain(more) {
        write_field(&mut head, name, value);
    }
    head
}

/// A message behind its flag and its length.
pub(crate) fn message(flag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![flag];
    message.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

/// True if whole frames, one after the other, hold a head of an answer.
pub(crate) fn has_headers(mut frames: &[u8]) -> bool {
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        if head[3] == HEADERS {
            return true;
        }
        frames = rest.get(frame_bytes(head)..).unwrap_or_default();
    }
    false
}

pub(crate) fn frame_bytes(head: &[u8; 9]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

pub(crate) fn write_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    assert!(content.len() <= FRAME_BYTES_MAX);
    out.extend(&u32::try_from(content.len()).unwrap().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(content);
}

/// A literal that enters no table, its name and value as they are.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        assert!(text.len() < 127);
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
}
