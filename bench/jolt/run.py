#!/usr/bin/env python3
"""Jolt here beside jolt-core on a JVM: the same specifications on the same documents.

One thread each, CPU time of that thread, after warming up. Both sides run one after the
other for each case, round by round, so that what the machine does meanwhile falls on both.

    python3 bench/jolt/run.py --binary PATH [--case FILE …] [--rounds N]

PATH is the optimised `bench-jolt`. Cases are made here, from an order; `--case` adds files
of the same form, `{"input": …, "spec": […]}`. The Java side is built with Maven from java/
beside this file, or taken from `--classpath`. Writes a table in Markdown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

ITEM = "order.items[&1]."
SHIFT = {"operation": "shift", "spec": {
    "orderId": "order.id", "placedAt": "order.date",
    "customer": {"id": "order.buyer.id", "name": "order.buyer.name",
                 "email": "order.buyer.contact.email", "address": {"*": "order.shipTo.&"}},
    "payment": {"method": "order.payment.type", "*": "order.payment.&",
                "auth": {"*": "order.payment.auth_&"}},
    "lines": {"*": {"sku": ITEM + "product", "qty": ITEM + "quantity", "price": ITEM + "unitPrice",
                    "desc": ITEM + "title", "tmp": ITEM + "tmp", "@(2,channel)": ITEM + "channel"}},
    "*": "other.&"}}
REMOVE = {"operation": "remove", "spec": {
    "order": {"payment": {"auth_token": ""}, "items": {"*": {"tmp": ""}}},
    "other": {"internal": ""}}}
DEFAULT = {"operation": "default", "spec": {
    "order": {"currency": "EUR", "status": "NEW", "shipTo": {"country": "GB"},
              "items[]": {"*": {"tax": 0.2, "giftWrap": False}}}}}
MODIFY = {"operation": "modify-overwrite-beta", "spec": {
    "lines": {"*": {"total": "=concat(@(1,sku),'-',@(1,qty))", "sku": "=toLower",
                    "qty": "=toString", "price": "=toInteger"}},
    "customer": {"name": "=toUpper"}, "n": "=size(@(1,lines))"}}


def order(lines):
    return {
        "orderId": "A-100234", "placedAt": "2024-05-01T10:22:31Z", "channel": "web",
        "customer": {"id": 991, "name": "Ada Lovelace", "email": "ada@example.com",
                     "address": {"street": "1 Analytical Way", "city": "London", "zip": "N1 9GU"}},
        "payment": {"method": "card", "last4": "4242", "auth": {"code": "X9", "token": "secret"}},
        "lines": [{"sku": f"SKU-{1000 + n}", "qty": n + 1, "price": 9.95 + 1.5 * n,
                   "desc": f"Item {n}", "tmp": None} for n in range(lines)],
        "internal": {"trace": "abc", "node": "n7"}}


CASES = {
    "shift": (10, [SHIFT]),
    "shift, remove": (10, [SHIFT, REMOVE]),
    "shift, remove, default": (10, [SHIFT, REMOVE, DEFAULT]),
    "modify": (10, [MODIFY]),
    "shift, remove, default, 1,000 lines": (1000, [SHIFT, REMOVE, DEFAULT]),
}


def classpath():
    """Builds the Java side and answers where its classes are."""
    found = HERE / "java" / "target" / "classpath"
    subprocess.run(["mvn", "-q", "-f", HERE / "java" / "pom.xml", "compile",
                    "dependency:build-classpath", f"-Dmdep.outputFile={found}"], check=True, stdout=sys.stderr)
    return f"{HERE / 'java' / 'target' / 'classes'}:{found.read_text().strip()}"


def measured(command):
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--case", action="append", default=[], metavar="FILE")
    arguments.add_argument("--classpath", help="of the Java side, built already")
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    java = chosen.classpath or classpath()
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(path).stem: path for path in chosen.case}
        for name, (lines, spec) in CASES.items():
            files[name] = str(Path(folder) / f"{len(files)}.json")
            Path(files[name]).write_text(json.dumps({"input": order(lines), "spec": spec}))
        found = {name: ([], []) for name in files}
        for _ in range(chosen.rounds):
            for name, path in files.items():
                for side, command in enumerate(([chosen.binary], ["java", "-cp", java, "Bench"])):
                    found[name][side].append(measured([*command, path]))
                    print(name, json.dumps(found[name][side][-1]), file=sys.stderr)
    table(found)


def table(found):
    print("| case | document | µs, whole | Java | ratio | µs, transform alone | Java | ratio "
          "| allocations | bytes Java allocates |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, (ours, java) in found.items():
        assert all(one["as_expected"] for one in ours), name
        cells = []
        for key in ("whole_us", "transform_us"):
            here, there = (statistics.median(one[key] for one in side) for side in (ours, java))
            cells += [f"{here:.2f}", f"{there:.2f}", f"{there / here:.1f}"]
        print(f"| {name} | {ours[0]['bytes']:,} B | {' | '.join(cells)} "
              f"| {ours[0]['allocations']} | {java[0]['allocated']:,} |")


if __name__ == "__main__":
    main()
