//! The server that is measured: one of our own, or one that runs already.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::arguments::Bench;
use crate::client::Client;
use crate::demo::traffic::{Pace, Traffic};
use crate::send::{Endpoint, Sender};

/// A server and how to look at its process.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) otlp: Endpoint,
    pub(super) api: String,
    /// Seconds from exec to the first acknowledged span.
    pub(super) cold_start: Option<f64>,
    pid: Option<u32>,
    /// What counts as data at rest.
    data: Option<PathBuf>,
    own: Option<Own>,
}

/// A server that was started here.
#[derive(Debug)]
struct Own {
    child: Child,
    /// What it was started with.
    arguments: Vec<OsString>,
    folder: PathBuf,
    keep: bool,
}

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(10);
/// The server is at rest when it used less than so many CPU-seconds in a pause.
const QUIET_PAUSE: Duration = Duration::from_secs(2);
const QUIET_CPU_SECONDS: f64 = 0.06;
/// Pauses in a row that must be quiet: merging may wait for a moment between two steps.
const QUIET_PAUSES: u32 = 3;

// === impl Target ===

impl Target {
    pub(super) async fn running(arguments: &Bench) -> Result<Self> {
        let otlp = endpoint(arguments.otlp.as_deref().unwrap_or_default(), arguments)?;
        otlp.reach("--otlp").await?;
        Ok(Self {
            otlp,
            api: arguments.api.clone().unwrap_or_default(),
            cold_start: None,
            pid: arguments.pid,
            data: arguments.data.clone(),
            own: None,
        })
    }

    /// Starts this program as a server with an empty folder, and times its first acknowledged span.
    pub(super) async fn start(arguments: &Bench, settings: &[String]) -> Result<Self> {
        let start = Instant::now();
        let mut target = Self::launch(arguments, settings)?;
        target.cold_start = Some(target.first_span(start).await?);
        Ok(target)
    }

    /// The same for one that is asked and takes no spans; with a connection to it.
    pub(super) async fn start_reader(
        arguments: &Bench,
        settings: &[String],
    ) -> Result<(Self, Client)> {
        let mut target = Self::launch(arguments, settings)?;
        let client = target.ready(arguments).await?;
        Ok((target, client))
    }

    /// Ends our own server and starts it on what it stored, of which nothing is in memory. `None` for a server that
    /// is not ours.
    pub(super) async fn start_again(&mut self, arguments: &Bench) -> Result<Option<Client>> {
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        own.terminate().await?;
        for_each_file(&own.folder, &mut |path, _| leave_memory(path))?;
        own.child = spawn(&own.arguments, &own.folder)?;
        self.pid = Some(own.child.id());
        Ok(Some(self.ready(arguments).await?))
    }

    /// A connection to a server that was just started.
    async fn ready(&mut self, arguments: &Bench) -> Result<Client> {
        let mut client = Client::new(&self.api, arguments.tenant.as_ref())?;
        let start = Instant::now();
        loop {
            self.lives()?;
            // Nothing listens at first.
            if let Ok(answer) = client.get("/ready", &[]).await
                && answer.status == 200
            {
                return Ok(client);
            }
            if start.elapsed() > START_MAX {
                bail!("the server was not ready within {START_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn launch(arguments: &Bench, settings: &[String]) -> Result<Self> {
        static LAUNCHED: AtomicU32 = AtomicU32::new(0);
        let number = LAUNCHED.fetch_add(1, Ordering::Relaxed);
        let name = format!("tracewell-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let [http, grpc, otlp_http] = free_ports()?;
        let ports = [
            format!("listen.http={http}"),
            format!("listen.otlp_grpc={grpc}"),
            format!("listen.otlp_http={otlp_http}"),
            format!("tenants.enabled={}", arguments.tenant.is_some()),
        ];
        let mut of_server: Vec<OsString> = vec![
            "serve".into(),
            "--data-dir".into(),
            folder.join("data").into(),
            "--listen-host".into(),
            "127.0.0.1".into(),
        ];
        for setting in settings.iter().chain(&ports) {
            of_server.extend(["--set".into(), setting.into()]);
        }
        let child = spawn(&of_server, &folder)?;
        Ok(Self {
            otlp: endpoint(&format!("grpc://127.0.0.1:{grpc}"), arguments)?,
            api: format!("http://127.0.0.1:{http}"),
            cold_start: None,
            pid: Some(child.id()),
            data: Some(folder.join("data").join("blocks")),
            own: Some(Own {
                child,
                arguments: of_server,
                folder,
                keep: arguments.keep,
            }),
        })
    }

    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Tries as often as it can until one span is acknowledged.
    async fn first_span(&mut self, start: Instant) -> Result<f64> {
        let mut traffic = Traffic::new(u64::MAX, 1, 1);
        traffic.visit(crate::clock::now(), Pace::Bulk);
        traffic.release(u64::MAX);
        traffic.flush();
        let request = traffic.pop().context("the demo makes no spans")?;
        loop {
            self.lives()?;
            let connected = tokio::net::TcpStream::connect(&self.otlp.authority).await;
            if connected.is_ok() {
                let mut sender = Sender::new(self.otlp.clone());
                sender.send(&request).await;
                if sender.into_report().n_spans > 0 {
                    return Ok(start.elapsed().as_secs_f64());
                }
            }
            if start.elapsed() > START_MAX {
                bail!("the server took no span within {START_MAX:?}");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    fn lives(&mut self) -> Result<()> {
        if let Some(own) = &mut self.own
            && let Some(status) = own.child.try_wait()?
        {
            let log = std::fs::read_to_string(own.folder.join("log")).unwrap_or_default();
            bail!("the server ended with {status}:\n{log}");
        }
        Ok(())
    }

    /// Waits until the process does nothing any more; false if it still does.
    pub(super) async fn rest(&self, within: Duration) -> Result<bool> {
        let start = Instant::now();
        let mut n_quiet = 0;
        while n_quiet < QUIET_PAUSES {
            let before = (self.cpu_seconds()?, self.bytes_on_disk()?);
            tokio::time::sleep(QUIET_PAUSE).await;
            let after = (self.cpu_seconds()?, self.bytes_on_disk()?);
            let idle = match (before.0, after.0) {
                (Some(before), Some(after)) => after - before < QUIET_CPU_SECONDS,
                _ => true,
            };
            n_quiet = if idle && before.1 == after.1 {
                n_quiet + 1
            } else {
                0
            };
            if start.elapsed() > within {
                eprintln!("the server is still busy after {within:?}; going on");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// User and system time of the process.
    pub(super) fn cpu_seconds(&self) -> Result<Option<f64>> {
        let Some(pid) = self.pid else {
            return Ok(None);
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        // The command may hold blanks; the fields after its bracket do not.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, fields)| fields)
            .split_ascii_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
        };
        let total = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
        Ok(total.map(|ticks| ticks / rustix::param::clock_ticks_per_second() as f64))
    }

    pub(super) fn resident(&self) -> Result<Option<u64>> {
        self.status("VmRSS:")
    }

    pub(super) fn peak(&self) -> Result<Option<u64>> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<Option<u64>> {
        let Some(pid) = self.pid else {
            return Ok(None);
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} is gone"))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        Ok(kilobytes.map(|kilobytes| kilobytes * 1_024))
    }

    pub(super) fn bytes_on_disk(&self) -> Result<Option<u64>> {
        self.data.as_deref().map(folder_bytes).transpose()
    }

    /// Ends our own server and takes its folder away.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let Some(mut own) = self.own.take() else {
            return Ok(());
        };
        own.terminate().await?;
        own.end()
    }
}

// === impl Own ===

impl Own {
    async fn terminate(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() && start.elapsed() < STOP_MAX {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()
    }

    /// Does nothing if it has ended.
    fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.kill()?;
        if self.keep {
            eprintln!("kept {}", self.folder.display());
        } else {
            std::fs::remove_dir_all(&self.folder)
                .with_context(|| self.folder.display().to_string())?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own
            && let Err(error) = own.end()
        {
            eprintln!("the measured server could not be cleaned up: {error:#}");
        }
    }
}

/// This program with these arguments; its log lies in the folder.
fn spawn(arguments: &[OsString], folder: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut options = File::options();
    let log = options
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .context("opening the log")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting a server")
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for_each_file(folder, &mut |_, n_bytes| {
        bytes += n_bytes;
        Ok(())
    })?;
    Ok(bytes)
}

/// All files below a folder with their sizes; files may come and go meanwhile.
fn for_each_file(folder: &Path, visit: &mut dyn FnMut(&Path, u64) -> Result<()>) -> Result<()> {
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => visit(&entry.path(), metadata.len())?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| entry.path().display().to_string());
                }
            }
        }
    }
    Ok(())
}

/// Asks the system to hold nothing of a file in memory any more. Its pages are clean: what is stored was synced.
fn leave_memory(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .with_context(|| path.display().to_string())
}

/// Where the spans go, and as whose.
fn endpoint(url: &str, arguments: &Bench) -> Result<Endpoint> {
    let mut endpoint: Endpoint = url.parse()?;
    endpoint.tenant.clone_from(&arguments.tenant);
    Ok(endpoint)
}

/// Ports that nobody uses at the moment.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("finding a port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
