//! `tracewell ready`: whether a running server takes spans and answers, for health checks.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::arguments::Ready;
use crate::client::Client;
use crate::{output, runtime};

/// Who checks health asks again soon.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &Ready) -> Result<ExitCode> {
    let answer = runtime::small()?.block_on(async {
        let mut client = Client::new(&arguments.server, None)?;
        match tokio::time::timeout(TIMEOUT, client.get("/ready", &[])).await {
            Ok(answer) => answer,
            Err(_) => bail!("{} did not answer in {TIMEOUT:?}", arguments.server),
        }
    })?;
    if answer.status != 200 {
        bail!("{} is not ready: {}", arguments.server, answer.error());
    }
    output::print("ready\n")?;
    Ok(ExitCode::SUCCESS)
}
