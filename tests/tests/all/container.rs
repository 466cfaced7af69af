//! The layout of the container image without an engine: the static binary alone in a read-only root, as the
//! image's user, with the entry point of `deploy/Containerfile` and the command of `deploy/compose.yaml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::server::{Server, Site};
use crate::harness::{eventually, http, packages, root};
use crate::load::request;

/// Mounts the root read-only and the volume at its place, and goes on in there as another user.
const SCRIPT: &str = r#"
set -e
root=$1 volume=$2 place=$3 user=$4
shift 4
mount --bind "$root" "$root"
mount --bind "$volume" "$root$place"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" "$root" "$@"
"#;

/// What `deploy/` says.
struct Image {
    user: String,
    environment: Vec<(String, String)>,
    volume: String,
    entry_point: Vec<String>,
    command: Vec<String>,
}

// === impl Image ===

impl Image {
    fn read() -> Self {
        let file = |name: &str| std::fs::read_to_string(root().join("deploy").join(name)).unwrap();
        let (container, compose) = (file("Containerfile"), file("compose.yaml"));
        let last_stage = container.rsplit("\nFROM ").next().unwrap();
        assert!(last_stage.starts_with("scratch\n"), "{last_stage}");
        let all = |word: &str| -> Vec<String> {
            let lines = last_stage.lines();
            let found = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            found.map(|text| text.trim().to_owned()).collect()
        };
        let one = |word: &str| {
            let found = all(word);
            assert_eq!(found.len(), 1, "{word}: {found:?}");
            found[0].clone()
        };
        let list = |text: &str| -> Vec<String> { serde_json::from_str(text).unwrap() };
        let command = compose
            .lines()
            .find_map(|line| line.trim().strip_prefix("command: "));
        let environment = all("ENV").into_iter().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        assert!(compose.contains("\n    read_only: true\n"), "{compose}");
        assert!(
            !compose.contains("environment:"),
            "not passed on by this test"
        );
        Self {
            user: one("USER"),
            environment: environment.collect(),
            volume: one("VOLUME"),
            entry_point: list(&one("ENTRYPOINT")),
            command: list(command.unwrap()),
        }
    }
}

/// A root file system of its own.
struct Container {
    image: Image,
    site: Site,
    root: PathBuf,
    volume: PathBuf,
}

// === impl Container ===

impl Container {
    fn new() -> Self {
        let image = Image::read();
        let site = Site::new();
        let (root, volume) = (site.folder().join("root"), site.folder().join("volume"));
        std::fs::create_dir_all(root.join(image.volume.trim_start_matches('/'))).unwrap();
        std::fs::create_dir(&volume).unwrap();
        std::fs::copy(packages::static_binary(), root.join("tracewell")).unwrap();
        // The image's user must come in.
        for folder in [site.folder(), &root] {
            allow(folder, 0o755);
        }
        Self {
            image,
            site,
            root,
            volume,
        }
    }

    /// A command in there with these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SCRIPT, "sh"])
            .arg(&self.root)
            .arg(&self.volume)
            .args([&self.image.volume, &self.image.user])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            // What engines set for a user without an entry.
            .env("HOME", "/")
            .envs(
                self.image
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        command
    }

    fn arguments(&self) -> Vec<String> {
        let Image {
            entry_point,
            command,
            ..
        } = &self.image;
        let mut arguments = [&entry_point[..], &command[..]].concat();
        // Ports of the test's own, on loopback: others listen on the image's.
        for (key, port) in [
            ("http", self.site.http),
            ("otlp_grpc", self.site.otlp_grpc),
            ("otlp_http", self.site.otlp_http),
        ] {
            arguments.push("--set".to_owned());
            arguments.push(format!("listen.{key}=127.0.0.1:{port}"));
        }
        arguments
    }

    fn start(&self) -> Server {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.site.start_command(self.command(&arguments))
    }
}

fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives the volume to the image's user, as an engine does with a new one.
fn give(container: &Container) {
    let status = Command::new("chown")
        .arg(&container.image.user)
        .arg(&container.volume)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn the_binary_alone_in_a_read_only_root_keeps_what_it_is_sent() {
    let container = Container::new();
    give(&container);
    let server = container.start();
    let (id, body) = request(80, 0, 0);
    let protobuf = "application/x-protobuf";
    let answer = http::post(container.site.otlp_http, "/v1/traces", protobuf, &body);
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(server.get("/flush").status / 100, 2);
    let config = server.get("/status/config").text();
    assert!(
        config.contains("age: 168h"),
        "the compose file's command: {config}"
    );
    // The image's health check.
    let url = format!("http://127.0.0.1:{}", container.site.http);
    let health = container
        .command(&["/tracewell", "ready", "--server", &url])
        .status();
    assert!(health.unwrap().success());
    assert!(server.stop().success(), "a container is stopped by SIGTERM");

    let server = container.start();
    eventually("the trace is there after a restart", || {
        let answer = server.get(&format!("/api/traces/{id}"));
        match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}\n{}", server.log())),
        }
    });
    drop(server);
    let kept = container.volume.join("wal");
    assert!(kept.is_dir(), "{}", kept.display());
    let names: Vec<_> = std::fs::read_dir(&container.root).unwrap().collect();
    assert_eq!(
        names.len(),
        2,
        "nothing was written beside the volume: {names:?}"
    );
}

#[test]
fn a_volume_of_root_gets_a_sentence_with_the_command_to_run() {
    let container = Container::new();
    let arguments = container.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = container.command(&arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let expected = format!(
        "chown -R {} {}",
        container.image.user, container.image.volume
    );
    assert!(told.contains(&expected), "{told}");
}
