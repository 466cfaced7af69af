//! A small HTTP client for the commands that ask a running server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tracewell_model::TenantId;

use crate::Usage;
use crate::arguments::Window;
use crate::config::values::parse_duration;
use crate::connect::{self, Alpn};

/// One server and one connection to it.
#[derive(Debug)]
pub(crate) struct Client {
    /// As the user wrote it, for messages.
    url: String,
    is_tls: bool,
    authority: String,
    prefix: String,
    /// Who asks, for a server with tenants.
    tenant: Option<TenantId>,
    connection: Option<http1::SendRequest<Empty<Bytes>>>,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accept {
    Json,
    Protobuf,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Why the answer may miss something, if it says so in its head.
    pub(crate) partial: Option<String>,
}

/// A JSON answer.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) partial: Option<String>,
}

/// Where an answer says that it is partial: search and tags have no field for it.
const PARTIAL: &str = "x-tracewell-partial";

/// A trace of a hundred thousand spans has about 100 MB as JSON.
const ANSWER_BYTES_MAX: usize = 512 << 20;
const TIMEOUT: Duration = Duration::from_secs(120);

// === impl Client ===

impl Client {
    pub(crate) fn new(url: &str, tenant: Option<&TenantId>) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => {
                let expected =
                    "expected http://host:port or https://host:port, such as http://127.0.0.1:3200";
                return Err(Usage(format!("server {url:?}: {expected}")).into());
            }
        };
        let (authority, prefix) = match rest.split_once('/') {
            Some((authority, prefix)) => (authority, format!("/{prefix}")),
            None => (rest, String::new()),
        };
        let authority = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ if is_tls => format!("{authority}:443"),
            _ => format!("{authority}:80"),
        };
        Ok(Self {
            url: url.to_owned(),
            is_tls,
            authority,
            prefix: prefix.trim_end_matches('/').to_owned(),
            tenant: tenant.cloned(),
            connection: None,
        })
    }

    /// Path and parameters; the status is for the caller to judge.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer> {
        self.get_as(path, parameters, Accept::Json).await
    }

    /// The same in a form.
    pub(crate) async fn get_as(
        &mut self,
        path: &str,
        parameters: &[(&str, String)],
        accept: Accept,
    ) -> Result<Answer> {
        let mut target = format!("{}{path}", self.prefix);
        for (index, (name, value)) in parameters.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(&escape(value));
        }
        match tokio::time::timeout(TIMEOUT, self.attempt(&target, accept)).await {
            Ok(answer) => answer,
            Err(_) => bail!("{} did not answer in {TIMEOUT:?}", self.url),
        }
    }

    /// The same, as JSON; an error of the server is an error with its text.
    pub(crate) async fn get_json(
        &mut self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Found> {
        let answer = self.get(path, parameters).await?;
        match answer.status {
            200 => {}
            400 => return Err(Usage(answer.error()).into()),
            _ => bail!("{}", answer.error()),
        }
        let value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("{} did not answer with JSON", self.url))?;
        Ok(Found {
            value,
            partial: answer.partial,
        })
    }

    async fn attempt(&mut self, target: &str, accept: Accept) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        let request = http::Request::get(target)
            .header("host", &self.authority)
            .header("accept", accept.as_str());
        let request = connect::identify(request, self.tenant.as_ref());
        let request = request.body(Empty::new()).context("the request")?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        let partial = response.headers().get(PARTIAL);
        let partial = partial.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        let body = match Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
        {
            Ok(collected) => collected.to_bytes(),
            Err(error) => bail!("reading the answer of {}: {error}", self.url),
        };
        self.connection = Some(connection);
        Ok(Answer {
            status,
            body,
            partial,
        })
    }

    async fn connect(&self) -> Result<http1::SendRequest<Empty<Bytes>>> {
        let stream = connect::connect(&self.authority, self.is_tls, Alpn::Http1);
        let stream = stream.await.with_context(|| {
            format!(
                "no server answers at {}; start one with `tracewell`, or name another with --server",
                self.url
            )
        })?;
        let (client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the server ended");
            }
        });
        Ok(client)
    }
}

// === impl Accept ===

impl Accept {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The server's own words, one line.
    pub(crate) fn error(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        match text.trim() {
            "" => format!("the server answered {}", self.status),
            text => format!("the server answered {}: {text}", self.status),
        }
    }
}

// === impl Found ===

impl Found {
    /// Tells whoever asked if something is missing: on standard error, so that what is piped on stays
    /// what the server answered.
    pub(crate) fn warn_if_partial(&self) {
        if let Some(reason) = &self.partial {
            let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
            eprintln!("warning: the answer is partial: {reason}");
        }
    }
}

// === impl Window ===

impl Window {
    /// `start` and `end` in Unix seconds, for the server; nothing for its default.
    pub(crate) fn parameters(&self, now_seconds: u64) -> Result<Vec<(&'static str, String)>> {
        if let Some(since) = &self.since {
            let start = now_seconds.saturating_sub(length(since)?.as_secs().max(1));
            return Ok(vec![
                ("start", start.to_string()),
                // The second that has begun counts.
                ("end", (now_seconds + 1).to_string()),
            ]);
        }
        let mut parameters = Vec::new();
        for (name, given) in [("start", &self.start), ("end", &self.end)] {
            if let Some(text) = given {
                parameters.push((name, seconds(name, text)?.to_string()));
            }
        }
        Ok(parameters)
    }

    /// The first and the last nanosecond of it, the last one left out; the last hour if nothing is given.
    pub(crate) fn nanos(&self, now: u64) -> Result<(u64, u64)> {
        let (start, end) = match (&self.since, &self.start, &self.end) {
            (None, Some(start), Some(end)) => {
                let nanos = |name: &str, text: &str| {
                    let nanos = u64::try_from(exactly(name, text)?);
                    let what = || Usage(format!("--{name} {text} lies after the year 2554"));
                    nanos.map_err(|_| anyhow::Error::new(what()))
                };
                (nanos("start", start)?, nanos("end", end)?)
            }
            (since, ..) => {
                let length = length(since.as_deref().unwrap_or("1h"))?;
                let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
                (now.saturating_sub(length), now)
            }
        };
        match start < end {
            true => Ok((start, end)),
            false => Err(Usage("--start must lie before --end".to_owned()).into()),
        }
    }
}

/// The flag `--since`.
fn length(since: &str) -> Result<Duration, Usage> {
    parse_duration(since)
        .ok_or_else(|| Usage(format!("--since {since}: expected a duration such as 1h")))
}

/// Whole seconds around what was written: a start before it, an end behind it.
fn seconds(name: &str, text: &str) -> Result<u64> {
    let nanos = exactly(name, text)?;
    let seconds = match name {
        "end" => nanos.div_ceil(1_000_000_000),
        _ => nanos / 1_000_000_000,
    };
    Ok(u64::try_from(seconds).unwrap_or(u64::MAX))
}

/// Unix nanoseconds.
fn exactly(name: &str, text: &str) -> Result<u128> {
    let Some(nanos) = unix_nanos(text.trim()) else {
        let expected = "expected Unix seconds, or a time such as 2026-01-31T12:00:00Z, 2026-01-31 12:00:00 or 2026-01-31, \
                        which is UTC where no zone is written";
        return Err(Usage(format!("--{name} {text}: {expected}")).into());
    };
    let nanos = u128::try_from(nanos);
    Ok(nanos.map_err(|_| Usage(format!("--{name} {text} lies before 1970")))?)
}

/// Nanoseconds since 1970 of a time as people write it, and as `tracewell query` prints it.
fn unix_nanos(text: &str) -> Option<i128> {
    if let Some(nanos) = decimal_nanos(text) {
        return Some(nanos);
    }
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let time: jiff::civil::DateTime = text.parse()?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
        zoned.map(|zoned| zoned.timestamp())
    });
    time.ok().map(jiff::Timestamp::as_nanosecond)
}

/// Unix seconds, which may have decimals; what is finer than nanoseconds is cut off.
fn decimal_nanos(text: &str) -> Option<i128> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let nanos: i128 = format!("{decimals:0<9}").get(..9)?.parse().ok()?;
    Some(i128::from(seconds) * 1_000_000_000 + nanos)
}

/// Percent-encoding of everything that is not unreserved.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// What [`escape`] and gRPC's `grpc-message` make of a text. What is no such text stays as it is.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = (*byte == b'%')
            .then(|| behind.split_at_checked(2))
            .flatten();
        let escaped = escaped.and_then(|(digits, behind)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, behind))
        });
        let (byte, behind) = escaped.unwrap_or((*byte, behind));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The elements of an array; none where there is no such array.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A string, or a number as Tempo writes it.
pub(crate) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_parameters() {
        let client = Client::new("http://h:3200/tempo/", None).unwrap();
        assert_eq!(
            (client.authority.as_str(), client.prefix.as_str()),
            ("h:3200", "/tempo")
        );
        assert_eq!(Client::new("http://h", None).unwrap().authority, "h:80");
        let refused = |url: &str| Client::new(url, None).unwrap_err().to_string();
        let expected =
            "expected http://host:port or https://host:port, such as http://127.0.0.1:3200";
        assert_eq!(refused("h:3200"), format!("server \"h:3200\": {expected}"));
        assert!(refused("ftp://h").contains(expected));
        for (url, authority) in [("https://h", "h:443"), ("HTTPS://h:3200/x", "h:3200")] {
            let client = Client::new(url, None).unwrap();
            assert!(client.is_tls);
            assert_eq!(client.authority, authority);
        }
        let escaped = "%7B%20.a%20%3D%20%22%C3%A4%22%20%7D";
        assert_eq!(escape("{ .a = \"ä\" }"), escaped);
        assert_eq!(unescape(escaped), "{ .a = \"ä\" }");
        assert_eq!(unescape("100 %, %4 and %zz"), "100 %, %4 and %zz");
    }

    #[test]
    fn windows() {
        let window = |since: Option<&str>, start: Option<&str>, end: Option<&str>| Window {
            since: since.map(str::to_owned),
            start: start.map(str::to_owned),
            end: end.map(str::to_owned),
        };
        let parameters = window(Some("1h"), None, None).parameters(10_000).unwrap();
        assert_eq!(
            parameters,
            [("start", "6400".to_owned()), ("end", "10001".to_owned())]
        );
        let parameters = window(None, Some("5"), Some("1970-01-01T00:00:07Z"))
            .parameters(10_000)
            .unwrap();
        assert_eq!(
            parameters,
            [("start", "5".to_owned()), ("end", "7".to_owned())]
        );
        // Milliseconds reach the server, which says what is wrong with them.
        let parameters = window(None, Some("1795917480500"), Some("1795917480500.0"));
        let milliseconds = "1795917480500".to_owned();
        assert_eq!(
            parameters.parameters(1).unwrap(),
            [("start", milliseconds.clone()), ("end", milliseconds)]
        );
        assert!(window(None, None, None).parameters(1).unwrap().is_empty());
        assert!(window(Some("x"), None, None).parameters(1).is_err());
        assert!(window(None, Some("x"), Some("1")).parameters(1).is_err());
    }

    #[test]
    fn times_as_people_write_them() {
        let second = 1_795_917_479;
        for (text, start, end) in [
            ("2026-11-29 01:57:59", second, second),
            ("2026-11-29T01:57:59", second, second),
            ("2026-11-29T01:57:59Z", second, second),
            ("2026-11-29 01:57:59Z", second, second),
            ("2026-11-29 02:57:59+01:00", second, second),
            ("2026-11-29 01:57:59.787Z", second, second + 1),
            ("2026-11-29 01:57", second - 59, second - 59),
            ("2026-11-29", 1_795_910_400, 1_795_910_400),
            ("1795917480.5", second + 1, second + 2),
            ("1795917480", second + 1, second + 1),
            ("1795917480.00", second + 1, second + 1),
        ] {
            assert_eq!(seconds("start", text).unwrap(), start, "{text}");
            assert_eq!(seconds("end", text).unwrap(), end, "{text}");
        }
        for text in [
            "yesterday",
            "1795917480.",
            "1795917480.x",
            ".5",
            "-1",
            "1e9",
            "2026-13-01",
            "1969-12-31",
            "",
        ] {
            let error = seconds("start", text).unwrap_err();
            assert!(error.is::<Usage>(), "{text}: {error}");
        }
    }
}
