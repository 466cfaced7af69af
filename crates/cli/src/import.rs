//! `tracewell import`: OTLP JSON lines, as `tracewell export` and the file exporter of a Collector write
//! them, to any OTLP endpoint.
//!
//! Lines are read and made into requests on one thread, and sent over several connections. A line that is
//! none is named and left out. Spans that are there already are the same spans, so that an
//! import which was stopped can be run again.

mod lines;

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use crate::arguments::Import;
use crate::send::{Endpoint, Report, Request, check_connections, deliver_all, queue};
use crate::{Usage, output, runtime, send};
use lines::{Lines, Read};

pub(crate) fn run(arguments: &Import) -> Result<ExitCode> {
    check_connections(arguments.connections)?;
    if arguments.batch == 0 {
        return Err(Usage("--batch: expected 1 span or more".to_owned()).into());
    }
    let mut endpoint: Endpoint = arguments.endpoint.parse()?;
    endpoint.tenant.clone_from(&arguments.tenant);
    for file in &arguments.files {
        // Before anything is sent.
        drop(open(file)?);
    }
    let (requests, waiting) = queue(arguments.connections);
    let (files, batch) = (arguments.files.clone(), arguments.batch);
    let (report, read) = runtime::sending()?.block_on(async {
        endpoint.reach("--endpoint").await?;
        let reader = std::thread::spawn(move || read_all(&files, batch, &requests));
        let report = deliver_all(&endpoint, arguments.connections, waiting, send::tell).await;
        let read = reader
            .join()
            .map_err(|_| anyhow::anyhow!("reading the lines panicked"))?;
        anyhow::Ok((report, read))
    })?;
    match read {
        Ok(read) => conclude(arguments, &report, &read),
        Err(error) => {
            // What arrived until then is there.
            eprint!("{report}");
            Err(error)
        }
    }
}

fn conclude(arguments: &Import, report: &Report, read: &Read) -> Result<ExitCode> {
    if arguments.json {
        output::print_json(&serde_json::json!({"lines": read, "sent": report}))?;
    } else {
        output::print(&format!("{read}\n{report}"))?;
    }
    let is_whole = read.n_bad_lines + read.n_bad_spans + report.n_lost + report.n_rejected == 0;
    Ok(match is_whole {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Hands over the requests of all files; ends early when nobody takes them any more.
fn read_all(files: &[PathBuf], batch: usize, requests: &mpsc::Sender<Request>) -> Result<Read> {
    let mut lines = Lines::new(batch, |request| requests.blocking_send(request).is_ok());
    for file in files {
        let name = file.display().to_string();
        lines.read(&name, open(file)?)?;
    }
    Ok(lines.finish())
}

/// A file, or standard input for `-`.
fn open(path: &PathBuf) -> Result<Box<dyn BufRead>> {
    const BUFFER_BYTES: usize = 1 << 20;
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::BufReader::new(std::io::stdin())));
    }
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(std::io::BufReader::with_capacity(
        BUFFER_BYTES,
        file,
    )))
}
