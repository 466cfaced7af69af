//! Operational endpoints: ready, status, build, flush, shutdown, echo.

pub(crate) mod overrides;
mod page;

use crate::answer::{Answer, HTML, accepts};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::host::ConfigMode;
use crate::routes::Route;
use page::Page;

pub(crate) async fn answer(api: &Api, call: &Call) -> ApiResult<Answer> {
    match call.route {
        Route::Echo => Ok(Answer::text("echo")),
        Route::BuildInfo => Ok(build_info(api)),
        Route::Ready => ready(api, call),
        Route::Status => status(api, call),
        Route::StatusPart => status_part(api, call),
        Route::OverridesOf => overrides::answer(api, call, Some(&call.path_param)),
        Route::Flush => {
            api.host.flush().await.map_err(ApiError::Internal)?;
            Ok(Answer::text("flushed\n"))
        }
        Route::Shutdown => {
            api.host.shutdown();
            Ok(Answer::text("shutting down\n"))
        }
        _ => Ok(Answer::text(home(api))),
    }
}

fn home(api: &Api) -> String {
    format!(
        "This is Tracewell {}, a distributed tracing backend; the API of Tempo is on this port.\n\
         GET {prefix}/api/search?q={{}} finds traces, GET {prefix}/api/traces/<id> returns one, \
         GET /status says how it is.\n",
        api.host.build().version,
        prefix = api.prefix,
    )
}

fn ready(api: &Api, call: &Call) -> ApiResult<Answer> {
    let readiness = api.host.readiness();
    let is_verbose = call.params.iter().any(|(key, _)| key == "verbose");
    if !readiness.not_ready.is_empty() {
        return Err(ApiError::Unavailable(readiness.not_ready.join("\n")));
    }
    let mut text = String::from("ready\n");
    if is_verbose {
        for service in api.host.services() {
            text.push_str(&format!("{}: {}\n", service.name, service.state));
        }
        for warning in &readiness.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
    }
    Ok(Answer::text(text))
}

/// The version of Tempo whose API this is.
const TEMPO_VERSION: &str = "3.1.0";

fn build_info(api: &Api) -> Answer {
    let build = api.host.build();
    // By the number before the `+` Grafana tells what a Tempo can do, and leaves out what an older one cannot.
    let version = format!("{TEMPO_VERSION}+tracewell.{}", build.version);
    Answer::json(|json| {
        json.object(|json| {
            json.key("version").string(&version);
            json.key("revision").string(&build.revision);
            json.key("branch").string(&build.branch);
            json.key("buildDate").string(&build.build_date);
            json.key("buildUser").string("");
            // Clients of Tempo expect the key; there is no Go here.
            json.key("goVersion").string("");
            json.key("rustVersion").string(&build.rust_version);
        });
    })
}

/// The status page: HTML for browsers, JSON for programs, else text with everything below it.
fn status(api: &Api, call: &Call) -> ApiResult<Answer> {
    let page = Page::of(api);
    if accepts(&call.headers, "text/html") {
        return Ok(Answer::whole(HTML, page.html().into_bytes()));
    }
    if accepts(&call.headers, "application/json") {
        return Ok(Answer::json(|json| page.write_json(json)));
    }
    Ok(Answer::text(format!(
        "{}{}\n# version\n{}\n# endpoints\n{}\n# config\n{}",
        home(api),
        page.text(),
        version(api),
        endpoints(api),
        config(api, ConfigMode::Full)?
    )))
}

fn status_part(api: &Api, call: &Call) -> ApiResult<Answer> {
    let text = match &*call.path_param {
        "version" => version(api),
        "services" => services(api),
        "endpoints" => endpoints(api),
        // What can change while the server runs is the file of overrides, in Tempo too.
        "overrides" | "runtime_config" => return overrides::answer(api, call, None),
        "config" => {
            let mode = match call.params.get("mode") {
                None => ConfigMode::Full,
                Some("defaults") => ConfigMode::Defaults,
                Some("diff") => ConfigMode::Diff,
                Some(other) => {
                    return Err(ApiError::BadRequest(format!(
                        "unknown mode {other:?}: expected diff or defaults"
                    )));
                }
            };
            config(api, mode)?
        }
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(ApiError::NotFound(format!(
                "there is no /status/{other}: version, services, endpoints, config, overrides or \
                 runtime_config"
            )));
        }
    };
    Ok(Answer::text(text))
}

fn version(api: &Api) -> String {
    let build = api.host.build();
    format!(
        "tracewell, version {} (branch: {}, revision: {})\n  build date: {}\n  rust version: {}\n",
        build.version, build.branch, build.revision, build.build_date, build.rust_version
    )
}

fn services(api: &Api) -> String {
    let line = |(name, state): (String, String)| format!("{name}: {state}\n");
    api.host
        .services()
        .into_iter()
        .map(|service| line((service.name, service.state)))
        .collect()
}

fn endpoints(api: &Api) -> String {
    Route::ALL
        .iter()
        .map(|route| {
            let prefix = if route.path().starts_with("/api/") {
                &*api.prefix
            } else {
                ""
            };
            let path = route.path().replace("{*rest}", "{name}/values");
            format!("{} {prefix}{path}\n", route.verbs())
        })
        .collect()
}

fn config(api: &Api, mode: ConfigMode) -> ApiResult<String> {
    api.host.config(mode).map_err(ApiError::Internal)
}
