import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * Many messages from one producer to the consumers of one group, each a process of its own; all write down what they saw.
 *
 * <p>Owns the sending, the receiving and the two kinds of file; the harness starts, kills and judges.
 * Lines of the producer's file: "number queue offset id" of an acknowledged message. Lines of a consumer's file: "number
 * queue offset" of a delivery. A message's body begins with its number.
 */
public final class Bulk {
    private static final int SENDERS = 16;
    private static final int BODY_BYTES = 1024;

    private Bulk() {
    }

    public static void main(String[] args) throws Exception {
        String verb = args[0];
        String namesrv = args[1];
        String topic = args[2];
        switch (verb) {
            case "make":
                make(namesrv, topic, Integer.parseInt(args[3]));
                break;
            case "produce":
                produce(namesrv, topic, Integer.parseInt(args[3]), args[4]);
                break;
            case "consume":
                consume(namesrv, topic, args[3], args[4]);
                break;
            default:
                throw new IllegalArgumentException(verb);
        }
        Runtime.getRuntime().halt(0);
    }

    private static void make(String namesrv, String topic, int queues) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(namesrv);
        admin.start();
        String broker = admin.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().selectBrokerAddr();
        TopicConfig config = new TopicConfig(topic);
        config.setReadQueueNums(queues);
        config.setWriteQueueNums(queues);
        admin.createAndUpdateTopicConfig(broker, config);
        admin.shutdown();
    }

    /** Lines written by many threads, on disk at the latest a moment later. */
    private static final class Lines {
        private final BufferedWriter out;

        Lines(String path) throws IOException {
            out = Files.newBufferedWriter(Paths.get(path));
            Thread flusher = new Thread(() -> {
                try {
                    while (true) {
                        TimeUnit.MILLISECONDS.sleep(100);
                        flush();
                    }
                } catch (InterruptedException | IOException end) {
                    System.err.println("no longer writing " + path + ": " + end);
                }
            });
            flusher.setDaemon(true);
            flusher.start();
        }

        synchronized void add(String line) throws IOException {
            out.write(line);
            out.write('\n');
        }

        synchronized void flush() throws IOException {
            out.flush();
        }
    }

    private static void produce(String namesrv, String topic, int count, String path) throws Exception {
        Lines acknowledged = new Lines(path);
        DefaultMQProducer producer = new DefaultMQProducer("P_" + topic);
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(5_000);
        producer.setPollNameServerInterval(1_000);
        producer.start();
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        AtomicLong refused = new AtomicLong();
        List<Thread> senders = new ArrayList<>();
        for (int sender = 0; sender < SENDERS; sender++) {
            int first = sender;
            Thread thread = new Thread(() -> {
                MessageQueue queue = queues.get(first % queues.size());
                for (int number = first; number < count; number += SENDERS) {
                    send(producer, new Message(topic, ByteBuffer.allocate(BODY_BYTES).putInt(number).array()), queue, number, acknowledged, refused);
                }
            });
            thread.start();
            senders.add(thread);
        }
        for (Thread thread : senders) {
            thread.join();
        }
        acknowledged.flush();
        System.out.println("NOTE " + refused.get() + " sends had to be said again");
    }

    /** Sends until acknowledged; a message said again keeps its id, so the copies can be told from other messages. */
    private static void send(DefaultMQProducer producer, Message message, MessageQueue queue, int number, Lines acknowledged, AtomicLong refused) {
        while (true) {
            try {
                SendResult result = producer.send(message, queue);
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    acknowledged.add(number + " " + result.getMessageQueue().getQueueId() + " " + result.getQueueOffset() + " " + result.getMsgId());
                    return;
                }
            } catch (IOException cause) {
                throw new IllegalStateException(cause);
            } catch (Exception cause) {
                pause();
            }
            refused.incrementAndGet();
        }
    }

    private static void pause() {
        try {
            TimeUnit.MILLISECONDS.sleep(200);
        } catch (InterruptedException cause) {
            throw new IllegalStateException(cause);
        }
    }

    private static void consume(String namesrv, String topic, String group, String path) throws Exception {
        Lines delivered = new Lines(path);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(32);
        consumer.setPullBatchSize(32);
        consumer.setPollNameServerInterval(1_000);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            try {
                for (MessageExt message : batch) {
                    if (message.getBody().length != BODY_BYTES) {
                        throw new IllegalStateException("a body of " + message.getBody().length + " bytes");
                    }
                    delivered.add(ByteBuffer.wrap(message.getBody()).getInt() + " " + message.getQueueId() + " " + message.getQueueOffset());
                }
            } catch (IOException cause) {
                throw new IllegalStateException(cause);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        System.out.println("READY");
        System.out.flush();
        // The harness closes our input when it has seen enough.
        while (System.in.read() >= 0) {
            continue;
        }
        consumer.shutdown();
        delivered.flush();
    }
}
