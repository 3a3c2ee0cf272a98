"""The few bytes of Kafka's protocol that the matrix speaks itself.

It makes topics (not every client can) and looks at stored batches (no client shows how
they are compressed: the compression cases check what the log holds, not what a client
was asked to do). Requests of the oldest versions that brokers of today take.
"""

import socket
import struct
import time

CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
CREATE_TOPICS, METADATA, FETCH = (19, 2), (3, 4), (1, 4)


def text(word):
    return struct.pack(">h", len(word)) + word.encode()


def exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("the broker closed the connection")
        data += part
    return data


def ask(bootstrap, api, body):
    """Sends one request on a connection of its own; gives the body of the answer."""
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    request = struct.pack(">hhi", *api, 7) + text("matrix") + body
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", exactly(connection, 4))[0]
        return exactly(connection, size)[4:]


def create_topic(bootstrap, topic, partitions, configs):
    """Makes a topic and waits until the broker leads every partition of it."""
    body = struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", partitions, 1, 0)
    body += struct.pack(">i", len(configs))
    for name, value in configs.items():
        body += text(name) + text(value)
    body += struct.pack(">ib", 30_000, 0)
    answer = ask(bootstrap, CREATE_TOPICS, body)
    at = 4 + 4 + 2 + len(topic)
    error = struct.unpack_from(">h", answer, at)[0]
    if error:
        raise ConnectionError(f"topic {topic} could not be made: error {error}")
    end = time.monotonic() + 30
    while led(bootstrap, topic) < partitions:
        if time.monotonic() > end:
            raise ConnectionError(f"topic {topic} has no leaders after 30 s")
        time.sleep(0.02)


def led(bootstrap, topic):
    """How many partitions of a topic have a leader by the broker's metadata."""
    answer = ask(bootstrap, METADATA, struct.pack(">i", 1) + text(topic) + b"\0")
    at, count = 8, struct.unpack_from(">i", answer, 4)[0]
    for _ in range(count):  # brokers: id, host, port, rack
        at += 4
        at += 2 + struct.unpack_from(">h", answer, at)[0] + 4
        at += 2 + max(0, struct.unpack_from(">h", answer, at)[0])
    at += 2 + max(0, struct.unpack_from(">h", answer, at)[0])  # cluster id
    at += 4 + 4  # controller, number of topics
    if struct.unpack_from(">h", answer, at)[0]:
        return 0
    at += 2 + 2 + len(topic) + 1
    found, partitions = 0, struct.unpack_from(">i", answer, at)[0]
    at += 4
    for _ in range(partitions):
        error, _, leader = struct.unpack_from(">hii", answer, at)
        found += error == 0 and leader >= 0
        at += 10
        for _ in range(2):  # replicas, in-sync replicas
            at += 4 + 4 * struct.unpack_from(">i", answer, at)[0]
    return found


def codecs_of(bootstrap, topic):
    """The names of all codecs among the batches of partition 0, from its beginning."""
    body = struct.pack(">iiiib", -1, 500, 1, 50_000_000, 0)
    body += struct.pack(">i", 1) + text(topic) + struct.pack(">iiqi", 1, 0, 0, 50_000_000)
    answer = ask(bootstrap, FETCH, body)
    # throttle time, topics, name, partitions, partition
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    error = struct.unpack_from(">h", answer, at)[0]
    if error:
        raise ConnectionError(f"fetch was answered with error {error}")
    at += 2 + 8 + 8  # error, high watermark, last stable offset
    aborted = struct.unpack_from(">i", answer, at)[0]
    at += 4 + 16 * max(0, aborted) + 4
    codecs = set()
    while at + 61 <= len(answer):
        length = struct.unpack_from(">i", answer, at + 8)[0]
        codecs.add(CODECS.get(struct.unpack_from(">h", answer, at + 21)[0] & 7, "unknown"))
        at += 12 + length
    return codecs
