import com.bazaarvoice.jolt.Chainr;
import com.bazaarvoice.jolt.JsonUtils;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The Java library's side of the differential test: a line in, a line out.
 *
 * In: {"spec": chain, "inputs": [...]}. Out: null where the specification is refused, else
 * a list with, for each input, {"ok": output}, or {} where it fails; "aliased" where Java
 * shared a subtree or changed its input, which this library never does.
 */
public class Differential {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.write(JsonUtils.toJsonString(answer(JsonUtils.jsonToMap(line))));
            out.write('\n');
            if (!in.ready()) out.flush();
        }
        out.flush();
    }

    private static Object answer(Map<String, Object> request) {
        Chainr chainr;
        try {
            chainr = Chainr.fromSpec(request.get("spec"));
        } catch (Throwable refused) {
            return null;
        }
        List<Object> answers = new ArrayList<>();
        for (Object input : (List<?>) request.get("inputs")) answers.add(one(chainr, input));
        return answers;
    }

    private static Object one(Chainr chainr, Object input) {
        Map<String, Object> answer = new LinkedHashMap<>();
        String before = JsonUtils.toJsonString(input);
        try {
            Object output = chainr.transform(input);
            boolean ownsInput = output == input;
            boolean shared = isShared(output, new IdentityHashMap<>());
            // Text at once: a later look must not see a later change.
            answer.put("ok", JsonUtils.jsonToObject(JsonUtils.toJsonString(output)));
            if (shared || (!ownsInput && !before.equals(JsonUtils.toJsonString(input)))) answer.put("aliased", true);
        } catch (StackOverflowError cycle) {
            answer.put("aliased", true);
        } catch (Throwable failed) {
            answer.clear();
        }
        return answer;
    }

    private static boolean isShared(Object value, IdentityHashMap<Object, Boolean> seen) {
        if (!(value instanceof Map) && !(value instanceof List)) return false;
        if (seen.put(value, true) != null) return true;
        Iterable<?> below = value instanceof Map ? ((Map<?, ?>) value).values() : (List<?>) value;
        for (Object child : below) if (isShared(child, seen)) return true;
        return false;
    }
}
