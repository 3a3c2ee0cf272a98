"""A client under test, as the cases see it.

Every client runs in a process of its own, a *driver*: a small program in the client's
language that reads one JSON object a line (`{"op": "send", …}`), does it with the client
library, and answers one line: `{"ok": result}`, `{"error": code, "text": …}` where the
client or the broker refused, or `{"lacks": reason}` where the client has no such feature.
Bytes travel in base64. `clients/README.md` lists the operations.

The cases are therefore written once and are the same for every client. A driver that
does not answer in time is killed, and the case fails.
"""

import base64
import json
import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from collections import namedtuple

from . import wire

ANSWER_SECONDS = 90

Record = namedtuple("Record", "topic partition offset key value headers timestamp timestamp_type")


class KafkaSaid(Exception):
    """The client or the broker refused; `code` is the protocol's name of the error."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Lacks(Exception):
    """The client has no such feature."""


class Broken(Exception):
    """The driver died or did not answer."""


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def record(topic, value, key=None, partition=0, headers=(), timestamp=None):
    """A record to send; `partition` None leaves the choice to the client."""
    return {
        "topic": topic,
        "partition": partition,
        "key": encode(key),
        "value": encode(value),
        "headers": [[name, encode(data)] for name, data in headers],
        "timestamp": timestamp,
    }


class Client:
    """The process of one driver. Any attribute is an operation: `client.send(…)`."""

    def __init__(self, name, command, bootstrap, log_path):
        self.name = name
        self.bootstrap = bootstrap
        self._log = open(log_path, "ab")
        self._process = subprocess.Popen(
            [*command, bootstrap], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            start_new_session=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def call(self, op, **arguments):
        """Asks the driver for one operation and waits for its answer."""
        arguments["op"] = op
        try:
            self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=ANSWER_SECONDS)
        except OSError as error:
            raise Broken(f"the driver ended before {op}: {error}") from None
        except queue.Empty:
            raise Broken(f"no answer to {op} within {ANSWER_SECONDS} s") from None
        if line is None:
            raise Broken(f"the driver ended at {op}")
        answer = json.loads(line)
        if "lacks" in answer:
            raise Lacks(answer["lacks"])
        if "error" in answer:
            raise KafkaSaid(answer["error"], answer.get("text", ""))
        return answer["ok"]

    def __getattr__(self, op):
        return lambda **arguments: self.call(op, **arguments)

    def close(self):
        """Ends the driver and everything it started."""
        try:
            self._process.stdin.close()
            self._process.wait(timeout=3)
        except (OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._log.close()

    # What most cases need.

    def topic(self, partitions=1, configs=None):
        """Makes a topic for a case, without the client (not every one can); gives its name."""
        topic = f"t-{uuid.uuid4().hex[:12]}"
        wire.create_topic(self.bootstrap, topic, partitions, configs or {})
        return topic

    def produce(self, records, **options):
        """Sends with a producer of its own; gives what was acknowledged, in order."""
        producer = self.producer(**options)
        try:
            return self.send(producer=producer, records=records)
        finally:
            self.close_producer(producer=producer)

    def records(self, consumer, timeout_ms=500):
        """One poll."""
        return [
            Record(
                r["topic"], r["partition"], r["offset"], decode(r["key"]), decode(r["value"]),
                [(name, decode(data)) for name, data in r["headers"]], r["timestamp"], r.get("timestamp_type"),
            )
            for r in self.poll(consumer=consumer, timeout_ms=timeout_ms)
        ]

    def take(self, consumer, count, seconds=30):
        """Polls until `count` records have come."""
        records, end = [], time.monotonic() + seconds
        while len(records) < count:
            assert time.monotonic() < end, f"{len(records)} of {count} records came within {seconds} s"
            records += self.records(consumer)
        return records

    def read(self, topic, count, **options):
        """Reads `count` records of a topic from the beginning with a consumer of its own."""
        options.setdefault("start", "earliest")
        consumer = self.consumer(topics=[topic], **options)
        try:
            return self.take(consumer, count)
        finally:
            self.close_consumer(consumer=consumer)
