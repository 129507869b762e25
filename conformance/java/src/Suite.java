import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs named cases side by side and says one line about each: CASE name when planned, then PASS name or FAIL name: reason.
 *
 * <p>Owns the running and the lines; knows nothing of messages. Arguments: NAMESRV SET [PATTERN].
 */
public final class Suite {
    /** A case: what it does with its own context, or why it failed, as an exception. */
    public interface Body {
        void run(Ctx ctx) throws Exception;
    }

    /** A failed expectation. Its text is the reason in the result line. */
    public static final class Failed extends Exception {
        private static final long serialVersionUID = 1L;

        public Failed(String reason) {
            super(reason);
        }
    }

    private static final class Entry {
        final String name;
        final Body body;

        Entry(String name, Body body) {
            this.name = name;
            this.body = body;
        }
    }

    private static final int CASE_SECONDS_MAX = 100;

    private final List<Entry> entries = new ArrayList<>();

    /** Adds a case. Cases that wait longest are best added first, since others run beside them. */
    public void add(String name, Body body) {
        entries.add(new Entry(name, body));
    }

    public static void expect(boolean holds, String otherwise) throws Failed {
        if (!holds) {
            throw new Failed(otherwise);
        }
    }

    public static void equal(Object wanted, Object got, String what) throws Failed {
        if (wanted == null ? got != null : !wanted.equals(got)) {
            throw new Failed(what + ": wanted " + wanted + ", got " + got);
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private boolean run(String namesrv, String pattern, int atOnce) throws InterruptedException {
        entries.removeIf(entry -> !entry.name.contains(pattern));
        for (Entry entry : entries) {
            say("CASE " + entry.name);
        }
        ExecutorService pool = Executors.newFixedThreadPool(atOnce, task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        List<Future<Boolean>> results = new ArrayList<>();
        for (Entry entry : entries) {
            results.add(pool.submit(() -> one(entry, namesrv)));
        }
        boolean good = true;
        for (Future<Boolean> result : results) {
            try {
                good &= result.get();
            } catch (java.util.concurrent.ExecutionException cause) {
                good = false;
            }
        }
        return good;
    }

    /** Runs a case on a thread of its own, so that one that hangs is reported and left behind. */
    private static boolean one(Entry entry, String namesrv) {
        ExecutorService alone = Executors.newSingleThreadExecutor(task -> {
            Thread thread = new Thread(task, entry.name);
            thread.setDaemon(true);
            return thread;
        });
        long start = System.currentTimeMillis();
        Ctx ctx = new Ctx(entry.name, namesrv);
        try {
            alone.submit(() -> {
                entry.body.run(ctx);
                return null;
            }).get(CASE_SECONDS_MAX, TimeUnit.SECONDS);
            say("PASS " + entry.name);
            return true;
        } catch (TimeoutException cause) {
            say("FAIL " + entry.name + ": no end after " + CASE_SECONDS_MAX + " s");
        } catch (Throwable cause) {
            Throwable root = cause.getCause() == null ? cause : cause.getCause();
            say("FAIL " + entry.name + ": " + reason(root));
            if (!(root instanceof Failed)) {
                root.printStackTrace();
            }
        } finally {
            ctx.close();
            alone.shutdownNow();
            System.err.println(entry.name + ": " + (System.currentTimeMillis() - start) + " ms");
        }
        return false;
    }

    private static String reason(Throwable cause) {
        String text = cause instanceof Failed ? cause.getMessage() : cause.toString();
        return String.valueOf(text).replaceAll("\\s+", " ");
    }

    public static void main(String[] args) throws Exception {
        String namesrv = args[0];
        String set = args[1];
        String pattern = args.length > 2 ? args[2] : "";
        Suite suite = new Suite();
        int atOnce = 16;
        switch (set) {
            case "all":
                Consuming.add(suite);
                Beyond.add(suite);
                Pulling.add(suite);
                Sending.add(suite);
                Asking.add(suite);
                Quickstart.add(suite);
                break;
            case "quickstart":
                Quickstart.add(suite);
                break;
            case "basic":
                Quickstart.add(suite);
                Sending.addBasic(suite);
                Pulling.addBasic(suite);
                break;
            case "mqadmin":
                Mqadmin.add(suite);
                // The tool writes to System.out, which the cases read: one at a time.
                atOnce = 1;
                break;
            default:
                throw new IllegalArgumentException("unknown set " + set);
        }
        boolean good = suite.run(namesrv, pattern, atOnce);
        // Clients leave threads behind; the lines above are all that matters.
        Runtime.getRuntime().halt(good ? 0 : 1);
    }
}
