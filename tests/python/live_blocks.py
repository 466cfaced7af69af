"""Reads blocks of a running server with DuckDB and Polars, and compares with what the server says.

    python live_blocks.py <folder with blocks> <docs/format/block.md> <port of the query API> <spans>

The blocks are of all three levels, and hold the spans of tests/tests/all/python/live_blocks.rs. Counts
of DuckDB and Polars go by statistics and Bloom filters where they filter, so wrong ones would give
wrong counts; the same is counted without a filter besides.
"""

import base64
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

import duckdb
import polars

from block_sql import TABLES, queries

START = int(time.time()) - 24 * 3600


class Server:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.asked = 0

    def get(self, path, **parameters):
        self.asked += 1
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=120) as answer:
            return json.load(answer)

    def count(self, traceql):
        """Spans and traces that a query finds."""
        found = self.get("/api/search", q=traceql, limit=200_000, spss=1, start=START,
                         end=int(time.time()) + 60)
        traces = found.get("traces") or []
        return sum(spanset["matched"] for trace in traces for spanset in trace["spanSets"]), len(traces)

    def spans(self, trace_id):
        """Id, parent, start, end and name of the spans of a trace."""
        trace = self.get(f"/api/traces/{trace_id.hex()}")
        binary = lambda text: base64.b64decode(text) if text else None
        return sorted(
            (binary(span["spanId"]), binary(span.get("parentSpanId")) or b"",
             int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), span["name"])
            for batch in trace["batches"]
            for scope in batch["scopeSpans"]
            for span in scope["spans"]
        )


class Blocks:
    def __init__(self, folder):
        self.folder = folder
        self.metas = [json.loads(path.read_text()) for path in sorted(folder.glob("*/meta.json"))]
        for table in TABLES:
            duckdb.sql(f"CREATE VIEW {table} AS SELECT * FROM "
                       f"read_parquet('{folder}/*/{table}.parquet', union_by_name = true)")

    def columns(self, level, kind):
        """Key and column of all promoted attributes of a kind."""
        return sorted({(column["key"], column["column"]) for meta in self.metas
                       for column in meta["columns"]
                       if (column["level"], column["type"]) == (level, kind)})


def rows(sql, *parameters):
    return duckdb.execute(sql, parameters).fetchall()


def one(sql, *parameters):
    return rows(sql, *parameters)[0][0]


def same(what, left, right):
    if left != right:
        raise SystemExit(f"{what}: {left!r:.500} is not {right!r:.500}")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value).lower()


def check_shape_of_blocks(blocks):
    levels = sorted({meta["level"] for meta in blocks.metas})
    same("levels", levels, [0, 1, 2])
    n_groups = [len(meta["groups"]) for meta in blocks.metas]
    if max(n_groups) < 2:
        raise SystemExit(f"no block has several row groups: {n_groups}")
    sets = {tuple(sorted(column["column"] for column in meta["columns"])) for meta in blocks.metas}
    if len(sets) < 2:
        raise SystemExit("all blocks have the same columns")
    largest = one(f"SELECT max(total_uncompressed_size) FROM "
                  f"parquet_metadata('{blocks.folder}/*/spans.parquet')")
    if largest < 4 * 32 * 1024:
        raise SystemExit(f"no column chunk of several pages of 32 KiB: {largest} bytes")
    print(f"{len(blocks.metas)} blocks of levels {levels}, up to {max(n_groups)} row groups, "
          f"{len(sets)} sets of columns, column chunks of up to {largest} bytes")


def check_filters(blocks):
    """Every promoted column: what a filter counts is what is there. Values that are there, beside
    and between those, and beyond both ends."""
    n = 0
    for kind in ["string", "int", "double", "bool"]:
        for _, column in blocks.columns("span", kind):
            name = quoted(column)
            counted = rows(f"SELECT {name} AS value, count(*) FROM spans GROUP BY value")
            counted = {value: count for value, count in counted if value is not None}
            values = sorted(counted)
            picked = {values[index * (len(values) - 1) // 5] for index in range(6)}
            if kind == "string":
                absent = {value + "\x01" for value in picked} | {"", "zzzz"}
            else:
                absent = {value + 1 for value in picked} | {values[0] - 1} if kind != "bool" else set()
            for value in picked | absent:
                found = one(f"SELECT count(*) FROM spans WHERE {name} = ?", value)
                same(f"{column} = {value!r}", found, counted.get(value, 0))
                n += 1
            middle = values[len(values) // 2]
            above = sum(count for value, count in counted.items() if value >= middle)
            same(f"{column} >= {middle!r}",
                 one(f"SELECT count(*) FROM spans WHERE {name} >= ?", middle), above)
            n += 1
            for value in sorted(picked)[:2]:
                seen = 0
                for path in sorted(blocks.folder.glob("*/spans.parquet")):
                    frame = polars.scan_parquet(path)
                    if column in frame.collect_schema():
                        seen += frame.filter(polars.col(column) == value).select(polars.len()).collect().item()
                same(f"polars {column} = {value!r}", seen, counted[value])
                n += 1
    print(f"{n} filtered counts are what is there")


def check_trace_ids(blocks):
    """By the Bloom filters of the traces."""
    ids = [row[0] for row in rows("SELECT DISTINCT trace_id FROM spans ORDER BY hash(trace_id) LIMIT 60")]
    for trace_id in ids:
        spans = one("SELECT count(*) FROM spans WHERE trace_id = ?", trace_id)
        same("spans of a trace",
             one("SELECT sum(span_count) FROM traces WHERE trace_id = ?", trace_id), spans)
        missing = bytes(byte ^ 0x55 for byte in trace_id)
        same("a trace that is not there",
             one("SELECT count(*) FROM traces WHERE trace_id = ?", missing), 0)


def check_counts(blocks, server, n_spans):
    same("spans", one("SELECT count(*) FROM spans"), n_spans)
    pairs = [
        ("{ }", "true"),
        ("{ status = error }", "status_code = 2"),
        ("{ kind = server }", "kind = 2"),
        ("{ duration > 20ms }", "duration_nano > 20000000"),
        ('{ resource.service.name = "cart" && status = error }',
         "service_name = 'cart' AND status_code = 2"),
    ]
    names = [row[0] for row in rows("SELECT name, count(*) FROM spans GROUP BY ALL ORDER BY 2, 1")]
    for name in [names[0], names[-1]]:
        pairs.append((f"{{ name = {literal(name)} }}", f"name = '{name}'"))
    for traceql, condition in pairs:
        expected = rows(f"SELECT count(*), count(DISTINCT trace_id) FROM spans WHERE {condition}")[0]
        same(traceql, server.count(traceql), expected)
    print(f"{len(pairs)} counts of columns that every block has agree with the server, {n_spans} spans")


def check_promoted(blocks, server):
    """A value lies in a column or in the attribute table, by block: joined they are what was sent."""
    n = 0
    for kind, wanted in [("string", ["http.route", "url.path", "user.id", "userid", "userId", "app.rare"]),
                         ("int", ["http.response.status_code", "http.status_code", "server.port"])]:
        columns = dict(blocks.columns("span", kind))
        for key in wanted:
            column = quoted(columns[key]) if key in columns else f"NULL::{'VARCHAR' if kind == 'string' else 'BIGINT'}"
            values = rows(f"""
                SELECT value, count(*) AS n, count(DISTINCT trace_id) FROM (
                    SELECT trace_id, {column} AS value FROM spans
                    UNION ALL
                    SELECT s.trace_id, a."{kind}" FROM attributes a
                    JOIN spans s ON s."group" = a."group" AND s.row = a.row
                    WHERE a.level = 'span' AND a.key = ? AND a.type = '{kind}')
                WHERE value IS NOT NULL GROUP BY value ORDER BY n, value""", key)
            if not values:
                raise SystemExit(f"no value of {key}")
            for value, spans, traces in {values[0], values[-1]}:
                traceql = f"{{ span.{json.dumps(key)} = {literal(value)} }}"
                same(traceql, server.count(traceql), (spans, traces))
                n += 1
    print(f"{n} counts of attributes agree with the server")


def check_joins(blocks, server):
    n = 0
    for service, host, spans, traces in rows("""
            SELECT r."resource.service.name", r."resource.host.name", count(*), count(DISTINCT s.trace_id)
            FROM spans s JOIN (SELECT DISTINCT ON (resource) * FROM resources) r USING (resource)
            WHERE r."resource.host.name" IS NOT NULL GROUP BY ALL ORDER BY ALL LIMIT 6"""):
        traceql = (f"{{ resource.service.name = {literal(service)} && "
                   f"resource.host.name = {literal(host)} }}")
        same(traceql, server.count(traceql), (spans, traces))
        n += 1
    for kind, spans, traces in rows("""
            SELECT e."event.exception.type", count(DISTINCT (s."group", s.row)), count(DISTINCT s.trace_id)
            FROM events e JOIN spans s ON s."group" = e."group" AND s.row = e.row
            WHERE e.name = 'exception' AND e."event.exception.type" IS NOT NULL
            GROUP BY ALL ORDER BY 2 LIMIT 4"""):
        in_table = one("SELECT count(*) FROM attributes WHERE level = 'event' AND key = 'exception.type' "
                       "AND string = ?", kind)
        if in_table == 0:
            traceql = f"{{ event.exception.type = {literal(kind)} }}"
            same(traceql, server.count(traceql), (spans, traces))
            n += 1
    keys = rows("""
        SELECT key, count(*) AS n FROM attributes WHERE level = 'span' AND key NOT LIKE 'app.' || chr(1)
        GROUP BY key ORDER BY n""")
    for key, _ in keys[:3] + keys[-3:]:
        expected = rows("""
            SELECT count(*), count(DISTINCT trace_id) FROM spans
            WHERE shape IN (SELECT shape FROM shapes WHERE level = 'span' AND key = ?)""", key)[0]
        traceql = f"{{ span.{json.dumps(key)} != nil }}"
        same(traceql, server.count(traceql), expected)
        n += 1
    print(f"{n} counts over joins with resources, events, shapes agree with the server")


def check_document(blocks, document, server, n_spans):
    found = {name: rows(sql) for name, sql in queries(document, blocks.folder).items()}
    starts = [row[2] for row in found["spans"]]
    same("newest first", starts, sorted(starts, reverse=True))
    newest = one("SELECT max(start_unix_nano) FROM spans")
    same("the newest", one("SELECT make_timestamp_ns(?::BIGINT)", newest), starts[0])
    codes = {row[0] for row in found["two_types"]}
    same("two types", {"200", "201"} <= codes, True)
    occurrences = {row[:3]: row[3] for row in found["keys"]}
    for key, kind in [("userid", "string"), ("http.status_code", "int")]:
        held = one(f"SELECT count(*) FROM attributes WHERE level = 'span' AND key = ? AND type = ?", key, kind)
        column = quoted(dict(blocks.columns("span", kind))[key])
        held += one(f"SELECT count({column}) FROM spans")
        same(f"occurrences of {key}", occurrences["span", key, kind], held)
    same("rare key", {row[2] for row in found["rare_key"]}, {"hidden"})
    same("rare key everywhere", len(found["rare_key"]), one("SELECT count(*) FROM spans WHERE service_name = 'odd'"))
    same("resources", sum(row[2] for row in found["resources"]), n_spans)
    same("exceptions", sum(row[2] for row in found["exceptions"]),
         one("SELECT count(*) FROM events WHERE name = 'exception'"))
    same("parents", len(found["parents"]), n_spans)
    same("roots", sum(row[1] is None for row in found["parents"]),
         one("SELECT count(*) FROM spans WHERE parent_index IS NULL AND parent_span_id IS NULL"))
    same("ends", len(found["ends"]), n_spans)
    same("case", {row for row in found["case"]}, {("lower", None), ("lower", "camel")})
    durations = [row[3] for row in found["traces"]]
    same("slowest first", durations, sorted(durations, reverse=True))
    print(f"{len(found)} queries of the document, rows: " +
          ", ".join(f"{name} {len(result)}" for name, result in found.items()))


def check_traces(blocks, document, server):
    """Ids, parents, times and names of whole traces, by the document's joins and by the server."""
    sql = """
        SELECT c.span_id, coalesce(p.span_id, c.parent_span_id, ''::BLOB), c.start_unix_nano,
               coalesce(c.end_unix_nano, c.start_unix_nano + c.duration_nano::UBIGINT), c.name
        FROM spans c JOIN traces t ON t."group" = c."group"
             AND c.row BETWEEN t.first_row AND t.first_row + t.row_count - 1
        LEFT JOIN spans p ON p."group" = c."group" AND p.row = t.first_row + c.parent_index
        WHERE c.trace_id = ?"""
    ids = rows("(SELECT DISTINCT trace_id FROM spans ORDER BY hash(trace_id) LIMIT 25) UNION "
               "(SELECT DISTINCT trace_id FROM spans WHERE service_name = 'odd' LIMIT 5)")
    n = 0
    for (trace_id,) in ids:
        spans = sorted(rows(sql, trace_id))
        same(trace_id.hex(), server.spans(trace_id), spans)
        n += len(spans)
    print(f"{len(ids)} traces of {n} spans are the same by SQL and by id")


def check_polars(blocks):
    total = 0
    for table in TABLES:
        paths = sorted(blocks.folder.glob(f"*/{table}.parquet"))
        seen = sum(polars.read_parquet(path).height for path in paths)
        same(f"rows of {table}", seen, one(f"SELECT count(*) FROM {table}"))
        total += seen
    print(f"polars opens every table, {total} rows")


def main():
    blocks = Blocks(pathlib.Path(sys.argv[1]))
    document, server, n_spans = pathlib.Path(sys.argv[2]), Server(sys.argv[3]), int(sys.argv[4])
    check_shape_of_blocks(blocks)
    check_counts(blocks, server, n_spans)
    check_filters(blocks)
    check_trace_ids(blocks)
    check_promoted(blocks, server)
    check_joins(blocks, server)
    check_document(blocks, document, server, n_spans)
    check_traces(blocks, document, server)
    check_polars(blocks)
    print(f"{server.asked} questions to the server")


if __name__ == "__main__":
    main()
