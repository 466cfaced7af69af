//! The process's own log: lines for people or JSON for machines, on standard error.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

pub(super) fn start(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| {
        format!(
            "log.level {:?}: expected error, warn, info, debug, trace, or a filter such as info,tracewell_store=debug",
            log.level
        )
    })?;
    // Its client tells at info of each request that it tries again.
    let filter = match log.level.contains("object_store") {
        true => filter,
        false => filter.add_directive("object_store=warn".parse()?),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}
