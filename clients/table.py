#!/usr/bin/env python3
"""Writes docs/kafka-clients.md from results of clients/run.py and clients/suites/run.py:

  clients/table.py --kafka FILE --courant FILE [--suites KAFKA COURANT] > docs/kafka-clients.md
"""

import argparse
import json
import pathlib
import re

from matrix import cases, tools
from matrix.faults import REMARKS
from suites.reasons import REASONS

SIGNS = {"pass": "✓", "lacks": "–", "fault": "c", "fail": "✗"}
HEAD = """# Kafka clients

Written by `clients/table.py`; do not edit. Every case ran against Apache Kafka {kafka}
first (KRaft, one node, `scripts/kafka`), which is the judge of the cases, then against
Courant. A case is the same for every client: [`clients/README.md`](../clients/README.md)
tells how it is run and how a client is added. `scripts/test-clients` runs all of this in
the tests.

✓ passes with both; – the client has no such feature; c a fault of the client, which it
shows with Apache Kafka too; ✗ fails with Courant. The notes below the table say why.
"""


def title(function):
    return function.__doc__.splitlines()[0]


def row(cells):
    return f"| {' | '.join(cells)} |"


def cell(function, found, oracle, notes):
    """The sign of one case and client; what is not plain goes into the notes."""
    result, judged = found["cases"].get(function.__name__), oracle["cases"].get(function.__name__)
    if result is None:
        return ""
    if judged and judged["result"] == "fail":
        notes.append((title(function), f"fails with Apache Kafka: {first_line(judged['reason'])}"))
        return "✗ (both)"
    if result["result"] != "pass":
        notes.append((title(function), first_line(result["reason"])))
    elif judged and judged.get("seen") != result.get("seen"):
        notes.append((title(function), f"Apache Kafka says {judged['seen']}, Courant {result['seen']}"))
        return "✓ (differs)"
    return SIGNS[result["result"]]


def first_line(text):
    return re.sub(r"\s+", " ", text.strip().splitlines()[-1])[:200]


def grouped(notes):
    """Notes with the same words once, with all their cases."""
    words = {}
    for case, reason in notes:
        words.setdefault(reason, []).append(case)
    return "; ".join(f"{', '.join(found)}: {reason}" for reason, found in words.items())


def clients(courant, kafka):
    names = [name for name, found in courant["clients"].items() if not found["missing"]]
    yield row(["", *names])
    yield row(["---", *["---"] * len(names)])
    yield row(["version", *[courant["clients"][name]["version"] for name in names]])
    notes = {name: [] for name in names}
    for function in cases.CASES:
        yield row([title(function),
                   *[cell(function, courant["clients"][name], kafka["clients"][name], notes[name]) for name in names]])
    yield "\n### Notes\n"
    for name in names:
        if notes[name]:
            yield f"- **{name}**: {grouped(notes[name])}."
    for name, remark in REMARKS.items():
        yield f"- **{name}**, beside the cases: {remark}."
    for name, found in courant["clients"].items():
        if found["missing"]:
            yield f"- **{name}** was not run: {found['missing']}."


def command_line(courant, kafka):
    yield f"\n## Apache Kafka's tools ({courant['tools']['version']})\n"
    yield row(["tool", "what it did", "", ""])
    yield row(["---"] * 4)
    for function in tools.CASES:
        name = function.__name__.replace("_848", "").replace("_", "-")
        notes = []
        sign = cell(function, courant["tools"], kafka["tools"], notes)
        yield row([f"`{name}`", title(function), sign, grouped(notes)])


def counted(results):
    words = list(results.values())
    return f"{words.count('pass')} pass, {words.count('fail')} fail, {words.count('skip')} skip"


def suites(kafka, courant):
    yield "\n## Other people's suites\n"
    yield "Test suites of client libraries, unchanged, run by"
    yield "[`clients/suites/run.py`](../clients/suites/README.md). A suite skips what a broker does not offer.\n"
    yield row(["suite", "version", "Apache Kafka", "Courant"])
    yield row(["---"] * 4)
    for key, suite in courant.items():
        yield row([suite["name"], suite["version"], counted(kafka[key]["tests"]), counted(suite["tests"])])
    yield "\nWhat differs, and what fails with both:\n"
    for key, suite in courant.items():
        for test, result in sorted(suite["tests"].items()):
            judged = kafka[key]["tests"].get(test)
            if result != judged or result == "fail":
                reason = REASONS.get((key, test), "")
                yield f"- {suite['name']}, `{test}`: {judged} with Apache Kafka, {result} with Courant{': ' if reason else ''}{reason}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--kafka", "--courant"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--suites", type=pathlib.Path, nargs=2, metavar=("KAFKA", "COURANT"))
    options = parser.parse_args()
    kafka, courant = (json.loads(path.read_text()) for path in (options.kafka, options.courant))
    print(HEAD.format(kafka=kafka["tools"]["version"]))
    print("\n".join([*clients(courant, kafka), *command_line(courant, kafka)]))
    if options.suites:
        print("\n".join(suites(*[json.loads(path.read_text()) for path in options.suites])))


if __name__ == "__main__":
    main()
