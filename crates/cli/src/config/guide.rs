//! The listings of docs/guide: each configuration is checked, each command line of a compose file is
//! parsed, and what a check is said to print is what it prints (rewritten with `UPDATE_GOLDEN=1`).

use std::path::{Path, PathBuf};

use clap::Parser;

use super::load::Source;
use super::verdict::Verdict;
use super::yaml::{self, Node, Value};
use super::{Config, overrides, tokens};
use crate::arguments::Arguments;
use crate::legacy_flags;

const GUIDE: &str = "docs/guide";
/// What stands before the output of a check.
const CHECK: &str = "$ tracewell -config.file=tempo.yaml -config.verify\n";

/// A fenced block of a page.
#[derive(Debug, Clone, PartialEq)]
struct Listing {
    language: String,
    /// Of the first line of the content, counted from 1.
    line: usize,
    text: String,
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(GUIDE)
}

fn listings(page: &str) -> Vec<Listing> {
    let mut listings = Vec::new();
    let mut open: Option<Listing> = None;
    for (index, line) in page.lines().enumerate() {
        let fence = line.strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                open = Some(Listing {
                    language: language.to_owned(),
                    line: index + 2,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => listings.extend(open.take()),
            (Some(listing), None) => listing.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a listing is not closed");
    listings
}

/// What checking a file prints, with the name that the listing gives it.
fn check(folder: &Path, name: &str, text: &str) -> (String, bool) {
    let file = folder.join(name);
    // What the guide lays into a folder of the system lies in that of the test.
    let text = text.replace("/etc/tracewell", &folder.display().to_string());
    std::fs::write(folder.join("overrides.yaml"), "overrides:\n").unwrap();
    std::fs::write(
        folder.join("tokens.yaml"),
        "tokens: {a: aaaaaaaaaaaaaaaa, '*': oooooooooooooooo}\n",
    )
    .unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for name in ["server.pem", "clients.pem"] {
        std::fs::write(folder.join(name), signed.cert.pem()).unwrap();
    }
    let key = signed.signing_key.serialize_pem();
    std::fs::write(folder.join("server.key"), key).unwrap();
    std::fs::write(&file, text).unwrap();
    let source = Source {
        file: Some(file),
        ..Source::default()
    };
    let loaded = source.load();
    let verdict = Verdict::of(&loaded, false);
    let printed = verdict.to_string();
    let place = format!("{}/", folder.display());
    (printed.replace(&place, ""), verdict.passes())
}

/// The same for a file beside the configuration.
fn check_beside(first: &str, page: &Path, text: &str) -> String {
    let findings = match first {
        "# tokens.yaml" => tokens::parse(page, text).1,
        _ => overrides::parse(&Config::default(), page, text).1,
    };
    findings.to_string()
}

/// The command lines of the services of a compose file.
pub(super) fn commands(compose: &Node) -> Vec<Vec<String>> {
    let Some(Value::Map(services)) = compose.get("services").map(|node| &node.value) else {
        panic!("no services");
    };
    let commands = services
        .iter()
        .filter_map(|(_, service)| service.get("command"));
    commands
        .map(|command| match &command.value {
            Value::List(words) => words.iter().map(|word| word.value.plain()).collect(),
            other => panic!("expected a list, found {other}"),
        })
        .collect()
}

#[test]
fn every_listing_of_the_guide_is_what_it_says() {
    let folder = std::env::temp_dir().join(format!("tracewell-guide-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut n_files, mut n_commands, mut n_outputs) = (0, 0, 0);
    for entry in std::fs::read_dir(guide()).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        let mut updated = page.clone();
        let mut before: Option<String> = None;
        for listing in listings(&page) {
            let place = format!("{}:{}", path.display(), listing.line);
            let Listing { language, text, .. } = &listing;
            match (language.as_str(), text.lines().next()) {
                ("yaml", Some("# docker-compose.yml")) => {
                    for words in commands(&yaml::parse(text).unwrap()) {
                        let words = ["tracewell".to_owned()].into_iter().chain(words);
                        let arguments = Arguments::try_parse_from(legacy_flags::rewrite(words))
                            .unwrap_or_else(|error| panic!("{place}: {error}"));
                        let mut source = arguments.serve.source();
                        source.file = None;
                        let findings = source.load().findings;
                        assert!(findings.errors.is_empty(), "{place}: {findings}");
                        n_commands += 1;
                    }
                }
                ("yaml", Some(first @ ("# overrides.yaml" | "# tokens.yaml"))) => {
                    assert_eq!(check_beside(first, &path, text), "", "{place}");
                    n_files += 1;
                }
                ("yaml", Some(first)) => {
                    let name = first.trim_start_matches("# ");
                    assert!(
                        ["tempo.yaml", "tracewell.yaml"].contains(&name),
                        "{place}: name the file in the first line, such as `# tempo.yaml`"
                    );
                    let (printed, passes) = check(&folder, name, text);
                    assert!(passes, "{place}: {printed}");
                    let is_own = name == "tracewell.yaml";
                    assert!(
                        !is_own || !printed.contains("warning"),
                        "{place}: {printed}"
                    );
                    before = Some(printed);
                    n_files += 1;
                }
                ("console", Some(_)) => {
                    assert!(text.starts_with(CHECK), "{place}: expected {CHECK}");
                    let printed = before.take().expect("a file stands before its check");
                    let expected = format!("{CHECK}{printed}");
                    if std::env::var_os("UPDATE_GOLDEN").is_some() {
                        let fenced = |text: &str| format!("```console\n{text}```\n");
                        updated = updated.replacen(&fenced(text), &fenced(&expected), 1);
                    } else {
                        assert_eq!(*text, expected, "{place}");
                    }
                    n_outputs += 1;
                }
                _ => panic!("{place}: a listing of {language:?} is checked by nobody"),
            }
        }
        if updated != page {
            std::fs::write(&path, updated).unwrap();
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        n_files >= 4 && n_commands >= 1 && n_outputs >= 2,
        "found {n_files} files, {n_commands} commands, {n_outputs} outputs"
    );
}
