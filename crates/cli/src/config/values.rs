//! Scalars of the configuration: bytes, durations, endpoints, shares of a disk. Each is parsed from
//! what a person writes and printed so that it parses to the same again.

use std::fmt;
use std::time::Duration;

use tracewell_model::Limits;
use tracing_subscriber::EnvFilter;

use super::yaml::{Node, Value};

/// Where a surface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Off,
    /// On the host that `listen.host` names.
    Port(u16),
    /// An address that was written out.
    At {
        host: String,
        port: u16,
    },
}

/// Which listeners speak TLS where there is a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TlsListeners {
    pub(crate) http: bool,
    pub(crate) otlp_grpc: bool,
    pub(crate) otlp_http: bool,
}

/// A limit on disk: so many bytes, or a share of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskShare {
    Bytes(u64),
    /// 1 to 100.
    Percent(u8),
}

/// What is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(String);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Suffixes of sizes. Without `i` they count in thousands, as disks and networks do.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", KIB),
    ("mib", MIB),
    ("gib", GIB),
    ("tib", TIB),
];

/// Units of durations and their nanoseconds; `d` and `w` are ours, the rest is as Go writes them.
const TIME_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

pub(crate) fn bytes(node: &Node) -> Result<u64, String> {
    match &node.value {
        Value::Int(value) => u64::try_from(*value).map_err(|_| expected("a size", node)),
        // Tempo's files write sizes such as 1.073741824e+09.
        Value::Float(value) if value.fract() == 0.0 && (0.0..9e18).contains(value) => {
            Ok(*value as u64)
        }
        Value::Text(text) => parse_bytes(text).ok_or_else(|| expected("a size", node)),
        _ => Err(expected("a size", node)),
    }
    .map_err(|error| format!("{error}, such as 256MB, 2GiB or a number of bytes"))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = BYTE_UNITS
        .iter()
        .find_map(|(name, factor)| (*name == unit).then_some(*factor))?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = [
        ("TiB", TIB),
        ("GiB", GIB),
        ("MiB", MIB),
        ("MB", 1_000_000),
        ("KiB", KIB),
    ];
    for (unit, factor) in units {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

// === impl TlsListeners ===

impl TlsListeners {
    pub(crate) const ALL: Self = Self {
        http: true,
        otlp_grpc: true,
        otlp_http: true,
    };
    const NONE: Self = Self {
        http: false,
        otlp_grpc: false,
        otlp_http: false,
    };

    /// `all`, or names in a text or a list.
    pub(crate) fn parse(node: &Node) -> Result<Self, String> {
        let wrong = || expected("all, or some of http, otlp_grpc and otlp_http", node);
        let text = match &node.value {
            Value::List(items) => {
                let names: Vec<String> = items.iter().map(|item| item.value.plain()).collect();
                names.join(",")
            }
            _ => text(node)?,
        };
        let mut listeners = Self::NONE;
        for name in text.split(',') {
            match name.trim() {
                "all" => listeners = Self::ALL,
                "http" => listeners.http = true,
                "otlp_grpc" => listeners.otlp_grpc = true,
                "otlp_http" => listeners.otlp_http = true,
                _ => return Err(wrong()),
            }
        }
        Ok(listeners)
    }
}

impl fmt::Display for TlsListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names = [
            ("http", self.http),
            ("otlp_grpc", self.otlp_grpc),
            ("otlp_http", self.otlp_http),
        ];
        let names: Vec<&str> = names
            .into_iter()
            .filter_map(|(name, is_on)| is_on.then_some(name))
            .collect();
        f.write_str(&names.join(","))
    }
}

/// A limit, or none.
pub(crate) fn or_off(
    node: &Node,
    parse: impl Fn(&Node) -> Result<u64, String>,
) -> Result<u64, String> {
    match &node.value {
        Value::Bool(false) => Ok(Limits::NONE),
        Value::Text(text) if text == "off" => Ok(Limits::NONE),
        _ => parse(node).map_err(|error| format!("{error}, or off for no limit")),
    }
}

/// A count of something that must be possible at all.
pub(crate) fn positive(node: &Node) -> Result<u64, String> {
    match count(node)? {
        0 => Err(expected("a number above 0", node)),
        n => Ok(n as u64),
    }
}

pub(crate) fn duration(node: &Node) -> Result<Duration, String> {
    let parsed = match &node.value {
        Value::Text(text) => parse_duration(text),
        Value::Int(0) => Some(Duration::ZERO),
        _ => None,
    };
    parsed.ok_or_else(|| {
        let error = expected("a duration", node);
        format!("{error}, such as 336h, 14d, 90s or 1h30m")
    })
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor = TIME_UNITS
            .iter()
            .find_map(|(name, factor)| (*name == unit).then_some(*factor))?;
        let part = if number.contains('.') {
            let scaled = number.parse::<f64>().ok()? * factor as f64;
            (scaled < 9e18).then_some(scaled as u64)?
        } else {
            number.parse::<u64>().ok()?.checked_mul(factor)?
        };
        nanos = nanos.checked_add(part)?;
        rest = after.trim_start();
    }
    Some(Duration::from_nanos(nanos))
}

pub(crate) fn show_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0".to_owned();
    }
    for (unit, factor) in TIME_UNITS.iter().rev() {
        // Hours are what retention is written in; days and weeks would surprise.
        let familiar = !matches!(*unit, "d" | "w" | "µs");
        if familiar && nanos.is_multiple_of(*factor) {
            return format!("{}{unit}", nanos / factor);
        }
    }
    format!("{nanos}ns")
}

pub(crate) fn count(node: &Node) -> Result<usize, String> {
    match &node.value {
        Value::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
    .ok_or_else(|| expected("a number, 0 or more", node))
}

pub(crate) fn switch(node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            // As YAML had them before 1.2; Tempo still takes them.
            "on" | "yes" | "y" => Ok(true),
            "off" | "no" | "n" => Ok(false),
            _ => Err(expected("true or false", node)),
        },
        _ => Err(expected("true or false", node)),
    }
}

pub(crate) fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) if !text.is_empty() => Ok(text.clone()),
        _ => Err(expected("text", node)),
    }
}

/// A text, or nothing where nothing is written.
pub(crate) fn text_or_none(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) => Ok(text.trim().to_owned()),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(expected("text", node)),
    }
}

/// What the process's own log shows. The filter itself takes a word for the name of a module and what
/// stands behind a second `=` for nothing, and then logs nothing.
pub(crate) fn log_filter(node: &Node) -> Result<String, String> {
    let filter = text(node)?;
    match filter.split(',').all(is_directive) && EnvFilter::try_new(&filter).is_ok() {
        true => Ok(filter),
        false => Err(format!(
            "expected error, warn, info, debug or trace, or a filter of one of them and module=level \
             behind commas, such as info,tracewell_store=debug, found {filter:?}"
        )),
    }
}

/// A level, `module=level`, or `module[span{field=value}]=level`, of which module or level may be
/// missing.
fn is_directive(part: &str) -> bool {
    let is_level = |text: &str| {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        levels.contains(&text.trim().to_ascii_lowercase().as_str())
    };
    if let Some((_, behind)) = part.rsplit_once(']') {
        return part.contains('[')
            && (behind.trim().is_empty() || behind.strip_prefix('=').is_some_and(is_level));
    }
    match part.split_once('=') {
        Some((module, level)) => !module.trim().is_empty() && is_level(level),
        None => is_level(part),
    }
}

/// A text that no message repeats.
pub(crate) fn secret(node: &Node) -> Result<Secret, String> {
    match &node.value {
        Value::Text(text) => Ok(Secret(text.clone())),
        Value::Int(number) => Ok(Secret(number.to_string())),
        _ => Err("expected text; put it in quotes".to_owned()),
    }
}

pub(crate) fn endpoint(node: &Node) -> Result<Endpoint, String> {
    let parsed = match &node.value {
        Value::Bool(false) => Some(Endpoint::Off),
        Value::Int(port) => u16::try_from(*port).ok().map(Endpoint::Port),
        Value::Text(text) => parse_endpoint(text),
        _ => None,
    };
    parsed.ok_or_else(|| {
        let error = expected("where to listen", node);
        format!("{error}: a port, an address such as 0.0.0.0:4317, or off")
    })
}

pub(crate) fn parse_endpoint(text: &str) -> Option<Endpoint> {
    if text == "off" {
        return Some(Endpoint::Off);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Some(Endpoint::Port(port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?;
    if host.is_empty() {
        // ":9411", as Go writes it, is every interface.
        return Some(Endpoint::At {
            host: "0.0.0.0".to_owned(),
            port,
        });
    }
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some(Endpoint::At { host, port })
}

pub(crate) fn disk_share(node: &Node) -> Result<DiskShare, String> {
    if let Value::Text(text) = &node.value
        && let Some(number) = text.strip_suffix('%')
    {
        return match number.trim().parse::<u8>() {
            Ok(percent @ 1..=100) => Ok(DiskShare::Percent(percent)),
            _ => Err(expected("a share from 1% to 100%", node)),
        };
    }
    match bytes(node) {
        Ok(0) => Err(expected("a size above 0, or a share such as 80%", node)),
        Ok(bytes) => Ok(DiskShare::Bytes(bytes)),
        Err(error) => Err(format!("{error}, or a share such as 80%")),
    }
}

fn expected(what: &str, node: &Node) -> String {
    format!("expected {what}, found {}", node.value)
}

// === impl Endpoint ===

impl Endpoint {
    /// Host and port, with the host that holds where none was written; `None` if it is off.
    pub(crate) fn address(&self, host: &str) -> Option<(String, u16)> {
        match self {
            Self::Off => None,
            Self::Port(port) => Some((host.to_owned(), *port)),
            Self::At { host, port } => Some((host.clone(), *port)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Port(port) => write!(f, "{port}"),
            Self::At { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::At { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

// === impl DiskShare ===

impl fmt::Display for DiskShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&show_bytes(*bytes)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

// === impl Secret ===

impl Secret {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself, for whoever it is meant for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => Ok(()),
            false => f.write_str("********"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::from_argument(text)
    }

    #[test]
    fn sizes() {
        for (text, bytes_expected) in [
            ("0", 0),
            ("512", 512),
            ("20MiB", 20 << 20),
            ("20 mib", 20 << 20),
            ("10GB", 10_000_000_000),
            ("1.073741824e+09", 1 << 30),
        ] {
            assert_eq!(bytes(&node(text)), Ok(bytes_expected), "{text}");
        }
        for text in ["-1", "1.5", "many", "99999999TiB", "[1]"] {
            assert!(bytes(&node(text)).is_err(), "{text}");
        }
        for value in [0, 1, 1023, 1024, 3 << 20, 5 << 30] {
            assert_eq!(bytes(&node(&show_bytes(value))), Ok(value));
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("336h", 1_209_600),
            ("14d", 1_209_600),
            ("1h30m", 5_400),
            ("1.5h", 5_400),
            ("2m 5s", 125),
        ] {
            assert_eq!(
                duration(&node(text)),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["5", "h", "5 parsecs", "", "999999999w"] {
            assert!(duration(&node(text)).is_err(), "{text}");
        }
        for nanos in [0, 1, 1_500, 90_000_000_000, 1_209_600_000_000_000] {
            let value = Duration::from_nanos(nanos);
            assert_eq!(duration(&node(&show_duration(value))), Ok(value));
        }
    }

    #[test]
    fn endpoints() {
        let at = |host: &str, port| Endpoint::At {
            host: host.to_owned(),
            port,
        };
        for (text, expected) in [
            ("4317", Endpoint::Port(4317)),
            ("off", Endpoint::Off),
            ("0.0.0.0:4317", at("0.0.0.0", 4317)),
            ("[::1]:4317", at("::1", 4317)),
            (":9411", at("0.0.0.0", 9411)),
        ] {
            assert_eq!(endpoint(&node(text)), Ok(expected.clone()), "{text}");
            if text != ":9411" {
                assert_eq!(expected.to_string(), text);
            }
        }
        for text in ["99999", "host", "host:port"] {
            assert!(endpoint(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn switches() {
        for (text, on) in [
            ("true", true),
            ("on", true),
            ("Yes", true),
            ("no", false),
            ("OFF", false),
        ] {
            assert_eq!(switch(&node(text)), Ok(on), "{text}");
        }
        for text in ["1", "sometimes", "\"\""] {
            assert!(switch(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_of_the_log() {
        for text in [
            "info",
            "DEBUG",
            "info,tracewell_store=debug",
            "warn,object_store=off",
            "warn,tracewell_store[cut{blocks=2}]=debug,hyper=error",
            "info,[merge]",
        ] {
            assert_eq!(log_filter(&node(text)).as_deref(), Ok(text));
        }
        for text in [
            "loud",
            "info,loud",
            "info,tracewell_store=loud",
            "info,foo=bar=baz",
            "info,tracewell_store=",
            "info,[merge]=loud",
            "info,=debug",
            "info,",
            "",
        ] {
            assert!(log_filter(&node(text)).is_err(), "{text}");
        }
        let error = log_filter(&node("info,foo=bar=baz")).unwrap_err();
        for words in [
            "error, warn, info, debug or trace",
            "info,tracewell_store=debug",
        ] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn shares_of_a_disk() {
        assert_eq!(disk_share(&node("80%")), Ok(DiskShare::Percent(80)));
        assert_eq!(disk_share(&node("10GiB")), Ok(DiskShare::Bytes(10 << 30)));
        // Nothing could be kept.
        assert!(disk_share(&node("0")).is_err());
        assert!(disk_share(&node("0GiB")).is_err());
        assert!(disk_share(&node("0%")).is_err());
        assert!(disk_share(&node("101%")).is_err());
    }
}
