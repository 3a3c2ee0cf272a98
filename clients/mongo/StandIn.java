// A server that speaks MongoDB's protocol, for tests where no MongoDB can be installed:
// mongo-java-server with its data in one file, and with change events as MongoDB documents
// them (its own tell the wrong document and no replacement). One process, no replica set,
// no users; what it cannot show is written in docs/stores.md.
//
// StandIn FILE PORT

import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.AbstractCursor;
import de.bwaldvogel.mongo.backend.Cursor;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.aggregation.Aggregation;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.BsonTimestamp;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import java.net.InetSocketAddress;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.stream.Stream;

public final class StandIn {
  /** One thread for each connection, because a stream that waits holds its own. */
  private static final int THREADS = 128;

  public static void main(String[] arguments) {
    Backend backend = new Backend(arguments[0]);
    MongoServer server = new MongoServer(backend);
    server.enableOplog();
    server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1])), 1, THREADS);
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
  }

  private static final class Backend extends H2Backend {
    Backend(String file) {
      super(file);
    }

    @Override
    @SuppressWarnings("unchecked")
    protected Oplog createOplog() {
      var local = resolveDatabase("local");
      var collection = (MongoCollection<Document>) (MongoCollection<?>) local.resolveCollection("oplog.rs", false);
      if (collection == null) {
        collection = (MongoCollection<Document>) (MongoCollection<?>) local.createCollectionOrThrowIfExists("oplog.rs");
      }
      return new Log(this, collection, getCursorRegistry());
    }

    /** The version of the protocol that today's drivers ask for; they use nothing of it here. */
    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
      if (command.equalsIgnoreCase("collMod")) {
        return new Document("ok", 1.0); // What was before is always known here.
      }
      Document answer = super.handleCommand(channel, database, command, query);
      if (answer.containsKey("maxWireVersion")) {
        answer.put("maxWireVersion", 9);
      }
      return answer;
    }

    List<Document> find(String namespace, Object id) {
      int dot = namespace.indexOf('.');
      var collection = resolveDatabase(namespace.substring(0, dot)).resolveCollection(namespace.substring(dot + 1), false);
      return collection.handleQueryAsStream(new Document("_id", id)).toList();
    }
  }

  /** The changes, in memory and in the file; each is kept as the event that tells it. */
  private static final class Log implements Oplog {
    private final Backend backend;
    private final MongoCollection<Document> collection;
    private final CursorRegistry cursors;
    private final ConcurrentSkipListMap<Long, Document> events = new ConcurrentSkipListMap<>();
    /** What is not in the file yet, so that no stream tells what a crash takes back. */
    private final Map<Long, Document> fresh = new HashMap<>();
    private final Map<String, Document> latest = new HashMap<>();
    private long last;

    Log(Backend backend, MongoCollection<Document> collection, CursorRegistry cursors) {
      this.backend = backend;
      this.collection = collection;
      this.cursors = cursors;
      collection.queryAllAsStream().forEach(entry -> {
        long time = ((BsonTimestamp) entry.get("ts")).getValue();
        Document event = (Document) entry.get("event");
        events.put(time, event);
        latest.put(place(event), (Document) event.get("fullDocument"));
        last = Math.max(last, time);
      });
    }

    @Override
    public void handleInsert(String namespace, List<Document> documents) {
      for (Document document : documents) {
        add(namespace, "insert", document.get("_id"), document.cloneDeeply(), null);
      }
      commit(namespace);
    }

    @Override
    public void handleUpdate(String namespace, Document selector, Document update, List<Object> ids) {
      boolean replaced = update.keySet().stream().noneMatch(name -> name.startsWith("$"));
      for (Object id : ids) {
        for (Document document : backend.find(namespace, id)) {
          add(namespace, replaced ? "replace" : "update", id, document.cloneDeeply(), replaced ? null : update);
        }
      }
      commit(namespace);
    }

    @Override
    public void handleDelete(String namespace, Document query, List<Object> ids) {
      for (Object id : ids) {
        add(namespace, "delete", id, null, null);
      }
      commit(namespace);
    }

    @Override
    public void handleDropCollection(String namespace) {
      add(namespace, "drop", null, null, null);
      commit(namespace);
    }

    private synchronized void add(String namespace, String operation, Object id, Document full, Document update) {
      if (namespace.startsWith("local.")) {
        return;
      }
      Instant now = Instant.now();
      last = Math.max(last + 1, now.getEpochSecond() << 32);
      int dot = namespace.indexOf('.');
      Document event = new Document()
          .append("_id", new Document("_data", String.format("%016x", last)))
          .append("operationType", operation)
          .append("clusterTime", new BsonTimestamp(last))
          .append("wallTime", now)
          .append("ns", new Document("db", namespace.substring(0, dot)).append("coll", namespace.substring(dot + 1)));
      if (id != null) {
        event.append("documentKey", new Document("_id", id));
      }
      if (full != null) {
        event.append("fullDocument", full);
      }
      if (update != null) {
        Document unset = (Document) update.getOrDefault("$unset", new Document());
        event.append("updateDescription", new Document()
            .append("updatedFields", update.getOrDefault("$set", new Document()))
            .append("removedFields", new ArrayList<>(unset.keySet())));
      }
      Document before = latest.put(place(event), full);
      if (before != null) {
        event.append("fullDocumentBeforeChange", before);
      }
      collection.addDocument(new Document("_id", last).append("ts", new BsonTimestamp(last)).append("event", event));
      fresh.put(last, event);
    }

    private static String place(Document event) {
      return event.get("ns") + " " + event.get("documentKey");
    }

    /** What is answered survives the end of the process; waiting streams go on. */
    private synchronized void commit(String namespace) {
      if (namespace.startsWith("local.")) {
        return;
      }
      backend.commit();
      synchronized (events) {
        events.putAll(fresh);
        fresh.clear();
        events.notifyAll();
      }
    }

    @Override
    public Cursor createCursor(Document stage, String namespace, Aggregation aggregation) {
      Document token = (Document) stage.getOrDefault("startAfter", stage.get("resumeAfter"));
      BsonTimestamp from = (BsonTimestamp) stage.get("startAtOperationTime");
      long place;
      synchronized (this) {
        place = token != null ? Long.parseLong((String) token.get("_data"), 16) : from != null ? from.getValue() - 1 : last;
      }
      boolean before = stage.containsKey("fullDocumentBeforeChange");
      Follower follower = new Follower(cursors.generateCursorId(), namespace, aggregation, place, before);
      cursors.add(follower);
      return follower;
    }

    private final class Follower extends AbstractCursor {
      private static final long WAIT_MS = 500;
      private final String namespace;
      private final Aggregation aggregation;
      private final boolean before;
      private long place;
      private boolean waits;

      Follower(long id, String namespace, Aggregation aggregation, long place, boolean before) {
        super(id);
        this.namespace = namespace;
        this.aggregation = aggregation;
        this.place = place;
        this.before = before;
      }

      @Override
      public boolean isEmpty() {
        return false;
      }

      @Override
      public List<Document> takeDocuments(int count) {
        synchronized (events) {
          // The first answer, which opens the stream, comes at once.
          if (waits && events.tailMap(place, false).isEmpty()) {
            try {
              events.wait(WAIT_MS);
            } catch (InterruptedException interrupted) {
              Thread.currentThread().interrupt();
            }
          }
        }
        waits = true;
        List<Document> taken = new ArrayList<>();
        for (var entry : events.tailMap(place, false).entrySet()) {
          place = entry.getKey();
          Document ns = (Document) entry.getValue().get("ns");
          if (namespace.equals(ns.get("db") + "." + ns.get("coll"))) {
            Document event = entry.getValue().clone();
            if (!before) {
              event.remove("fullDocumentBeforeChange");
            }
            taken.add(event);
          }
          if (count > 0 && taken.size() >= count) {
            break;
          }
        }
        return aggregation.runStagesAsStream(taken.stream()).toList();
      }
    }
  }
}
