// Sends spans with the official exporters, in every protocol and compression that they have.
//
// Usage: exporters GRPC_PORT HTTP_PORT
//
// Prints one JSON object a line: service name and the ids of the traces it sent. Exits with 1 if an export fails or the
// SDK reports an error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const nTraces = 5

type sent struct {
	Service string   `json:"service"`
	Traces  []string `json:"traces"`
}

// send makes the same traces as the programs of the other languages.
func send(ctx context.Context, service string, exporter sdktrace.SpanExporter) (sent, error) {
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
	)
	tracer := provider.Tracer("exporters", trace.WithInstrumentationVersion("1.0"))
	traces := sent{Service: service}
	for number := range nTraces {
		outer, parent := tracer.Start(ctx, "parent",
			trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(
				attribute.String("text", "größe"),
				attribute.Int("number", number-1),
				attribute.Float64("ratio", 0.25),
				attribute.Bool("flag", true),
				attribute.StringSlice("texts", []string{"a", "b"}),
				attribute.IntSlice("numbers", []int{1, 2}),
			))
		parent.AddEvent("milestone", trace.WithAttributes(attribute.Int("at", number)))
		_, child := tracer.Start(outer, "child",
			trace.WithSpanKind(trace.SpanKindClient),
			trace.WithLinks(trace.Link{
				SpanContext: parent.SpanContext(),
				Attributes:  []attribute.KeyValue{attribute.String("why", "test")},
			}))
		child.SetStatus(codes.Error, "broken on purpose")
		child.End()
		parent.End()
		traces.Traces = append(traces.Traces, parent.SpanContext().TraceID().String())
	}
	return traces, errors.Join(provider.ForceFlush(ctx), provider.Shutdown(ctx))
}

func exporters(ctx context.Context, grpcPort, httpPort string) (map[string]*otlptrace.Exporter, error) {
	grpcEndpoint := otlptracegrpc.WithEndpointURL("http://127.0.0.1:" + grpcPort)
	httpEndpoint := otlptracehttp.WithEndpointURL("http://127.0.0.1:" + httpPort + "/v1/traces")
	grpcNone, err1 := otlptracegrpc.New(ctx, grpcEndpoint)
	grpcGzip, err2 := otlptracegrpc.New(ctx, grpcEndpoint, otlptracegrpc.WithCompressor("gzip"))
	httpNone, err3 := otlptracehttp.New(ctx, httpEndpoint)
	httpGzip, err4 := otlptracehttp.New(ctx, httpEndpoint,
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	return map[string]*otlptrace.Exporter{
		"go-grpc-none":          grpcNone,
		"go-grpc-gzip":          grpcGzip,
		"go-http-protobuf-none": httpNone,
		"go-http-protobuf-gzip": httpGzip,
	}, errors.Join(err1, err2, err3, err4)
}

func run(grpcPort, httpPort string) error {
	ctx := context.Background()
	var reported atomic.Pointer[error]
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported.Store(&err) }))
	all, err := exporters(ctx, grpcPort, httpPort)
	if err != nil {
		return err
	}
	for service, exporter := range all {
		traces, err := send(ctx, service, exporter)
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		line, err := json.Marshal(traces)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	if err := reported.Load(); err != nil {
		return *err
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: exporters GRPC_PORT HTTP_PORT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
