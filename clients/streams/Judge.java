// Kafka Streams as the judge of Courant's views: each line of standard input is a case, a
// topology and the records for it, and each line of standard output says what came out after
// each record, by the TopologyTestDriver. Stores are in memory, nothing is cached, nothing
// waits for a clock, and windows are kept for as long as the case lasts, so the answer is
// what the semantics say and not when a store happened to throw a window away. (The stores of
// a join of streams cannot be kept longer: Kafka Streams fixes their retention.)
//
// {"kind": KIND, …, "records": [{"input": 0, "key": "a", "value": 1, "timestamp": 5}, …]}
// answered by [[{"key": "a", "start": 0, "end": 10, "value": …, "timestamp": 5}, …], …]
//
// KIND and what else a case has (milliseconds):
// tumbling {size}, hopping {size, slide}, sliding {size}, session {gap}: with {grace, final};
//   value {"count", "sum", "average"} of the integers in the records
// updating: the same without a window
// counted-table: input 0 is a table of integers, counted and summed by their last digit
// stream-stream {how, before, after, grace}, stream-table {how}, table-table {how}:
//   value [left, right]
// foreign-key {how}: input 0 is a table of {"of": key of input 1, …}; value [left, right]

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

public final class Judge {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Serde<JsonNode> VALUES =
      Serdes.serdeFrom((topic, value) -> bytes(value), (topic, bytes) -> parse(bytes));
  private static final Duration FOREVER = Duration.ofDays(10_000);
  private static final String OUTPUT = "output";

  public static void main(String[] arguments) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    Path folder = Files.createTempDirectory("courant-streams");
    for (String line; (line = lines.readLine()) != null; ) {
      answers.println(judge(JSON.readTree(line), folder));
      answers.flush();
    }
    Files.deleteIfExists(folder);
  }

  /** What the case's topology gives out after each of its records. */
  private static ArrayNode judge(JsonNode given, Path folder) {
    var builder = new StreamsBuilder();
    topology(new Case(given, builder));
    ArrayNode answer = JSON.createArrayNode();
    try (var driver = new TopologyTestDriver(builder.build(), properties(folder), Instant.EPOCH)) {
      var output = driver.createOutputTopic(OUTPUT, new StringDeserializer(), VALUES.deserializer());
      for (JsonNode record : given.get("records")) {
        pipe(driver, record);
        ArrayNode changes = answer.addArray();
        output.readRecordsToList().forEach(change -> {
          ObjectNode told = parse(change.key().getBytes(StandardCharsets.UTF_8)).deepCopy();
          told.set("value", change.value());
          changes.add(told.put("timestamp", change.timestamp()));
        });
      }
    }
    return answer;
  }

  private static Properties properties(Path folder) {
    var properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "judge");
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
    properties.put(StreamsConfig.STATE_DIR_CONFIG, folder.toString());
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    properties.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
    properties.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
    properties.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX, 0L);
    return properties;
  }

  private static void pipe(TopologyTestDriver driver, JsonNode record) {
    String topic = topic(record.get("input").asInt());
    TestInputTopic<String, JsonNode> input = driver.createInputTopic(topic, new StringSerializer(), VALUES.serializer());
    JsonNode value = record.get("value");
    input.pipeInput(record.get("key").asText(), value.isNull() ? null : value, record.get("timestamp").asLong());
  }

  private static void topology(Case given) {
    switch (given.text("kind")) {
      case "tumbling" -> windowed(given, TimeWindows.ofSizeAndGrace(given.time("size"), given.time("grace")));
      case "hopping" -> windowed(given, TimeWindows.ofSizeAndGrace(given.time("size"), given.time("grace")).advanceBy(given.time("slide")));
      case "sliding" -> sliding(given);
      case "session" -> session(given);
      case "updating" -> rows(given.grouped().aggregate(Totals::none, Totals.ADD, Materialized.with(Serdes.String(), VALUES)));
      case "counted-table" -> countedTable(given);
      case "stream-stream" -> streamStream(given);
      case "stream-table" -> streamTable(given);
      case "table-table" -> tableTable(given);
      case "foreign-key" -> foreignKey(given);
      default -> throw new IllegalArgumentException("unknown kind \"" + given.text("kind") + "\"");
    }
  }

  private static void windowed(Case given, TimeWindows windows) {
    windows(given.grouped().windowedBy(windows).emitStrategy(given.emit())
        .aggregate(Totals::none, Totals.ADD, Judge.<WindowStore<Bytes, byte[]>>kept(FOREVER)));
  }

  private static void sliding(Case given) {
    var windows = SlidingWindows.ofTimeDifferenceAndGrace(given.time("size"), given.time("grace"));
    windows(given.grouped().windowedBy(windows).emitStrategy(given.emit())
        .aggregate(Totals::none, Totals.ADD, Judge.<WindowStore<Bytes, byte[]>>kept(FOREVER)));
  }

  private static void session(Case given) {
    var windows = SessionWindows.ofInactivityGapAndGrace(given.time("gap"), given.time("grace"));
    // A session that is kept for longer than it is open is joined by a record that comes after it
    // closed; but results at the close are read from the store after the record that closed it.
    Duration open = given.time("gap").plus(given.time("grace")).plusMillis(1);
    Duration retention = given.last() ? FOREVER : open;
    windows(given.grouped().windowedBy(windows).emitStrategy(given.emit())
        .aggregate(Totals::none, Totals.ADD, Totals::merge, Judge.<SessionStore<Bytes, byte[]>>kept(retention)));
  }

  private static void countedTable(Case given) {
    rows(given.table(0)
        .groupBy((key, value) -> KeyValue.pair(Long.toString(value.asLong() % 10), value), Grouped.with(Serdes.String(), VALUES))
        .aggregate(Totals::none, Totals.ADD, Totals.SUBTRACT, Materialized.with(Serdes.String(), VALUES)));
  }

  private static void streamStream(Case given) {
    KStream<String, JsonNode> left = given.stream(0);
    KStream<String, JsonNode> right = given.stream(1);
    var windows = JoinWindows.ofTimeDifferenceAndGrace(Duration.ZERO, given.time("grace"))
        .before(given.time("before")).after(given.time("after"));
    var joined = StreamJoined.with(Serdes.String(), VALUES, VALUES);
    rows(switch (given.text("how")) {
      case "inner" -> left.join(right, PAIR, windows, joined);
      case "left" -> left.leftJoin(right, PAIR, windows, joined);
      default -> left.outerJoin(right, PAIR, windows, joined);
    });
  }

  private static void streamTable(Case given) {
    KStream<String, JsonNode> left = given.stream(0);
    KTable<String, JsonNode> right = given.table(1);
    rows(given.text("how").equals("inner") ? left.join(right, PAIR) : left.leftJoin(right, PAIR));
  }

  private static void tableTable(Case given) {
    KTable<String, JsonNode> left = given.table(0);
    KTable<String, JsonNode> right = given.table(1);
    rows(switch (given.text("how")) {
      case "inner" -> left.join(right, PAIR);
      case "left" -> left.leftJoin(right, PAIR);
      default -> left.outerJoin(right, PAIR);
    });
  }

  private static void foreignKey(Case given) {
    KTable<String, JsonNode> left = given.table(0);
    KTable<String, JsonNode> right = given.table(1);
    Materialized<String, JsonNode, KeyValueStore<Bytes, byte[]>> stored = Materialized.with(Serdes.String(), VALUES);
    rows(given.text("how").equals("inner")
        ? left.join(right, Judge::foreign, PAIR, stored)
        : left.leftJoin(right, Judge::foreign, PAIR, stored));
  }

  private static String foreign(JsonNode value) {
    return value.path("of").isTextual() ? value.get("of").asText() : null;
  }

  private static <S extends StateStore> Materialized<String, JsonNode, S> kept(Duration retention) {
    return Materialized.<String, JsonNode, S>with(Serdes.String(), VALUES).withRetention(retention);
  }

  private static final ValueJoiner<JsonNode, JsonNode, JsonNode> PAIR =
      (left, right) -> JSON.createArrayNode().add(left).add(right);

  private static void rows(KTable<String, JsonNode> table) {
    rows(table.toStream());
  }

  private static void rows(KStream<String, JsonNode> stream) {
    told(stream.map((key, value) -> KeyValue.pair(JSON.createObjectNode().put("key", key).toString(), value)));
  }

  private static void windows(KTable<Windowed<String>, JsonNode> table) {
    told(table.toStream().map((key, value) -> {
      ObjectNode told = JSON.createObjectNode().put("key", key.key());
      return KeyValue.pair(told.put("start", key.window().start()).put("end", key.window().end()).toString(), value);
    }));
  }

  private static void told(KStream<String, JsonNode> stream) {
    stream.to(OUTPUT, Produced.with(Serdes.String(), VALUES));
  }

  private static String topic(int input) {
    return "input-" + input;
  }

  private static byte[] bytes(JsonNode value) {
    return value == null ? null : value.toString().getBytes(StandardCharsets.UTF_8);
  }

  private static JsonNode parse(byte[] bytes) {
    try {
      return bytes == null ? null : JSON.readTree(bytes);
    } catch (IOException error) {
      throw new IllegalArgumentException(error);
    }
  }

  /** What a group of integers comes to: how many, their sum and their average. */
  private static final class Totals {
    static final Aggregator<String, JsonNode, JsonNode> ADD = (key, value, totals) -> plus(totals, 1, value.asLong());
    static final Aggregator<String, JsonNode, JsonNode> SUBTRACT = (key, value, totals) -> plus(totals, -1, -value.asLong());

    static JsonNode none() {
      return plus(JSON.createObjectNode(), 0, 0);
    }

    static JsonNode merge(String key, JsonNode one, JsonNode other) {
      return plus(one, other.get("count").asLong(), other.get("sum").asLong());
    }

    private static JsonNode plus(JsonNode totals, long count, long sum) {
      long counted = totals.path("count").asLong() + count;
      long summed = totals.path("sum").asLong() + sum;
      ObjectNode fresh = JSON.createObjectNode().put("count", counted).put("sum", summed);
      return counted == 0 ? fresh.putNull("average") : fresh.put("average", (double) summed / counted);
    }
  }

  /** A case while its topology is built. */
  private record Case(JsonNode given, StreamsBuilder builder) {
    String text(String name) {
      return given.get(name).asText();
    }

    Duration time(String name) {
      return Duration.ofMillis(given.get(name).asLong());
    }

    boolean last() {
      return given.get("final").asBoolean();
    }

    EmitStrategy emit() {
      return last() ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
    }

    KStream<String, JsonNode> stream(int input) {
      return builder.stream(topic(input), Consumed.with(Serdes.String(), VALUES));
    }

    KTable<String, JsonNode> table(int input) {
      return builder.table(topic(input), Consumed.with(Serdes.String(), VALUES));
    }

    KGroupedStream<String, JsonNode> grouped() {
      return stream(0).groupByKey(Grouped.with(Serdes.String(), VALUES));
    }
  }
}
