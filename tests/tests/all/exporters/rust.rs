//! Official exporters of Rust against the real server.

use opentelemetry::trace::{
    Link, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_otlp::{
    Compression, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::check_service;
use crate::harness::server::Site;

const N_TRACES: i64 = 5;
const COMPRESSIONS: [(&str, Option<Compression>); 3] = [
    ("none", None),
    ("gzip", Some(Compression::Gzip)),
    ("zstd", Some(Compression::Zstd)),
];

#[test]
fn every_exporter_and_compression_arrives() {
    let site = Site::new();
    let server = site.start(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _within = runtime.enter();
    for (name, compression) in COMPRESSIONS {
        let mut exporters = vec![("grpc", grpc(&site, compression))];
        for (kind, protocol) in [
            ("http-protobuf", Protocol::HttpBinary),
            ("http-json", Protocol::HttpJson),
        ] {
            exporters.push((kind, http(&site, protocol, compression)));
        }
        for (kind, exporter) in exporters {
            let service = format!("rust-{kind}-{name}");
            let sent = send(&service, exporter);
            check_service(&server, &service, sent);
        }
    }
}

fn grpc(site: &Site, compression: Option<Compression>) -> SpanExporter {
    let endpoint = format!("http://127.0.0.1:{}", site.otlp_grpc);
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    let builder = match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    };
    builder.build().unwrap()
}

fn http(site: &Site, protocol: Protocol, compression: Option<Compression>) -> SpanExporter {
    let endpoint = format!("http://127.0.0.1:{}/v1/traces", site.otlp_http);
    let builder = SpanExporter::builder()
        .with_http()
        .with_protocol(protocol)
        .with_endpoint(endpoint);
    let builder = match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    };
    builder.build().unwrap()
}

/// Makes the same traces as the programs of the other languages; their ids.
fn send(service: &str, exporter: SpanExporter) -> Vec<String> {
    let resource = Resource::builder().with_service_name(service.to_owned());
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        // On this thread, which is in the runtime that the exporters' clients need.
        .with_simple_exporter(exporter)
        .build();
    let scope = InstrumentationScope::builder("exporters").with_version("1.0");
    let tracer = provider.tracer_with_scope(scope.build());
    let texts: Vec<StringValue> = vec!["a".into(), "b".into()];
    let ids = (0..N_TRACES).map(|number| {
        let mut parent = tracer
            .span_builder("parent")
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("text", "größe"),
                KeyValue::new("number", number - 1),
                KeyValue::new("ratio", 0.25),
                KeyValue::new("flag", true),
                KeyValue::new("texts", Value::Array(Array::String(texts.clone()))),
                KeyValue::new("numbers", Value::Array(Array::I64(vec![1, 2]))),
            ])
            .start_with_context(&tracer, &Context::new());
        parent.add_event("milestone", vec![KeyValue::new("at", number)]);
        let of_parent = parent.span_context().clone();
        let outer = Context::new().with_remote_span_context(of_parent.clone());
        let link = Link::new(of_parent.clone(), vec![KeyValue::new("why", "test")], 0);
        let mut child = tracer
            .span_builder("child")
            .with_kind(SpanKind::Client)
            .with_links(vec![link])
            .start_with_context(&tracer, &outer);
        child.set_status(Status::error("broken on purpose"));
        child.end();
        parent.end();
        of_parent.trace_id().to_string()
    });
    let ids = ids.collect();
    // Says what was not exported.
    provider.force_flush().unwrap();
    provider.shutdown().unwrap();
    ids
}
