"""Apache Kafka's command-line tools, each at what it is for.

They are the Java client once more, as operators use it: what is checked is what the tools
print. A case is one tool; like the clients' cases, each holds against Apache Kafka itself.
"""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import time
import traceback
import uuid

from . import install, wire

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "kafka"
SECONDS = 90
CASES = []


class ToolFailed(Exception):
    """A tool ended with an error; the text is what it said."""


def case(function):
    CASES.append(function)
    return function


class Tools:
    """Runs tools against one broker."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def run(self, tool, *arguments, stdin=None):
        """Runs a tool to its end; gives what it printed."""
        command = [SCRIPT, "run", tool, *map(str, arguments)]
        # Never the terminal's input: a tool that touched it would be stopped in the background.
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            raise ToolFailed(f"{tool}: {(done.stdout + done.stderr).strip()[-600:]}")
        return done.stdout

    def at(self, tool, *arguments, stdin=None):
        return self.run(tool, "--bootstrap-server", self.bootstrap, *arguments, stdin=stdin)

    def topic(self, partitions=1):
        topic = f"tool-{uuid.uuid4().hex[:10]}"
        wire.create_topic(self.bootstrap, topic, partitions, {})
        return topic

    def fill(self, topic, count):
        lines = "".join(f"k{n}:v{n}\n" for n in range(count))
        self.at("kafka-console-producer", "--topic", topic, "--reader-property", "parse.key=true",
                "--reader-property", "key.separator=:", stdin=lines)

    def read(self, topic, count, *more):
        said = self.at("kafka-console-consumer", "--topic", topic, "--max-messages", count, "--timeout-ms", 30000, *more)
        return said.splitlines()


def has(text, *patterns):
    for pattern in patterns:
        assert re.search(pattern, text, re.M), f"expected {pattern!r} in:\n{text}"


@case
def kafka_topics(t):
    """create, list, describe, more partitions, delete; the errors of a second create"""
    topic = f"tool-{uuid.uuid4().hex[:10]}"
    t.at("kafka-topics", "--create", "--topic", topic, "--partitions", 2, "--config", "retention.ms=99000")
    assert topic in t.at("kafka-topics", "--list").split()
    has(t.at("kafka-topics", "--describe", "--topic", topic), r"PartitionCount: 2", r"retention\.ms=99000", r"Partition: 1\s+Leader: \d")
    t.at("kafka-topics", "--alter", "--topic", topic, "--partitions", 4)
    has(t.at("kafka-topics", "--describe", "--topic", topic), r"PartitionCount: 4")
    try:
        t.at("kafka-topics", "--create", "--topic", topic)
        raise AssertionError("a topic was created twice")
    except ToolFailed as failed:
        has(str(failed), r"TopicExistsException")
    t.at("kafka-topics", "--delete", "--topic", topic)
    assert topic not in t.at("kafka-topics", "--list").split()


@case
def kafka_console_producer(t):
    """lines with keys and headers, compressed"""
    topic = t.topic()
    t.at("kafka-console-producer", "--topic", topic, "--compression-codec", "zstd", "--reader-property", "parse.key=true",
         "--reader-property", "parse.headers=true", stdin="h1:a,h2:b\tkey\tvalue\n" * 3)
    assert wire.codecs_of(t.bootstrap, topic) == {"zstd"}
    properties = [word for name in ("key", "headers") for word in ("--formatter-property", f"print.{name}=true")]
    assert t.read(topic, 3, "--from-beginning", *properties) == ["h1:a,h2:b\tkey\tvalue"] * 3


@case
def kafka_console_consumer(t):
    """--from-beginning, an offset of a partition, a group that goes on"""
    topic, group = t.topic(), f"g-{uuid.uuid4().hex[:8]}"
    t.fill(topic, 10)
    assert t.read(topic, 10, "--from-beginning") == [f"v{n}" for n in range(10)]
    assert t.read(topic, 3, "--partition", 0, "--offset", 7) == ["v7", "v8", "v9"]
    assert t.read(topic, 4, "--from-beginning", "--group", group) == ["v0", "v1", "v2", "v3"]
    assert t.read(topic, 6, "--group", group) == [f"v{n}" for n in range(4, 10)]


@case
def kafka_console_consumer_848(t):
    """a group of the protocol of KIP-848 (group.protocol=consumer)"""
    topic = t.topic(partitions=2)
    t.fill(topic, 10)
    said = t.read(topic, 10, "--from-beginning", "--group", f"g-{uuid.uuid4().hex[:8]}", "--command-property", "group.protocol=consumer")
    assert sorted(said) == [f"v{n}" for n in range(10)]


@case
def kafka_consumer_groups(t):
    """list, describe with lag, reset offsets, delete offsets, delete"""
    topic, group = t.topic(), f"g-{uuid.uuid4().hex[:8]}"
    t.fill(topic, 10)
    t.read(topic, 4, "--from-beginning", "--group", group)
    assert group in t.at("kafka-consumer-groups", "--list").split()
    has(t.at("kafka-consumer-groups", "--describe", "--group", group), rf"{topic}\s+0\s+4\s+10\s+6")
    has(t.at("kafka-consumer-groups", "--describe", "--group", group, "--state"), r"Empty")
    t.at("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", 8, "--execute")
    has(t.at("kafka-consumer-groups", "--describe", "--group", group), rf"{topic}\s+0\s+8\s+10\s+2")
    t.at("kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", topic)
    t.at("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    has(t.at("kafka-consumer-groups", "--describe", "--group", group), rf"{topic}\s+0\s+0\s+10\s+10")
    t.at("kafka-consumer-groups", "--delete", "--group", group)
    assert group not in t.at("kafka-consumer-groups", "--list").split()


@case
def kafka_groups(t):
    """list the groups of every protocol"""
    topic, group = t.topic(), f"g-{uuid.uuid4().hex[:8]}"
    t.fill(topic, 1)
    t.read(topic, 1, "--from-beginning", "--group", group)
    has(t.at("kafka-groups", "--list"), rf"{group}\s+Classic\s+consumer")


@case
def kafka_configs(t):
    """describe, add and delete configs of a topic; the error of an invalid one"""
    topic = t.topic()
    at = ("--entity-type", "topics", "--entity-name", topic)
    t.at("kafka-configs", *at, "--alter", "--add-config", "retention.ms=77000,cleanup.policy=[compact,delete]")
    has(t.at("kafka-configs", *at, "--describe"), r"retention\.ms=77000", r"cleanup\.policy=compact,delete")
    has(t.at("kafka-configs", *at, "--describe", "--all"), r"max\.message\.bytes=\d+", r"segment\.bytes=\d+")
    t.at("kafka-configs", *at, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms=77000" not in t.at("kafka-configs", *at, "--describe")
    try:
        t.at("kafka-configs", *at, "--alter", "--add-config", "retention.ms=soon")
        raise AssertionError("an invalid config was taken")
    except ToolFailed as failed:
        has(str(failed), r"InvalidConfigurationException|ConfigException|Invalid value")
    broker = re.search(r"\(id: (\d+)", t.at("kafka-broker-api-versions"))[1]
    has(t.at("kafka-configs", "--entity-type", "brokers", "--entity-name", broker, "--describe", "--all"), r"log\.segment\.bytes=\d+|num\.partitions=\d+")


@case
def kafka_producer_perf_test(t):
    """100,000 records of 100 bytes, acks all; in transactions"""
    topic = t.topic(partitions=2)
    said = t.run("kafka-producer-perf-test", "--bootstrap-server", t.bootstrap, "--topic", topic, "--num-records", 100000,
                 "--record-size", 100, "--throughput", -1, "--command-property", "acks=all")
    has(said, r"^100000 records sent")
    said = t.run("kafka-producer-perf-test", "--bootstrap-server", t.bootstrap, "--topic", topic, "--num-records", 5000, "--record-size", 100,
                 "--throughput", 5000, "--transactional-id", topic, "--transaction-duration-ms", 100)
    has(said, r"^5000 records sent")


@case
def kafka_consumer_perf_test(t):
    """20,000 records"""
    topic = t.topic()
    t.run("kafka-producer-perf-test", "--bootstrap-server", t.bootstrap, "--topic", topic, "--num-records", 20000,
          "--record-size", 100, "--throughput", -1)
    said = t.at("kafka-consumer-perf-test", "--topic", topic, "--num-records", 20000, "--timeout", 30000, "--hide-header")
    assert said.strip().splitlines()[-1].split(", ")[4] == "20000", said


@case
def kafka_verifiable_producer(t):
    """1,000 numbered records, every one acknowledged"""
    topic = t.topic()
    last = json.loads(t.at("kafka-verifiable-producer", "--topic", topic, "--max-messages", 1000).splitlines()[-1])
    assert (last["sent"], last["acked"]) == (1000, 1000), last
    assert t.read(topic, 1000, "--from-beginning") == [str(n) for n in range(1000)]


@case
def kafka_verifiable_consumer(t):
    """1,000 records, counted, offsets committed"""
    topic, group = t.topic(partitions=2), f"g-{uuid.uuid4().hex[:8]}"
    t.at("kafka-verifiable-producer", "--topic", topic, "--max-messages", 1000)
    said = [json.loads(line) for line in
            t.at("kafka-verifiable-consumer", "--topic", topic, "--group-id", group, "--max-messages", 1000).splitlines()]
    assert sum(e["count"] for e in said if e["name"] == "records_consumed") == 1000
    assert any(e["name"] == "offsets_committed" and e["success"] for e in said), "no offsets were committed"


@case
def kafka_transactions(t):
    """list, describe, describe producers, find hanging ones"""
    topic = t.topic()
    t.run("kafka-producer-perf-test", "--bootstrap-server", t.bootstrap, "--topic", topic, "--num-records", 1000, "--record-size", 100,
          "--throughput", 5000, "--transactional-id", topic, "--transaction-duration-ms", 50)
    has(t.at("kafka-transactions", "list"), rf"{topic}\s+\d+\s+\d+\s+CompleteCommit")
    has(t.at("kafka-transactions", "describe", "--transactional-id", topic), rf"{topic}\s+\d+\s+\d+\s+CompleteCommit")
    has(t.at("kafka-transactions", "describe-producers", "--topic", topic, "--partition", 0), r"^\d+\s+\d+")
    broker = re.search(r"\(id: (\d+)", t.at("kafka-broker-api-versions"))[1]
    t.at("kafka-transactions", "find-hanging", "--broker-id", broker)


@case
def kafka_get_offsets(t):
    """latest, earliest, by time, of the largest timestamp"""
    topic = t.topic()
    t.fill(topic, 5)
    for time_given, offset in (("latest", 5), ("earliest", 0), ("max-timestamp", r"\d"), (int(time.time() * 1000) - 600_000, 0)):
        has(t.at("kafka-get-offsets", "--topic", topic, "--time", time_given), rf"^{topic}:0:{offset}$")


@case
def kafka_delete_records(t):
    """records before an offset"""
    topic, file = t.topic(), pathlib.Path(f"/tmp/{uuid.uuid4().hex}.json")
    t.fill(topic, 10)
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}))
    try:
        has(t.at("kafka-delete-records", "--offset-json-file", file), r"low_watermark: 6")
    finally:
        file.unlink()
    assert t.read(topic, 4, "--from-beginning") == ["v6", "v7", "v8", "v9"]


@case
def kafka_log_dirs(t):
    """sizes of partitions"""
    topic = t.topic()
    t.fill(topic, 10)
    said = t.at("kafka-log-dirs", "--describe", "--topic-list", topic)
    dirs = json.loads(next(line for line in said.splitlines() if line.startswith("{")))["brokers"][0]["logDirs"]
    sizes = [p["size"] for d in dirs for p in d["partitions"] if p["partition"] == f"{topic}-0"]
    assert len(sizes) == 1 and sizes[0] > 0, said


@case
def kafka_cluster(t):
    """the cluster's id, its brokers"""
    has(t.run("kafka-cluster", "cluster-id", "--bootstrap-server", t.bootstrap), r"Cluster ID: \S{22}")
    has(t.run("kafka-cluster", "list-endpoints", "--bootstrap-server", t.bootstrap), re.escape(t.bootstrap.split(":")[1]))


@case
def kafka_broker_api_versions(t):
    """the versions of every API"""
    has(t.at("kafka-broker-api-versions"), r"Produce\(0\): 0 to \d+", r"Fetch\(1\): 4 to \d+", r"ConsumerGroupHeartbeat\(68\): 0 to 1")


@case
def kafka_e2e_latency(t):
    """a thousand round trips, one after another"""
    topic = t.topic()
    has(t.run("kafka-e2e-latency", t.bootstrap, topic, 1000, "all", 100), r"99th = ")


def outcome(function, tools):
    """Runs one case; gives what the table needs of it."""
    started = time.monotonic()
    try:
        function(tools)
        result = {"result": "pass"}
    except (AssertionError, ToolFailed, ConnectionError, subprocess.TimeoutExpired) as error:
        result = {"result": "fail", "reason": str(error) or traceback.format_exc(limit=-1)}
    except Exception:  # a tool's output that the case cannot take
        result = {"result": "fail", "reason": traceback.format_exc(limit=-2)}
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def run(bootstrap, wanted, jobs=2):
    """Runs every tool, or those wanted; gives what run.py gives for a client."""
    try:
        jars = install.kafka_jars()
    except install.Missing as missing:
        return {"version": None, "missing": str(missing), "cases": {}}
    functions = [function for function in CASES if not wanted or function.__name__ in wanted]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda function: outcome(function, Tools(bootstrap)), functions))
    found = {function.__name__: result for function, result in zip(functions, outcomes)}
    for name, result in found.items():
        if result["result"] == "fail":
            print(f"not ok {name.replace('_', '-')}: {result['reason']}", flush=True)
    return {"version": jars.rsplit("-", 1)[1], "missing": None, "cases": found}
