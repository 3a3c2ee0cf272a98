import com.bazaarvoice.jolt.Chainr;
import com.bazaarvoice.jolt.JsonUtils;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.function.Supplier;

/** The Java library on one of the inputs: CPU time of one thread, warmed up. */
public class Bench {
    private static final com.sun.management.ThreadMXBean THREADS =
            (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static Object sink;

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> one = JsonUtils.jsonToMap(Files.readString(Path.of(arguments[0])));
        Chainr chainr = Chainr.fromSpec(one.get("spec"));
        byte[] bytes = JsonUtils.toJsonString(one.get("input")).getBytes(StandardCharsets.UTF_8);
        Supplier<Object> parsed = () -> JsonUtils.jsonToObject(new String(bytes, StandardCharsets.UTF_8));
        Supplier<Object> whole = () -> JsonUtils.toJsonString(chainr.transform(parsed.get()));
        double wholeMicros = micros(whole);
        long before = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
        for (int i = 0; i < 100; i++) sink = whole.get();
        long allocated = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
        // A transform may change its input, so each gets a copy of its own; making the
        // copies is measured alone and taken off.
        double parse = micros(parsed);
        double transform = micros(() -> chainr.transform(parsed.get())) - parse;
        System.out.printf("{\"whole_us\":%.3f,\"transform_us\":%.3f,\"allocated\":%d}%n",
                wholeMicros, transform, allocated / 100);
    }

    private static double micros(Supplier<Object> call) {
        round(call, 2_000_000_000L);
        return round(call, 1_500_000_000L);
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
