//! The command line. Every command teaches by example in its `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracewell_model::TenantId;

use crate::client::Client;
use crate::config::load::Source;
use crate::config::reference;
use crate::version;

/// Distributed tracing in one binary: receives OpenTelemetry spans, keeps them durably, answers
/// TraceQL.
#[derive(Debug, Parser)]
#[command(
    name = "tracewell",
    version = version::LONG,
    args_conflicts_with_subcommands = true,
    after_help = ROOT_EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

const ROOT_EXAMPLES: &str = "\
Examples:
  tracewell                                start the server; same as `tracewell serve`
  tracewell --demo                         the same with demo traffic, to look around
  tracewell -config.file=tempo.yaml        start from a configuration of Tempo's
  tracewell query '{ status = error }'     search on a running server
  tracewell trace 4bf92f3577b34da6a3ce929d0e0e4736

Send spans to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318/v1/traces; query on http://127.0.0.1:3200.
Exit codes: 0 it worked, also where a search finds nothing; 1 it failed, what was checked is wrong, or the
trace or block that was named is not there; 2 wrong arguments or configuration.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server (the default).
    #[command(after_help = SERVE_EXAMPLES, after_long_help = serve_long_help())]
    Serve(Serve),
    /// Send the traffic of a made-up shop: live, or as fast as possible.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Search traces with TraceQL on a running server.
    #[command(after_help = QUERY_EXAMPLES)]
    Query(Query),
    /// Show one trace as a waterfall.
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(Trace),
    /// List attribute names, or the values of one.
    #[command(after_help = TAGS_EXAMPLES)]
    Tags(Tags),
    /// Ask a running server whether it is ready: exit 0 if it is, 1 if not.
    #[command(after_help = READY_EXAMPLES)]
    Ready(Ready),
    /// Write traces of a running server to a file, as OTLP JSON lines.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Send OTLP JSON lines to a server.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Measure this machine: ingest, queries, memory, disk.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Bench),
    /// Show, check or explain the configuration.
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(Config),
    /// Look into the files of a block.
    Block(Block),
    /// Write a completion script for a shell to standard output.
    #[command(
        after_help = "Example:\n  tracewell completions bash > /etc/bash_completion.d/tracewell"
    )]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Serve {
    /// Configuration file: Tracewell's own or Tempo's.
    #[arg(long, value_name = "FILE", overrides_with = "config")]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this host where no address is written (key listen.host).
    #[arg(long, value_name = "HOST")]
    pub(crate) listen_host: Option<String>,
    /// Keep everything in this folder (key storage.path).
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Set any key of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Send demo traffic to itself: so many traces a second.
    #[arg(long, value_name = "TRACES/S", num_args = 0..=1, default_missing_value = "5")]
    pub(crate) demo: Option<f64>,
    /// Check the configuration and exit: 0 if the server would start, 1 if not.
    #[arg(long, overrides_with = "verify")]
    pub(crate) verify: bool,
    /// With --verify: a warning is an error, too.
    #[arg(long, requires = "verify")]
    pub(crate) strict: bool,
    /// Replace ${NAME} in the configuration file by the environment.
    #[arg(long, overrides_with = "expand_env")]
    pub(crate) expand_env: bool,
    /// A flag of Tempo's; see `legacy_flags`.
    #[arg(long = "tempo-flag", value_name = "KEY=VALUE", hide = true)]
    pub(crate) tempo_flags: Vec<String>,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  tracewell serve --data-dir ./traces --set retention.age=72h
  tracewell serve --listen-host 0.0.0.0
  tracewell serve --config tracewell.yaml --verify
  tracewell -config.file=tempo.yaml -config.expand-env
  tracewell -config.file=tempo.yaml -verify-config --strict

`--help` lists all keys.";

fn serve_long_help() -> String {
    format!("{SERVE_EXAMPLES}\n\n{}", reference::help())
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Where to send: grpc://host:port, or http://host:port/v1/traces.
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:4317")]
    pub(crate) endpoint: String,
    /// Send as this tenant, where the server has tenants (header X-Scope-OrgID).
    #[arg(long, value_name = "ID", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Send so many spans as fast as possible, then stop. Without it: live traffic until ctrl-c.
    #[arg(long, value_name = "N")]
    pub(crate) spans: Option<u64>,
    /// Traces a second of live traffic.
    #[arg(
        long,
        value_name = "TRACES/S",
        default_value_t = 5.0,
        conflicts_with = "spans"
    )]
    pub(crate) rate: f64,
    /// Connections that send --spans at the same time; live traffic takes one.
    #[arg(long, value_name = "N", default_value_t = 4, requires = "spans")]
    pub(crate) connections: usize,
    /// Spans of --spans in one request.
    #[arg(long, value_name = "SPANS", default_value_t = 512, requires = "spans")]
    pub(crate) batch: usize,
    /// The same seed and time make the same traffic.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// When the newest trace of --spans starts, in Unix seconds; now if it is not given.
    #[arg(long, value_name = "SECONDS", requires = "spans")]
    pub(crate) until: Option<u64>,
    /// Over how much time before that the traces of --spans are spread.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1h",
        requires = "spans"
    )]
    pub(crate) spread: String,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  tracewell demo                               live traffic to 127.0.0.1:4317
  tracewell demo --rate 50 --endpoint http://127.0.0.1:4318/v1/traces
  tracewell demo --spans 1000000               a million spans, as fast as the server acknowledges them
  tracewell demo --spans 10000 --seed 7 --until 1767225600   the same spans every time";

#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    /// Which traces: TraceQL. A trace that matches is exported whole.
    #[arg(value_name = "TRACEQL", default_value = "{ }")]
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) window: Window,
    /// Write to this file, and go on with it if an export was stopped. Without it: standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Begin the file anew, whatever is there.
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// Take answers that miss something; without it they end the export.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// The server to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3200")]
    pub(crate) server: String,
    /// Ask as this tenant, where the server has tenants (header X-Scope-OrgID).
    #[arg(long, value_name = "ID", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Traces that are fetched at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) connections: usize,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  tracewell export --since 24h -o traces.jsonl                 everything of a day
  tracewell export '{ status = error }' --since 1h | head -1   on standard output, a trace a line
  tracewell export --start 2026-01-01 --end 2026-02-01 -o january.jsonl

The last hour is exported where no time is given. A trace is exported if it has a span in that time. What was
stopped goes on when the same command is given again: how far it is stands in FILE.resume.
`tracewell import`, and every OTLP receiver of JSON lines, reads the file.";

#[derive(Debug, Clone, Args)]
pub(crate) struct Import {
    /// Files of OTLP JSON lines; - is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to send: grpc://host:port, or http://host:port/v1/traces.
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:4317")]
    pub(crate) endpoint: String,
    /// Send as this tenant, where the server has tenants (header X-Scope-OrgID).
    #[arg(long, value_name = "ID", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Connections that send at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) connections: usize,
    /// Spans in one request.
    #[arg(long, value_name = "SPANS", default_value_t = 1_000)]
    pub(crate) batch: usize,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  tracewell import traces.jsonl
  tracewell import --endpoint http://127.0.0.1:4318 a.jsonl b.jsonl
  zstd -dc traces.jsonl.zst | tracewell import -

A line is an OTLP request as JSON, as `tracewell export` and the file exporter of a Collector write it. What is
there already is not there twice: an import that was stopped can be run again. Exit code 1 if a line or a span
was left out or refused.";

/// Which server to ask.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// The server to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3200")]
    pub(crate) server: String,
    /// Ask as this tenant, where the server has tenants (header X-Scope-OrgID).
    #[arg(long, value_name = "ID", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Print what the server answered, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which time to look at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Window {
    /// Look back so far from now.
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["start", "end"])]
    pub(crate) since: Option<String>,
    /// From this time on: Unix seconds, '2026-01-31 12:00:00Z' or 2026-01-31; UTC without a zone.
    #[arg(long, value_name = "TIME", requires = "end")]
    pub(crate) start: Option<String>,
    /// Up to this time; a day is its first moment.
    #[arg(long, value_name = "TIME", requires = "start")]
    pub(crate) end: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Query {
    /// TraceQL.
    #[arg(value_name = "TRACEQL", default_value = "{ }")]
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) window: Window,
    /// Traces to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Length of the intervals of series: 15s, 5m.
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,
    /// Show what the query asks and of how much, and do not run it.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Run it, and show beside that what it read and ruled out, in place of its answer.
    #[arg(long)]
    pub(crate) analyze: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

const QUERY_EXAMPLES: &str = "\
Examples:
  tracewell query                                        the newest traces
  tracewell query '{ status = error }' --since 1h
  tracewell query --start '2026-01-31 12:00:00' --end '2026-01-31 12:05:00'
  tracewell query '{ resource.service.name = \"checkout\" && duration > 500ms }'
  tracewell query '{ span.http.route = \"/cart\" } && { span.db.system = \"redis\" }'
  tracewell query '{ status = error } | rate() by (resource.service.name)' --since 1h --step 1m
  tracewell query '{ .http.route = \"/cart\" }' --analyze  what it asks, reads and rules out
  tracewell query '{ status = error }' --tenant team-a   on a server with tenants
  tracewell query '{ status = error }' --json | jq -r '.traces[].traceID'";

#[derive(Debug, Clone, Args)]
pub(crate) struct Trace {
    /// The trace's id: 1 to 32 hexadecimal digits.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Show the attributes of every span.
    #[arg(long, short)]
    pub(crate) attributes: bool,
    /// Columns to use; as many as the terminal has if it is not given.
    #[arg(long, value_name = "N")]
    pub(crate) width: Option<usize>,
    /// Colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// If standard output is a terminal and NO_COLOR is not set.
    Auto,
    Always,
    Never,
}

const TRACE_EXAMPLES: &str = "\
Examples:
  tracewell trace 4bf92f3577b34da6a3ce929d0e0e4736
  tracewell trace 4bf92f3577b34da6a3ce929d0e0e4736 --attributes --width 160
  tracewell trace 4bf92f3577b34da6a3ce929d0e0e4736 --json | jq .";

#[derive(Debug, Clone, Args)]
pub(crate) struct Tags {
    /// An attribute whose values to list, such as span.http.route; all names without it.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only attributes of this kind: resource, span, event, link, instrumentation, intrinsic.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// Only what occurs in spans that match, such as '{ status = error }'.
    #[arg(long, short, value_name = "TRACEQL")]
    pub(crate) query: Option<String>,
    #[command(flatten)]
    pub(crate) window: Window,
    #[command(flatten)]
    pub(crate) server: Server,
}

const TAGS_EXAMPLES: &str = "\
Examples:
  tracewell tags
  tracewell tags resource.service.name
  tracewell tags span.http.route --query '{ status = error }'";

#[derive(Debug, Clone, Args)]
pub(crate) struct Ready {
    /// The server to ask, with the port of its query API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3200")]
    pub(crate) server: String,
}

const READY_EXAMPLES: &str = "\
Examples:
  tracewell ready
  tracewell ready --server http://10.0.0.7:3200
  tracewell -health -health.url=http://127.0.0.1:3200/ready    the same, as Tempo has it

For the health check of a container that has no shell.";

#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    /// Spans to send; a table for each of several numbers, from a server of its own each.
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1000000"
    )]
    pub(crate) spans: Vec<u64>,
    /// Measure a running server: where to send. Without it, a server of our own is started.
    #[arg(long, value_name = "URL", requires = "api")]
    pub(crate) otlp: Option<String>,
    /// Measure a running server: its Tempo API.
    #[arg(long, value_name = "URL", requires = "otlp")]
    pub(crate) api: Option<String>,
    /// Process id of the running server, for CPU time and memory.
    #[arg(long, value_name = "PID", requires = "otlp")]
    pub(crate) pid: Option<u32>,
    /// Folder of the running server's data, for bytes per span.
    #[arg(long, value_name = "DIR", requires = "otlp")]
    pub(crate) data: Option<PathBuf>,
    /// Send and ask as this tenant; our own server then has tenants.
    #[arg(long, value_name = "ID", value_parser = TenantId::new)]
    pub(crate) tenant: Option<TenantId>,
    /// Set any key of our own servers. With a bucket, queries are measured over it too, cold and warm.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "otlp")]
    pub(crate) settings: Vec<String>,
    /// Connections that send at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) connections: usize,
    /// Spans in one request.
    #[arg(long, value_name = "SPANS", default_value_t = 512)]
    pub(crate) batch: usize,
    /// Times that every query is asked.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) repeat: usize,
    /// Seed of the spans.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Keep what our own servers stored.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print the numbers as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  tracewell bench                          a million spans to a server of our own
  tracewell bench --spans 1000000,10000000
  tracewell bench --otlp grpc://127.0.0.1:4317 --api http://127.0.0.1:3200 --pid 4711 --data /var/lib/x
                                           a running server, of whatever make
  tracewell bench --set bucket.kind=s3 --set bucket.name=traces --set bucket.region=eu-west-1
                                           trace by id and queries over a bucket too, in a folder of their own in it

Cold is a new process with an empty folder for each answer, warm is one that was asked before.

The exit code is 1 if an answer was wrong: spans that are lost or not found, or a query that finds
something where the load holds nothing, or nothing where it holds something.";

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The whole configuration, each value that was written with its place.
    Print(Serve),
    /// Check a file: exit 0 if a server would start from it, 1 if not.
    Verify {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace ${NAME} by the environment.
        #[arg(long)]
        expand_env: bool,
        /// A warning is an error, too.
        #[arg(long)]
        strict: bool,
    },
    /// Meaning, unit and default of one key, or the keys of a section.
    Explain {
        #[arg(value_name = "KEY")]
        key: String,
    },
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  tracewell config print > tracewell.yaml
  tracewell config verify tempo.yaml
  tracewell config explain limits.memory_bytes
  tracewell config explain limits                all keys of the section";

#[derive(Debug, Args)]
pub(crate) struct Block {
    #[command(subcommand)]
    pub(crate) command: BlockCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BlockCommand {
    /// Columns, bytes per column, bytes per attribute.
    Inspect(BlockPath),
    /// Read everything and check every checksum; the exit code is 1 where a block is damaged.
    Verify(BlockPath),
}

#[derive(Debug, Args)]
pub(crate) struct BlockPath {
    /// A block's folder, or a file in it, such as its meta.json.
    #[arg(value_name = "BLOCK")]
    pub(crate) path: PathBuf,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}

// === impl Serve ===

impl Serve {
    pub(crate) fn source(&self) -> Source {
        let mut flags = Vec::new();
        if let Some(host) = &self.listen_host {
            flags.push(("--listen-host", "listen.host", host.clone()));
        }
        if let Some(folder) = &self.data_dir {
            flags.push(("--data-dir", "storage.path", folder.display().to_string()));
        }
        let pair = |flag: &String| {
            let (key, value) = flag.split_once('=').unwrap_or((flag, "true"));
            (key.to_owned(), value.to_owned())
        };
        Source {
            file: self.config.clone(),
            settings: self.settings.clone(),
            flags,
            tempo_flags: self.tempo_flags.iter().map(pair).collect(),
            expand_env: self.expand_env,
        }
    }
}

// === impl Server ===

impl Server {
    /// A client of that server, for that tenant.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.server, self.tenant.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_has_help() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
        }
    }

    #[test]
    fn no_command_is_serve() {
        let arguments = Arguments::parse_from(["tracewell", "--data-dir", "x", "--demo"]);
        assert!(arguments.command.is_none());
        assert_eq!(arguments.serve.demo, Some(5.0));
    }

    /// As in Go: the last one holds. A wrapper script may add what is there already.
    #[test]
    fn flags_may_be_given_twice() {
        let words =
            "tracewell -config.file=a.yaml -config.verify -verify-config --config.file b.yaml";
        let words = words.split(' ').map(str::to_owned);
        let arguments = Arguments::parse_from(crate::legacy_flags::rewrite(words));
        assert_eq!(arguments.serve.config, Some("b.yaml".into()));
        assert!(arguments.serve.verify);
    }
}
