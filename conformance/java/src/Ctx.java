import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * What one case has to itself: names nobody else uses, and clients that are shut down when the case ends.
 *
 * <p>Uses only what every client release from 4.2 to 5.x has, since the quickstart runs with all of them.
 */
public final class Ctx {
    private static final AtomicInteger COUNT = new AtomicInteger();

    public final String namesrv;
    private final String stem;
    private final List<Runnable> closers = Collections.synchronizedList(new ArrayList<>());

    Ctx(String name, String namesrv) {
        this.namesrv = namesrv;
        this.stem = name + "_" + Long.toString(System.currentTimeMillis() % 100_000_000, 36) + "_" + COUNT.incrementAndGet();
    }

    public String topic() {
        return "T_" + stem;
    }

    public String group() {
        return "G_" + stem;
    }

    public void atEnd(Runnable closer) {
        closers.add(0, closer);
    }

    void close() {
        for (Runnable closer : new ArrayList<>(closers)) {
            try {
                closer.run();
            } catch (RuntimeException cause) {
                System.err.println(stem + ": at end: " + cause);
            }
        }
    }

    public static Message message(String topic, String tag, String key, String body) {
        return new Message(topic, tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    public DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("P_" + stem + "_" + COUNT.incrementAndGet());
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        atEnd(producer::shutdown);
        return producer;
    }

    /** A push consumer that is configured but neither subscribed nor started; it begins at the first message. */
    public DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("I" + COUNT.incrementAndGet() + "_" + System.nanoTime());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // A retry topic is made by the first heartbeat, after the client asked for its route; it asks again only now and then.
        try {
            consumer.setPollNameServerInterval(1_000);
        } catch (NoSuchMethodError older) {
            // Clients before 4.5 spell it otherwise; the cases they run do not need it.
            System.err.println("no setPollNameServerInterval here");
        }
        atEnd(consumer::shutdown);
        return consumer;
    }

    public DefaultMQPullConsumer pull() throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("L_" + stem + "_" + COUNT.incrementAndGet());
        consumer.setNamesrvAddr(namesrv);
        consumer.start();
        atEnd(consumer::shutdown);
        return consumer;
    }
}
