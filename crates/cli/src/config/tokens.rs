//! The file of bearer tokens: one for each tenant, and one for the operator under `"*"`.

use std::path::Path;

use tracewell_ingest::tokens::{Bearer, Tokens};
use tracewell_model::TenantId;

use super::beside::{self, Beside};
use super::raw::{Findings, Place};
use super::yaml::Value;
use super::{Config, EVERYBODY};

pub(super) const FILE: Beside = Beside {
    key: "tenants.tokens_path",
    path: |config| config.tenants.tokens_path.as_deref(),
};

/// What that file says, if there is one.
pub(super) fn load(config: &Config, text: Option<&str>, findings: &mut Findings) -> Option<Tokens> {
    let (path, text) = (FILE.path)(config).zip(text)?;
    let (tokens, more) = parse(path, text);
    findings.extend(more);
    if !tokens.has_operator() {
        findings.warning(
            &Place::file(path, 1),
            "no operator has a token (\"*\"), so nobody is answered at /metrics, /status, /flush and /shutdown".to_owned(),
        );
    }
    Some(tokens)
}

/// All that is wrong is found at once; the tokens are of use only where nothing is. No message has a token in it.
pub(crate) fn parse(path: &Path, text: &str) -> (Tokens, Findings) {
    const EXPECTED: &str = "expected `tokens:` with a token for each tenant";
    let (mut tokens, mut findings) = (Tokens::default(), Findings::default());
    let Some(root) = beside::parse(path, text, &mut findings) else {
        return (tokens, findings);
    };
    let Value::Map(sections) = &root.value else {
        findings.error(&Place::file(path, root.line.max(1)), EXPECTED.to_owned());
        return (tokens, findings);
    };
    for (key, section) in sections {
        let place = Place::file(path, key.line);
        let Value::Map(entries) = &section.value else {
            findings.error(&place, EXPECTED.to_owned());
            continue;
        };
        if key.name != "tokens" {
            findings.error(&place, format!("unknown key {}; {EXPECTED}", key.name));
            continue;
        }
        for (name, token) in entries {
            let place = Place::file(path, name.line);
            let bearer = match name.name.as_str() {
                EVERYBODY => Ok(Bearer::Operator),
                id => TenantId::new(id).map(Bearer::Tenant),
            };
            let added = bearer
                .map_err(|error| error.to_string())
                .and_then(|bearer| {
                    let added = tokens.add(&token.value.plain(), bearer);
                    added.map_err(|error| error.to_string())
                });
            if let Err(reason) = added {
                findings.error(&place, format!("tokens.{}: {reason}", name.name));
            }
        }
    }
    findings.sort();
    (tokens, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_the_token() {
        let good = "tokens:\n  a: aaaaaaaaaaaaaaaa\n  '*': oooooooooooooooo\n";
        let (tokens, findings) = parse(Path::new("tokens.yaml"), good);
        assert!(findings.errors.is_empty(), "{findings}");
        assert!(tokens.has_operator());
        for (text, line, words) in [
            ("tokens:\n  a: secret\n", 2, "16 characters"),
            (
                "tokens:\n  a: aaaaaaaaaaaaaaaa\n  b: aaaaaaaaaaaaaaaa\n",
                3,
                "somebody else's",
            ),
            ("tokens:\n  a/b: aaaaaaaaaaaaaaaa\n", 2, "not allowed"),
            ("tokns:\n  a: aaaaaaaaaaaaaaaa\n", 1, "unknown key tokns"),
            ("tokens: 5\n", 1, "expected `tokens:`"),
            ("[]\n", 1, "expected `tokens:`"),
        ] {
            let (_, findings) = parse(Path::new("tokens.yaml"), text);
            let all = findings.to_string();
            assert_eq!(findings.errors.len(), 1, "{text}: {all}");
            assert!(all.contains(&format!("tokens.yaml:{line}: ")), "{all}");
            assert!(all.contains(words), "{all}");
            assert!(
                !all.contains("secret") && !all.contains("aaaaaaaa"),
                "{all}"
            );
        }
    }
}
