import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.route.QueueData;
import org.apache.rocketmq.common.protocol.route.TopicRouteData;

/** Cases of the producer: every way to send, what is answered, what is refused, and what arrives unchanged. */
final class Sending {
    private static final int MESSAGE_ILLEGAL = 13;

    private Sending() {
    }

    static void addBasic(Suite suite) {
        suite.add("send-sync", Sending::sync);
        suite.add("send-async", Sending::async);
        suite.add("send-oneway", Sending::oneway);
        suite.add("send-batch", Sending::batch);
    }

    static void add(Suite suite) {
        addBasic(suite);
        suite.add("send-selector", Sending::selector);
        suite.add("send-to-queue", Sending::toQueue);
        suite.add("properties", Sending::properties);
        suite.add("compression", Sending::compression);
        suite.add("too-big", Sending::tooBig);
        suite.add("topic-auto-create", Sending::autoCreate);
    }

    /** Waits until so many messages can be read: the original acknowledges before its queues know the message. */
    static void awaitStored(Ctx ctx, String topic, int count) throws Exception {
        DefaultMQPullConsumer pull = ctx.pull();
        Topics.await(count + " messages to read in " + topic, 10_000, () -> {
            long sum = 0;
            for (MessageQueue queue : pull.fetchSubscribeMessageQueues(topic)) {
                sum += pull.maxOffset(queue);
            }
            return sum == count;
        });
    }

    /** The so many messages of a topic, by pulling every queue from its first offset to its last. */
    static List<MessageExt> drain(Ctx ctx, String topic, int count) throws Exception {
        awaitStored(ctx, topic, count);
        DefaultMQPullConsumer pull = ctx.pull();
        List<MessageExt> found = new ArrayList<>();
        for (MessageQueue queue : pull.fetchSubscribeMessageQueues(topic)) {
            long max = pull.maxOffset(queue);
            for (long offset = 0; offset < max; ) {
                PullResult result = pull.pull(queue, "*", offset, 32);
                if (result.getMsgFoundList() != null) {
                    found.addAll(result.getMsgFoundList());
                }
                Suite.expect(result.getNextBeginOffset() > offset, "a pull at " + offset + " of " + queue + " made no progress: " + result);
                offset = result.getNextBeginOffset();
            }
        }
        return found;
    }

    private static void sync(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        Map<Integer, Long> next = new HashMap<>();
        for (int i = 0; i < 20; i++) {
            SendResult result = producer.send(Ctx.message(topic, null, null, "m" + i));
            Suite.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
            // Shorter with an IPv4 address in it, longer with an IPv6 one.
            Suite.expect(result.getMsgId().length() == 32 || result.getMsgId().length() == 56, "id " + result.getMsgId());
            Suite.equal(32, result.getOffsetMsgId().length(), "length of " + result.getOffsetMsgId());
            long wanted = next.merge(result.getMessageQueue().getQueueId(), 1L, Long::sum) - 1;
            Suite.equal(wanted, result.getQueueOffset(), "offset in queue " + result.getMessageQueue().getQueueId());
        }
        Suite.equal(new HashSet<>(Arrays.asList(0, 1, 2, 3)), next.keySet(), "queues used");
        Suite.equal(20, drain(ctx, topic, 20).size(), "stored");
    }

    private static void async(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        int count = 200;
        Map<String, AtomicInteger> calls = new ConcurrentHashMap<>();
        AtomicInteger failures = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            String body = "m" + i;
            producer.send(Ctx.message(topic, null, null, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    calls.computeIfAbsent(body, ignored -> new AtomicInteger()).incrementAndGet();
                    done.countDown();
                }

                @Override
                public void onException(Throwable cause) {
                    failures.incrementAndGet();
                    done.countDown();
                }
            });
        }
        Suite.expect(done.await(30, TimeUnit.SECONDS), done.getCount() + " callbacks never came");
        Suite.equal(0, failures.get(), "failed sends");
        Suite.equal(count, calls.size(), "messages called back for");
        for (Map.Entry<String, AtomicInteger> entry : calls.entrySet()) {
            Suite.equal(1, entry.getValue().get(), "callbacks of " + entry.getKey());
        }
        Suite.equal(count, drain(ctx, topic, count).size(), "stored");
    }

    private static void oneway(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 20; i++) {
            producer.sendOneway(Ctx.message(topic, null, null, "m" + i));
        }
        Set<String> bodies = new HashSet<>();
        for (MessageExt message : drain(ctx, topic, 20)) {
            bodies.add(Inbox.body(message));
        }
        Suite.equal(20, bodies.size(), "different bodies");
    }

    private static void batch(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            Message message = Ctx.message(topic, "Tag" + i % 2, "key" + i, "m" + i);
            message.putUserProperty("place", String.valueOf(i));
            batch.add(message);
        }
        SendResult result = producer.send(batch);
        Suite.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        String[] ids = result.getMsgId().split(",");
        Suite.equal(10, ids.length, "unique ids in the result");
        Suite.equal(10, result.getOffsetMsgId().split(",").length, "offset ids in the result");
        Suite.equal(0L, result.getQueueOffset(), "offset of the first");
        List<MessageExt> stored = drain(ctx, topic, 10);
        Suite.equal(10, stored.size(), "stored");
        for (int i = 0; i < 10; i++) {
            MessageExt message = stored.get(i);
            Suite.equal("m" + i, Inbox.body(message), "body at " + i);
            Suite.equal((long) i, message.getQueueOffset(), "offset of " + i);
            Suite.equal(result.getMessageQueue().getQueueId(), message.getQueueId(), "queue of " + i);
            Suite.equal(ids[i], message.getMsgId(), "id of " + i);
            Suite.equal("key" + i, message.getKeys(), "keys of " + i);
            Suite.equal("Tag" + i % 2, message.getTags(), "tag of " + i);
            Suite.equal(String.valueOf(i), message.getUserProperty("place"), "property of " + i);
        }
        // Each answered offset id must be the address of its own record.
        String[] offsetIds = result.getOffsetMsgId().split(",");
        Suite.equal("m9", Inbox.body(producer.viewMessage(topic, offsetIds[9])), "body behind the last offset id");
    }

    private static void selector(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        Map<Integer, Set<Integer>> queuesOfKey = new HashMap<>();
        for (int i = 0; i < 200; i++) {
            int key = i % 8;
            SendResult result = producer.send(Ctx.message(topic, null, "k" + key, key + ":" + i / 8),
                (queues, message, arg) -> queues.get((Integer) arg % queues.size()), key);
            queuesOfKey.computeIfAbsent(key, ignored -> new HashSet<>()).add(result.getMessageQueue().getQueueId());
        }
        for (Map.Entry<Integer, Set<Integer>> entry : queuesOfKey.entrySet()) {
            Suite.equal(1, entry.getValue().size(), "queues of key " + entry.getKey());
        }
        Map<String, Integer> next = new HashMap<>();
        for (MessageExt message : drain(ctx, topic, 200)) {
            String[] parts = Inbox.body(message).split(":");
            int wanted = next.merge(parts[0], 1, Integer::sum) - 1;
            Suite.equal(wanted, Integer.parseInt(parts[1]), "place of a message of key " + parts[0]);
        }
        Suite.equal(8, next.size(), "keys");
    }

    private static void toQueue(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        MessageQueue third = new MessageQueue(topic, Topics.brokerName(ctx), 3);
        for (int i = 0; i < 5; i++) {
            SendResult result = producer.send(Ctx.message(topic, null, null, "m" + i), third);
            Suite.equal(3, result.getMessageQueue().getQueueId(), "queue");
            Suite.equal((long) i, result.getQueueOffset(), "offset");
        }
        try {
            producer.send(Ctx.message(topic, null, null, "nowhere"), new MessageQueue(topic, Topics.brokerName(ctx), 77));
            throw new Suite.Failed("a send to queue 77 of 4 was accepted");
        } catch (MQBrokerException refused) {
            Suite.expect(refused.getErrorMessage() != null && refused.getErrorMessage().contains("77"), "the refusal does not name the queue: " + refused.getErrorMessage());
        }
    }

    private static void properties(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        byte[] body = new byte[1000];
        new Random(1).nextBytes(body);
        Message message = new Message(topic, "TagÄ", "key1 key2", 42, body, true);
        message.putUserProperty("colour", "rot=1;grün \uD83D\uDE80");
        message.setBuyerId("buyer");
        SendResult result = producer.send(message);
        MessageExt got = drain(ctx, topic, 1).get(0);
        Suite.expect(Arrays.equals(body, got.getBody()), "the body changed");
        Suite.equal("TagÄ", got.getTags(), "tag");
        Suite.equal("key1 key2", got.getKeys(), "keys");
        Suite.equal(42, got.getFlag(), "flag");
        Suite.equal("rot=1;grün \uD83D\uDE80", got.getUserProperty("colour"), "user property");
        Suite.equal("buyer", got.getBuyerId(), "buyer");
        Suite.equal(result.getMsgId(), got.getMsgId(), "id");
        Suite.expect(got.getBornTimestamp() > 0 && got.getStoreTimestamp() >= got.getBornTimestamp() - 1000, "times " + got.getBornTimestamp() + " " + got.getStoreTimestamp());
        Suite.expect(got.getBornHost() != null && got.getStoreHost() != null, "hosts");
        Suite.equal(0, got.getReconsumeTimes(), "reconsume times");
    }

    private static void compression(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        byte[] small = new byte[4095];
        byte[] large = new byte[20_000];
        Arrays.fill(small, (byte) 'a');
        Arrays.fill(large, (byte) 'b');
        producer.send(new Message(topic, small));
        producer.send(new Message(topic, large));
        List<MessageExt> stored = drain(ctx, topic, 2);
        Suite.expect(Arrays.equals(small, stored.get(0).getBody()), "the small body changed");
        Suite.expect(stored.get(0).getStoreSize() > 4095, "the small body was compressed: " + stored.get(0).getStoreSize());
        Suite.equal(0, stored.get(0).getSysFlag() & 1, "compressed flag of the small one");
        Suite.expect(Arrays.equals(large, stored.get(1).getBody()), "the large body changed");
        Suite.expect(stored.get(1).getStoreSize() < 2000, "the large body was stored whole: " + stored.get(1).getStoreSize());
        Suite.equal(1, stored.get(1).getSysFlag() & 1, "compressed flag of the large one");
    }

    private static void tooBig(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        byte[] body = new byte[5 << 20];
        new Random(2).nextBytes(body);
        DefaultMQProducer strict = ctx.producer();
        try {
            strict.send(new Message(topic, body));
            throw new Suite.Failed("the client itself let 5 MiB pass");
        } catch (MQClientException refused) {
            Suite.equal(MESSAGE_ILLEGAL, refused.getResponseCode(), "the client's code");
        }
        DefaultMQProducer loose = ctx.producer();
        loose.setMaxMessageSize(8 << 20);
        try {
            loose.send(new Message(topic, body));
            throw new Suite.Failed("the broker accepted 5 MiB");
        } catch (MQBrokerException refused) {
            Suite.equal(MESSAGE_ILLEGAL, refused.getResponseCode(), "the broker's code");
        }
        byte[] most = Arrays.copyOf(body, (4 << 20) - 4096);
        Suite.equal(SendStatus.SEND_OK, loose.send(new Message(topic, most)).getSendStatus(), "status just below the limit");
        Suite.expect(Arrays.equals(most, drain(ctx, topic, 1).get(0).getBody()), "the large body changed");
    }

    private static void autoCreate(Ctx ctx) throws Exception {
        DefaultMQProducer producer = ctx.producer();
        producer.send(Ctx.message(ctx.topic(), null, null, "first"));
        Topics.awaitRoute(ctx, ctx.topic());
        TopicRouteData route = Topics.admin(ctx).examineTopicRouteInfo(ctx.topic());
        QueueData queues = route.getQueueDatas().get(0);
        Suite.equal(4, queues.getReadQueueNums(), "read queues");
        Suite.equal(4, queues.getWriteQueueNums(), "write queues");
        Suite.equal(6, queues.getPerm(), "permission");
        producer.setDefaultTopicQueueNums(16);
        producer.send(Ctx.message(ctx.topic() + "_wide", null, null, "first"));
        Topics.awaitRoute(ctx, ctx.topic() + "_wide");
        QueueData wide = Topics.admin(ctx).examineTopicRouteInfo(ctx.topic() + "_wide").getQueueDatas().get(0);
        Suite.equal(8, wide.getWriteQueueNums(), "write queues when the client asks for 16 and the broker gives 8");
    }
}
