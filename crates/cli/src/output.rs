//! Standard output: the one place that writes to it.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::arguments::When;

/// Writes text. A reader that left, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a value as JSON that people can read too.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Whether standard output wants colours.
pub(crate) fn wants_color(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Columns of the terminal; what most have where there is none.
pub(crate) fn width(given: Option<usize>) -> usize {
    const WIDTH_DEFAULT: usize = 120;
    const WIDTH_MIN: usize = 60;
    let of_terminal = || {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|width| *width > 0)
    };
    let of_shell = || std::env::var("COLUMNS").ok()?.parse().ok();
    given
        .or_else(of_terminal)
        .or_else(of_shell)
        .unwrap_or(WIDTH_DEFAULT)
        .max(WIDTH_MIN)
}
