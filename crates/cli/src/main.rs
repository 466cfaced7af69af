//! The binary `tracewell`: command line, configuration, wiring, demo traffic and measurements.
//!
//! This crate is the only one that starts a runtime, reads the environment, and prints. It holds no
//! logic of the product: what a request means is decided below it. Start at [`arguments`] for what
//! there is to call, at [`serve`] for how the rooms are put together.

mod allocator;
mod arguments;
mod bench;
mod block;
mod caret;
mod client;
mod clock;
mod config;
mod connect;
mod demo;
mod explain;
mod export;
mod import;
mod legacy_flags;
mod objects;
mod output;
mod ready;
mod runtime;
mod search;
mod send;
mod series;
mod serve;
mod version;
mod waterfall;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command, ConfigCommand};
use config::load::{Loaded, Source};
use config::verdict::Verdict;
use config::{keys, reference};

/// Wrong arguments or configuration; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// An error that lies in what was asked for.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    allocator::set_up();
    let arguments = Arguments::parse_from(legacy_flags::rewrite(std::env::args()));
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tracewell: {error:#}");
            match error.is::<Usage>() {
                true => ExitCode::from(EXIT_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(arguments) => run_server(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Query(arguments) => search::query(&arguments),
        Command::Trace(arguments) => waterfall::run(&arguments),
        Command::Tags(arguments) => search::tags(&arguments),
        Command::Ready(arguments) => ready::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Block(arguments) => block::run(&arguments.command),
        Command::Config(config) => run_config(config.command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tracewell", &mut script);
            output::print(&String::from_utf8(script)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_server(arguments: &arguments::Serve) -> Result<ExitCode> {
    if let Some(rate) = arguments.demo {
        demo::check_rate("--demo", rate)?;
    }
    let loaded = arguments.source().load();
    if arguments.verify {
        return Ok(verify(&loaded, arguments.strict));
    }
    if !loaded.findings.errors.is_empty() {
        return Ok(report(&loaded).unwrap_or(ExitCode::from(EXIT_USAGE)));
    }
    serve::run(&loaded, arguments.demo)
}

fn run_config(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Print(serve) => {
            let loaded = serve.source().load();
            if let Some(code) = report(&loaded) {
                return Ok(code);
            }
            output::print(&reference::print(&loaded.config, &loaded.raw))?;
        }
        ConfigCommand::Verify {
            file,
            expand_env,
            strict,
        } => {
            let source = Source {
                file: Some(file),
                expand_env,
                ..Source::default()
            };
            return Ok(verify(&source.load(), strict));
        }
        ConfigCommand::Explain { key } => match reference::explain(&key) {
            Some(text) => output::print(&text)?,
            None => {
                eprintln!("tracewell: {}", keys::unknown(&key));
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Says all that is wrong; a code if the process must not go on.
fn report(loaded: &Loaded) -> Option<ExitCode> {
    eprint!("{}", loaded.findings);
    (!loaded.findings.errors.is_empty()).then(|| ExitCode::from(EXIT_USAGE))
}

fn verify(loaded: &Loaded, strict: bool) -> ExitCode {
    let verdict = Verdict::of(loaded, strict);
    eprint!("{verdict}");
    match verdict.passes() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
