import com.bazaarvoice.jolt.Chainr;
import com.bazaarvoice.jolt.JsonUtils;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Supplier;

/** The Java library on the same inputs: CPU time of one thread, warmed up. */
public class Bench {
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    private static Object sink;

    public static void main(String[] paths) throws Exception {
        for (String path : paths) {
            Map<String, Object> one = JsonUtils.jsonToMap(Files.readString(Path.of(path)));
            Chainr chainr = Chainr.fromSpec(one.get("spec"));
            String input = JsonUtils.toJsonString(one.get("input"));
            byte[] bytes = input.getBytes(StandardCharsets.UTF_8);
            double whole = micros(() -> JsonUtils.toJsonString(chainr.transform(
                    JsonUtils.jsonToObject(new String(bytes, StandardCharsets.UTF_8)))));
            // A transform may change its input, so each gets a copy of its own; making the
            // copies is measured alone and taken off.
            double parse = micros(() -> JsonUtils.jsonToObject(new String(bytes, StandardCharsets.UTF_8)));
            double transform = micros(() -> chainr.transform(
                    JsonUtils.jsonToObject(new String(bytes, StandardCharsets.UTF_8)))) - parse;
            String name = Path.of(path).getFileName().toString().replace(".json", "");
            System.out.printf("{\"case\":\"%s\",\"whole_us\":%.3f,\"transform_us\":%.3f}%n", name, whole, transform);
        }
    }

    private static double micros(Supplier<Object> call) {
        round(call, 4_000_000_000L);
        return round(call, 3_000_000_000L);
    }

    private static double round(Supplier<Object> call, long nanos) {
        long begun = THREADS.getCurrentThreadCpuTime();
        long calls = 0;
        while (true) {
            for (int i = 0; i < 100; i++) sink = call.get();
            calls += 100;
            long used = THREADS.getCurrentThreadCpuTime() - begun;
            if (used >= nanos) return used / 1000.0 / calls;
        }
    }
}
