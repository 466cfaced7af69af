//! A configuration of Tempo's (2.x, 3.x), file and flags, translated into settings of our own.
//!
//! The way of a file: [`forms`] brings what is written in an older form into the documented one;
//! what several keys say together (where to listen, which folders, which bucket, which receivers) is
//! read first; then [`walk`] visits every key and does with it what [`actions`] says. [`known`] has
//! the keys that there are. Nothing behind this module knows that the file was one of Tempo's.
//!
//! To honour a key that has had no effect so far, change its line in [`actions`].

mod actions;
mod bucket;
mod environment;
mod forms;
mod known;
mod protection;
mod receivers;
mod tls;
mod walk;

use std::path::Path;

use super::keys;
use super::raw::{Findings, Place, Raw, Setting};
use super::values::{self, Endpoint};
use super::yaml::{Key, Node, Value};
use crate::config::Config;

pub(crate) use environment::expand;
pub(crate) use known::{Flag, flag};

/// What there is to translate.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    /// The file and what it holds; none where there are flags only.
    pub(crate) file: Option<(&'a Path, Node)>,
    /// Flags as they were typed, without the dash, with their values: `server.http-listen-port`.
    pub(crate) flags: &'a [(String, String)],
    /// Whether a flag of ours says on which host to listen.
    pub(crate) host_is_chosen: bool,
}

/// Sections that only a Tempo 3 has. Its receivers listen on loopback where no address is written,
/// those before it on every interface.
const ONLY_IN_3: [&str; 6] = [
    "backend_scheduler",
    "backend_worker",
    "block_builder",
    "ingest",
    "live_store",
    "live_store_client",
];

/// The keys of ours for what listens.
const SURFACES: [&str; 4] = [
    "listen.http",
    "listen.query_grpc",
    "listen.otlp_grpc",
    "listen.otlp_http",
];

/// True if this can only be a file of Tempo's.
pub(crate) fn is_tempo(root: &Node) -> bool {
    let foreign = match &root.value {
        Value::Map(entries) => entries.iter().any(|(key, _)| known::is_root(&key.name)),
        _ => false,
    };
    foreign
        || root
            .get("storage")
            .is_some_and(|node| node.get("trace").is_some())
}

/// Translates a file and flags. Flags win.
pub(crate) fn translate(written: Written<'_>) -> (Raw, Findings) {
    let mut translation = Translation {
        path: written.file.as_ref().map(|(path, _)| *path),
        flags: Vec::new(),
        host_is_chosen: written.host_is_chosen,
        raw: Raw::default(),
        findings: Findings::default(),
    };
    let mut root = written.file.map_or_else(Node::empty, |(_, root)| root);
    translation.insert_flags(&mut root, written.flags);
    forms::bring_up_to_date(&mut translation, &mut root);
    translation.target(&root);
    translation.listen(&root);
    translation.folders(&root);
    bucket::translate(&mut translation, &root);
    let built = receivers::translate(&mut translation, &root);
    tls::translate(&mut translation, &root, &built);
    translation.interfaces(&root);
    walk::walk(&mut translation, root);
    translation.findings.sort();
    (translation.raw, translation.findings)
}

/// True for the name of a limit, or of a section of them, in either form.
pub(crate) fn is_limit(name: &str) -> bool {
    forms::documented(name).is_some() || known::is_known(&format!("overrides.defaults.{name}"))
}

/// Translates limits of one tenant, as a file of overrides has them.
pub(crate) fn translate_limits(path: &Path, limits: Vec<(Key, Node)>) -> (Raw, Findings) {
    let mut translation = Translation {
        path: Some(path),
        flags: Vec::new(),
        host_is_chosen: true,
        raw: Raw::default(),
        findings: Findings::default(),
    };
    let mut root = Node::empty();
    for (key, node) in limits {
        let at = format!("overrides.defaults.{}", key.name);
        insert(&mut root, &at, key.line, node);
    }
    // The flat form is a form of its own here, and is not warned of.
    forms::bring_up_to_date(&mut translation, &mut root);
    translation.findings = Findings::default();
    walk::walk(&mut translation, root);
    (translation.raw, translation.findings)
}

/// The settings and findings of one file, as they grow.
pub(super) struct Translation<'a> {
    path: Option<&'a Path>,
    /// Key of a flag, and the flag as it was typed.
    flags: Vec<(String, String)>,
    host_is_chosen: bool,
    raw: Raw,
    findings: Findings,
}

// === impl Translation ===

impl Translation<'_> {
    /// Where a key was written. Line 0 stands for a flag; for a section, the first flag within it.
    fn place(&self, key: &str, line: u64) -> Place {
        match (line, self.path) {
            (1.., Some(path)) => Place::file(path, line),
            _ => {
                let below = format!("{key}.");
                let is_it = |known: &str| known == key || known.starts_with(&below);
                let typed = self.flags.iter().find(|(known, _)| is_it(known));
                Place::Flag(format!("-{}", typed.map_or(key, |(_, flag)| flag)))
            }
        }
    }

    /// Sets a key of ours to what was written as `origin`.
    fn set(&mut self, key: &str, node: Node, origin: &str, place: Place) {
        self.raw.settings.push(Setting {
            key: key.to_owned(),
            node,
            origin: Some(origin.to_owned()),
            place,
        });
    }

    fn set_text(&mut self, key: &str, text: String, origin: &str, place: Place) {
        let node = Node {
            line: 0,
            value: Value::Text(text),
        };
        self.set(key, node, origin, place);
    }

    fn insert_flags(&mut self, root: &mut Node, flags: &[(String, String)]) {
        for (name, value) in flags {
            let place = Place::Flag(format!("-{name}"));
            match known::flag(name) {
                Some(_) if known::is_keyless(name) => {
                    let message = "no effect: memory is bounded by limits.memory_bytes";
                    self.findings.warning(&place, message.to_owned());
                }
                Some(flag) => {
                    insert(root, &flag.key, 0, Node::from_argument(value));
                    self.flags.push((flag.key, name.clone()));
                }
                None => {
                    let remedy = match known::nearest_flag(name) {
                        Some(near) => format!("did you mean -{near}?"),
                        None => "it is no flag of Tempo's that is known here; take it out, or see \
                                 `tracewell --help`"
                            .to_owned(),
                    };
                    let message = format!("unknown flag; {remedy}");
                    self.findings.error(&place, message);
                }
            }
        }
    }

    /// Tracewell is one process that does everything.
    fn target(&mut self, root: &Node) {
        let Some(node) = written_at(root, "target") else {
            return;
        };
        let place = self.place("target", node.line);
        let target = node.value.plain();
        match target.as_str() {
            "all" => {}
            "scalable-single-binary" => {
                let message = "target: scalable-single-binary is taken as all: a process answers from its own \
                               young spans and from the bucket, and asks no other";
                self.findings.warning(&place, message.to_owned());
            }
            _ => {
                let message = format!(
                    "target: {target} cannot be honoured: Tracewell is one process that does everything; it cannot \
                     be a part of a cluster of Tempo's; write all"
                );
                self.findings.error(&place, message);
            }
        }
    }

    /// Tempo 2.x binds every interface where no address is written, Tempo 3 does for its API.
    fn interfaces(&mut self, root: &Node) {
        let Some(path) = self.path else {
            return;
        };
        let place = Place::file(path, root.line.max(1));
        let host = "0.0.0.0".to_owned();
        self.set_text("listen.host", host, "listen.host", place.clone());
        if self.host_is_chosen || !SURFACES.iter().any(|key| self.is_without_address(key)) {
            return;
        }
        let message = match is_tempo_3(root) {
            true => {
                "a Tempo 3 answers queries on all interfaces and receives on loopback where no \
                 address is written, and so does Tracewell; --listen-host sets both"
            }
            false => {
                "a Tempo 2 listens on all interfaces where no address is written, and so does \
                 Tracewell; --listen-host 127.0.0.1 keeps it local"
            }
        };
        self.findings.warning(&place, message.to_owned());
    }

    /// True for a surface that listens wherever `listen.host` says.
    fn is_without_address(&self, key: &str) -> bool {
        let written = self.raw.settings.iter().rfind(|it| it.key == key);
        let Some(setting) = written else {
            let default = keys::find(key).map(|key| (key.show)(&Config::default()));
            return default != Some(Endpoint::Off.to_string());
        };
        matches!(values::endpoint(&setting.node), Ok(Endpoint::Port(_)))
    }

    fn listen(&mut self, root: &Node) {
        let server = root.get("server");
        let port = server.and_then(|server| written_at(server, "http_listen_port"));
        let address = server.and_then(|server| written_at(server, "http_listen_address"));
        if port.is_none() && self.path.is_some() && !is_tempo_3(root) {
            let line = server.map_or(root.line, |server| server.line);
            let place = self.place("server", line.max(1));
            let message = "server.http_listen_port is not written: a Tempo before 2.8 listens on 80 then, \
                           Tracewell on 3200; write it to be sure";
            self.findings.warning(&place, message.to_owned());
        }
        let origin = ["server.http_listen_port", "server.http_listen_address"];
        self.endpoint("listen.http", 3200, origin, (port, address));
        let port = server.and_then(|server| written_at(server, "grpc_listen_port"));
        let address = server.and_then(|server| written_at(server, "grpc_listen_address"));
        let origin = ["server.grpc_listen_port", "server.grpc_listen_address"];
        self.endpoint("listen.query_grpc", 9095, origin, (port, address));
    }

    /// A surface with a port and an address of its own, either of which may be left out.
    fn endpoint(
        &mut self,
        key: &'static str,
        default: i64,
        [of_port, of_address]: [&'static str; 2],
        (port, address): (Option<&Node>, Option<&Node>),
    ) {
        let (origin, line) = match (port, address) {
            (Some(port), _) => (of_port, port.line),
            (None, Some(address)) => (of_address, address.line),
            (None, None) => return,
        };
        let port = port.map_or(Value::Int(default), |node| node.value.clone());
        let place = self.place(origin, line);
        match address {
            Some(address) => {
                let endpoint = format!("{}:{}", address.value.plain(), port.plain());
                self.set_text(key, endpoint, origin, place);
            }
            None => self.set(key, Node { line, value: port }, origin, place),
        }
    }

    /// Blocks lie in a folder of their own beside those of Tempo's, which stay as they are.
    fn folders(&mut self, root: &Node) {
        let trace = root.get("storage").and_then(|node| node.get("trace"));
        let path_of = |section: &str| written_at(trace?.get(section)?, "path");
        let local = path_of("local").map(|node| ("storage.trace.local.path", node));
        // A Tempo 3 keeps young spans in a folder of the live store.
        let live = root.get("live_store").and_then(|node| node.get("wal"));
        let live = live.and_then(|node| written_at(node, "path"));
        let live = live.map(|node| ("live_store.wal.path", node));
        let wal = path_of("wal").map(|node| ("storage.trace.wal.path", node));
        if let (Some(_), Some((key, node))) = (wal, live) {
            let place = self.place(key, node.line);
            let message = format!(
                "{key} has no effect: the write-ahead log is in storage.trace.wal.path; not used: {}",
                node.value.plain()
            );
            self.findings.warning(&place, message);
        }
        // With its blocks in a bucket a Tempo has one folder, that of its log: there young blocks and
        // pieces of the bucket's lie too.
        let backend = trace.and_then(|trace| trace.get("backend"));
        let is_in_bucket =
            backend.is_some_and(|node| !matches!(node.value.plain().as_str(), "" | "local"));
        let blocks: &[&str] = &["storage.path", "storage.blocks_path"];
        let log: &[&str] = &["storage.wal_path"];
        let taken = match (local, wal.or(live)) {
            (None, Some(wal)) if is_in_bucket => vec![(wal, blocks)],
            // One folder for both: the log has a name of its own in ours.
            (Some(local), Some(wal)) if is_same_folder(local.1, wal.1) => vec![(local, blocks)],
            (local, wal) => {
                let local = local.map(|local| (local, blocks));
                local.into_iter().chain(wal.map(|wal| (wal, log))).collect()
            }
        };
        for ((origin, node), keys) in taken {
            self.folder(origin, node, keys);
        }
    }

    /// Keys of ours take Tracewell's own folder below a path.
    fn folder(&mut self, origin: &str, node: &Node, keys: &[&str]) {
        // The walk tells of a path that is none.
        if matches!(node.value, Value::Map(_) | Value::List(_)) {
            return;
        }
        let place = self.place(origin, node.line);
        for key in keys {
            self.set(key, actions::own_folder(node), origin, place.clone());
        }
    }
}

fn is_tempo_3(root: &Node) -> bool {
    ONLY_IN_3.iter().any(|section| root.get(section).is_some())
}

fn is_same_folder(left: &Node, right: &Node) -> bool {
    // Components, so that a slash at the end makes no difference.
    Path::new(&left.value.plain()) == Path::new(&right.value.plain())
}

/// What is written for a key, if it is something.
fn written_at<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key)
        .filter(|node| !protection::says_nothing(&node.value))
}

/// Sets a leaf of the tree.
fn insert(node: &mut Node, path: &str, line: u64, leaf: Node) {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    if !matches!(node.value, Value::Map(_)) {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    let known = entries.iter().position(|(key, _)| key.name == first);
    let at = known.unwrap_or_else(|| {
        let key = Key {
            line,
            name: first.to_owned(),
        };
        let empty = Node {
            line,
            value: Value::Null,
        };
        entries.push((key, empty));
        entries.len() - 1
    });
    let Some((key, child)) = entries.get_mut(at) else {
        return;
    };
    if rest.is_empty() {
        key.line = line;
        *child = leaf;
    } else {
        insert(child, rest, line, leaf);
    }
}

/// The node at a path, taken out of the tree with its line.
fn take(node: &mut Node, path: &str) -> Option<(Key, Node)> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let at = entries.iter().position(|(key, _)| key.name == first)?;
    if rest.is_empty() {
        return Some(entries.remove(at));
    }
    take(&mut entries.get_mut(at)?.1, rest)
}

/// The node at a path.
fn at<'a>(node: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(node, |node, key| node.get(key))
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
