#!/usr/bin/env python3
"""Real rows through the whole path: NDJSON -> topic -> pipeline -> history.

Reads INSERTs of the tables orders, orderdetails and customers from an SQL dump, writes
each row as a line of JSON (repeated until there are --records of them), sends the lines
with `courant topic produce`, waits until the pipeline has stored them, and compares
count and content checksum at both ends. Prints one JSON line of results; fails when the
ends differ. Uses nothing but Python's own library.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

TABLES = ("orders", "orderdetails", "customers")

FILE = """
version: 1
name: import
topics:
  rows: { partitions: 3 }
pipelines:
  keep:
    from: rows
    to:
      - history: { collection: rows, indexes: [n] }
"""


def columns_of(dump, table):
    body = re.search(rf"CREATE TABLE `{table}` \((.*?)\n\) ENGINE", dump, re.S).group(1)
    return re.findall(r"^\s+`(\w+)` (\w+)", body, re.M)


def values_of(text):
    """The parenthesised rows of an INSERT, as lists of raw SQL literals."""
    rows, row, cell, quoted, depth, i = [], [], "", False, 0, 0
    while i < len(text):
        c = text[i]
        if quoted:
            cell += c
            if c == "\\":
                i += 1
                cell += text[i]
            elif c == "'":
                quoted = False
        elif c == "'":
            quoted = True
            cell += c
        elif c == "(" and depth == 0:
            depth, row, cell = 1, [], ""
        elif c == "," and depth == 1:
            row.append(cell.strip())
            cell = ""
        elif c == ")" and depth == 1:
            row.append(cell.strip())
            rows.append(row)
            depth = 0
        elif c == ";" and depth == 0:
            break
        elif depth:
            cell += c
        i += 1
    return rows


def value_of(literal, kind):
    if literal.upper() == "NULL":
        return None
    if literal.startswith("'"):
        text = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), literal[1:-1])
        if kind in ("int", "smallint"):
            return int(text)
        return float(text) if kind in ("decimal", "double") else text
    return int(literal) if kind in ("int", "smallint") else float(literal)


def rows_of(dump):
    for table in TABLES:
        columns = columns_of(dump, table)
        for start in re.finditer(rf"insert\s+into `{table}`\s*\([^)]*\)\s*values", dump, re.I):
            for row in values_of(dump[start.end() :]):
                assert len(row) == len(columns), (table, row)
                yield {"table": table} | {
                    name: value_of(literal, kind) for literal, (name, kind) in zip(row, columns)
                }


def digest(document):
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def ask(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--dump", required=True, type=pathlib.Path)
    arguments.add_argument("--courant", required=True)
    arguments.add_argument("--records", type=int, default=0, help="repeat the rows up to this many")
    chosen = arguments.parse_args()

    rows = list(rows_of(chosen.dump.read_text()))
    wanted = chosen.records or len(rows)
    counted = {table: sum(row["table"] == table for row in rows) for table in TABLES}
    print(f"rows in the dump: {counted}", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "courant.yaml").write_text(FILE)
        checksum, size = 0, 0
        with open(folder / "rows.ndjson", "w") as lines:
            for n in range(wanted):
                document = {"n": n} | rows[n % len(rows)]
                checksum = (checksum + digest(document)) % 2**128
                size += lines.write(json.dumps(document, ensure_ascii=False) + "\n")
        server = subprocess.Popen(
            [chosen.courant, "run", folder / "courant.yaml", "--data", folder / "data", "--http-port", "0", "--kafka-port", "off", "--log-level", "warn"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = server.stdout.readline().split()[-1]
            start = time.monotonic()
            subprocess.run([chosen.courant, "topic", "produce", "rows", folder / "rows.ndjson", "--url", url], check=True)
            produced = time.monotonic() - start
            while True:
                offsets = ask(f"{url}/api/v1/groups/import.keep")["offsets"]
                if len(offsets) == 3 and sum(o["lag"] for o in offsets) == 0 and sum(o["committed"] for o in offsets) == wanted:
                    break
                time.sleep(0.05)
            stored = time.monotonic() - start
            found, found_checksum, after = 0, 0, -1
            while True:
                query = urllib.parse.urlencode({"filter": json.dumps({"n": {"$gt": after}}), "sort": "n", "limit": 10000})
                documents = ask(f"{url}/api/v1/history/rows?{query}")["data"]
                if not documents:
                    break
                after = documents[-1]["n"]
                for document in documents:
                    del document["_id"]
                    found_checksum = (found_checksum + digest(document)) % 2**128
                found += len(documents)
        finally:
            server.terminate()
            server.wait(30)
        same = (found, found_checksum) == (wanted, checksum)
        print(
            json.dumps(
                {
                    "records": wanted,
                    "megabytes": round(size / 1e6, 1),
                    "in_history": found,
                    "checksum_sent": f"{checksum:032x}",
                    "checksum_stored": f"{found_checksum:032x}",
                    "equal": same,
                    "produce_seconds": round(produced, 2),
                    "until_stored_seconds": round(stored, 2),
                    "stored_per_second": round(wanted / stored),
                }
            )
        )
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
