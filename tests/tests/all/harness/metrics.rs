//! What `/metrics` says, as numbers.

use std::collections::BTreeMap;

use super::server::Server;

/// Values by name and labels, as they are written.
pub(crate) type Scrape = BTreeMap<String, f64>;

pub(crate) fn scrape(server: &Server) -> Scrape {
    let text = server.get("/metrics").text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(pair).collect()
}

/// The values of a metric with whatever labels.
pub(crate) fn of<'a>(seen: &'a Scrape, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let is_named = move |key: &str| key.split('{').next() == Some(name);
    seen.iter()
        .filter(move |(key, _)| is_named(key))
        .map(|(_, value)| *value)
}
