#!/usr/bin/env python3
"""Runs the client matrix against a broker: every client through every case.

  clients/run.py HOST:PORT [--name NAME] [--clients A,B] [--cases X,Y] [--no-tools]
                 [--jobs N] [--results FILE]

Prints one line for each failure and three counting lines at the end; exits with 1 when a
case failed, or when a client is missing and CI=true. --results keeps everything as JSON,
from which clients/table.py writes docs/kafka-clients.md.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import sys
import tempfile
import time
import traceback

from matrix import install, tools
from matrix.cases import CASES
from matrix.client import Broken, Client, KafkaSaid, Lacks
from matrix.faults import FAULTS


def outcome(case, client):
    """Runs one case; gives what the table needs of it."""
    started = time.monotonic()
    try:
        result = {"result": "pass", "seen": case(client)}
    except Lacks as lacks:
        result = {"result": "lacks", "reason": str(lacks)}
    except (AssertionError, KafkaSaid, Broken, ConnectionError) as error:
        result = {"result": "fail", "reason": str(error) or traceback.format_exc(limit=-1)}
    except Exception:  # a driver's answer that the case cannot take
        result = {"result": "fail", "reason": traceback.format_exc(limit=-2)}
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def run_client(name, bootstrap, cases, logs):
    """Runs one client through the cases. A driver is started anew after a failure, so that
    one case cannot spoil the next."""
    try:
        command = install.CLIENTS[name]()
    except install.Missing as missing:
        return {"version": None, "missing": str(missing), "cases": {}}
    log = os.path.join(logs, name.replace("/", "-").replace(" ", "-"))
    client, found = None, {"version": None, "missing": None, "cases": {}}
    for case in cases:
        if client is None:
            client = Client(name, command, bootstrap, log)
            try:
                found["version"] = client.hello()["version"]
            except (Broken, KafkaSaid) as error:
                found["missing"] = f"the driver did not start: {error}; see {log}"
                client.close()
                return found
        result = found["cases"][case.__name__] = outcome(case, client)
        fault = FAULTS.get((name, case.__name__))
        if fault and result["result"] == "fail":
            result |= {"result": "fault", "reason": fault}
            client.close()
            client = None
        elif fault and result["result"] == "pass":
            print(f"{name}: {case.__name__} passes now; take it out of clients/matrix/faults.py", flush=True)
        if result["result"] == "fail":
            print(f"not ok {name}: {case.__name__}: {result['reason']}", flush=True)
            client.close()
            client = None
    if client:
        client.close()
    return found


def count(results):
    """Passed, failed and skipped; a missing client is one skipped."""
    groups = [*results["clients"].values(), results["tools"]]
    kinds = [case["result"] for group in groups for case in group["cases"].values()]
    missing = sum(1 for group in groups if group["missing"])
    return kinds.count("pass"), kinds.count("fail"), missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap")
    parser.add_argument("--name", default="the broker")
    parser.add_argument("--clients", help="names, separated by commas; all by default")
    parser.add_argument("--cases", help="names, separated by commas; all by default")
    parser.add_argument("--no-tools", action="store_true", help="leave Apache Kafka's command-line tools out")
    parser.add_argument("--jobs", type=int, default=3, help="clients at the same time; they mostly wait")
    parser.add_argument("--results", type=pathlib.Path)
    options = parser.parse_args()
    names = options.clients.split(",") if options.clients else list(install.CLIENTS)
    wanted = options.cases.split(",") if options.cases else None
    cases = [case for case in CASES if not wanted or case.__name__ in wanted]
    logs = tempfile.mkdtemp(prefix="clients-")
    results = {"broker": options.name, "clients": {}, "tools": {"version": None, "missing": None, "cases": {}}}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {name: pool.submit(run_client, name, options.bootstrap, cases, logs) for name in names}
        if not options.no_tools:
            results["tools"] = pool.submit(tools.run, options.bootstrap, wanted).result()
        results["clients"] = {name: future.result() for name, future in running.items()}
    for name, found in [*results["clients"].items(), ("Apache Kafka's tools", results["tools"])]:
        if found["missing"]:
            print(f"skipped {name}: {found['missing']}")
    if options.results:
        options.results.write_text(json.dumps(results, indent=1) + "\n")
    passed, failed, missing = count(results)
    print(f"drivers' own words are in {logs}\n# pass {passed}\n# fail {failed}\n# skipped {missing}")
    return 1 if failed or (missing and os.environ.get("CI") == "true") else 0


if __name__ == "__main__":
    sys.exit(main())
