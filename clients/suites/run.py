#!/usr/bin/env python3
"""Runs test suites of client libraries against a broker:

  clients/suites/run.py HOST:PORT [--suites A,B] [--results FILE]

A suite comes from its language's package registry with a fixed version, is built in the
cache folder and is run as it is; nothing of it is kept here. Prints what failed, and a
line for each suite that counts its tests; exits with 1 when a test failed that
reasons.py does not explain.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from reasons import REASONS

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "courant" / "suites"
SECONDS = 900


class FranzGo:
    """franz-go's tests of its client: consumers, producers, groups of both protocols,
    transactions, share groups. They want a broker that makes topics by itself."""

    name, version = "franz-go (`kgo`)", "v1.22.2"
    module = "github.com/twmb/franz-go"
    # One replica, and few enough records that the suite takes a minute or two.
    settings = {"KGO_TEST_RF": "1", "KGO_TEST_RECORDS": "10000", "KGO_TEST_MAX_TOPIC_PARTS": "8", "KGO_LOG_LEVEL": "none"}

    def fetch(self, folder):
        said = subprocess.run(["go", "mod", "download", "-json", f"{self.module}@{self.version}"], check=True, capture_output=True)
        shutil.copytree(json.loads(said.stdout)["Dir"], folder)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        subprocess.run(["go", "test", "-c", "-o", "kgo.test", "."], check=True, cwd=folder / "pkg" / "kgo")

    def run(self, folder, bootstrap):
        command = ["./kgo.test", "-test.v", "-test.parallel", "4", "-test.timeout", f"{SECONDS}s"]
        environment = {**os.environ, **self.settings, "KGO_SEEDS": bootstrap}
        return started(command, folder / "pkg" / "kgo", environment)

    def results(self, said):
        """One result for each test with its subtests; one that did not end failed."""
        words = {"PASS": "pass", "FAIL": "fail", "SKIP": "skip"}
        found = dict.fromkeys(re.findall(r"^=== RUN +(Test[^/\s]+)$", said, re.M), "fail")
        return found | {name: words[word] for word, name in re.findall(r"^--- (PASS|FAIL|SKIP): (\S+)", said, re.M)}


class Rdkafka:
    """The tests of the crate rdkafka (librdkafka): admin, consumers, producers,
    transactions. The crate is one that Courant itself uses."""

    name, version = "rdkafka (librdkafka)", "0.39.0"

    def fetch(self, folder):
        said = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True, cwd=HERE)
        packages = json.loads(said.stdout)["packages"]
        manifest = next(p["manifest_path"] for p in packages if p["name"] == "rdkafka" and p["version"] == self.version)
        shutil.copytree(pathlib.Path(manifest).parent, folder)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
        subprocess.run(["cargo", "test", "--tests", "--no-run"], check=True, cwd=folder, env=environment)

    def run(self, folder, bootstrap):
        command = ["cargo", "test", "--tests", "--no-fail-fast", "--", "--test-threads", "4"]
        environment = {**os.environ, "KAFKA_HOST": bootstrap, "CARGO_TARGET_DIR": str(folder / "target")}
        return started(command, folder, environment)

    def results(self, said):
        words = {"ok": "pass", "FAILED": "fail", "ignored": "skip"}
        return {name: words[word] for name, word in re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)", said, re.M)}


SUITES = {"franz-go": FranzGo(), "rdkafka": Rdkafka()}


def started(command, folder, environment):
    """Runs a suite to its end, or until its time is up; gives what it said."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS + 30)
        return done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace")


def fetched(key, suite):
    folder = CACHE / f"{key}-{suite.version}"
    if not (folder / "fetched").exists():
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        suite.fetch(folder)
        (folder / "fetched").touch()
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap")
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--results", type=pathlib.Path)
    options = parser.parse_args()
    everything, unexplained = {}, 0
    for key in options.suites.split(","):
        suite = SUITES[key]
        folder = fetched(key, suite)
        said = suite.run(folder, options.bootstrap)
        (folder / "last.log").write_text(said)
        results = suite.results(said)
        everything[key] = {"name": suite.name, "version": suite.version, "tests": results}
        for test in sorted(test for test, result in results.items() if result == "fail"):
            reason = REASONS.get((key, test))
            unexplained += reason is None
            print(f"not ok {key}: {test}: {reason or f'see {folder}/last.log'}")
        counts = {word: list(results.values()).count(word) for word in ("pass", "fail", "skip")}
        print(f"{key}: {len(results)} tests, {counts['pass']} pass, {counts['fail']} fail, {counts['skip']} skipped by the suite", flush=True)
        unexplained += not results
    if options.results:
        options.results.write_text(json.dumps(everything, indent=1) + "\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
