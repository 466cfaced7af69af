"""Asks tempopb.StreamingQuerier with the official gRPC library, and the HTTP API the same.

    streaming.py PORT START END GRPC_PORT

Each answer over gRPC, put together from its messages, must be the one over HTTP. Prints a line for each
method; ends with 1 and the difference where one differs.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1 import common_pb2

SERVICE = "/tempopb.StreamingQuerier/"
KEY_VALUE = common_pb2.KeyValue.DESCRIPTOR.full_name
TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "u32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "u64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "i64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
}
# Message: (field, number, type), types in brackets where there are several, maps as lists of entries.
MESSAGES = {
    "Tag": [("key", 1, "string"), ("value", 2, "string")],
    "SearchRequest": [
        ("tags", 1, "[Tag]"), ("minDurationMs", 2, "u32"), ("limit", 4, "u32"), ("start", 5, "u32"),
        ("end", 6, "u32"), ("query", 8, "string"), ("spansPerSpanSet", 9, "u32"),
    ],
    "SearchResponse": [("traces", 1, "[TraceSearchMetadata]"), ("metrics", 2, "SearchMetrics")],
    "ServiceStats": [("spanCount", 1, "u32"), ("errorCount", 2, "u32")],
    "ServiceStatsEntry": [("key", 1, "string"), ("value", 2, "ServiceStats")],
    "TraceSearchMetadata": [
        ("traceID", 1, "string"), ("rootServiceName", 2, "string"), ("rootTraceName", 3, "string"),
        ("startTimeUnixNano", 4, "u64"), ("durationMs", 5, "u32"), ("spanSet", 6, "SpanSet"),
        ("spanSets", 7, "[SpanSet]"), ("serviceStats", 8, "[ServiceStatsEntry]"),
    ],
    "SpanSet": [("spans", 1, "[Span]"), ("matched", 2, "u32"), ("attributes", 3, "[KeyValue]")],
    "Span": [
        ("spanID", 1, "string"), ("name", 2, "string"), ("startTimeUnixNano", 3, "u64"),
        ("durationNanos", 4, "u64"), ("attributes", 5, "[KeyValue]"),
    ],
    "SearchMetrics": [
        ("inspectedTraces", 1, "u32"), ("inspectedBytes", 2, "u64"), ("totalBlocks", 3, "u32"),
        ("completedJobs", 4, "u32"), ("totalJobs", 5, "u32"), ("totalBlockBytes", 6, "u64"),
        ("inspectedSpans", 7, "u64"),
    ],
    "MetadataMetrics": [
        ("inspectedBytes", 1, "u64"), ("totalJobs", 2, "u32"), ("completedJobs", 3, "u32"),
        ("totalBlocks", 4, "u32"), ("totalBlockBytes", 5, "u64"),
    ],
    "SearchTagsRequest": [
        ("scope", 1, "string"), ("query", 2, "string"), ("start", 3, "u32"), ("end", 4, "u32"),
    ],
    "SearchTagsResponse": [("tagNames", 1, "[string]"), ("metrics", 2, "MetadataMetrics")],
    "Scope": [("name", 1, "string"), ("tags", 2, "[string]")],
    "SearchTagsV2Response": [("scopes", 1, "[Scope]"), ("metrics", 2, "MetadataMetrics")],
    "SearchTagValuesRequest": [
        ("tagName", 1, "string"), ("query", 2, "string"), ("start", 4, "u32"), ("end", 5, "u32"),
    ],
    "SearchTagValuesResponse": [("tagValues", 1, "[string]"), ("metrics", 2, "MetadataMetrics")],
    "TagValue": [("type", 1, "string"), ("value", 2, "string")],
    "SearchTagValuesV2Response": [("tagValues", 1, "[TagValue]"), ("metrics", 2, "MetadataMetrics")],
    "QueryRangeRequest": [
        ("query", 1, "string"), ("start", 2, "u64"), ("end", 3, "u64"), ("step", 4, "u64"),
        ("exemplars", 16, "u32"),
    ],
    "Sample": [("value", 1, "double"), ("timestampMs", 2, "i64")],
    "Exemplar": [("labels", 1, "[KeyValue]"), ("value", 2, "double"), ("timestampMs", 3, "i64")],
    "TimeSeries": [
        ("labels", 1, "[KeyValue]"), ("samples", 2, "[Sample]"), ("exemplars", 4, "[Exemplar]"),
    ],
    "QueryRangeResponse": [("series", 1, "[TimeSeries]"), ("metrics", 2, "SearchMetrics")],
    "QueryInstantRequest": [("query", 1, "string"), ("start", 2, "u64"), ("end", 3, "u64")],
    "InstantSeries": [("labels", 1, "[KeyValue]"), ("value", 2, "double")],
    "QueryInstantResponse": [("series", 1, "[InstantSeries]"), ("metrics", 2, "SearchMetrics")],
}


def classes():
    """The classes of MESSAGES, with names in JSON as they are written there."""
    file = descriptor_pb2.FileDescriptorProto(name="tempo.proto", package="tempopb", syntax="proto3")
    file.dependency.append(common_pb2.DESCRIPTOR.name)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            one = kind.strip("[]")
            added = message.field.add(name=field, json_name=field, number=number)
            added.label = added.LABEL_REPEATED if kind != one else added.LABEL_OPTIONAL
            if one in TYPES:
                added.type = TYPES[one]
            else:
                added.type = added.TYPE_MESSAGE
                added.type_name = f".{KEY_VALUE}" if one == "KeyValue" else f".tempopb.{one}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name: found[f"tempopb.{name}"] for name in MESSAGES}


class Server:
    def __init__(self, port, grpc_port):
        self.http = f"http://127.0.0.1:{port}"
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.classes = classes()

    def call(self, method, request, answer, **fields):
        """The call, not yet read."""
        method = self.channel.unary_stream(
            SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.classes[answer].FromString,
        )
        return method(self.classes[request](**fields), timeout=60)

    def get(self, path, **parameters):
        url = f"{self.http}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)


def shown(message):
    return MessageToDict(message)


def together(messages, field):
    """One answer of several messages, and how many there were."""
    items, metrics = [], {}
    for message in messages:
        answer = shown(message)
        items.extend(answer.get(field, []))
        metrics = answer.get("metrics", metrics)
    return {field: items, "metrics": metrics}


def check(what, n_messages, streamed, expected):
    # Clients that ask twice read twice: what an answer has cost differs, and is there.
    assert streamed.pop("metrics"), f"{what}: no metrics at the end"
    expected.pop("metrics")
    if streamed != expected:
        print(f"{what} differs:\n{json.dumps(streamed)[:2000]}\n{json.dumps(expected)[:2000]}")
        sys.exit(1)
    n = sum(len(items) for items in streamed.values())
    assert n > 0, f"{what}: nothing found"
    print(f"{what}: {n} in {n_messages} messages")


def search(server, start, end, query, limit):
    call = server.call(
        "Search", "SearchRequest", "SearchResponse",
        query=query, start=start, end=end, limit=limit, spansPerSpanSet=2,
    )
    messages = list(call)
    streamed = together(messages, "traces")
    for trace in streamed["traces"]:
        stats = trace.get("serviceStats", [])
        trace["serviceStats"] = {it["key"]: it.get("value", {}) for it in stats}
    # They come as they are found, and no trace twice.
    ids = [trace["traceID"] for trace in streamed["traces"]]
    assert len(set(ids)) == len(ids), f"{query}: a trace came twice"
    newest = lambda trace: (-int(trace["startTimeUnixNano"]), trace["traceID"].zfill(32))
    streamed["traces"].sort(key=newest)
    expected = server.get("/api/search", q=query, start=start, end=end, limit=limit, spss=2)
    check(f"Search {query}", len(messages), streamed, expected)
    return len(messages)


def series(server, start, end, query):
    nanos = {"start": start * 10**9, "end": end * 10**9}
    messages = list(server.call(
        "MetricsQueryRange", "QueryRangeRequest", "QueryRangeResponse",
        query=query, step=600 * 10**9, exemplars=10, **nanos,
    ))
    expected = server.get(
        "/api/metrics/query_range", q=query, start=start, end=end, step="600s", exemplars=10
    )
    check(f"MetricsQueryRange {query}", len(messages), together(messages, "series"), expected)
    messages = list(server.call(
        "MetricsQueryInstant", "QueryInstantRequest", "QueryInstantResponse", query=query, **nanos
    ))
    expected = server.get("/api/metrics/query", q=query, start=start, end=end)
    check(f"MetricsQueryInstant {query}", len(messages), together(messages, "series"), expected)


def tags(server, start, end):
    window = {"start": start, "end": end}
    messages = list(server.call("SearchTags", "SearchTagsRequest", "SearchTagsResponse", **window))
    expected = server.get("/api/search/tags", **window)
    check("SearchTags", len(messages), together(messages, "tagNames"), expected)
    messages = list(server.call("SearchTagsV2", "SearchTagsRequest", "SearchTagsV2Response", **window))
    expected = server.get("/api/v2/search/tags", **window)
    check("SearchTagsV2", len(messages), together(messages, "scopes"), expected)
    messages = list(server.call(
        "SearchTagValues", "SearchTagValuesRequest", "SearchTagValuesResponse",
        tagName="service.name", **window,
    ))
    expected = server.get("/api/search/tag/service.name/values", **window)
    check("SearchTagValues", len(messages), together(messages, "tagValues"), expected)
    request = dict(tagName="resource.service.name", query="{ status = error }", **window)
    messages = list(server.call(
        "SearchTagValuesV2", "SearchTagValuesRequest", "SearchTagValuesV2Response", **request
    ))
    expected = server.get(
        "/api/v2/search/tag/resource.service.name/values", q="{ status = error }", **window
    )
    check("SearchTagValuesV2", len(messages), together(messages, "tagValues"), expected)


def refusals(server, start, end):
    def refused(method, request, answer, **fields):
        try:
            list(server.call(method, request, answer, **fields))
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{method} {fields}: no error")

    code, details = refused(
        "Search", "SearchRequest", "SearchResponse", query="{ statuss = error }", start=start, end=end
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT, code
    assert 'did you mean "status"' in details, details
    code, details = refused("Missing", "SearchRequest", "SearchResponse", query="{ }")
    assert code == grpc.StatusCode.UNIMPLEMENTED, code
    assert "tempopb.StreamingQuerier" in details, details
    code, _ = refused("Search", "SearchRequest", "SearchResponse", query="{ }", start=end, end=start)
    assert code == grpc.StatusCode.INVALID_ARGUMENT, code
    print(f"refusals: {details}")


def main():
    port, start, end, grpc_port = (int(argument) for argument in sys.argv[1:5])
    server = Server(port, port)
    n_messages = search(server, start, end, "{ status = error }", 2_000)
    assert n_messages > 1, f"{n_messages} message is no stream"
    search(server, start, end, "{ kind = server } >> { status = error }", 20)
    search(server, start, end, "{ } | count() > 3", 50)
    series(server, start, end, "{ } | rate() by (resource.service.name)")
    series(server, start, end, "{ } | quantile_over_time(duration, .5, .9)")
    series(server, start, end, "{ } | compare({ status = error })")
    tags(server, start, end)
    refusals(server, start, end)
    by_tags(server, start, end)
    # The same on the port for gRPC alone, where nothing else answers.
    alone = Server(port, grpc_port)
    search(alone, start, end, "{ status = error }", 20)
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{grpc_port}/metrics", timeout=10)
        raise AssertionError("/metrics on the port for gRPC")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error.code
    # Who has seen enough leaves, more often than queries may run at a time (the server has one turn, and who waits
    # for it is refused after half a minute).
    for _ in range(20):
        call = server.call(
            "Search", "SearchRequest", "SearchResponse",
            query="{ }", start=start, end=end, limit=10_000,
        )
        assert next(call).traces
        call.cancel()
    search(server, start, end, "{ status = error }", 20)


def by_tags(server, start, end):
    """Tags as a map, which over HTTP are one text."""
    tags = [{"key": "service.name", "value": "checkout"}, {"key": "odd", "value": 'a "b" \\'}]
    for some, expected in [(tags[:1], True), (tags, False)]:
        found = together(
            server.call("Search", "SearchRequest", "SearchResponse", tags=some, start=start, end=end,
                        minDurationMs=1, limit=5),
            "traces",
        )
        assert bool(found["traces"]) == expected, found
    print("tags: as a map")


main()
