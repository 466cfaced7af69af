import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * Sends spans with the official exporters, in every protocol and compression that they have.
 *
 * <p>Usage: Exporters GRPC_PORT HTTP_PORT
 *
 * <p>Prints one JSON object a line: service name and the ids of the traces it sent. Exits with 1 if an export fails or
 * the SDK logs a warning.
 */
public final class Exporters {
  private static final int N_TRACES = 5;
  private static final AtomicBoolean warned = new AtomicBoolean();

  /** Makes the same traces as the programs of the other languages. */
  private static List<String> send(String service, SpanExporter exporter) {
    SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .setResource(Resource.create(Attributes.builder().put("service.name", service).build()))
            .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
            .build();
    Tracer tracer = provider.tracerBuilder("exporters").setInstrumentationVersion("1.0").build();
    List<String> traces = new ArrayList<>();
    for (int number = 0; number < N_TRACES; number++) {
      Span parent =
          tracer
              .spanBuilder("parent")
              .setSpanKind(SpanKind.SERVER)
              .setAttribute("text", "größe")
              .setAttribute("number", number - 1)
              .setAttribute("ratio", 0.25)
              .setAttribute("flag", true)
              .setAttribute(AttributeKey.stringArrayKey("texts"), List.of("a", "b"))
              .setAttribute(AttributeKey.longArrayKey("numbers"), List.of(1L, 2L))
              .startSpan();
      parent.addEvent("milestone", Attributes.builder().put("at", number).build());
      Span child =
          tracer
              .spanBuilder("child")
              .setSpanKind(SpanKind.CLIENT)
              .setParent(Context.root().with(parent))
              .addLink(parent.getSpanContext(), Attributes.builder().put("why", "test").build())
              .startSpan();
      child.setStatus(StatusCode.ERROR, "broken on purpose");
      child.end();
      parent.end();
      traces.add(parent.getSpanContext().getTraceId());
    }
    CompletableResultCode flushed = provider.forceFlush().join(30, TimeUnit.SECONDS);
    CompletableResultCode ended = provider.shutdown().join(30, TimeUnit.SECONDS);
    if (!flushed.isSuccess() || !ended.isSuccess()) {
      throw new IllegalStateException(service + ": not all was exported");
    }
    return traces;
  }

  private static SpanExporter exporter(boolean grpc, String port, String compression) {
    if (grpc) {
      return OtlpGrpcSpanExporter.builder()
          .setEndpoint("http://127.0.0.1:" + port)
          .setCompression(compression)
          .build();
    }
    return OtlpHttpSpanExporter.builder()
        .setEndpoint("http://127.0.0.1:" + port + "/v1/traces")
        .setCompression(compression)
        .build();
  }

  /** The exporters log what fails. */
  private static void watchLog() {
    Handler handler =
        new Handler() {
          @Override
          public void publish(LogRecord record) {
            if (record.getLevel().intValue() >= Level.WARNING.intValue()) {
              warned.set(true);
            }
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    Logger.getLogger("").addHandler(handler);
  }

  public static void main(String[] arguments) {
    if (arguments.length != 2) {
      System.err.println("usage: Exporters GRPC_PORT HTTP_PORT");
      System.exit(2);
    }
    watchLog();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (boolean grpc : new boolean[] {true, false}) {
      for (String compression : List.of("none", "gzip")) {
        String service = "java-" + (grpc ? "grpc" : "http-protobuf") + "-" + compression;
        List<String> traces = send(service, exporter(grpc, arguments[grpc ? 0 : 1], compression));
        String ids = "\"" + String.join("\",\"", traces) + "\"";
        out.printf("{\"service\":\"%s\",\"traces\":[%s]}%n", service, ids);
      }
    }
    System.exit(warned.get() ? 1 : 0);
  }
}
