//! A blocking HTTP client, just enough for tests: one request, one connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

pub(crate) fn get(port: u16, path: &str) -> Result<Answer, String> {
    request(port, "GET", path, "", "", &[])
}

/// With further lines of the head, each with its end.
pub(crate) fn get_with(port: u16, path: &str, head: &str) -> Result<Answer, String> {
    request(port, "GET", path, "", head, &[])
}

pub(crate) fn post(port: u16, path: &str, kind: &str, body: &[u8]) -> Result<Answer, String> {
    request(port, "POST", path, kind, "", body)
}

/// With further lines of the head, each with its end.
pub(crate) fn post_with(
    port: u16,
    path: &str,
    kind: &str,
    head: &str,
    body: &[u8],
) -> Result<Answer, String> {
    request(port, "POST", path, kind, head, body)
}

/// HTTP/1.0, so that the answer ends where the connection does and nothing is chunked.
fn request(
    port: u16,
    method: &str,
    path: &str,
    kind: &str,
    more: &str,
    body: &[u8],
) -> Result<Answer, String> {
    let fail = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(fail)?;
    stream.write_all(body).map_err(fail)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(fail)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| format!("{method} {path}: answer without an end of its head"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {path}: {head}"))?;
    Ok(Answer {
        status,
        head,
        body: answer.split_off(end + 4),
    })
}

/// Percent-encodes a query parameter.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
