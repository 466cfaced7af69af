//! Flags as Tempo takes them: one dash or two, dots, `=` or a space before the value. They are
//! rewritten before clap sees them, so that `tracewell -config.file=tempo.yaml` works in a compose
//! file. What the flags mean is not said here: they go on as `--tempo-flag`, known or not.

use crate::config::tempo::{self, Flag};

/// Flags that are not settings of Tempo's but have a flag of ours.
const OWN: &[(&str, &str)] = &[
    ("config.file", "--config"),
    ("config.expand-env", "--expand-env"),
    ("config.verify", "--verify"),
    ("verify-config", "--verify"),
    ("version", "--version"),
    ("help", "--help"),
];
/// Flags that may stand without a value.
const SWITCHES: &[&str] = &["--expand-env", "--verify", "--version", "--help"];
/// Flags of ours that look the same with two dashes.
const SHARED: &[&str] = &["version", "help"];

/// Tempo's health check: flags that ask a running server instead of starting one.
const HEALTH: &str = "health";
const HEALTH_URL: &str = "health.url";

/// What was said of a health check.
#[derive(Default)]
struct Health {
    is_asked: bool,
    url: Option<String>,
}

/// Rewrites every argument that is a flag of Tempo's; all others stay as they are.
pub(crate) fn rewrite(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut rewritten = Vec::new();
    let mut health = Health::default();
    let mut arguments = arguments.peekable();
    rewritten.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        let Some(flag) = legacy(&argument) else {
            rewritten.push(argument);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let own = OWN
            .iter()
            .find_map(|(theirs, ours)| (*theirs == name).then_some(*ours));
        let known = tempo::flag(name);
        let is_switch = match (own, &known) {
            _ if name == HEALTH => true,
            (Some(flag), _) => SWITCHES.contains(&flag),
            (None, Some(Flag { is_switch, .. })) => *is_switch,
            (None, None) => false,
        };
        let next = |next: &String| match is_switch {
            // In Go a switch has no value after a space; people write one all the same.
            true => switch(next).is_some(),
            // What is no flag of Tempo's may be anything.
            false => known.is_some() || !next.starts_with('-'),
        };
        let value = value.or_else(|| arguments.next_if(next));
        let value = match is_switch {
            true => value.map_or_else(
                || "true".to_owned(),
                |value| switch(&value).map_or(value, |on| on.to_string()),
            ),
            false => value.unwrap_or_default(),
        };
        match own {
            _ if name == HEALTH => health.is_asked = value == "true",
            _ if name == HEALTH_URL => health.url = Some(value),
            Some(flag) if is_switch => {
                if value != "false" {
                    rewritten.push(flag.to_owned());
                }
            }
            Some(flag) => rewritten.extend([flag.to_owned(), value]),
            None => rewritten.push(format!("--tempo-flag={name}={value}")),
        }
    }
    match health.is_asked {
        true => health.command(rewritten),
        false => rewritten,
    }
}

/// A switch as Go reads it.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The text behind the dashes, if it is a flag of Tempo's: it has a dot, or is known. Go takes two
/// dashes as well as one.
fn legacy(argument: &str) -> Option<&str> {
    let one = argument.strip_prefix('-')?;
    let two = one.strip_prefix('-');
    let flag = two.unwrap_or(one);
    let name = flag.split('=').next()?;
    let is_own = name == HEALTH || OWN.iter().any(|(theirs, _)| *theirs == name);
    let is_shared = two.is_some() && SHARED.contains(&name);
    let has_section = name.contains('.') && name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_known = (is_own && !is_shared) || has_section || tempo::flag(name).is_some();
    is_known.then_some(flag)
}

// === impl Health ===

impl Health {
    /// The command that asks; what the other flags say is for a server that starts.
    fn command(self, rewritten: Vec<String>) -> Vec<String> {
        let mut command: Vec<String> = rewritten.into_iter().take(1).collect();
        command.push("ready".to_owned());
        if let Some(url) = self.url {
            // Tempo's names the page, ours the server.
            let server = url.trim_end_matches('/').trim_end_matches("/ready");
            command.extend(["--server".to_owned(), server.to_owned()]);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: &[&str]) {
        let given = ["tracewell"].iter().chain(arguments);
        let rewritten = rewrite(given.map(|argument| (*argument).to_owned()));
        let (program, rest) = rewritten.split_first().unwrap();
        assert_eq!(program, "tracewell");
        assert_eq!(rest, expected, "{arguments:?}");
    }

    #[test]
    fn flags_of_tempo_become_ours() {
        check(
            &["-config.file=/etc/tempo.yaml"],
            &["--config", "/etc/tempo.yaml"],
        );
        check(
            &["-config.file", "t.yaml", "-verify-config"],
            &["--config", "t.yaml", "--verify"],
        );
        check(
            &[
                "--config.file=t.yaml",
                "-config.expand-env=true",
                "-version",
            ],
            &["--config", "t.yaml", "--expand-env", "--version"],
        );
        for off in [
            "-config.expand-env=false",
            "--config.verify=0",
            "-verify-config=F",
        ] {
            check(&[off], &[]);
        }
        check(
            &["-config.verify", "true", "--strict"],
            &["--verify", "--strict"],
        );
    }

    #[test]
    fn settings_go_on_with_one_dash_or_two_and_with_a_space_or_not() {
        check(
            &[
                "-target=all",
                "-server.http-listen-port",
                "3201",
                "-auth.enabled",
                "-log.level=debug",
            ],
            &[
                "--tempo-flag=target=all",
                "--tempo-flag=server.http-listen-port=3201",
                "--tempo-flag=auth.enabled=true",
                "--tempo-flag=log.level=debug",
            ],
        );
        check(
            &[
                "--target",
                "all",
                "--mem-ballast-size-mbs=1024",
                "-http-api-prefix=/tempo",
            ],
            &[
                "--tempo-flag=target=all",
                "--tempo-flag=mem-ballast-size-mbs=1024",
                "--tempo-flag=http-api-prefix=/tempo",
            ],
        );
        // A switch takes the word behind it only if that is a switch's.
        check(
            &["-multitenancy.enabled", "serve"],
            &["--tempo-flag=multitenancy.enabled=true", "serve"],
        );
        check(
            &["-multitenancy.enabled", "False"],
            &["--tempo-flag=multitenancy.enabled=false"],
        );
        // An unknown one goes on too, to be refused with what was meant.
        check(
            &["-server.http-listen-prt=1", "-no.such", "-x.y"],
            &[
                "--tempo-flag=server.http-listen-prt=1",
                "--tempo-flag=no.such=",
                "--tempo-flag=x.y=",
            ],
        );
    }

    #[test]
    fn a_health_check_asks_and_starts_nothing() {
        check(&["-health"], &["ready"]);
        check(
            &[
                "-config.file=t.yaml",
                "--health",
                "-health.url",
                "http://tempo:3200/ready",
            ],
            &["ready", "--server", "http://tempo:3200"],
        );
        check(
            &["-health=false", "-target=all"],
            &["--tempo-flag=target=all"],
        );
    }

    #[test]
    fn our_own_arguments_stay() {
        for arguments in [
            &["query", "{ .a = -1.5 }"][..],
            &["serve", "--set", "retention.age=72h", "-h"],
            &["demo", "--rate", "-1.5"],
            &["--version"],
            &["--data-dir", "x", "--help"],
            &["-V"],
        ] {
            check(arguments, arguments);
        }
    }
}
