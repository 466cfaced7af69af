//! Files of Tempo's as people have them, and twenty and more that are broken: what checking them prints
//! is kept beside them, and rewritten with `UPDATE_GOLDEN=1`.

use std::path::{Path, PathBuf};

use super::{known, protection};
use crate::config::load::{Loaded, Source};
use crate::config::reference;
use crate::config::verdict::Verdict;
use crate::config::yaml::{self, Node, Value};

/// Where the files lie, relative to the repository.
const FIXTURES: &str = "tests/fixtures";
/// What a broken file is expected to give stands at its end, behind this.
const EXPECTED: &str = "#> ";
/// Words of which one is in each error: it says what to do.
const REMEDIES: [&str; 14] = [
    "did you mean",
    "expected",
    "go together",
    "look at this line",
    "name a file",
    "needs its own",
    "put ",
    "such as",
    "take the key out",
    "there are",
    "use --set",
    "write ",
    "is missing",
    "is a dollar",
];
/// A key that ends so says where something listens, lies or goes.
const PLACES: [&str; 8] = [
    "address", "addr", "endpoint", "host", "path", "port", "url", "members",
];
/// In a broken file, the line that is wrong.
const HERE: &str = "# here";

/// Files with an outcome beside them.
const FILES: [&str; 10] = [
    "howto-tempo",
    "tempo-2",
    "tempo-2-s3",
    "tempo/howto-s3",
    "tempo/howto-sampling",
    "tempo/howto-correlation",
    "tempo/legacy-overrides",
    "tempo/tenants",
    "tempo/tempo-3",
    "tempo/written-out",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(FIXTURES)
}

fn load(file: &Path) -> Loaded {
    let source = Source {
        file: Some(file.to_path_buf()),
        expand_env: true,
        ..Source::default()
    };
    source.load()
}

/// The text without the folder in which the file lies.
fn local(text: &str, file: &Path) -> String {
    let folder = file.parent().unwrap().display().to_string();
    text.replace(&format!("{folder}/"), "")
}

fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Everything that is checked, warned of and used.
fn outcome(file: &Path) -> String {
    let loaded = load(file);
    let code = |strict| i32::from(!Verdict::of(&loaded, strict).passes());
    let text = format!(
        "# -config.verify exits with {}, with --strict {}\n{}\n# what is used of the file\n{}",
        code(false),
        code(true),
        Verdict::of(&loaded, false),
        reference::print_written(&loaded.config, &loaded.raw),
    );
    local(&text, file)
}

#[test]
fn files_as_people_have_them_start_and_say_what_becomes_of_them() {
    for name in FILES {
        let file = fixtures().join(format!("{name}.yaml"));
        let golden = file.with_extension("golden");
        let outcome = outcome(&file);
        if updates() {
            std::fs::write(&golden, &outcome).unwrap();
        }
        let kept = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            kept, outcome,
            "{name}: UPDATE_GOLDEN=1 cargo test -p tracewell-cli --bins golden"
        );
        assert!(
            outcome.starts_with("# -config.verify exits with 0, with --strict 1"),
            "{name}: {outcome}"
        );
        assert!(!outcome.contains("hunter2"), "{name} tells a password");
        every_place_is_used_or_named(name, &file, &outcome);
    }
    // A file that is there and not named here would be checked by nobody.
    let lies = std::fs::read_dir(fixtures().join("tempo")).unwrap();
    for entry in lies {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "yaml") {
            let name = format!("tempo/{}", path.file_stem().unwrap().to_str().unwrap());
            assert!(FILES.contains(&name.as_str()), "{name} is not in FILES");
        }
    }
}

/// Each port, folder and URL of a file is among what is used of it, or in a warning.
fn every_place_is_used_or_named(name: &str, file: &Path, outcome: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let text = crate::config::tempo::expand(&text, &|_| None).unwrap();
    let mut places = Vec::new();
    collect_places("", &yaml::parse(&text).unwrap(), &mut places);
    assert!(!places.is_empty(), "{name} names no place");
    for (key, value) in places {
        // Credentials of a URL are not repeated.
        let shown = match value.split_once('@') {
            Some((_, host)) => host,
            None => value.as_str(),
        };
        assert!(
            outcome.contains(shown),
            "{name}: {key}: {value} is neither used nor named in\n{outcome}"
        );
    }
}

fn collect_places(path: &str, node: &Node, places: &mut Vec<(String, String)>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, child) in entries {
                collect_places(&known::joined(path, &key.name), child, places);
            }
        }
        Value::List(items) => {
            for item in items {
                collect_places(path, item, places);
            }
        }
        value => {
            let word = path.rsplit(['.', '_']).next().unwrap_or_default();
            if PLACES.contains(&word) && !protection::is_off(value) {
                places.push((path.to_owned(), value.plain()));
            }
        }
    }
}

#[test]
fn broken_files_are_refused_with_line_key_and_remedy() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures().join("tempo/broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "only {} files", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let end = text.find(EXPECTED).unwrap_or(text.len());
        let (input, expected) = text.split_at(end);
        let loaded = load(&file);
        let verdict = Verdict::of(&loaded, false);
        assert!(!verdict.passes(), "{name} passes");
        let lines = local(&loaded.findings.to_string(), &file);
        let found: String = lines
            .lines()
            .map(|line| format!("{EXPECTED}{line}\n"))
            .collect();
        if updates() {
            std::fs::write(&file, format!("{input}{found}")).unwrap();
        } else {
            assert_eq!(expected, found, "{name}");
        }
        for error in loaded.findings.errors.iter().map(ToString::to_string) {
            let has_remedy = REMEDIES.iter().any(|words| error.contains(words));
            assert!(has_remedy, "{name}: what is to be done? {error}");
        }
        let here = 1 + input.lines().position(|line| line.ends_with(HERE)).unwrap();
        let place = format!("error: {name}:{here}: ");
        assert!(found.contains(&place), "{name}: {place} is not in\n{found}");
    }
}
