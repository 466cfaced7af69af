"""Runs the SQL of docs/format/block.md over blocks, with DuckDB, and opens them with Polars.

    python block_sql.py <folder with blocks> <docs/format/block.md>

The expected results are those of the golden blocks (crates/store/tests/golden/block_v1), and of the
block that they were copied into (crates/store/tests/golden/block_v1_copied).
"""

import json
import pathlib
import re
import sys

import duckdb
import polars

SPANS = 36
TABLES = ["spans", "traces", "events", "links", "attributes", "resources", "scopes", "shapes"]


def column_of(blocks, level, key):
    """The column that the blocks' meta name for a key of strings."""
    for meta in sorted(blocks.glob("*/meta.json")):
        for column in json.loads(meta.read_text())["columns"]:
            if (column["level"], column["key"], column["type"]) == (level, key, "string"):
                return column["column"]
    raise SystemExit(f"no column for {level}.{key}")


def queries(document, blocks):
    text = document.read_text()
    found = re.findall(r"```sql\n-- name: (\w+)\n(.*?)```", text, re.DOTALL)
    camel = column_of(blocks, "span", "userId").removeprefix("span.userId~")
    return {
        name: sql.replace("BLOCKS", str(blocks)).replace("KEYHASH(userId)", camel)
        for name, sql in found
    }


def check(name, condition, rows):
    if not condition:
        raise SystemExit(f"{name}: unexpected result: {rows[:20]}")
    print(f"{name}: {len(rows)} rows")


def main():
    blocks, document = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    found = {}
    for name, sql in queries(document, blocks).items():
        found[name] = duckdb.sql(sql).fetchall()
    spans = found["spans"]
    check("spans", len(spans) == 20 and spans[0][4] == "stock" and spans[0][2].year == 2026, spans)
    check("two_types", found["two_types"] == [("200", 27), ("201", 9)], found["two_types"])
    keys = {row[:3]: row[3] for row in found["keys"]}
    check("keys", keys[("span", "http.method", "string")] == SPANS + 2
          and keys[("span", "empty", "empty")] == 2, found["keys"])
    values = [row[2] for row in found["one_key"]]
    check("one_key", sorted(values) == ["GET"] * SPANS + ["second"] * 2, found["one_key"])
    check("rare_key", [row[2] for row in found["rare_key"]] == ["hidden"] * 2, found["rare_key"])
    resources = [("cart", "host-1", 12), ("shop", "host-1", 12), ("stock", "host-1", 12)]
    check("resources", found["resources"] == resources, found["resources"])
    check("exceptions", found["exceptions"] == [("stock", "IOError", 4)], found["exceptions"])
    parents = found["parents"]
    check("parents", len(parents) == SPANS and sum(row[1] is None for row in parents) == 12
          and sum(row[1] == b"\xee" * 8 for row in parents) == 2, parents)
    parent_of = dict(parents)
    check("parents by index", all(parent is None or parent == b"\xee" * 8 or parent[:2] == child[:2]
          for child, parent in parent_of.items()), parents)
    check("ends", len(found["ends"]) == SPANS and all(end > 1_789_000_000_000_000_000
          for _, end in found["ends"]), found["ends"])
    case = found["case"]
    check("case", case == [("lower", "camel")] * 18 + [("lower", None)] * 18, case)
    check("traces", len(found["traces"]) == 12 and found["traces"][0][5] == ["shop", "cart", "stock"],
          found["traces"])
    for table in TABLES:
        paths = sorted(blocks.glob(f"*/{table}.parquet"))
        rows = sum(polars.read_parquet(path).height for path in paths)
        seen = duckdb.sql(
            f"SELECT count(*) FROM read_parquet('{blocks}/*/{table}.parquet', union_by_name = true)"
        ).fetchall()[0][0]
        if rows != seen:
            raise SystemExit(f"polars reads {rows} rows of {table}, duckdb {seen}")
    print("polars opens every table")


if __name__ == "__main__":
    main()
