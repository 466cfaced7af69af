//! The files of `deploy/`: what they name of the binary it has. Flags and keys are parsed as the binary does, ports and
//! folders are those that it takes by default, paths are routes of the API.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::Config;
use super::guide::commands;
use super::load::Source;
use super::verdict::Verdict;
use super::yaml::{self, Node, Value};
use crate::arguments::{Arguments, Command};
use crate::legacy_flags;

/// Every file that there is, so that none is added without a check.
const FILES: [&str; 7] = [
    "Containerfile",
    "compose.monitoring.yaml",
    "compose.yaml",
    "grafana/datasources.yaml",
    "kubernetes/tracewell.yaml",
    "prometheus.yaml",
    "tracewell.service",
];
/// Where the API has its routes.
const ROUTES: &str = "crates/server/src/routes.rs";
/// Ports of others in the compose files.
const OF_OTHERS: [(&str, u64); 2] = [("prometheus", 9090), ("grafana", 3000)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text_of(name: &str) -> String {
    let path = root().join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml_of(name: &str) -> Node {
    yaml::parse(&text_of(name)).unwrap()
}

/// What lies at a path of keys, and numbers of items.
fn at<'a>(node: &'a Node, path: &str) -> &'a Node {
    path.split('.').fold(node, |node, key| match &node.value {
        Value::List(items) => &items[key.parse::<usize>().unwrap()],
        _ => node
            .get(key)
            .unwrap_or_else(|| panic!("no {key} of {path}")),
    })
}

fn text(node: &Node, path: &str) -> String {
    at(node, path).value.plain()
}

fn list(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(items) => items.iter().collect(),
        other => panic!("expected a list, found {other}"),
    }
}

fn words(node: &Node) -> Vec<String> {
    list(node).iter().map(|word| word.value.plain()).collect()
}

/// Query API, OTLP over gRPC, OTLP over HTTP.
fn ports() -> [u64; 3] {
    let listen = Config::default().listen;
    [&listen.http, &listen.otlp_grpc, &listen.otlp_http]
        .map(|endpoint| u64::from(endpoint.address("host").unwrap().1))
}

/// A command line as the binary takes it; what it says of the configuration, a file of which lies elsewhere.
fn parsed(place: &str, words: &[String]) -> (Arguments, Option<PathBuf>) {
    let all = ["tracewell".to_owned()].into_iter().chain(words.to_vec());
    let arguments = Arguments::try_parse_from(legacy_flags::rewrite(all))
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut source = arguments.serve.source();
    let file = source.file.take();
    let findings = source.load().findings;
    assert!(findings.errors.is_empty(), "{place}: {findings}");
    (arguments, file)
}

fn is_route(path: &str) {
    let routes = std::fs::read_to_string(root().join(ROUTES)).unwrap();
    let quoted = format!("\"{path}\"");
    assert!(routes.contains(&quoted), "{path} is no route of the API");
}

/// The lines of the last stage of the Containerfile that begin with a word, without it.
fn image(word: &str) -> Vec<String> {
    let text = text_of("Containerfile").replace("\\\n", "");
    let stage = text.rsplit("\nFROM ").next().unwrap().to_owned();
    let lines = stage.lines();
    let found = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    found.map(|text| text.trim().to_owned()).collect()
}

fn of_json(text: &str) -> Vec<String> {
    words(&yaml::parse(text).unwrap())
}

#[test]
fn every_file_is_checked_here() {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(root().join("deploy")).unwrap();
                    found.insert(name.display().to_string());
                }
            }
        }
    }
    assert_eq!(found, FILES.map(str::to_owned).into());
}

#[test]
fn the_image_runs_what_the_binary_takes() {
    let entry_point = of_json(&image("ENTRYPOINT")[0]);
    let (binary, flags) = entry_point.split_first().unwrap();
    assert_eq!(binary, "/tracewell");
    parsed("ENTRYPOINT", flags);
    let health = image("HEALTHCHECK");
    let (_, health) = health[0].split_once("CMD ").unwrap();
    let (arguments, _) = parsed("HEALTHCHECK", &of_json(health)[1..]);
    assert!(matches!(arguments.command, Some(Command::Ready(_))));
    let exposed = image("EXPOSE");
    let exposed: Vec<u64> = exposed[0]
        .split(' ')
        .map(|it| it.parse().unwrap())
        .collect();
    assert_eq!(exposed, ports());
    // The default folder, see `default_data_dir`.
    let environment = image("ENV");
    let state = environment[0].strip_prefix("XDG_STATE_HOME=").unwrap();
    assert_eq!(image("VOLUME"), [format!("{state}/tracewell")]);
}

#[test]
fn the_unit_runs_what_the_binary_takes() {
    let text = text_of("tracewell.service");
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let commands: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .filter(|command| !command.is_empty())
        .collect();
    assert_eq!(commands.len(), 2, "the one that runs, and the example");
    for command in commands {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(words[0], "/usr/local/bin/tracewell");
        let (arguments, _) = parsed("tracewell.service", &words[1..]);
        // What is below %S is the only folder that the process may write.
        let folder = arguments.serve.data_dir.unwrap();
        let folder = folder.strip_prefix("%S").unwrap().display().to_string();
        assert!(text.contains(&format!("\nStateDirectory={folder}\n")));
    }
}

#[test]
fn the_compose_files_open_ports_that_are_there_and_mount_files_that_are() {
    let (alone, more) = (yaml_of("compose.yaml"), yaml_of("compose.monitoring.yaml"));
    for command in commands(&alone) {
        parsed("compose.yaml", &command);
    }
    let volume = image("VOLUME").remove(0);
    let mounted = words(at(&alone, "services.tracewell.volumes"));
    assert_eq!(mounted, [format!("tracewell:{volume}")]);
    let built = text(&alone, "services.tracewell.build.dockerfile");
    assert!(root().join(built).exists());
    let of_others = OF_OTHERS.map(|(name, port)| (&more, name, vec![port]));
    let all = [(&alone, "tracewell", ports().to_vec())];
    for (file, service, wanted) in all.into_iter().chain(of_others) {
        let opened = words(at(file, &format!("services.{service}.ports")));
        let opened = opened.iter().map(|port| {
            // Host, port there, port here.
            let parts: Vec<&str> = port.split(':').collect();
            assert_eq!((parts[0], parts[1]), ("127.0.0.1", parts[2]), "{port}");
            parts[2].parse().unwrap()
        });
        assert_eq!(opened.collect::<Vec<u64>>(), wanted, "{service}");
    }
    for (service, _) in OF_OTHERS {
        let volumes = words(at(&more, &format!("services.{service}.volumes")));
        let files = volumes.iter().filter(|volume| volume.starts_with("./"));
        for file in files {
            let file = file.split(':').next().unwrap();
            assert!(root().join("deploy").join(file).exists(), "{file}");
        }
    }
    for service in words(at(&more, "services.grafana.depends_on")) {
        let is_there = |file: &Node| at(file, "services").get(&service).is_some();
        assert!(is_there(&alone) || is_there(&more), "{service}");
    }
}

#[test]
fn prometheus_and_grafana_ask_where_the_services_are() {
    let scrape = yaml_of("prometheus.yaml");
    let job = at(&scrape, "scrape_configs.0");
    let path = job.get("metrics_path").map(|node| node.value.plain());
    is_route(path.as_deref().unwrap_or("/metrics"));
    let http = ports()[0];
    let targets = words(at(job, "static_configs.0.targets"));
    assert_eq!(targets, [format!("tracewell:{http}")]);
    let sources = yaml_of("grafana/datasources.yaml");
    for source in list(at(&sources, "datasources")) {
        let port = match text(source, "type").as_str() {
            "tempo" => format!("tracewell:{http}"),
            "prometheus" => "prometheus:9090".to_owned(),
            other => panic!("{other} is no source of this deployment"),
        };
        assert_eq!(text(source, "url"), format!("http://{port}"));
    }
}

#[test]
fn the_manifest_runs_what_the_binary_takes() {
    let manifest = text_of("kubernetes/tracewell.yaml");
    let parts = manifest.split("\n---\n");
    let parts: Vec<Node> = parts.map(|part| yaml::parse(part).unwrap()).collect();
    let of = |kind: &str| -> Vec<&Node> {
        let found = parts.iter().filter(|part| text(part, "kind") == kind);
        found.collect()
    };
    let set = of("StatefulSet").remove(0);
    let pod = at(set, "spec.template.spec");
    let container = at(pod, "containers.0");
    let (_, file) = parsed("kubernetes", &words(at(container, "args")));

    // The file is the one of the ConfigMap, and a server starts from it without a word.
    let config = of("ConfigMap").remove(0);
    let mounts = list(at(container, "volumeMounts"));
    let mount = |name: &str| {
        let found = mounts.iter().find(|mount| text(mount, "name") == name);
        text(found.unwrap(), "mountPath")
    };
    let file = file.unwrap();
    assert_eq!(file.parent().unwrap(), Path::new(&mount("config")));
    let named = text(pod, "volumes.0.configMap.name");
    assert_eq!(named, text(config, "metadata.name"));
    let name = file.file_name().unwrap().to_str().unwrap();
    let content = at(config, "data").get(name).unwrap().value.plain();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    std::fs::write(&copy, content).unwrap();
    let source = Source {
        file: Some(copy),
        ..Source::default()
    };
    let loaded = source.load();
    assert!(Verdict::of(&loaded, true).passes(), "{}", loaded.findings);

    // Ports, paths, the folder and the user are those of the image.
    let named: Vec<(String, u64)> = list(at(container, "ports"))
        .iter()
        .map(|port| {
            let number = text(port, "containerPort").parse().unwrap();
            (text(port, "name"), number)
        })
        .collect();
    let numbers: Vec<u64> = named.iter().map(|(_, port)| *port).collect();
    assert_eq!(numbers, ports());
    for service in of("Service") {
        for port in list(at(service, "spec.ports")) {
            let port = (text(port, "name"), text(port, "port").parse().unwrap());
            assert!(named.contains(&port), "{port:?}");
        }
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let probe = at(container, probe);
        is_route(&text(probe, "httpGet.path"));
        assert_eq!(text(probe, "httpGet.port"), named[0].0);
    }
    assert_eq!(image("VOLUME"), [mount("data")]);
    let (user, group) = ("securityContext.runAsUser", "securityContext.runAsGroup");
    let owner = format!("{}:{}", text(pod, user), text(pod, group));
    assert_eq!(image("USER"), [owner]);
    let scraped = at(set, "spec.template.metadata.annotations");
    let port = scraped.get("prometheus.io/port").unwrap().value.plain();
    assert_eq!(port, ports()[0].to_string());
}
