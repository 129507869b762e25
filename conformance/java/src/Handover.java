import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * One owner's turn with a store that goes from broker to broker: {@code Handover NAMESRV TURN}.
 *
 * <p>Whatever the turn before left must come, once, and nothing that was consumed before. Then this turn consumes
 * messages of its own, refuses some for the first time, and leaves some unread and some delayed for the next turn.
 * Prints {@code PASS} or {@code FAIL} and why.
 */
public final class Handover {
    private static final String TOPIC = "Handover";
    private static final String GROUP = "handover_workers";
    private static final int OWN = 20;
    private static final int REFUSED = 3;
    private static final int LEFT = 15;
    private static final int DELAYED = 3;
    /** Thirty seconds, so that they come due in the next turn: nothing is delivered between the last settling and a kill. */
    private static final int LEVEL = 4;
    private static final long PATIENCE_MS = 90_000;
    /**
     * Offsets are stored every five seconds by both brokers and by the client, the progress of delays every ten by the
     * original: what it delivered since is delivered again after a kill. So the refused ones, which come back after ten
     * seconds, are followed by one whole such time before the switch.
     */
    private static final long SETTLE_MS = 12_000;

    private final Map<String, Integer> seen = new HashMap<>();
    private final int turn;

    private Handover(int turn) {
        this.turn = turn;
    }

    public static void main(String[] args) throws Exception {
        String verdict = new Handover(Integer.parseInt(args[1])).run(args[0]);
        System.out.println(verdict.isEmpty() ? "PASS" : "FAIL " + verdict);
        System.exit(verdict.isEmpty() ? 0 : 1);
    }

    private String run(String namesrv) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("handover_producer");
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(20_000);
        producer.start();
        if (turn == 1) {
            // The topic must be there before its first reader.
            send(producer, "first", 1, 0);
        }
        DefaultMQPushConsumer consumer = consumer(namesrv);
        TreeSet<String> expected = new TreeSet<>();
        if (turn == 1) {
            expected.add("first-1-0");
        } else {
            names(expected, "left", turn - 1, LEFT);
            names(expected, "delayed", turn - 1, DELAYED);
            names(expected, "refused", turn - 1, REFUSED);
        }
        await(expected);
        send(producer, "own", OWN, 0);
        send(producer, "refused", REFUSED, 0);
        names(expected, "own", turn, OWN);
        // Refused ones are not counted when they come for the first time.
        await(expected);
        Thread.sleep(SETTLE_MS);
        consumer.shutdown();
        send(producer, "left", LEFT, 0);
        send(producer, "delayed", DELAYED, LEVEL);
        producer.shutdown();
        Thread.sleep(SETTLE_MS);
        return verdict(expected);
    }

    private DefaultMQPushConsumer consumer(String namesrv) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(GROUP);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(TOPIC, "*");
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = new String(message.getBody());
                // Of this turn, refuse once: it comes back with a count, in this turn or the next.
                if (body.startsWith("refused-" + turn + "-")) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                synchronized (seen) {
                    seen.merge(body, 1, Integer::sum);
                    seen.notifyAll();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private void names(TreeSet<String> into, String kind, int of, int count) {
        for (int i = 0; i < count; i++) {
            into.add(kind + "-" + of + "-" + i);
        }
    }

    private void send(DefaultMQProducer producer, String kind, int count, int level) throws Exception {
        for (int i = 0; i < count; i++) {
            String body = kind + "-" + turn + "-" + i;
            Message message = new Message(TOPIC, kind, body, body.getBytes());
            message.setDelayTimeLevel(level);
            SendStatus status = producer.send(message).getSendStatus();
            if (status != SendStatus.SEND_OK) {
                throw new IllegalStateException(body + " got " + status);
            }
        }
    }

    private void await(TreeSet<String> expected) throws InterruptedException {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        synchronized (seen) {
            while (!seen.keySet().containsAll(expected) && System.currentTimeMillis() < end) {
                seen.wait(Math.max(1, end - System.currentTimeMillis()));
            }
        }
    }

    private String verdict(TreeSet<String> expected) {
        List<String> wrong = new ArrayList<>();
        synchronized (seen) {
            for (String name : expected) {
                int times = seen.getOrDefault(name, 0);
                if (times != 1) {
                    wrong.add(name + " came " + times + " times");
                }
            }
            for (String name : new TreeSet<>(seen.keySet())) {
                if (!expected.contains(name)) {
                    wrong.add(name + " came again");
                }
            }
        }
        return String.join(", ", wrong);
    }
}
