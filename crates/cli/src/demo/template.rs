//! What is the same in every span of an operation, and in every request of a process: encoded once.

use super::encode::{Scalar, put_attribute, put_bytes, put_uint};
use super::shop::{OPERATIONS, Operation, SERVICES, Service, Val, Var};

/// An operation's fixed part as protobuf, and what is to be made for each span.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) service: usize,
    pub(crate) scope: usize,
    /// Name, kind and fixed attributes: fields of a span.
    pub(crate) fixed: Vec<u8>,
    pub(crate) variables: Vec<(&'static str, Var)>,
    /// Failures in ten thousand.
    pub(crate) failure_rate: u32,
    /// Status, `error.type` and so on of a span that failed by itself.
    pub(crate) failed: Vec<u8>,
    /// The same of one that failed since something that it called did.
    pub(crate) failed_below: Vec<u8>,
    /// The attributes of its exception event: fields of an event.
    pub(crate) exception: Vec<u8>,
    /// Whether rare attributes are found on it.
    pub(crate) rare: Rare,
}

/// Attributes that few spans have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rare {
    No,
    /// One of sixty coupons, on one in twenty.
    Coupon,
    /// One of three hundred keys, on one in twenty-five.
    Note,
}

const STATUS_ERROR: u64 = 2;

/// The templates of all operations, in the order of [`OPERATIONS`].
pub(crate) fn templates() -> Vec<Template> {
    OPERATIONS
        .iter()
        .map(|operation| template(operation))
        .collect()
}

fn template(operation: &Operation) -> Template {
    let mut fixed = Vec::new();
    put_bytes(&mut fixed, 5, operation.name.as_bytes());
    put_uint(&mut fixed, 6, u64::from(operation.kind));
    let mut variables = Vec::new();
    for (key, value) in operation.attributes {
        let scalar = match value {
            Val::T(text) => Scalar::Text(text),
            Val::I(value) => Scalar::Int(*value),
            Val::B(value) => Scalar::Bool(*value),
            Val::V(variable) => {
                variables.push((*key, *variable));
                continue;
            }
        };
        put_attribute(&mut fixed, 9, key, scalar);
    }
    let failure = &operation.failure;
    Template {
        service: operation.service,
        scope: operation.scope,
        fixed,
        variables,
        failure_rate: failure.rate,
        failed: failed(failure.exception, failure.message),
        failed_below: failed("_OTHER", "a call failed"),
        exception: exception(operation),
        rare: match operation.name {
            "calculate total" => Rare::Coupon,
            "render" => Rare::Note,
            _ => Rare::No,
        },
    }
}

fn failed(error_type: &str, message: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    put_attribute(&mut fields, 9, "error.type", Scalar::Text(error_type));
    let mut status = Vec::new();
    put_bytes(&mut status, 2, message.as_bytes());
    put_uint(&mut status, 3, STATUS_ERROR);
    put_bytes(&mut fields, 15, &status);
    fields
}

fn exception(operation: &Operation) -> Vec<u8> {
    let failure = &operation.failure;
    let service = SERVICES.get(operation.service).map_or("", |it| it.name);
    let mut stack = format!("{}: {}\n", failure.exception, failure.message);
    for (depth, frame) in [
        "call", "retry", "invoke", "dispatch", "handle", "serve", "run",
    ]
    .iter()
    .enumerate()
    {
        let line = 17 + depth * 41;
        stack.push_str(&format!(
            "    at {service}.{frame} (src/{frame}.x:{line})\n"
        ));
    }
    let mut fields = Vec::new();
    put_attribute(
        &mut fields,
        3,
        "exception.type",
        Scalar::Text(failure.exception),
    );
    put_attribute(
        &mut fields,
        3,
        "exception.message",
        Scalar::Text(failure.message),
    );
    put_attribute(&mut fields, 3, "exception.stacktrace", Scalar::Text(&stack));
    fields
}

/// The `Resource` message of one process of a service.
pub(crate) fn resource(service: &Service, instance: u8, seed: u64) -> Vec<u8> {
    let mut message = Vec::new();
    let mut put = |key: &str, value: Scalar<'_>| put_attribute(&mut message, 1, key, value);
    let name = service.name;
    // Which process it was differs from run to run of the demo, as it does for real ones.
    let run = (seed ^ u64::from(instance)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pod = format!("{name}-{:08x}-{:05x}", run >> 32, run & 0xf_ffff);
    put("service.name", Scalar::Text(name));
    put("service.version", Scalar::Text(service.version));
    put("service.namespace", Scalar::Text(service.namespace));
    put("service.instance.id", Scalar::Text(&pod));
    let environment = match service.old_conventions {
        true => "deployment.environment",
        false => "deployment.environment.name",
    };
    put(environment, Scalar::Text("production"));
    put("host.name", Scalar::Text(&format!("node-{}", run % 5)));
    put("k8s.namespace.name", Scalar::Text("shop"));
    put("k8s.pod.name", Scalar::Text(&pod));
    put("cloud.region", Scalar::Text("eu-central-1"));
    put("process.pid", Scalar::Int(1));
    put("telemetry.sdk.name", Scalar::Text("opentelemetry"));
    put("telemetry.sdk.language", Scalar::Text(service.language));
    put("telemetry.sdk.version", Scalar::Text("1.34.0"));
    message
}

/// The `InstrumentationScope` messages of a service.
pub(crate) fn scopes(service: &Service) -> Vec<Vec<u8>> {
    let encode = |(name, version): &(&str, &str)| {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, name.as_bytes());
        put_bytes(&mut message, 2, version.as_bytes());
        message
    };
    service.scopes.iter().map(encode).collect()
}
