//! Visits every key of a file of Tempo's and does with it what [`super::actions`] says.

use super::Translation;
use super::actions::{self, Action, NOT_BUILT, SIGN_ON, action};
use super::known::{self, Kind, joined};
use super::protection::{first_transport, is_off, protects, says_nothing};
use crate::config::keys;
use crate::config::raw::Place;
use crate::config::values;
use crate::config::yaml::{Node, Value};

/// Keys whose value says where something listens, lies or goes.
const PLACES: [&str; 14] = [
    "addr",
    "address",
    "backend",
    "brokers",
    "dir",
    "endpoint",
    "endpoints",
    "host",
    "members",
    "path",
    "port",
    "store",
    "topic",
    "url",
];

pub(super) fn walk(translation: &mut Translation<'_>, mut root: Node) {
    // What holds for tenants wins over what holds for all, wherever it stands in the file.
    if let Value::Map(entries) = &mut root.value {
        entries.sort_by_key(|(key, _)| key.name == "overrides");
    }
    translation.visit("", &root);
}

// === impl Translation ===

impl Translation<'_> {
    fn visit(&mut self, prefix: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, child) in entries {
            let path = joined(prefix, &key.name);
            if known::is_known(&path) {
                self.key(&path, child, key.line);
            } else {
                self.unknown(&path, child, key.line);
            }
        }
    }

    fn key(&mut self, path: &str, node: &Node, line: u64) {
        let place = self.place(path, line);
        if let Err(message) = check_kind(path, node) {
            self.findings.error(&place, format!("{path}: {message}"));
            return;
        }
        let switched = as_switch(path, node);
        let node = switched.as_ref().unwrap_or(node);
        let is_section = matches!(node.value, Value::Map(_)) && known::kind(path).is_none();
        match action(path) {
            Some(Action::Elsewhere) => {}
            // Nothing written is the default.
            Some(_) if says_nothing(&node.value) => {}
            Some(Action::NoEffect(why)) if actions::is_whole(path) => {
                self.without_effect(path, node, &place, why);
            }
            _ if is_section => self.visit(path, node),
            Some(action) => self.apply(action, path, node, place),
            None => self.unknown(path, node, line),
        }
    }

    /// Does with a value what its key asks for.
    pub(super) fn apply(&mut self, action: Action, path: &str, node: &Node, place: Place) {
        match action {
            Action::Silent | Action::Elsewhere => {}
            Action::Same(key) => self.set(key, node.clone(), path, place),
            Action::Convert(key, convert) => match convert(node) {
                Ok(node) => self.set(key, node, path, place),
                Err(message) => self.findings.error(&place, format!("{path}: {message}")),
            },
            Action::Only(values, why) => {
                let written = node.value.plain();
                if !values.contains(&written.as_str()) {
                    self.refuse(&place, &format!("{path}: {written}"), why);
                }
            }
            Action::Unless(values, why) => {
                if !values.contains(&node.value.plain().as_str()) {
                    self.without_effect(path, node, &place, why);
                }
            }
            Action::NoEffect(why) => self.without_effect(path, node, &place, why),
            Action::Refuse(why) => {
                if !is_off(&node.value) {
                    self.refuse(&place, path, why);
                }
            }
        }
    }

    fn refuse(&mut self, place: &Place, what: &str, why: &str) {
        let message = format!("{what} cannot be honoured: {why}");
        self.findings.error(place, message);
    }

    /// One warning for a key, or for a section of which nothing has an effect; it names what would
    /// have listened, lain or gone somewhere. What is wrong or protects within it is an error.
    fn without_effect(&mut self, path: &str, node: &Node, place: &Place, why: &str) {
        let n_errors = self.findings.errors.len();
        self.check_below(path, node, place);
        if self.findings.errors.len() > n_errors {
            return;
        }
        let mut places = Vec::new();
        collect_places(path, "", node, &mut places);
        let unused = match places.is_empty() {
            true => String::new(),
            false => format!("; not used: {}", places.join(", ")),
        };
        self.findings
            .warning(place, format!("{path} has no effect: {why}{unused}"));
    }

    fn check_below(&mut self, path: &str, node: &Node, place: &Place) {
        let Value::Map(entries) = &node.value else {
            if protects(path, true) && !is_off(&node.value) {
                self.refuse(place, path, SIGN_ON);
            } else if let Some((path, line)) = first_transport(path, node) {
                let place = self.place(&path, line);
                self.refuse(&place, &path, NOT_BUILT);
            }
            return;
        };
        for (key, child) in entries {
            let path = joined(path, &key.name);
            let place = self.place(&path, key.line);
            if !known::is_known(&path) {
                self.unknown(&path, child, key.line);
            } else if let Err(message) = check_kind(&path, child) {
                self.findings.error(&place, format!("{path}: {message}"));
            } else {
                let switched = as_switch(&path, child);
                self.check_below(&path, switched.as_ref().unwrap_or(child), &place);
            }
        }
    }

    /// Tempo refuses unknown keys. Here one that is nearly a known one is a typing error, and so is one that
    /// would have an effect elsewhere; any other may be newer than the list.
    fn unknown(&mut self, path: &str, node: &Node, line: u64) {
        let place = self.place(path, line);
        let is_meant =
            |near: &String| !known::may_be_newer(path, near) || actions::has_effect(near);
        if keys::is_group(path) {
            let message = format!(
                "{path} is a section of Tracewell's own file, and this is one of Tempo's; \
                 use --set {path}.KEY=VALUE"
            );
            self.findings.error(&place, message);
        } else if let Some(near) = known::nearest(path).filter(is_meant) {
            let message = format!("unknown key {path}; did you mean {near}?");
            self.findings.error(&place, message);
        } else if protects(path, false) && !is_off(&node.value) {
            self.refuse(&place, path, SIGN_ON);
        } else {
            let message = format!("{path} is not known here and has no effect");
            self.findings.warning(&place, message);
        }
    }
}

/// A section holds keys, a switch is on or off, and a value is no section.
fn check_kind(path: &str, node: &Node) -> Result<(), String> {
    let value = &node.value;
    match known::kind(path) {
        _ if *value == Value::Null => Ok(()),
        None => match (value, known::first_below(path)) {
            (Value::Map(_), _) | (_, None) => Ok(()),
            (_, Some(key)) => Err(format!("expected keys such as {key}, found {value}")),
        },
        Some(Kind::Switch) => values::switch(node).map(|_| ()),
        Some(Kind::Value) if matches!(value, Value::Map(_) | Value::List(_)) => {
            Err(format!("expected one value, found {value}"))
        }
        Some(Kind::Value | Kind::List | Kind::Any) => Ok(()),
    }
}

/// A switch that was written as `yes` or `off`, as one that is true or false.
fn as_switch(path: &str, node: &Node) -> Option<Node> {
    let is_word = matches!(node.value, Value::Text(_));
    let on = values::switch(node)
        .ok()
        .filter(|_| is_word && known::kind(path) == Some(Kind::Switch))?;
    Some(Node {
        line: node.line,
        value: Value::Bool(on),
    })
}

/// `port 9095`, `storage.path /tmp/x` of what lies below a key that has no effect.
fn collect_places(path: &str, below: &str, node: &Node, places: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, child) in entries {
                collect_places(path, &joined(below, &key.name), child, places);
            }
        }
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))) => {
            for (index, item) in items.iter().enumerate() {
                collect_places(path, &format!("{below}[{index}]"), item, places);
            }
        }
        value => {
            let name = if below.is_empty() { path } else { below };
            let word = name.rsplit(['.', '_']).next().unwrap_or_default();
            if PLACES.contains(&word) && !is_off(value) {
                let shown = without_credentials(&value.plain());
                places.push(format!("{below} {shown}").trim_start().to_owned());
            }
        }
    }
}

/// A URL without the user and password that it may hold.
fn without_credentials(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = match rest.find('/') {
                Some(slash) => rest.split_at(slash),
                None => (rest, ""),
            };
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_are_not_repeated() {
        for (text, shown) in [
            (
                "http://u:p@host:9090/api/v1/write",
                "http://host:9090/api/v1/write",
            ),
            ("https://host/a@b", "https://host/a@b"),
            ("/tmp/tempo", "/tmp/tempo"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
