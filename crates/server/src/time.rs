//! Times and durations as clients of Tempo's API write them.
//!
//! There are two ways: search and tags take `since`, or `start` and `end`
//! as seconds, nanoseconds, fractions or RFC 3339; a trace by id takes whole seconds only. Where
//! Tempo hides the newest 30 seconds, nothing is hidden here: an end that is now has no end.

use jiff::Timestamp;
use tracewell_model::TimeRange;

use crate::error::{ApiError, ApiResult};
use crate::params::Params;

const SECOND: u64 = 1_000_000_000;
/// An end this near to now, or later, means "up to the newest".
const NOW_SLACK: u64 = 5 * SECOND;
/// Seconds since 1970 have at most ten digits until 2286; longer numbers are nanoseconds.
const SECONDS_DIGITS_MAX: usize = 10;

/// As seconds these lie after the year 30,000, as nanoseconds within the first days of 1970.
const NEITHER_DIGITS: [(usize, &str); 2] = [(13, "milliseconds"), (16, "microseconds")];

/// The window of a search or tag request.
pub(crate) fn search_window(params: &Params, now: u64, default_nano: u64) -> ApiResult<TimeRange> {
    if let Some(text) = params.get("since") {
        let since = parse_duration(text)
            .map_err(|error| ApiError::BadRequest(format!("invalid since: {error}")))?;
        return Ok(up_to_now(now.saturating_sub(since)));
    }
    let time = |key: &str| {
        let parsed = params.get(key).map(parse_instant).transpose();
        parsed.map_err(|error| ApiError::BadRequest(format!("invalid {key}: {error}")))
    };
    match (time("start")?, time("end")?) {
        (None, None) => Ok(up_to_now(now.saturating_sub(default_nano))),
        // Grafana and older clients write 0 for "not given".
        (Some(0), Some(0)) => Ok(up_to_now(now.saturating_sub(default_nano))),
        (Some(start), Some(end)) if end <= start => Err(ApiError::BadRequest(format!(
            "http parameter start must be before end. received start={} end={}",
            start / SECOND,
            end / SECOND
        ))),
        (Some(start), Some(end)) if end.saturating_add(NOW_SLACK) >= now => Ok(up_to_now(start)),
        (Some(start), Some(end)) => Ok(TimeRange { start, end }),
        _ => Err(ApiError::BadRequest(String::from(
            "only one of start and end provided: must provide both or neither",
        ))),
    }
}

/// The window of a trace by id: whole seconds, each may be missing; it only helps to find.
pub(crate) fn trace_window(params: &Params) -> ApiResult<TimeRange> {
    let seconds = |key: &str| -> ApiResult<u64> {
        let seconds = params.number(key)?.unwrap_or(0);
        Ok(u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND))
    };
    match (seconds("start")?, seconds("end")?) {
        (0, 0) => Ok(TimeRange::ALL),
        (start, 0) => Ok(up_to_now(start)),
        (start, end) if end <= start => Err(ApiError::BadRequest(format!(
            "http parameter start must be before end. received start={} end={}",
            start / SECOND,
            end / SECOND
        ))),
        // The end is a whole second of which all counts.
        (start, end) => Ok(TimeRange {
            start,
            end: end.saturating_add(SECOND),
        }),
    }
}

fn up_to_now(start: u64) -> TimeRange {
    TimeRange {
        start,
        end: TimeRange::ALL.end,
    }
}

/// Unix time in nanoseconds from seconds, nanoseconds, a fraction of seconds, or RFC 3339.
pub(crate) fn parse_instant(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is neither Unix time nor RFC 3339");
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let number: u64 = text.parse().map_err(|_| wrong())?;
        if let Some((_, unit)) = NEITHER_DIGITS.iter().find(|(n, _)| *n == text.len()) {
            return Err(format!(
                "{text} has as many digits as {unit}; Unix time is in seconds or in nanoseconds"
            ));
        }
        return Ok(if text.len() <= SECONDS_DIGITS_MAX {
            number.saturating_mul(SECOND)
        } else {
            number
        });
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && !seconds.is_empty()
        && !fraction.is_empty()
        && seconds
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
        // Nine digits are nanoseconds; further ones are less than one.
        let digits: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        let nano: u64 = digits.parse().map_err(|_| wrong())?;
        return Ok(seconds.saturating_mul(SECOND).saturating_add(nano));
    }
    let timestamp: Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(timestamp.as_nanosecond()).map_err(|_| wrong())
}

/// A duration as Go and Prometheus write it (`1h30m`, `1.5s`, `100ms`, `2d`, `1w`), in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid duration {text:?}");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_nano = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => 86_400 * SECOND,
            "w" => 7 * 86_400 * SECOND,
            "y" => 365 * 86_400 * SECOND,
            _ => return Err(wrong()),
        };
        total = total.saturating_add(scaled(number, unit_nano).ok_or_else(wrong)?);
        rest = after;
    }
    if total == 0 && !text.bytes().any(|byte| byte == b'0') {
        return Err(wrong());
    }
    Ok(total)
}

/// A decimal number times a unit, exactly as far as nanoseconds go.
fn scaled(number: &str, unit_nano: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nano = whole.saturating_mul(unit_nano);
    let mut unit = unit_nano;
    for digit in fraction.chars() {
        unit /= 10;
        nano = nano.saturating_add(u64::from(digit.to_digit(10)?) * unit);
    }
    Some(nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000 * SECOND;

    fn window(query: &str) -> Result<(u64, u64), String> {
        let params = Params::parse(Some(query)).unwrap();
        search_window(&params, NOW, 900 * SECOND)
            .map(|range| (range.start, range.end))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_dialects_of_search() {
        let open = u64::MAX;
        let start = 1_699_999_000 * SECOND;
        let end = 1_699_999_100 * SECOND;
        let table = [
            ("", (NOW - 900 * SECOND, open)),
            ("start=1699999000&end=1699999100", (start, end)),
            (
                "start=1699999000000000000&end=1699999100000000000",
                (start, end),
            ),
            (
                "start=1699999000.5&end=1699999100.25",
                (start + SECOND / 2, end + SECOND / 4),
            ),
            (
                "start=2023-11-14T21:56:40Z&end=2023-11-14T22:58:20%2B01:00",
                (start, end),
            ),
            ("since=1h", (NOW - 3_600 * SECOND, open)),
            (
                "since=1d12h&start=1&end=2",
                (NOW - 36 * 3_600 * SECOND, open),
            ),
            ("start=1699999000&end=1700000000", (start, open)),
            ("start=1699999000&end=1800000000", (start, open)),
            ("start=0&end=0", (NOW - 900 * SECOND, open)),
        ];
        for (query, expected) in table {
            assert_eq!(window(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn wrong_times_have_tempos_wording() {
        let table = [
            (
                "start=1",
                "only one of start and end provided: must provide both or neither",
            ),
            (
                "end=1",
                "only one of start and end provided: must provide both or neither",
            ),
            (
                "start=20&end=10",
                "http parameter start must be before end. received start=20 end=10",
            ),
            (
                "start=x&end=1",
                "invalid start: \"x\" is neither Unix time nor RFC 3339",
            ),
            ("since=soon", "invalid since: invalid duration \"soon\""),
        ];
        for (query, expected) in table {
            assert_eq!(window(query), Err(expected.to_owned()), "{query}");
        }
    }

    #[test]
    fn a_trace_takes_whole_seconds() {
        let window = |query: &str| trace_window(&Params::parse(Some(query)).unwrap());
        assert_eq!(window("").unwrap(), TimeRange::ALL);
        let range = window("start=10&end=20").unwrap();
        assert_eq!((range.start, range.end), (10 * SECOND, 21 * SECOND));
        assert!(window("start=1.5").is_err());
        assert!(window("start=20&end=10").is_err());
    }

    #[test]
    fn durations_of_go_and_prometheus() {
        let table = [
            ("1h30m", Some(5_400 * SECOND)),
            ("1.5s", Some(1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("2us", Some(2_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("2w", Some(14 * 86_400 * SECOND)),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1x", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
    }
}
