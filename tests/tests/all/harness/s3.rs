//! Real S3 servers, each with an empty bucket. SeaweedFS comes as a package of Python, versitygw as a
//! module of Go.

use std::path::PathBuf;
use std::process::{Child, Command};

use super::object_server::{BUCKET, ObjectServer};
use super::{eventually, packages, ports, process, root};

pub(crate) const ACCESS_KEY: &str = "tracewell-key";
pub(crate) const SECRET_KEY: &str = "tracewell-secret";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    SeaweedFs,
    Versity,
}

/// A server over a folder of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct S3 {
    kind: Kind,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

// === impl S3 ===

impl S3 {
    pub(crate) fn start(kind: Kind) -> Self {
        // Installed before any patience begins.
        packages::python();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            kind,
            folder,
            port: ports::free(),
            process: None,
        };
        server.resume();
        eventually("the bucket is there", || server.client(&["make"]));
        // SeaweedFS answers before it can store.
        eventually("the bucket takes objects", || {
            server.client(&["put", "some/other/object", "not ours"])
        });
        server
    }

    fn seaweed(&self) -> Command {
        let identities = serde_json::json!({"identities": [{
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        let path = self.folder.path().join("s3.json");
        std::fs::write(&path, identities.to_string()).unwrap();
        let mut command = Command::new(packages::python().join("weed"));
        let [master, volume, filer] = [ports::free(), ports::free(), ports::free()];
        let [master_grpc, volume_grpc, filer_grpc, s3_grpc] =
            [ports::free(), ports::free(), ports::free(), ports::free()];
        command.args([
            "-logtostderr=true",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
        ]);
        for (name, value) in [
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("s3.port", self.port),
            ("s3.port.grpc", s3_grpc),
            ("s3.port.iceberg", 0),
            ("s3.port.lance", 0),
        ] {
            command.arg(format!("-{name}={value}"));
        }
        command
            .args([
                "-filer",
                "-s3",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=50",
            ])
            .args(["-master.electionTimeout=1s", "-master.telemetry=false"])
            .args([
                "-volume.preStopSeconds=0",
                "-master.volumePreallocate=false",
            ])
            .arg(format!("-dir={}", self.data().display()))
            .arg(format!("-s3.config={}", path.display()));
        command
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where versitygw keeps the objects of the bucket, as files.
    pub(crate) fn objects(&self) -> PathBuf {
        assert_eq!(self.kind, Kind::Versity);
        self.data().join(BUCKET)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The settings of a Tracewell where another endpoint leads here.
    pub(crate) fn settings_by(&self, endpoint: &str) -> Vec<String> {
        [
            "bucket.kind=s3".to_owned(),
            format!("bucket.name={BUCKET}"),
            "bucket.prefix=team/tempo".to_owned(),
            format!("bucket.endpoint={endpoint}"),
            "bucket.insecure=true".to_owned(),
            format!("bucket.access_key={ACCESS_KEY}"),
            format!("bucket.secret_key={SECRET_KEY}"),
        ]
        .into()
    }

    /// Runs `s3.py`; what it printed, or what went wrong.
    fn client(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(packages::python().join("python"))
            .arg(root().join("tests/python/s3.py"))
            .args([&self.endpoint(), ACCESS_KEY, SECRET_KEY, BUCKET])
            .args(arguments)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl ObjectServer for S3 {
    fn settings(&self) -> Vec<String> {
        self.settings_by(&self.endpoint())
    }

    fn keys(&self) -> Vec<String> {
        let listed = self.client(&["list"]).unwrap();
        listed.lines().map(str::to_owned).collect()
    }

    fn put(&self, key: &str, text: &str) {
        self.client(&["put", key, text]).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    fn resume(&mut self) {
        let data = self.data();
        std::fs::create_dir_all(&data).unwrap();
        let mut command = match self.kind {
            Kind::Versity => {
                let mut command = Command::new(versitygw());
                command
                    .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                    .env("ROOT_SECRET_KEY", SECRET_KEY)
                    .args(["--port", &format!("127.0.0.1:{}", self.port)])
                    .args(["--quiet", "--keep-alive", "posix"])
                    .arg(&data);
                command
            }
            Kind::SeaweedFs => self.seaweed(),
        };
        let log = self.folder.path().join("log");
        self.process = Some(process::spawn_with_log(&mut command, &log));
        eventually("the S3 server answers", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())
        });
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Built once from its module.
fn versitygw() -> PathBuf {
    packages::go("github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
}
