//! Which limits hold for whom, as YAML that a file of overrides could say, or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use tracewell_ingest::tenants::TenantLimits;
use tracewell_model::limits::TENANT_KEYS;
use tracewell_model::{Limits, TenantId};

use crate::answer::{Answer, accepts};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::host::OverridesFile;
use crate::json::{Json, Pieces};

/// What `/status/overrides` shows: all, or what holds for one tenant.
struct Overrides {
    file: Option<OverridesFile>,
    limits: TenantLimits,
    of: Option<TenantId>,
}

/// All tenants, or the one that the path names.
pub(super) fn answer(api: &Api, call: &Call, tenant: Option<&str>) -> ApiResult<Answer> {
    let of = tenant.map(TenantId::new).transpose();
    let overrides = Overrides {
        file: api.host.overrides(),
        limits: api.tenant_limits(),
        of: of.map_err(|error| ApiError::BadRequest(error.to_string()))?,
    };
    if accepts(&call.headers, "application/json") {
        return Ok(Answer::json(|json| overrides.write_json(json)));
    }
    Ok(Answer::text(overrides.yaml()))
}

// === impl Overrides ===

impl Overrides {
    fn yaml(&self) -> String {
        let mut text = String::new();
        match &self.file {
            None => text.push_str("# no file of overrides: tenants.overrides_path names one\n"),
            Some(OverridesFile { path, refused }) => {
                _ = writeln!(
                    text,
                    "# of {path}, which is read again while the server runs"
                );
                if let Some(reason) = refused {
                    let reason = reason.replace('\n', " ");
                    _ = writeln!(
                        text,
                        "# its newest version is refused, these are older: {reason}"
                    );
                }
            }
        }
        if let Some(tenant) = &self.of {
            let origin = match self.limits.named.contains_key(tenant) {
                true => "an entry of its own",
                false => "no entry of its own: what holds for all",
            };
            _ = writeln!(text, "# {tenant} has {origin}");
            text.push_str("overrides:\n");
            let limits = self.limits.named.get(tenant);
            let limits = limits.unwrap_or(&self.limits.others);
            let age = self.limits.retention.of(tenant);
            entry(
                &mut text,
                tenant.as_str(),
                limits.tenant_values(),
                Some(age),
            );
            return text;
        }
        text.push_str("overrides:\n");
        let (others, retention) = (&self.limits.others, &self.limits.retention);
        let age = Some(retention.others);
        entry(&mut text, "*", others.tenant_values(), age);
        for (tenant, own) in &self.limits.named {
            let age = retention.named.get(tenant).copied();
            entry(&mut text, tenant.as_str(), different(own, others), age);
        }
        text
    }

    /// A limit that there is not is null.
    fn write_json<P: Pieces>(&self, json: &mut Json<P>) {
        json.object(|json| {
            if let Some(OverridesFile { path, refused }) = &self.file {
                json.key("path").string(path);
                if let Some(reason) = refused {
                    json.key("refused").string(reason);
                }
            }
            let (others, retention) = (&self.limits.others, &self.limits.retention);
            if let Some(tenant) = &self.of {
                let own = self.limits.named.get(tenant);
                json.key("tenant").string(tenant.as_str());
                json.key("hasOwnEntry").bool(own.is_some());
                json.key("limits");
                let age = retention.of(tenant);
                write_limits(json, own.unwrap_or(others).tenant_values(), Some(age));
                return;
            }
            json.key("*");
            write_limits(json, others.tenant_values(), Some(retention.others));
            json.key("tenants").object(|json| {
                for (tenant, own) in &self.limits.named {
                    json.text_key(tenant.as_str());
                    let age = retention.named.get(tenant).copied();
                    write_limits(json, different(own, others), age);
                }
            });
        });
    }
}

/// The limits of one tenant that are others than everybody's.
pub(crate) fn different(
    own: &Limits,
    others: &Limits,
) -> impl Iterator<Item = (&'static str, u64)> {
    let both = own.tenant_values().zip(others.tenant_values());
    both.filter_map(|(own, other)| (own != other).then_some(own))
}

fn entry(
    text: &mut String,
    tenant: &str,
    limits: impl Iterator<Item = (&'static str, u64)>,
    age: Option<Duration>,
) {
    // Tenant ids hold nothing that ends a quoted text but the quote itself.
    _ = writeln!(text, "  '{}':", tenant.replace('\'', "''"));
    for (key, value) in limits {
        let value = match value {
            Limits::NONE => "off".to_owned(),
            value => value.to_string(),
        };
        let unit = match key.ends_with("_ms_max") {
            true => "ms",
            false => "",
        };
        _ = writeln!(text, "    {}: {value}{unit}", short(key));
    }
    if let Some(age) = age {
        _ = writeln!(text, "    retention.age: {}s", age.as_secs());
    }
}

fn write_limits<P: Pieces>(
    json: &mut Json<P>,
    limits: impl Iterator<Item = (&'static str, u64)>,
    age: Option<Duration>,
) {
    json.object(|json| {
        for (key, value) in limits {
            json.key(short(key));
            match value {
                Limits::NONE => json.plain("null"),
                value => json.plain(value),
            }
        }
        if let Some(age) = age {
            json.key("retention_age_seconds").plain(age.as_secs());
        }
    });
}

fn short(key: &'static str) -> &'static str {
    debug_assert!(TENANT_KEYS.contains(&key), "{key}");
    key.strip_prefix("limits.").unwrap_or(key)
}
