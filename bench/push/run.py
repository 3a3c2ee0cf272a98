#!/usr/bin/env python3
"""Courant's push server beside Sockudo, with the same pages on the same machine.

The servers run one after the other, each alone with the client: one publisher, and pages
that all subscribe to one channel. Each question is asked of a fresh server.

    python3 bench/push/run.py --courant PATH --client PATH [--sockudo PATH] [--connections 1000,5000]
                              [--seconds 10]

PATHs are the optimised binaries `courant` and `bench-push`, and `sockudo` as
`cargo install sockudo` makes it; without it Courant is measured alone. Writes a table to
standard output, in Markdown.
"""

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SECRET = "bench-secret"

# A file that keeps a log and has no channels: servers publish.
FILE = "version: 1\nname: bench\n"

# Events a second at a fixed rate, by connections: a tenth to a quarter of a full load.
RATES = {1000: 20, 5000: 4}


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Server:
    """A server under measurement, in a folder of its own."""

    def __init__(self, name, arguments):
        self.name, self.arguments = name, arguments

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bench-push-")
        folder = Path(self.folder.name)
        self.port = free_port()
        self.log = open(folder / "log", "w")
        command, environment = getattr(self, self.name)(folder)
        self.process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment},
                                        stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit(f"{self.name} does not listen:\n{(folder / 'log').read_text()}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def courant(self, folder):
        (folder / "courant.yaml").write_text(FILE)
        command = [self.arguments.courant, "run", "--http-port", str(self.port), "--kafka-port", "off",
                   "--log-level", "warn", "--data", "data", "courant.yaml"]
        return command, {"COURANT_PUSH_SECRET": SECRET}

    def sockudo(self, folder):
        app = {"id": "courant", "key": "courant", "secret": SECRET, "enabled": True,
               "max_connections": 100000, "max_client_events_per_second": 1000,
               "enable_client_messages": True}
        config = {"host": "127.0.0.1", "port": self.port, "debug": False, "mode": "production",
                  "metrics": {"enabled": False}, "rate_limiter": {"enabled": False},
                  "app_manager": {"driver": "memory", "array": {"apps": [app]}}}
        (folder / "config.json").write_text(json.dumps(config))
        return [self.arguments.sockudo, "--config", "config.json"], {}

    def rss_mb(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def ask(server, arguments, connections, question):
    """One question; the memory is what the server has when the last frame has come."""
    before, idle = server.cpu_seconds(), server.rss_mb()
    command = [arguments.client, "--address", f"127.0.0.1:{server.port}", "--secret", SECRET,
               "--connections", str(connections), "--seconds", str(arguments.seconds), *question]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    most = idle
    while client.poll() is None:
        most = max(most, server.rss_mb())
        time.sleep(0.2)
    if client.returncode != 0:
        sys.exit(f"the client failed against {server.name}")
    found = json.loads(client.stdout.read())
    found.update(idle_mb=idle, most_mb=most, cpu_seconds=server.cpu_seconds() - before)
    return found


def row(name, connections, what, found):
    frames = found["frames_per_second"]
    per_frame = found["cpu_seconds"] * 1e6 / max(found["frames"], 1)
    print(f"| {name} | {connections:,} | {what} | {frames:,.0f} | {found['p50_ms']:.2f} | {found['p99_ms']:.2f} | "
          f"{found['p999_ms']:.2f} | {found['idle_mb']:.0f} | {found['most_mb']:.0f} | {per_frame:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--courant", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--sockudo")
    parser.add_argument("--connections", default="1000,5000")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    for name in ("courant", "client", "sockudo"):
        path = getattr(arguments, name)
        setattr(arguments, name, path and str(Path(path).resolve()))
    # A page is a socket here and one at the server.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers = ["courant"] + (["sockudo"] if arguments.sockudo else [])
    print("| server | pages | question | frames/s | p50 ms | p99 ms | p99.9 ms | MB at start | MB at most | "
          "µs of CPU a frame |\n|---|---|---|---|---|---|---|---|---|---|")
    for connections in map(int, arguments.connections.split(",")):
        rate = RATES.get(connections, max(1, 20_000 // connections))
        for what, question in ((f"{rate} events/s", ["rate", "--events", str(rate)]), ("full", ["full"])):
            for name in servers:
                with Server(name, arguments) as server:
                    row(name, connections, what, ask(server, arguments, connections, question))


main()
