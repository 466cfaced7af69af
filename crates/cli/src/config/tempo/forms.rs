//! Older and mistaken forms that files in the field have, brought into the documented one.
//!
//! Each is moved to where the documentation has it, before anything else looks at the tree, with a
//! warning that shows how to write it. Where both forms are written, the documented one holds.

use super::{Translation, at, insert, known, take};
use crate::config::yaml::{Node, Value};

/// What `overrides` holds beside limits.
const OVERRIDES: [&str; 5] = [
    "defaults",
    "enable_legacy_overrides",
    "per_tenant_override_config",
    "per_tenant_override_period",
    "user_configurable_overrides",
];
/// Flat names of limits: what they begin with, and the section that they belong to. The first that
/// makes a known key is it.
const FLAT: &[(&str, &str)] = &[
    ("ingestion_", "ingestion."),
    ("max_traces_per_user", "ingestion.max_traces_per_user"),
    (
        "max_global_traces_per_user",
        "ingestion.max_global_traces_per_user",
    ),
    ("max_bytes_per_trace", "global.max_bytes_per_trace"),
    ("block_retention", "compaction.block_retention"),
    ("compaction_window", "compaction.compaction_window"),
    ("compaction_disabled", "compaction.compaction_disabled"),
    (
        "parquet_dedicated_columns",
        "storage.parquet_dedicated_columns",
    ),
    ("max_", "read.max_"),
    ("unsafe_query_hints", "read.unsafe_query_hints"),
    (
        "metrics_generator_processor_service_graphs_",
        "metrics_generator.processor.service_graphs.",
    ),
    (
        "metrics_generator_processor_span_metrics_",
        "metrics_generator.processor.span_metrics.",
    ),
    (
        "metrics_generator_processor_local_blocks_",
        "metrics_generator.processor.local_blocks.",
    ),
    (
        "metrics_generator_processor_host_info_",
        "metrics_generator.processor.host_info.",
    ),
    (
        "metrics_generator_forwarder_",
        "metrics_generator.forwarder.",
    ),
    ("metrics_generator_", "metrics_generator."),
    ("forwarders", "forwarders"),
    ("cost_attribution", "cost_attribution"),
];
/// Sections of the metrics generator whose `dimensions` are names.
const WITH_DIMENSIONS: [&str; 4] = [
    "metrics_generator.processor.service_graphs",
    "metrics_generator.processor.span_metrics",
    "overrides.defaults.metrics_generator.processor.service_graphs",
    "overrides.defaults.metrics_generator.processor.span_metrics",
];

pub(super) fn bring_up_to_date(translation: &mut Translation<'_>, root: &mut Node) {
    flat_overrides(translation, root);
    storage_in_overrides(translation, root);
    for section in WITH_DIMENSIONS {
        dimensions(translation, root, section);
    }
}

/// `overrides.ingestion_rate_limit_bytes`, and the same below `overrides.defaults`.
fn flat_overrides(translation: &mut Translation<'_>, root: &mut Node) {
    for section in ["overrides", "overrides.defaults"] {
        let Some(Value::Map(entries)) = at(root, section).map(|node| node.value.clone()) else {
            continue;
        };
        for (key, _) in entries {
            let is_limit = section != "overrides" || !OVERRIDES.contains(&key.name.as_str());
            let Some(documented) = documented(&key.name).filter(|_| is_limit) else {
                continue;
            };
            let written = format!("{section}.{}", key.name);
            let documented = format!("overrides.defaults.{documented}");
            if written != documented {
                move_key(translation, root, &written, &documented);
            }
        }
    }
}

/// Where the documentation has a flat name, below `overrides.defaults`.
pub(super) fn documented(flat: &str) -> Option<String> {
    FLAT.iter()
        .filter_map(|(begin, section)| Some(format!("{section}{}", flat.strip_prefix(begin)?)))
        .find(|path| known::is_known(&format!("overrides.defaults.{path}")))
}

/// The how-to puts the generator's storage below the limits; it belongs to the generator itself.
fn storage_in_overrides(translation: &mut Translation<'_>, root: &mut Node) {
    let written = "overrides.defaults.metrics_generator.storage";
    let Some(Value::Map(entries)) = at(root, written).map(|node| node.value.clone()) else {
        return;
    };
    for (key, _) in entries {
        let written = format!("{written}.{}", key.name);
        let documented = format!("metrics_generator.storage.{}", key.name);
        move_key(translation, root, &written, &documented);
    }
    take(root, written);
}

fn move_key(translation: &mut Translation<'_>, root: &mut Node, written: &str, documented: &str) {
    let Some((key, node)) = take(root, written) else {
        return;
    };
    let place = translation.place(written, key.line);
    let shown = in_one_line(documented, &node.value);
    let message = match at(root, documented) {
        Some(_) => format!(
            "{written} has no effect: {documented} is written too, and is the documented form; take this one out"
        ),
        None => format!("{written} is taken as {documented}; the documented form is `{shown}`"),
    };
    translation.findings.warning(&place, message);
    if at(root, documented).is_none() {
        insert(root, documented, key.line, node);
    }
}

/// `dimensions: [{name: a}, {name: b}]` is `dimensions: [a, b]`.
fn dimensions(translation: &mut Translation<'_>, root: &mut Node, section: &str) {
    let path = format!("{section}.dimensions");
    let Some((key, node)) = take(root, &path) else {
        return;
    };
    let named = match &node.value {
        Value::List(items) => items.iter().map(name_of).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let node = match named.filter(|names| !names.is_empty()) {
        Some(names) => {
            let value = Value::List(names);
            let place = translation.place(&path, key.line);
            let shown = in_one_line("dimensions", &value);
            let message = format!(
                "{path} is a list of `name: ...`, taken as names; the documented form is `{shown}`"
            );
            translation.findings.warning(&place, message);
            Node {
                line: node.line,
                value,
            }
        }
        None => node,
    };
    insert(root, &path, key.line, node);
}

/// The name of an item that is nothing but `name: ...`.
fn name_of(item: &Node) -> Option<Node> {
    match &item.value {
        Value::Map(entries) if entries.len() == 1 => item.get("name").cloned(),
        _ => None,
    }
}

/// A key with its value as YAML in one line. What lies deep is only hinted at: it may be secret.
fn in_one_line(path: &str, value: &Value) -> String {
    let value = match value {
        Value::Map(_) => "{...}".to_owned(),
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))) => {
            "[...]".to_owned()
        }
        value => value.plain(),
    };
    let mut parts = path.split('.').rev();
    let last = parts.next().unwrap_or(path);
    let inner = format!("{last}: {value}");
    parts.fold(inner, |inner, section| format!("{section}: {{{inner}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_names_have_their_sections() {
        for (flat, expected) in [
            (
                "ingestion_rate_limit_bytes",
                Some("ingestion.rate_limit_bytes"),
            ),
            ("max_traces_per_user", Some("ingestion.max_traces_per_user")),
            ("max_search_duration", Some("read.max_search_duration")),
            ("max_bytes_per_trace", Some("global.max_bytes_per_trace")),
            ("block_retention", Some("compaction.block_retention")),
            (
                "metrics_generator_processors",
                Some("metrics_generator.processors"),
            ),
            (
                "metrics_generator_processor_span_metrics_dimensions",
                Some("metrics_generator.processor.span_metrics.dimensions"),
            ),
            (
                "metrics_generator_forwarder_queue_size",
                Some("metrics_generator.forwarder.queue_size"),
            ),
            ("ingestion", None),
            ("metrics_generator", None),
            ("ingestion_rate", None),
        ] {
            assert_eq!(documented(flat).as_deref(), expected, "{flat}");
        }
    }

    #[test]
    fn a_key_in_one_line_is_yaml_that_means_it() {
        let value = crate::config::yaml::parse("[a.b, c]").unwrap().value;
        let line = in_one_line("x.y.dimensions", &value);
        assert_eq!(line, "x: {y: {dimensions: [a.b, c]}}");
        let root = crate::config::yaml::parse(&line).unwrap();
        assert!(matches!(
            &at(&root, "x.y.dimensions").unwrap().value,
            Value::List(items) if items.len() == 2
        ));
    }
}
