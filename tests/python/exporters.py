"""Sends spans with the official exporters, in every protocol and compression that they have.

Usage: exporters.py GRPC_PORT HTTP_PORT [https]

With `https` they use TLS, with certificates and headers that OTEL_EXPORTER_OTLP_* name.

Prints one JSON object a line: the combination, its service name and the ids of the spans it sent.
Exits with 1 if an export fails or an exporter logs a warning.
"""

import json
import logging
import sys

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult, SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

N_TRACES = 5


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.seen = []

    def emit(self, record):
        self.seen.append(self.format(record))


class Counting:
    """Passes everything on and remembers what failed."""

    def __init__(self, inner):
        self.inner = inner
        self.failed = 0

    def export(self, spans):
        result = self.inner.export(spans)
        self.failed += result != SpanExportResult.SUCCESS
        return result

    def shutdown(self):
        self.inner.shutdown()

    def force_flush(self, timeout_millis=30000):
        return self.inner.force_flush(timeout_millis)


def combinations(grpc_port, http_port, scheme):
    target = f"{scheme}://localhost:{grpc_port}"
    for compression in grpc.Compression:
        name = compression.name.lower()
        yield f"py-grpc-{name}", GrpcExporter(
            endpoint=target, insecure=scheme == "http", compression=compression
        )
    url = f"{scheme}://localhost:{http_port}/v1/traces"
    for compression in Compression:
        yield f"py-http-{compression.name.lower()}", HttpExporter(
            endpoint=url, compression=compression
        )


def send(service, exporter):
    counting = Counting(exporter)
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(counting))
    tracer = provider.get_tracer("exporters", "1.0")
    ids = []
    for number in range(N_TRACES):
        with tracer.start_as_current_span("parent", kind=SpanKind.SERVER) as parent:
            parent.set_attributes(
                {
                    "text": "größe",
                    "number": number - 1,
                    "ratio": 0.25,
                    "flag": True,
                    "texts": ["a", "b"],
                    "numbers": [1, 2],
                }
            )
            parent.add_event("milestone", {"at": number})
            links = [Link(parent.get_span_context(), {"why": "test"})]
            with tracer.start_as_current_span("child", kind=SpanKind.CLIENT, links=links) as child:
                child.set_status(Status(StatusCode.ERROR, "broken on purpose"))
            context = parent.get_span_context()
            ids.append(f"{context.trace_id:032x}")
    provider.shutdown()
    return ids, counting.failed


def main():
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    failed = 0
    scheme = sys.argv[3] if len(sys.argv) > 3 else "http"
    for service, exporter in combinations(int(sys.argv[1]), int(sys.argv[2]), scheme):
        ids, failures = send(service, exporter)
        failed += failures
        print(json.dumps({"service": service, "traces": ids, "failed": failures}), flush=True)
    for line in warnings.seen:
        print(line, file=sys.stderr)
    sys.exit(1 if failed or warnings.seen else 0)


if __name__ == "__main__":
    main()
