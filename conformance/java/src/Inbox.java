import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages as a listener saw them, in order of arrival, and waiting for them. */
public final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();
    private final List<Long> times = new ArrayList<>();

    public synchronized void put(MessageExt message) {
        messages.add(message);
        times.add(System.currentTimeMillis());
        notifyAll();
    }

    public synchronized List<MessageExt> all() {
        return new ArrayList<>(messages);
    }

    public synchronized int size() {
        return messages.size();
    }

    /** When the message at this place of {@link #all} arrived, in milliseconds. */
    public synchronized long time(int index) {
        return times.get(index);
    }

    /** Waits until the predicate holds of what has arrived; false when the time is over. */
    public synchronized boolean until(Predicate<List<MessageExt>> holds, long millis) throws InterruptedException {
        long end = System.currentTimeMillis() + millis;
        while (!holds.test(messages)) {
            long left = end - System.currentTimeMillis();
            if (left <= 0) {
                return false;
            }
            wait(left);
        }
        return true;
    }

    /** Waits for that many messages. */
    public void await(int count, long millis) throws InterruptedException, Suite.Failed {
        if (!until(got -> got.size() >= count, millis)) {
            throw new Suite.Failed("wanted " + count + " messages, got " + size() + " in " + millis + " ms");
        }
    }

    public static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    public synchronized Set<String> bodies() {
        Set<String> bodies = new HashSet<>();
        for (MessageExt message : messages) {
            bodies.add(body(message));
        }
        return bodies;
    }

    /** Fails unless offsets rise by one from message to message within every queue. */
    public void expectQueueOrder() throws Suite.Failed {
        Map<Integer, Long> last = new HashMap<>();
        for (MessageExt message : all()) {
            Long before = last.put(message.getQueueId(), message.getQueueOffset());
            if (before != null && message.getQueueOffset() != before + 1) {
                throw new Suite.Failed("queue " + message.getQueueId() + ": offset " + message.getQueueOffset() + " after " + before);
            }
        }
    }
}
