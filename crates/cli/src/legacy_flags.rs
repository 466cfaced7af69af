//! Flags as Tempo takes them: one dash, dots, `=` or a space before the value. They are rewritten
//! before clap sees them, so that `tracewell -config.file=tempo.yaml` works in a compose file.

/// Flags that are not settings of Tempo's but have a flag of ours.
const OWN: &[(&str, &str)] = &[
    ("config.file", "--config"),
    ("config.expand-env", "--expand-env"),
    ("config.verify", "--verify"),
    ("verify-config", "--verify"),
    ("version", "--version"),
    ("help", "--help"),
    ("h", "--help"),
];
/// Flags that may stand without a value.
const SWITCHES: &[&str] = &["--expand-env", "--verify", "--version", "--help"];

/// Rewrites every argument that is a flag of Tempo's; all others stay as they are.
pub(crate) fn rewrite(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut rewritten = Vec::new();
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
        let is_switch = own.is_some_and(|flag| SWITCHES.contains(&flag));
        if is_switch {
            if value.as_deref() != Some("false") {
                rewritten.extend(own.map(str::to_owned));
            }
            continue;
        }
        let value = value.or_else(|| arguments.next_if(|next| !next.starts_with('-')));
        match own {
            Some(flag) => {
                rewritten.push(flag.to_owned());
                rewritten.extend(value);
            }
            None => {
                // Go's flags write dashes where the file has underscores; one without a value is a
                // switch that is on.
                let value = value.unwrap_or_else(|| "true".to_owned());
                let key = name.replace('-', "_");
                rewritten.push(format!("--tempo-flag={key}={value}"));
            }
        }
    }
    rewritten
}

/// The text behind a single dash, if it is a flag of Tempo's: it has a dot or is in [`OWN`].
fn legacy(argument: &str) -> Option<&str> {
    let flag = argument.strip_prefix('-')?;
    if flag.starts_with('-') {
        // Go takes two dashes as well; only what has a dot can be meant.
        let flag = flag.strip_prefix('-')?;
        let name = flag.split('=').next()?;
        return name.contains('.').then_some(flag);
    }
    let name = flag.split('=').next()?;
    let known = name == "target" || OWN.iter().any(|(theirs, _)| *theirs == name && name != "h");
    (known || (name.contains('.') && !name.starts_with(|c: char| c.is_ascii_digit())))
        .then_some(flag)
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
            &["--config.file=t.yaml", "-config.expand-env=true"],
            &["--config", "t.yaml", "--expand-env"],
        );
        check(&["-config.expand-env=false"], &[]);
        check(
            &[
                "-target=all",
                "-server.http-listen-port",
                "3201",
                "-auth.enabled",
            ],
            &[
                "--tempo-flag=target=all",
                "--tempo-flag=server.http_listen_port=3201",
                "--tempo-flag=auth.enabled=true",
            ],
        );
    }

    #[test]
    fn our_own_arguments_stay() {
        for arguments in [
            &["query", "{ .a = -1.5 }"][..],
            &["serve", "--set", "retention.age=72h", "-h"],
            &["demo", "--rate", "-1.5"],
            &["-V"],
        ] {
            check(arguments, arguments);
        }
    }
}
