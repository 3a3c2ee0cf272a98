import com.bazaarvoice.jolt.Chainr;
import com.bazaarvoice.jolt.JsonUtils;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The Java library's side of the differential test: a line in, a line out.
 *
 * In: {"spec": chain, "context": {...}, "inputs": [...]}. Out: null where the specification
 * is refused, else a list with an object for each input: "ok" has the output, and is not
 * there where the transform failed. "apart" is the output where it is another one when each
 * operation gets a document of its own, null where it fails then. "aliased" says that one
 * operation alone shared a subtree between two places or changed what it read, "fixed" that
 * a list that a function made could not be changed, and "half" that a text has half of a
 * surrogate pair: things that the other library never does.
 */
public class Differential {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.write(new Differential(JsonUtils.jsonToMap(line)).answer());
            out.write('\n');
            if (!in.ready()) out.flush();
        }
        out.flush();
    }

    private final List<?> spec;
    private final Map<String, Object> context;
    private final List<?> inputs;
    private boolean aliased;
    private boolean fixed;
    /** The containers that have a place in the document that an operation changes. */
    private Set<Object> placed;

    @SuppressWarnings("unchecked")
    private Differential(Map<String, Object> request) {
        spec = (List<?>) request.get("spec");
        context = (Map<String, Object>) request.get("context");
        inputs = (List<?>) request.get("inputs");
    }

    private String answer() {
        try {
            compile();
        } catch (Throwable refused) {
            return "null";
        }
        List<String> answers = new ArrayList<>();
        for (Object input : inputs) answers.add(one(input));
        return "[" + String.join(",", answers) + "]";
    }

    /** A specification has state: what it puts into a document is changed with it. */
    private Chainr compile() {
        return Chainr.fromSpec(copy(spec));
    }

    private String one(Object input) {
        aliased = false;
        fixed = false;
        String whole = whole(input);
        String apart = apart(input);
        List<String> parts = new ArrayList<>();
        if (whole != null) parts.add("\"ok\":" + whole);
        if (!String.valueOf(apart).equals(String.valueOf(whole))) parts.add("\"apart\":" + apart(apart));
        if (aliased) parts.add("\"aliased\":true");
        if (fixed) parts.add("\"fixed\":true");
        if (hasHalf(whole) || hasHalf(apart)) parts.add("\"half\":true");
        return "{" + String.join(",", parts) + "}";
    }

    private static String apart(String output) {
        return output == null ? "null" : "[" + output + "]";
    }

    private String whole(Object input) {
        try {
            return JsonUtils.toJsonString(compile().transform(copy(input), copyOfContext()));
        } catch (StackOverflowError | OutOfMemoryError cycle) {
            aliased = true;
            return null;
        } catch (UnsupportedOperationException fixedList) {
            fixed = true;
            return null;
        } catch (Throwable failed) {
            return null;
        }
    }

    private String apart(Object input) {
        try {
            Object value = input;
            for (int n = 0; n < spec.size(); n++) value = operation(n, value);
            return JsonUtils.toJsonString(value);
        } catch (StackOverflowError | OutOfMemoryError cycle) {
            aliased = true;
            return null;
        } catch (Throwable failed) {
            return null;
        }
    }

    private Object operation(int n, Object value) {
        placed = Collections.newSetFromMap(new IdentityHashMap<>());
        boolean modifies = ((String) ((Map<?, ?>) spec.get(n)).get("operation")).startsWith("modify");
        Object own = modifies ? watched(value) : copy(value);
        place(own);
        String before = JsonUtils.toJsonString(own);
        Object output = null;
        try {
            output = compile().transform(n, n + 1, own, copyOfContext());
            return output;
        } finally {
            // A shift only reads; what two places of its output share, nothing has changed.
            boolean reads = "shift".equals(((Map<?, ?>) spec.get(n)).get("operation"));
            aliased |= reads ? !before.equals(JsonUtils.toJsonString(own)) : isShared(output, new IdentityHashMap<>());
        }
    }

    @SuppressWarnings("unchecked")
    private Map<String, Object> copyOfContext() {
        return (Map<String, Object>) copy(context);
    }

    private static Object copy(Object value) {
        if (value instanceof Map) {
            Map<Object, Object> copy = new LinkedHashMap<>();
            ((Map<?, ?>) value).forEach((key, below) -> copy.put(key, copy(below)));
            return copy;
        }
        if (value instanceof List) {
            List<Object> copy = new ArrayList<>();
            ((List<?>) value).forEach(below -> copy.add(copy(below)));
            return copy;
        }
        return value;
    }

    /** A copy that notices when a container gets a second place, even for a while. */
    private Object watched(Object value) {
        if (value instanceof Map) {
            Map<Object, Object> copy = new WatchedMap();
            ((Map<?, ?>) value).forEach((key, below) -> copy.put(key, watched(below)));
            return copy;
        }
        if (value instanceof List) {
            List<Object> copy = new WatchedList();
            ((List<?>) value).forEach(below -> copy.add(watched(below)));
            return copy;
        }
        return value;
    }

    private void place(Object value) {
        if (value instanceof Map || value instanceof List) aliased |= !placed.add(value);
    }

    private final class WatchedMap extends LinkedHashMap<Object, Object> {
        @Override
        public Object put(Object key, Object value) {
            place(value);
            return super.put(key, value);
        }
    }

    private final class WatchedList extends ArrayList<Object> {
        @Override
        public boolean add(Object value) {
            place(value);
            return super.add(value);
        }

        @Override
        public Object set(int index, Object value) {
            place(value);
            return super.set(index, value);
        }
    }

    private static boolean isShared(Object value, IdentityHashMap<Object, Boolean> seen) {
        if (!(value instanceof Map) && !(value instanceof List)) return false;
        if (seen.put(value, true) != null) return true;
        Iterable<?> below = value instanceof Map ? ((Map<?, ?>) value).values() : (List<?>) value;
        for (Object child : below) if (isShared(child, seen)) return true;
        return false;
    }

    private static boolean hasHalf(String text) {
        if (text == null) return false;
        return text.codePoints().anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE);
    }
}
