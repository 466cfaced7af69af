//! `tracewell trace ID`: one trace as a waterfall in the terminal.
//!
//! It reads the JSON of Tempo's trace-by-id API and nothing else. Everything that comes from the
//! network is cleaned of control characters, and loops of parents are cut, so that no trace can
//! disturb the terminal or keep the command busy.

mod draw;
mod spans;

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;
use tracewell_model::TraceId;

use crate::arguments::Trace;
use crate::{Usage, output, runtime};
use draw::Style;

pub(crate) fn run(arguments: &Trace) -> Result<ExitCode> {
    let id = TraceId::from_hex(arguments.id.trim()).map_err(|_| {
        Usage(format!(
            "{:?} is no trace id: up to 32 hex digits",
            arguments.id
        ))
    })?;
    let answer = runtime::small()?.block_on(async {
        let mut client = arguments.server.client()?;
        client.get(&format!("/api/v2/traces/{id}"), &[]).await
    })?;
    if answer.status != 200 {
        anyhow::bail!("{}", answer.error());
    }
    let body: Value = serde_json::from_slice(&answer.body).context("the answer is no JSON")?;
    let spans = spans::read(&body).context("the answer is no trace")?;
    if spans.is_empty() {
        eprintln!("tracewell: no trace {id} on {}", arguments.server.server);
        return Ok(ExitCode::FAILURE);
    }
    // Before what is shown, and in either form: nobody should take a part for the whole.
    if let Some(message) = body.get("message").and_then(Value::as_str) {
        eprintln!("warning: the trace is not whole: {message}");
    }
    if arguments.server.json {
        output::print_json(&body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style {
        width: output::width(arguments.width),
        color: output::wants_color(arguments.color),
        attributes: arguments.attributes,
    };
    output::print(&draw::waterfall(
        &id.to_string(),
        &spans::tree(spans),
        style,
    ))?;
    Ok(ExitCode::SUCCESS)
}
