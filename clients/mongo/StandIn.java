// A server that speaks MongoDB's protocol, for tests where no MongoDB can be installed:
// mongo-java-server with a journal, so that it keeps what it answered however it ends, and
// with change events as MongoDB documents them (its own tell the wrong document and no
// replacement). One process, no replica set, no users; what it cannot show is written in
// docs/stores.md.
//
// StandIn FILE PORT

import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.AbstractCursor;
import de.bwaldvogel.mongo.backend.Cursor;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.aggregation.Aggregation;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.BsonTimestamp;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;

public final class StandIn {
  /** One thread for each connection, because a stream that waits holds its own. */
  private static final int THREADS = 128;

  public static void main(String[] arguments) throws IOException {
    Backend backend = new Backend(Path.of(arguments[0]));
    MongoServer server = new MongoServer(backend);
    server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1])), 1, THREADS);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      backend.end();
      server.shutdownNow();
    }));
  }

  /** The data in memory. One command runs at a time, so none sees what is not in the journal. */
  private static final class Backend extends MemoryBackend {
    /** Commands that change something beside documents. */
    private static final Set<String> KEPT = Set.of("create", "createindexes", "dropindexes");
    /** Commands whose changes nobody here is told of. */
    private static final Set<String> REFUSED = Set.of("dropdatabase", "findandmodify", "renamecollection");
    private static final int UNKNOWN_ERROR = 8;
    private static final int COMMAND_NOT_FOUND = 59;
    private static final int SHUTDOWN_IN_PROGRESS = 91;
    private static final long END_MS = 100;

    private final Journal journal;
    private final Log log;
    private volatile boolean ending;

    Backend(Path file) throws IOException {
      journal = new Journal(file);
      log = new Log(this, journal);
      Channel nobody = new EmbeddedChannel();
      journal.replay(file, (place, head, hasDocument) -> {
        if (head.get("command") instanceof Document command) {
          super.handleCommand(nobody, (String) head.get("db"), command.keySet().iterator().next(), command);
          return;
        }
        log.tell(place, head, hasDocument);
        String namespace = Log.namespace(head);
        collection(namespace);
        if (head.get("operationType").equals("drop")) {
          int dot = namespace.indexOf('.');
          resolveDatabase(namespace.substring(0, dot)).dropCollection(namespace.substring(dot + 1), oplog);
        }
      });
      // Last, for only what is left need fit the indexes.
      log.latest.forEach((namespace, left) ->
          left.values().forEach(place -> collection(namespace).addDocument(journal.read(place).document())));
      oplog = log;
    }

    CursorRegistry cursors() {
      return getCursorRegistry();
    }

    MongoCollection<?> collection(String namespace) {
      int dot = namespace.indexOf('.');
      var database = resolveDatabase(namespace.substring(0, dot));
      String name = namespace.substring(dot + 1);
      var collection = database.resolveCollection(name, false);
      return collection != null ? collection : database.createCollectionOrThrowIfExists(name);
    }

    @Override
    public Document handleCommand(Channel channel, String database, String command, Document query) {
      try {
        if (command.equals("getMore")
            && cursors().getCursor(((Number) query.get(command)).longValue()) instanceof Follower follower) {
          return withPlace(super.handleCommand(channel, database, command, query), follower);
        }
        synchronized (this) {
          // A copy, for it is sent while the next command changes documents in place.
          return handle(channel, database, command, query).cloneDeeply();
        }
      } catch (MongoServerError error) {
        throw error;
      } catch (RuntimeException error) {
        // Without a code no driver takes it for an answer.
        error.printStackTrace();
        throw new MongoServerError(UNKNOWN_ERROR, "UnknownError", String.valueOf(error.getMessage()));
      }
    }

    private Document handle(Channel channel, String database, String command, Document query) {
      if (ending) {
        throw new MongoServerError(SHUTDOWN_IN_PROGRESS, "ShutdownInProgress", "the server is going down");
      }
      String name = command.toLowerCase();
      if (REFUSED.contains(name)) {
        throw new MongoServerError(COMMAND_NOT_FOUND, "CommandNotFound", "the stand-in knows no " + command);
      }
      if (name.equals("collmod")) {
        return new Document("ok", 1.0); // What was before is always known here.
      }
      Document answer = super.handleCommand(channel, database, command, query);
      if (KEPT.contains(name)) {
        journal.append(new Document("db", database).append("command", query), null);
      }
      if (answer.containsKey("maxWireVersion")) {
        answer.put("maxWireVersion", 9); // Of today's drivers; they use nothing of it here.
      }
      if (answer.get("cursor") instanceof Document cursor
          && (long) cursor.get("id") != 0
          && cursors().getCursor((long) cursor.get("id")) instanceof Follower follower) {
        return withPlace(answer, follower);
      }
      return answer;
    }

    /** Tells how far a stream has come, without which a driver resumes it from where it began. */
    private static Document withPlace(Document answer, Follower follower) {
      ((Document) answer.get("cursor")).append("postBatchResumeToken", Log.token(follower.place));
      return answer;
    }

    /** Tells who asks for a moment that the server goes, as MongoDB does. */
    void end() {
      synchronized (this) {
        ending = true;
      }
      try {
        Thread.sleep(END_MS);
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** A change; its event is in the journal, and what was before in that of the change before (or -1). */
  private record Change(String namespace, long place, long before) {}

  /** The changes, each kept in the journal as the event that tells it. */
  private static final class Log implements Oplog {
    private static final String OWN = "local.oplog.rs";
    private final Backend backend;
    private final Journal journal;
    private final ConcurrentSkipListMap<Long, Change> changes = new ConcurrentSkipListMap<>();
    /** The last change of each document that is there, by namespace and id. */
    private final Map<String, Map<Object, Long>> latest = new HashMap<>();
    private long last;

    Log(Backend backend, Journal journal) {
      this.backend = backend;
      this.journal = journal;
    }

    static String namespace(Document event) {
      Document ns = (Document) event.get("ns");
      return ns.get("db") + "." + ns.get("coll");
    }

    static Document token(long time) {
      return new Document("_data", String.format("%016x", time));
    }

    @Override
    public void handleInsert(String namespace, List<Document> documents) {
      for (Document document : documents) {
        Object id = document.get("_id");
        for (Document stored : backend.collection(namespace).handleQuery(new Document("_id", id))) {
          // It is told of those too that were refused, and of those behind them.
          if (stored == document) {
            add(namespace, "insert", id, document, null);
          }
        }
      }
    }

    @Override
    public void handleUpdate(String namespace, Document selector, Document update, List<Object> ids) {
      boolean replaced = update.keySet().stream().noneMatch(name -> name.startsWith("$"));
      for (Object id : ids) {
        for (Document document : backend.collection(namespace).handleQuery(new Document("_id", id))) {
          add(namespace, replaced ? "replace" : "update", id, document, replaced ? null : update);
        }
      }
    }

    @Override
    public void handleDelete(String namespace, Document query, List<Object> ids) {
      for (Object id : ids) {
        add(namespace, "delete", id, null, null);
      }
    }

    @Override
    public void handleDropCollection(String namespace) {
      add(namespace, "drop", null, null, null);
    }

    private void add(String namespace, String operation, Object id, Document full, Document update) {
      Instant now = Instant.now();
      long time = Math.max(last + 1, now.getEpochSecond() << 32);
      int dot = namespace.indexOf('.');
      Document event = new Document()
          .append("_id", token(time))
          .append("operationType", operation)
          .append("clusterTime", new BsonTimestamp(time))
          .append("wallTime", now)
          .append("ns", new Document("db", namespace.substring(0, dot)).append("coll", namespace.substring(dot + 1)));
      if (id != null) {
        event.append("documentKey", new Document("_id", id));
      }
      if (update != null) {
        Document unset = (Document) update.getOrDefault("$unset", new Document());
        event.append("updateDescription", new Document()
            .append("updatedFields", update.getOrDefault("$set", new Document()))
            .append("removedFields", new ArrayList<>(unset.keySet())));
      }
      tell(journal.append(event, full), event, full != null);
    }

    /** Tells the streams of an event that is in the journal. */
    void tell(long place, Document event, boolean hasDocument) {
      String namespace = namespace(event);
      Long before = null;
      if (event.get("documentKey") instanceof Document key) {
        var there = latest.computeIfAbsent(namespace, any -> new LinkedHashMap<>());
        before = hasDocument ? there.put(key.get("_id"), place) : there.remove(key.get("_id"));
      } else {
        latest.remove(namespace);
      }
      BsonTimestamp time = (BsonTimestamp) event.get("clusterTime");
      last = time.getValue();
      backend.collection(OWN).addDocument(new Document("_id", last).append("ts", time));
      synchronized (changes) {
        changes.put(last, new Change(namespace.intern(), place, before != null ? before : -1));
        changes.notifyAll();
      }
    }

    @Override
    public Cursor createCursor(Document stage, String namespace, Aggregation aggregation) {
      Document token = (Document) stage.getOrDefault("startAfter", stage.get("resumeAfter"));
      BsonTimestamp from = (BsonTimestamp) stage.get("startAtOperationTime");
      long place =
          token != null ? Long.parseLong((String) token.get("_data"), 16) : from != null ? from.getValue() - 1 : last;
      boolean before = stage.containsKey("fullDocumentBeforeChange");
      long id = backend.cursors().generateCursorId();
      Follower follower = new Follower(id, this, namespace, aggregation, place, before);
      backend.cursors().add(follower);
      return follower;
    }
  }

  /** A stream of changes. */
  private static final class Follower extends AbstractCursor {
    private static final long WAIT_MS = 500;
    /** Bounds of one answer. */
    private static final int EVENTS = 100;
    private static final int BYTES = 4 << 20;
    private final Log log;
    private final String namespace;
    private final Aggregation aggregation;
    private final boolean before;
    private long place;
    private boolean waits;

    Follower(long id, Log log, String namespace, Aggregation aggregation, long place, boolean before) {
      super(id);
      this.log = log;
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
      synchronized (log.changes) {
        // The first answer, which opens the stream, comes at once.
        if (waits && log.changes.tailMap(place, false).isEmpty()) {
          try {
            log.changes.wait(WAIT_MS);
          } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
          }
        }
      }
      waits = true;
      List<Document> taken = new ArrayList<>();
      int bytes = 0;
      for (var change : log.changes.tailMap(place, false).entrySet()) {
        place = change.getKey();
        if (namespace.equals(change.getValue().namespace())) {
          bytes += take(change.getValue(), taken);
        }
        if (taken.size() >= (count > 0 ? count : EVENTS) || bytes >= BYTES) {
          break;
        }
      }
      return aggregation.runStagesAsStream(taken.stream()).toList();
    }

    /** Adds an event; answers its size. */
    private int take(Change change, List<Document> taken) {
      Journal.Entry entry = log.journal.read(change.place());
      Document event = entry.head();
      if (entry.document() != null) {
        event.append("fullDocument", entry.document());
      }
      if (before && change.before() >= 0) {
        event.append("fullDocumentBeforeChange", log.journal.read(change.before()).document());
      }
      taken.add(event);
      return entry.bytes();
    }
  }
}
