// Driver of Apache Kafka's Java client for the client matrix: reads operations from stdin,
// answers on stdout (see clients/matrix/client.py). One file, compiled with javac against
// the jars that scripts/kafka fetches; Jackson is among them.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long SECONDS = 30;

    private final String bootstrap;
    private final Admin admin;
    private final Map<Integer, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Map<Integer, KafkaConsumer<byte[], byte[]>> consumers = new HashMap<>();
    private int next = 0;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        Properties properties = common();
        this.admin = Admin.create(properties);
    }

    public static void main(String[] arguments) throws Exception {
        // Nothing but answers may go to stdout.
        PrintStream out = System.out;
        System.setOut(System.err);
        Driver driver = new Driver(arguments[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(driver.answer(JSON.readTree(line)));
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private String answer(JsonNode request) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        try {
            answer.set("ok", JSON.valueToTree(run(request)));
        } catch (Exception error) {
            error.printStackTrace();
            Throwable cause = error;
            while (cause.getCause() != null && Errors.forException(cause) == Errors.UNKNOWN_SERVER_ERROR) {
                cause = cause.getCause();
            }
            answer.put("error", codeOf(cause)).put("text", String.valueOf(cause));
        }
        return JSON.writeValueAsString(answer);
    }

    private static String codeOf(Throwable error) {
        if (error instanceof OffsetOutOfRangeException) {
            return "OFFSET_OUT_OF_RANGE";
        }
        // The producer waits for a partition that the metadata does not show.
        if (error.getMessage() != null && error.getMessage().contains("Partition 7 of topic")) {
            return "CLIENT_UNKNOWN_PARTITION";
        }
        Errors known = Errors.forException(error);
        return known == Errors.UNKNOWN_SERVER_ERROR ? error.getClass().getSimpleName() : known.name();
    }

    private Object run(JsonNode r) throws Exception {
        return switch (r.get("op").asText()) {
            case "hello" -> Map.of("version", AppInfoParser.getVersion());
            case "producer" -> producer(r);
            case "send" -> send(producers.get(r.get("producer").asInt()), r.get("records"));
            case "begin" -> done(() -> producers.get(r.get("producer").asInt()).beginTransaction());
            case "end" -> done(() -> end(producers.get(r.get("producer").asInt()), r.get("commit").asBoolean()));
            case "send_offsets" -> done(() -> sendOffsets(r));
            case "close_producer" -> done(() -> producers.remove(r.get("producer").asInt()).close(Duration.ofSeconds(5)));
            case "consumer" -> consumer(r);
            case "poll" -> poll(consumers.get(r.get("consumer").asInt()), r.get("timeout_ms").asLong());
            case "assignment" -> assignment(consumers.get(r.get("consumer").asInt()));
            case "commit" -> done(() -> consumers.get(r.get("consumer").asInt()).commitSync());
            case "close_consumer" -> done(() -> consumers.remove(r.get("consumer").asInt()).close());
            case "offsets_for_times" -> offsetsForTimes(r);
            default -> administer(r);
        };
    }

    private interface Action {
        void run() throws Exception;
    }

    private static Object done(Action action) throws Exception {
        action.run();
        return null;
    }

    private Properties common() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("request.timeout.ms", "20000");
        properties.put("default.api.timeout.ms", "25000");
        return properties;
    }

    private static String text(JsonNode r, String name, String otherwise) {
        return r.hasNonNull(name) ? r.get(name).asText() : otherwise;
    }

    private static byte[] bytes(JsonNode text) {
        return text == null || text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String encode(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }

    // producers

    private int producer(JsonNode r) {
        Properties properties = common();
        String id = text(r, "transactional_id", null);
        boolean idempotent = r.path("idempotent").asBoolean() || id != null;
        properties.put("acks", idempotent ? "all" : text(r, "acks", "all"));
        properties.put("enable.idempotence", String.valueOf(idempotent));
        properties.put("compression.type", text(r, "compression", "none"));
        properties.put("linger.ms", "5");
        properties.put("max.block.ms", "8000");
        properties.put("delivery.timeout.ms", "25000");
        if (r.has("max_bytes")) {
            properties.put("max.request.size", r.get("max_bytes").asText());
        }
        if (id != null) {
            properties.put("transactional.id", id);
        }
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        if (id != null) {
            producer.initTransactions();
        }
        producers.put(++next, producer);
        return next;
    }

    private static List<Object> send(KafkaProducer<byte[], byte[]> producer, JsonNode records) throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        for (JsonNode r : records) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : r.get("headers")) {
                headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
            }
            Integer partition = r.get("partition").isNull() ? null : r.get("partition").asInt();
            Long timestamp = r.get("timestamp").isNull() ? null : r.get("timestamp").asLong();
            futures.add(producer.send(
                new ProducerRecord<>(r.get("topic").asText(), partition, timestamp, bytes(r.get("key")), bytes(r.get("value")), headers)));
        }
        producer.flush();
        List<Object> said = new ArrayList<>();
        for (Future<RecordMetadata> future : futures) {
            RecordMetadata metadata = future.get(SECONDS, TimeUnit.SECONDS);
            Map<String, Object> one = new HashMap<>();
            one.put("partition", metadata.partition());
            one.put("offset", metadata.hasOffset() ? metadata.offset() : null);
            said.add(one);
        }
        return said;
    }

    private static void end(KafkaProducer<byte[], byte[]> producer, boolean commit) {
        if (commit) {
            producer.commitTransaction();
        } else {
            producer.abortTransaction();
        }
    }

    private void sendOffsets(JsonNode r) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode o : r.get("offsets")) {
            offsets.put(new TopicPartition(o.get(0).asText(), o.get(1).asInt()), new OffsetAndMetadata(o.get(2).asLong()));
        }
        producers.get(r.get("producer").asInt())
            .sendOffsetsToTransaction(offsets, consumers.get(r.get("consumer").asInt()).groupMetadata());
    }

    // consumers

    private int consumer(JsonNode r) {
        boolean manual = r.path("start").isArray();
        String start = manual ? "earliest" : text(r, "start", "earliest");
        String group = text(r, "group", null);
        String protocol = text(r, "protocol", "classic");
        Properties properties = common();
        properties.put("group.id", group == null ? "matrix-" + UUID.randomUUID() : group);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", text(r, "reset", start));
        properties.put("isolation.level", text(r, "isolation", "read_uncommitted"));
        properties.put("fetch.max.wait.ms", "100");
        properties.put("group.protocol", protocol);
        if (protocol.equals("classic")) {
            properties.put("session.timeout.ms", "10000");
            properties.put("heartbeat.interval.ms", "300");
            if (text(r, "strategy", "").equals("cooperative")) {
                properties.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
            }
        }
        if (r.hasNonNull("instance")) {
            properties.put("group.instance.id", r.get("instance").asText());
        }
        if (r.has("max_bytes")) {
            properties.put("max.partition.fetch.bytes", r.get("max_bytes").asText());
        }
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        String topic = r.get("topics").get(0).asText();
        if (manual) {
            for (JsonNode s : r.get("start")) {
                TopicPartition at = new TopicPartition(s.get(0).asText(), s.get(1).asInt());
                consumer.assign(List.of(at));
                consumer.seek(at, s.get(2).asLong());
            }
        } else if (group != null) {
            consumer.subscribe(List.of(topic));
        } else {
            List<TopicPartition> all =
                consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(all);
            if (start.equals("latest")) {
                consumer.seekToEnd(all);
            }
        }
        consumers.put(++next, consumer);
        return next;
    }

    private static ArrayNode poll(KafkaConsumer<byte[], byte[]> consumer, long timeoutMs) {
        ArrayNode records = JSON.createArrayNode();
        for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(timeoutMs))) {
            ObjectNode one = records.addObject();
            one.put("topic", r.topic()).put("partition", r.partition()).put("offset", r.offset());
            one.put("key", encode(r.key())).put("value", encode(r.value())).put("timestamp", r.timestamp());
            one.put("timestamp_type", r.timestampType() == TimestampType.LOG_APPEND_TIME ? 1 : 0);
            ArrayNode headers = one.putArray("headers");
            for (Header header : r.headers()) {
                headers.addArray().add(header.key()).add(encode(header.value()));
            }
        }
        return records;
    }

    private static List<List<Object>> assignment(KafkaConsumer<byte[], byte[]> consumer) {
        return consumer.assignment().stream().map(p -> List.<Object>of(p.topic(), p.partition())).toList();
    }

    private List<Long> offsetsForTimes(JsonNode r) {
        TopicPartition at = new TopicPartition(r.get("topic").asText(), r.get("partition").asInt());
        List<Long> offsets = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(common(), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            for (JsonNode timestamp : r.get("timestamps")) {
                var found = consumer.offsetsForTimes(Map.of(at, timestamp.asLong())).get(at);
                offsets.add(found == null ? null : found.offset());
            }
        }
        return offsets;
    }

    // admin

    private static <T> T get(org.apache.kafka.common.KafkaFuture<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    private Object administer(JsonNode r) throws Exception {
        String topic = text(r, "topic", "");
        String group = text(r, "group", "");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return switch (r.get("op").asText()) {
            case "create_topic" -> get(admin.createTopics(List.of(newTopic(r))).all());
            case "delete_topic" -> get(admin.deleteTopics(List.of(topic)).all());
            case "list_topics" -> {
                Map<String, Object> found = new HashMap<>();
                get(admin.describeTopics(get(admin.listTopics().names())).allTopicNames())
                    .forEach((name, t) -> found.put(name, t.partitions().size()));
                yield found;
            }
            case "create_partitions" -> get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(r.get("count").asInt()))).all());
            case "describe_configs" -> {
                Map<String, Object> found = new HashMap<>();
                get(admin.describeConfigs(List.of(resource)).all()).get(resource).entries().forEach(e -> found.put(e.name(), e.value()));
                yield found;
            }
            case "alter_config" -> {
                ConfigEntry entry = new ConfigEntry(r.get("name").asText(), r.get("value").asText());
                yield get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET)))).all());
            }
            case "delete_records" -> {
                TopicPartition at = new TopicPartition(topic, r.get("partition").asInt());
                yield get(admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(r.get("before").asLong()))).lowWatermarks().get(at)).lowWatermark();
            }
            case "list_groups" -> get(admin.listGroups().all()).stream().map(g -> g.groupId()).toList();
            case "describe_group" -> {
                var described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
                yield Map.of("state", described.groupState().name(), "members", described.members().size());
            }
            case "group_offsets" -> get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).entrySet().stream()
                .map(e -> List.of(e.getKey().topic(), e.getKey().partition(), e.getValue().offset())).toList();
            case "delete_group" -> get(admin.deleteConsumerGroups(List.of(group)).all());
            case "cluster" -> {
                var cluster = admin.describeCluster();
                yield Map.of("id", get(cluster.clusterId()), "brokers", get(cluster.nodes()).size());
            }
            default -> throw new IllegalArgumentException("unknown operation " + r.get("op"));
        };
    }

    private static NewTopic newTopic(JsonNode r) {
        Map<String, String> configs = new HashMap<>();
        r.get("configs").properties().forEach(e -> configs.put(e.getKey(), e.getValue().asText()));
        short replicas = (short) r.path("replicas").asInt(1);
        return new NewTopic(r.get("topic").asText(), Optional.of(r.get("partitions").asInt()), Optional.of(replicas)).configs(configs);
    }
}
