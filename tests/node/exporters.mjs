// Sends spans with the official exporters, in every protocol and compression that they have.
//
// Usage: node exporters.mjs GRPC_PORT HTTP_PORT
//
// Prints one JSON object a line: service name and the ids of the traces it sent. Exits with 1 if an
// export fails or the SDK logs a warning.

import { context, diag, DiagLogLevel, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const N_TRACES = 5;
const [grpcPort, httpPort] = process.argv.slice(2);
const warnings = [];
const note = (...words) => warnings.push(words.join(' '));
const silent = () => {};
diag.setLogger(
  { error: note, warn: note, info: silent, debug: silent, verbose: silent },
  { logLevel: DiagLogLevel.WARN },
);

const grpcUrl = `http://127.0.0.1:${grpcPort}`;
const httpUrl = `http://127.0.0.1:${httpPort}/v1/traces`;
const kinds = [
  ['grpc', GrpcExporter, grpcUrl],
  ['http-protobuf', ProtoExporter, httpUrl],
  ['http-json', JsonExporter, httpUrl],
];

async function send(service, exporter) {
  let failed = 0;
  const counting = {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        failed += result.code === 0 ? 0 : 1;
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush(),
  };
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': service }),
    spanProcessors: [new SimpleSpanProcessor(counting)],
  });
  const tracer = provider.getTracer('exporters', '1.0');
  const traces = [];
  for (let number = 0; number < N_TRACES; number += 1) {
    const parent = tracer.startSpan('parent', {
      kind: SpanKind.SERVER,
      attributes: {
        text: 'größe', number: number - 1, ratio: 0.25, flag: true, texts: ['a', 'b'], numbers: [1, 2],
      },
    });
    parent.addEvent('milestone', { at: number });
    const child = tracer.startSpan(
      'child',
      { kind: SpanKind.CLIENT, links: [{ context: parent.spanContext(), attributes: { why: 'test' } }] },
      trace.setSpan(context.active(), parent),
    );
    child.setStatus({ code: SpanStatusCode.ERROR, message: 'broken on purpose' });
    child.end();
    parent.end();
    traces.push(parent.spanContext().traceId);
  }
  await provider.forceFlush();
  await provider.shutdown();
  return { service, traces, failed };
}

let failures = 0;
for (const [kind, Exporter, url] of kinds) {
  for (const compression of Object.values(CompressionAlgorithm)) {
    const sent = await send(`node-${kind}-${compression}`, new Exporter({ url, compression }));
    failures += sent.failed;
    console.log(JSON.stringify(sent));
  }
}
warnings.forEach((line) => console.error(line));
process.exit(failures > 0 || warnings.length > 0 ? 1 : 0);
