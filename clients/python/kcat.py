"""Driver of kcat for the client matrix: every operation is a run of the program, a
consumer is a run that goes on."""

import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading

from wire import Handles, Lacks, decode, found, serve

WORDS = {
    "Message size too large": "MESSAGE_TOO_LARGE",
    "Unknown partition": "CLIENT_UNKNOWN_PARTITION",
    "Unknown topic or partition": "UNKNOWN_TOPIC_OR_PARTITION",
    "Offset out of range": "OFFSET_OUT_OF_RANGE",
}
# Longer values are sent from a file.
LINE_BYTES = 4000
# What precedes a record: its place, time and sizes, then headers, key and value.
FORMAT = "%t %p %o %T %K %S %h\n%k%s\n"


def code_of(error):
    for words, code in WORDS.items():
        if words in str(error):
            return code
    return type(error).__name__


class Reader:
    """A running consumer."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(["kcat", "-u", "-f", FORMAT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.records, self.assigned, self.problem, self.commits = queue.Queue(), [], None, False
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._hear, daemon=True).start()

    def _read(self):
        out = self.process.stdout
        for line in out:
            topic, partition, offset, timestamp, key_size, size, headers = line.decode().rstrip("\n").split(" ", 6)
            key_size, size = int(key_size), int(size)
            key = out.read(key_size) if key_size >= 0 else None
            value = out.read(size) if size >= 0 else None
            out.read(1)
            pairs = [h.split("=", 1) for h in headers.split(",") if h]
            self.records.put(found(
                topic, int(partition), int(offset), key, value, [(n, v.encode()) for n, v in pairs], int(timestamp), None))

    def _hear(self):
        for line in self.process.stderr:
            text = line.decode(errors="replace")
            sys.stderr.write(text)
            if "rebalanced" in text and ("assigned:" in text or "revoked:" in text):
                parts = [[t, int(p)] for t, p in re.findall(r"(\S+) \[(\d+)\]", text.split("ed: ", 1)[1])]
                self.assigned = parts if "assigned:" in text else []
            elif "ERROR" in text:
                self.problem = text.strip()

    def stop(self):
        if self.commits:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)
        else:
            self.process.kill()
            self.process.wait()


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.open = Handles()

    def hello(self):
        said = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
        version, library = re.search(r"Version (\S+) .*librdkafka (\S+)", said, re.S).groups()
        return {"version": f"{version} (librdkafka {library})"}

    # producers

    def producer(self, acks="all", compression="none", idempotent=False, transactional_id=None, max_bytes=None):
        if transactional_id:
            raise Lacks("kcat's transaction is one run: it cannot abort, nor go on after another")
        options = ["-X", f"acks={acks}", "-z", compression, "-X", "message.timeout.ms=30000"]
        if idempotent:
            options += ["-X", "enable.idempotence=true"]
        if max_bytes:
            options += ["-X", f"message.max.bytes={max_bytes}"]
        return self.open.add(options)

    def send(self, producer, records):
        """One run of kcat for records that share what it takes from its arguments, in the
        order of their partition."""
        waiting = {}
        for r in records:
            if r["timestamp"] is not None:
                raise Lacks("kcat cannot set timestamps")
            place = r["topic"], r["partition"]
            batch = waiting.setdefault(place, [])
            if batch and self._shared(batch[0]) != self._shared(r):
                self._run(self.open[producer], batch)
                batch.clear()
            batch.append(r)
        for batch in waiting.values():
            self._run(self.open[producer], batch)
        return [{"partition": r["partition"], "offset": None} for r in records]

    @staticmethod
    def _shared(r):
        large = r["key"] if len(r["value"] or "") > LINE_BYTES else None
        return r["headers"], r["key"] is None, r["value"] is None, large

    def _run(self, options, batch):
        first = batch[0]
        command = ["kcat", "-P", "-b", self.bootstrap, "-t", first["topic"], "-p", str(first["partition"]), *options]
        for name, data in first["headers"]:
            data = decode(data)
            if data is None:
                raise Lacks("kcat cannot send a header without a value")
            if b"\0" in data:
                raise Lacks("kcat takes headers as arguments: no zero bytes")
            command += ["-H", name.encode() + b"=" + data]
        if first["value"] is None:
            command.append("-Z")
        with tempfile.TemporaryDirectory() as folder:
            values = [decode(r["value"]) or b"" for r in batch]
            if len(values[0]) > LINE_BYTES:
                with open(f"{folder}/value", "wb") as file:
                    file.write(values[0])
                key = ["-k", decode(first["key"])] if first["key"] else []
                run = subprocess.run([*command, *key, f"{folder}/value"], capture_output=True)
            else:
                keyed = first["key"] is not None
                lines = [(decode(r["key"]) + b"\t" if keyed else b"") + v for r, v in zip(batch, values)]
                run = subprocess.run([*command, *(["-K", "\t"] if keyed else [])], input=b"\n".join(lines) + b"\n", capture_output=True)
        if run.returncode or b"ERROR" in run.stderr or b"failed" in run.stderr:
            raise RuntimeError(run.stderr.decode(errors="replace").strip())

    def close_producer(self, producer):
        self.open.pop(producer)

    # consumers

    def consumer(self, topics, group=None, start="earliest", reset=None, isolation="read_uncommitted", protocol="classic",
                 strategy=None, instance=None, max_records=None, max_bytes=None):
        if protocol != "classic":
            raise Lacks("Debian's kcat is older than KIP-848")
        options = ["-b", self.bootstrap, "-X", f"isolation.level={isolation}", "-X", "fetch.wait.max.ms=100"]
        if max_bytes:
            options += ["-X", f"fetch.message.max.bytes={max_bytes}", "-X", f"fetch.max.bytes={2 * max_bytes}"]
        if instance:
            options += ["-X", f"group.instance.id={instance}"]
        if strategy == "cooperative":
            raise Lacks("kcat assigns whole partitions by itself: no cooperative rebalance")
        if group:
            # Offsets are committed at a stop in good order; without commit the run is killed.
            options += ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=300", "-X", "auto.commit.interval.ms=600000",
                        "-X", f"auto.offset.reset={start}", "-G", group, *topics]
        elif isinstance(start, list):
            if reset == "none":
                options += ["-X", "auto.offset.reset=error"]
            options += ["-C", "-t", start[0][0], "-p", str(start[0][1]), "-o", str(start[0][2])]
        else:
            options += ["-C", "-t", topics[0], "-o", "end" if start == "latest" else "beginning"]
        return self.open.add(Reader(options))

    def poll(self, consumer, timeout_ms):
        reader, records = self.open[consumer], []
        try:
            records.append(reader.records.get(timeout=timeout_ms / 1000))
            while True:
                records.append(reader.records.get_nowait())
        except queue.Empty:
            pass
        if not records and reader.problem:
            raise RuntimeError(reader.problem)
        return records

    def assignment(self, consumer):
        return self.open[consumer].assigned

    def commit(self, consumer):
        self.open[consumer].commits = True

    def close_consumer(self, consumer):
        self.open.pop(consumer).stop()

    def offsets_for_times(self, topic, partition, timestamps):
        offsets = []
        for timestamp in timestamps:
            said = subprocess.run(["kcat", "-b", self.bootstrap, "-Q", "-t", f"{topic}:{partition}:{timestamp}"], capture_output=True, text=True)
            offset = int(re.search(r"offset (-?\d+)", said.stdout)[1])
            offsets.append(offset if offset >= 0 else None)
        return offsets

    # admin: kcat only lists

    def list_topics(self):
        said = subprocess.run(["kcat", "-b", self.bootstrap, "-L"], capture_output=True, text=True, check=True).stdout
        return {name: int(count) for name, count in re.findall(r'topic "([^"]+)" with (\d+) partitions', said)}


for op in ("create_topic", "delete_topic", "create_partitions", "describe_configs", "alter_config", "delete_records",
           "list_groups", "describe_group", "group_offsets", "delete_group", "cluster"):
    def lacking(self, **_):
        raise Lacks("kcat has no admin operations")

    setattr(Driver, op, lacking)

serve(Driver(sys.argv[1]), code_of)
