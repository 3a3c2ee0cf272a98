"""The driver's side of the matrix for clients in Python: reads operations from stdin,
answers on stdout (see clients/matrix/client.py). A driver gives one class, whose methods
are the operations and whose errors `code_of` names in the protocol's words."""

import base64
import json
import os
import sys
import traceback


# The protocol's names of the error codes that the cases provoke.
NAMES = {
    1: "OFFSET_OUT_OF_RANGE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 10: "MESSAGE_TOO_LARGE", 17: "INVALID_TOPIC_EXCEPTION",
    18: "RECORD_LIST_TOO_LARGE", 36: "TOPIC_ALREADY_EXISTS", 37: "INVALID_PARTITIONS", 38: "INVALID_REPLICATION_FACTOR",
    40: "INVALID_CONFIG", 47: "INVALID_PRODUCER_EPOCH", 68: "NON_EMPTY_GROUP", 69: "GROUP_ID_NOT_FOUND",
    90: "PRODUCER_FENCED",
}


class Lacks(Exception):
    """Raised by an operation that the client has no feature for."""


class Said(Exception):
    """An error with the protocol's name for it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def named(code, text=""):
    """Raises the error that `code` stands for, unless it is 0."""
    if code:
        raise Said(NAMES.get(code, str(code)), text or "")


def decode(text):
    return None if text is None else base64.b64decode(text)


def encode(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def found(topic, partition, offset, key, value, headers, timestamp, timestamp_type):
    """A consumed record as the matrix takes it."""
    return {
        "topic": topic, "partition": partition, "offset": offset, "key": encode(key), "value": encode(value),
        "headers": [[name, encode(data)] for name, data in headers or []],
        "timestamp": timestamp, "timestamp_type": timestamp_type,
    }


class Handles:
    """Open producers and consumers by number."""

    def __init__(self):
        self._open, self._next = {}, 0

    def add(self, thing):
        self._next += 1
        self._open[self._next] = thing
        return self._next

    def __getitem__(self, number):
        return self._open[number]

    def pop(self, number):
        return self._open.pop(number)


def answers(driver, code_of, line):
    """Does one operation; gives its answer."""
    request = json.loads(line)
    op = request.pop("op")
    try:
        method = getattr(driver, op, None)
        if method is None:
            raise Lacks(f"the client has no operation for {op}")
        return {"ok": method(**request)}
    except Lacks as lacks:
        return {"lacks": str(lacks)}
    except Exception as error:  # every error of the client is an answer
        traceback.print_exc(file=sys.stderr)
        code = error.code if isinstance(error, Said) else code_of(error)
        return {"error": code, "text": f"{type(error).__name__}: {error}"}


def serve(driver, code_of):
    """Answers operations until stdin ends, then leaves at once, open clients or not."""
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(answers(driver, code_of, line)) + "\n")
        sys.stdout.flush()
    os._exit(0)
