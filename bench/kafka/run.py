#!/usr/bin/env python3
"""Courant's Kafka port beside Apache Kafka, with the same clients on the same machine.

Both servers run at once and are measured in turn, cell by cell, so that what the machine
does meanwhile falls on both. Each has its two durability modes: Courant `fsync` (an
acknowledged record is on the disk) and `os`; Apache Kafka with `flush.messages=1` (the
same promise) and its own default (`os` by another name).

    python3 bench/kafka/run.py --courant PATH --client PATH [--only rates,latency,rest] [--short]

PATHs are the optimised binaries `courant` and `bench-kafka`. Apache Kafka comes from
scripts/kafka. Writes a table for each question to standard output, in Markdown.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")

# What Apache Kafka's own start script gives its server.
JVM = ("-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 "
       "-XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent "
       "-Djava.awt.headless=true")


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def responds(port):
    """Whether a Kafka server answers an ApiVersions request."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            api_versions(connection)
            return True
    except OSError:
        return False


def api_versions(connection):
    client = b"bench"
    body = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    connection.sendall(struct.pack(">i", len(body)) + body)
    head = b""
    while len(head) < 4:
        more = connection.recv(4 - len(head))
        if not more:
            raise OSError("closed")
        head += more
    left = struct.unpack(">i", head)[0]
    while left > 0:
        more = connection.recv(left)
        if not more:
            raise OSError("closed")
        left -= len(more)


class Server:
    """A server under measurement: one mode of Courant or of Apache Kafka."""

    def __init__(self, name, topic_configs=()):
        self.name, self.topic_configs = name, topic_configs
        self.folder = tempfile.mkdtemp(prefix="bench-kafka-")
        self.port = free_port()
        self.pid = None
        self.start_ms = None

    @property
    def brokers(self):
        return f"127.0.0.1:{self.port}"

    def wait(self):
        began = time.monotonic()
        while not responds(self.port):
            if time.monotonic() - began > 120:
                sys.exit(f"{self.name} does not answer; see {self.folder}")
            time.sleep(0.005)

    def memory_mb(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def peak_mb(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Courant(Server):
    def __init__(self, binary, durability):
        super().__init__(f"Courant, {durability}")
        self.binary, self.durability = binary, durability

    def start(self):
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "broker", "--data", f"{self.folder}/data", "--kafka-port", str(self.port),
             "--http-port", "0", "--durability", self.durability, "--log-level", "warn"],
            stdout=subprocess.DEVNULL, stderr=open(f"{self.folder}/log", "ab"))
        self.pid = self.process.pid
        self.wait()
        self.start_ms = (time.monotonic() - began) * 1000

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Kafka(Server):
    """One node, started as its own scripts start it: a heap of 1 GB."""

    def __init__(self, name, topic_configs=()):
        super().__init__(name, topic_configs)

    def start(self):
        environment = dict(os.environ, KAFKA_SERVER_JVM=JVM)
        start = [ROOT / "scripts/kafka", "start", self.folder, str(self.port)]
        subprocess.run(start, check=True, env=environment, stdout=subprocess.DEVNULL)
        # The first start formats the folder; only the second one is timed.
        self.stop()
        began = time.monotonic()
        starting = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL)
        self.wait()
        self.start_ms = (time.monotonic() - began) * 1000
        starting.wait(60)
        self.pid = int((Path(self.folder) / "node-1/pid").read_text())

    def stop(self):
        subprocess.run([ROOT / "scripts/kafka", "stop", self.folder], check=True,
                       stdout=subprocess.DEVNULL)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.topics = 0

    def client(self, command, server, topic, *rest):
        line = subprocess.run(
            [self.arguments.client, command, "--brokers", server.brokers, "--topic", topic,
             *map(str, rest)], capture_output=True, text=True)
        if line.returncode != 0 and "does not keep up" in line.stderr:
            return None
        if line.returncode != 0:
            sys.exit(f"{command} at {server.name} failed: {line.stderr}")
        return json.loads(line.stdout) if line.stdout.strip() else None

    def topic(self, server, partitions):
        self.topics += 1
        name = f"bench-{self.topics}"
        configs = [part for config in server.topic_configs for part in ("--config", config)]
        self.client("create", server, name, "--partitions", partitions, *configs)
        return name

    def cell(self, server, size, codec, partitions, producers, records):
        topic = self.topic(server, partitions)
        cpu = server.cpu_seconds()
        produced = self.client("produce", server, topic, "--records", records, "--bytes", size,
                               "--compression", codec, "--producers", producers)
        cpu_produce = server.cpu_seconds() - cpu
        cpu = server.cpu_seconds()
        consumed = self.client("consume", server, topic, "--records", produced["records"])
        cpu_consume = server.cpu_seconds() - cpu
        return {"produce": produced["rate"], "consume": consumed["rate"],
                "cpu_produce": cpu_produce / records * 1e6, "cpu_consume": cpu_consume / records * 1e6}

    def rates(self, servers):
        scale = 0.1 if self.arguments.short else 1
        for server in servers:
            # The JVM's compiler and both page caches get their chance first.
            for _ in range(2):
                self.cell(server, 100, "none", 1, 1, int(2_000_000 * scale))
        print("\nRecords a second, in thousands (and the server's own CPU seconds per million records):\n")
        names = [server.name for server in servers]
        for what in ("produce", "consume"):
            print(f"\n**{what}**\n")
            print("| record | codec | partitions | producers | " + " | ".join(names) + " |")
            print("|---|---|---|---|" + "---|" * len(names))
            if what == "produce":
                self.results = {}
                for size in (100, 1000):
                    for codec in ("none", "lz4"):
                        for partitions in (1, 12):
                            for producers in (1, 8):
                                records = int((3_000_000 if size == 100 else 600_000) * scale)
                                key = (size, codec, partitions, producers)
                                self.results[key] = [
                                    self.cell(server, *key, records) for server in servers]
                                self.row(key, "produce")
            else:
                for key in self.results:
                    self.row(key, "consume")
        sys.stdout.flush()

    def row(self, key, what):
        size, codec, partitions, producers = key
        cells = [f"{found[what] / 1000:,.0f} ({found['cpu_' + what]:.2f})" for found in self.results[key]]
        print(f"| {size} B | {codec} | {partitions} | {producers} | " + " | ".join(cells) + " |", flush=True)

    def latency(self, servers):
        seconds = 5 if self.arguments.short else 10
        print("\nProduce to consume, milliseconds, 100 B, acks=all, one partition: p50 / p99 / p99.9\n")
        print("| records a second | " + " | ".join(server.name for server in servers) + " |")
        print("|---|" + "---|" * len(servers))
        for rate in (100, 1_000, 50_000):
            cells = []
            for server in servers:
                found = self.client("latency", server, self.topic(server, 1),
                                    "--rate", rate, "--seconds", seconds, "--bytes", 100)
                cells.append("does not keep up" if found is None else
                             f"{found['p50_ms']:.2f} / {found['p99_ms']:.2f} / {found['p999_ms']:.2f}")
            print(f"| {rate:,} | " + " | ".join(cells) + " |", flush=True)

    def memory(self, servers, when):
        print(f"\nMemory {when}, MB (the most it ever was): " + "; ".join(
            f"{server.name} {server.memory_mb():,.0f} ({server.peak_mb():,.0f})" for server in servers))

    def connections(self, servers, count=1_000):
        print(f"\n{count:,} idle connections for 10 s: memory added, CPU used\n")
        for server in servers:
            before = server.memory_mb()
            held = []
            for _ in range(count):
                connection = socket.create_connection(("127.0.0.1", server.port))
                api_versions(connection)
                held.append(connection)
            cpu = server.cpu_seconds()
            time.sleep(10)
            print(f"- {server.name}: {server.memory_mb() - before:+.1f} MB, "
                  f"{(server.cpu_seconds() - cpu) * 10:.2f} % of a core", flush=True)
            for connection in held:
                connection.close()

    def partitions(self, servers, count=1_000):
        scale = 0.1 if self.arguments.short else 1
        print(f"\n{count:,} partitions: created in, produced and consumed at (100 B, one producer), memory after\n")
        for server in servers:
            began = time.monotonic()
            topic = self.topic(server, count)
            created = time.monotonic() - began
            records = int(1_000_000 * scale)
            produced = self.client("produce", server, topic, "--records", records, "--bytes", 100)
            consumed = self.client("consume", server, topic, "--records", records)
            print(f"- {server.name}: {created:.2f} s, {produced['rate'] / 1000:,.0f} k/s, "
                  f"{consumed['rate'] / 1000:,.0f} k/s, {server.memory_mb():,.0f} MB", flush=True)

    def starts(self, servers):
        print("\nStart until the first answer, ms: " + "; ".join(
            f"{server.name} {server.start_ms:,.0f}" for server in servers))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--courant", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--only", default="rates,latency,rest")
    parser.add_argument("--short", action="store_true", help="a tenth of the records; for trying it out")
    arguments = parser.parse_args()
    servers = [
        Courant(arguments.courant, "fsync"),
        Kafka("Apache Kafka, flush.messages=1", ("flush.messages=1",)),
        Courant(arguments.courant, "os"),
        Kafka("Apache Kafka, default"),
    ]
    try:
        for server in servers:
            server.start()
        bench = Bench(arguments)
        wanted = arguments.only.split(",")
        if "rest" in wanted:
            bench.starts(servers)
            bench.memory(servers, "idle, just started")
        if "latency" in wanted:
            bench.latency(servers)
        if "rates" in wanted:
            bench.rates(servers)
        if "rest" in wanted:
            bench.connections(servers)
            bench.partitions(servers)
            bench.memory(servers, "after all that")
    finally:
        for server in servers:
            try:
                server.stop()
            except Exception as error:  # the next one is to be stopped all the same
                print(f"stopping {server.name}: {error}", file=sys.stderr)
            server.remove()


if __name__ == "__main__":
    main()
