//! Texts made from the table of keys: the reference page, `config print`, `config explain`.

use std::fmt::Write;

use super::Config;
use super::keys::{self, GROUPS, KeySpec, Unit};
use super::raw::{Place, Raw};

/// The file that [`page`] is kept in, relative to the repository.
#[cfg(test)]
const PAGE: &str = "docs/guide/configuration.md";

#[cfg(test)]
const PAGE_HEAD: &str = "# Configuration

Tracewell needs none. What you want different goes into a file, `tracewell --config tracewell.yaml`,
or into flags, `--set retention.age=72h`; flags win. A key that does not exist is an error that names
the nearest one and the line. `tracewell config verify FILE` checks a file without starting anything,
`tracewell config print` shows what holds and where it comes from, and `tracewell config explain KEY`
tells about one key.

```yaml
# tracewell.yaml
listen:
  host: 0.0.0.0
storage:
  path: /var/lib/tracewell
retention:
  age: 72h
  disk: 200GiB
```

Sizes are bytes, or end in KiB, MiB, GiB (1024) or KB, MB, GB (1000). Durations end in ms, s, m, h, d
or w and can be put together: 1h30m.

A configuration file of Tempo's starts Tracewell too; see [Coming from Tempo](tempo.md).

This page is written from the table of keys in the program by `UPDATE_GOLDEN=1 cargo test -p
tracewell-cli reference`.
";

/// The reference page of the guide.
#[cfg(test)]
fn page() -> String {
    let config = Config {
        storage: super::Storage {
            path: "~/.local/state/tracewell".into(),
            ..Config::default().storage
        },
        ..Config::default()
    };
    let mut page = PAGE_HEAD.to_owned();
    for (group, about) in GROUPS {
        push(&mut page, format_args!("\n## {group}\n\n{about}\n"));
        page.push_str("\n| key | default | unit | meaning |\n|---|---|---|---|\n");
        for key in keys_of(group) {
            let default = match (key.show)(&config) {
                value if value.is_empty() => String::new(),
                value => format!("`{value}`"),
            };
            let unit = key.unit.text();
            let doc = key.doc;
            push(
                &mut page,
                format_args!("| `{}` | {default} | {unit} | {doc} |\n", key.name),
            );
        }
    }
    page
}

/// The whole configuration as a file of our own, each value that was written with its place.
pub(crate) fn print(config: &Config, raw: &Raw) -> String {
    let mut text = String::new();
    let (wal, blocks) = (config.wal_path(), config.blocks_path());
    push(
        &mut text,
        format_args!(
            "# log in {}, blocks in {}\n",
            wal.display(),
            blocks.display()
        ),
    );
    for (group, _) in GROUPS {
        push(&mut text, format_args!("{group}:\n"));
        for key in keys_of(group) {
            let name = key.name.split_once('.').map_or(key.name, |(_, name)| name);
            let value = quoted(key, &(key.show)(config));
            match raw.place_of(key.name) {
                Place::Defaults => push(&mut text, format_args!("  {name}: {value}\n")),
                place => push(&mut text, format_args!("  {name}: {value}  # {place}\n")),
            }
        }
    }
    text
}

/// Only what was written, as a file of our own.
pub(crate) fn print_written(config: &Config, raw: &Raw) -> String {
    let mut text = String::new();
    for (group, _) in GROUPS {
        let mut head = format!("{group}:\n");
        for key in keys_of(group) {
            let place = raw.place_of(key.name);
            if place == Place::Defaults {
                continue;
            }
            let name = key.name.split_once('.').map_or(key.name, |(_, name)| name);
            let value = quoted(key, &(key.show)(config));
            push(
                &mut text,
                format_args!("{head}  {name}: {value}  # {place}\n"),
            );
            head.clear();
        }
    }
    text
}

/// All about one key, or what there is in a section; nothing for another name.
pub(crate) fn explain(name: &str) -> Option<String> {
    match super::keys::find(name) {
        Some(key) => Some(explain_key(key)),
        None => GROUPS
            .iter()
            .find(|(group, _)| *group == name)
            .map(|(group, about)| explain_group(group, about)),
    }
}

fn explain_key(key: &KeySpec) -> String {
    format!(
        "{}\n  {}\n\n  unit: {}\n  default: {}\n  flag: --set {}=...\n",
        key.name,
        key.doc,
        key.unit.text(),
        default_of(key),
        key.name
    )
}

fn explain_group(group: &str, about: &str) -> String {
    let mut text = format!("{group}\n  {about}\n\n");
    let lines = || keys_of(group).map(|key| (key, default_of(key)));
    let width = lines().map(|(_, default)| default.len()).max().unwrap_or(0);
    for (key, default) in lines() {
        let meaning = first_sentence(key);
        push(
            &mut text,
            format_args!("  {:<34}  {default:<width$}  {meaning}\n", key.name),
        );
    }
    text.push_str("\n  `tracewell config explain` tells more about each of them\n");
    text
}

fn default_of(key: &KeySpec) -> String {
    match (key.show)(&Config::default()) {
        value if value.is_empty() => "(none)".to_owned(),
        value => value,
    }
}

/// One line per key, for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Keys for --set and the configuration file:\n");
    for key in keys::all() {
        push(
            &mut text,
            format_args!("  {:<36} {}\n", key.name, first_sentence(key)),
        );
    }
    text
}

/// What a key means, for a line of its own.
fn first_sentence(key: &KeySpec) -> &'static str {
    // A dot or a colon may stand within a word of code.
    let ends = [". ", ": "].iter().filter_map(|end| key.doc.find(end));
    let end = ends.min().unwrap_or(key.doc.len());
    key.doc.get(..end).unwrap_or(key.doc).trim_end_matches('.')
}

fn keys_of(group: &str) -> impl Iterator<Item = &'static KeySpec> {
    keys::all().filter(move |key| key.name.split('.').next() == Some(group))
}

/// Text in quotes, so that YAML reads it as text again; an empty one as nothing.
fn quoted(key: &KeySpec, value: &str) -> String {
    match key.unit {
        _ if value.is_empty() => "# not set".to_owned(),
        Unit::Text | Unit::Path => format!("{value:?}"),
        _ => value.to_owned(),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_page_is_the_table_of_keys() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(PAGE);
        let page = page();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "{PAGE} is not what the table says: UPDATE_GOLDEN=1 cargo test -p tracewell-cli reference"
        );
    }

    #[test]
    fn what_print_prints_is_a_file_that_means_the_same() {
        let mut raw = Raw::default();
        raw.set("--set", "retention.age", "72h");
        raw.set("--set", "listen.otlp_grpc", "off");
        let (config, findings) = Config::from_raw(&raw);
        assert!(findings.errors.is_empty(), "{findings:?}");
        let printed = print(&config, &raw);
        assert!(printed.contains("age: 72h  # --set"), "{printed}");
        let root = super::super::yaml::parse(&printed).unwrap();
        let (again, findings) = Config::from_raw(&Raw::from_file(Path::new("x"), &root));
        assert!(findings.errors.is_empty(), "{findings:?}");
        assert_eq!(again, config);
    }

    #[test]
    fn a_section_is_explained_with_a_line_for_each_of_its_keys() {
        let text = explain("limits").unwrap();
        assert!(text.starts_with("limits\n  What one request, "), "{text}");
        for key in keys::all() {
            let line = text
                .lines()
                .find(|line| line.split_whitespace().next() == Some(key.name));
            assert_eq!(line.is_some(), key.name.starts_with("limits."), "{text}");
            assert!(
                line.is_none_or(|line| line.contains(&default_of(key))),
                "{text}"
            );
        }
        assert!(
            explain("limits.memory_bytes")
                .unwrap()
                .contains("default: 256MB")
        );
        assert_eq!(explain("limit"), None);
    }

    #[test]
    fn there_are_fewer_than_seventy_keys() {
        assert!(keys::all().count() < 70);
        for key in keys::all() {
            let group = key.name.split('.').next().unwrap();
            assert!(keys::is_group(group), "{}", key.name);
            assert!(key.doc.ends_with('.'), "{}", key.name);
        }
    }
}
