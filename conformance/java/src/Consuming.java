import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

/** Cases of the push consumer: delivery, order, sharing, retry, dead letters, delay, where to begin. */
final class Consuming {
    private Consuming() {
    }

    static void add(Suite suite) {
        suite.add("dead-letter", Consuming::deadLetter);
        suite.add("retry", Consuming::retry);
        suite.add("rebalance", Consuming::rebalance);
        suite.add("retry-delay-level", Consuming::retryDelayLevel);
        suite.add("delay", Consuming::delay);
        suite.add("broadcast", Consuming::broadcast);
        suite.add("broadcast-no-retry", Consuming::broadcastNoRetry);
        suite.add("offsets-kept", Consuming::offsetsKept);
        suite.add("push-orderly", Consuming::orderly);
        suite.add("orderly-suspend", Consuming::orderlySuspend);
        suite.add("push-concurrent", Consuming::concurrent);
        suite.add("tags", Consuming::tags);
        suite.add("tag-hash-collision", Consuming::tagHashCollision);
        suite.add("from-first", Consuming::fromFirst);
        suite.add("from-last-young-topic", Consuming::fromLastYoungTopic);
        suite.add("from-last-broadcast", Consuming::fromLastBroadcast);
        suite.add("from-timestamp-broadcast", Consuming::fromTimestampBroadcast);
        suite.add("long-poll-wakes", Consuming::longPollWakes);
        suite.add("subscribe-before-topic", Consuming::subscribeBeforeTopic);
    }

    private static void send(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(Ctx.message(topic, "T" + i % 3, "k" + i, String.valueOf(i)));
        }
    }

    private static Set<String> numbers(int from, int to) {
        Set<String> all = new HashSet<>();
        for (int i = from; i < to; i++) {
            all.add(String.valueOf(i));
        }
        return all;
    }

    static MessageListenerConcurrently into(Inbox inbox) {
        return (batch, context) -> {
            batch.forEach(inbox::put);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    /** Starts a consumer whose messages go to the inbox. */
    static Inbox listen(DefaultMQPushConsumer consumer, String topic, String tags) throws MQClientException {
        Inbox inbox = new Inbox();
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(into(inbox));
        consumer.start();
        return inbox;
    }

    private static int queues(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    private static void awaitQueues(DefaultMQPushConsumer consumer, String topic, int count) throws Exception {
        Topics.await(count + " queues owned", 45_000, () -> queues(consumer, topic) == count);
    }

    private static void concurrent(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        send(ctx.producer(), topic, 0, 200);
        Inbox inbox = new Inbox();
        AtomicInteger largest = new AtomicInteger();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setConsumeMessageBatchMaxSize(8);
        consumer.setPullBatchSize(20);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            largest.accumulateAndGet(batch.size(), Math::max);
            batch.forEach(inbox::put);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.await(200, 30_000);
        Suite.equal(numbers(0, 200), inbox.bodies(), "bodies");
        Suite.equal(200, inbox.size(), "deliveries");
        Suite.expect(largest.get() > 1 && largest.get() <= 8, "largest batch " + largest.get());
    }

    private static void orderly(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        send(ctx.producer(), topic, 0, 200);
        Inbox inbox = new Inbox();
        Map<Integer, AtomicInteger> inQueue = new ConcurrentHashMap<>();
        AtomicInteger overlaps = new AtomicInteger();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            AtomicInteger inside = inQueue.computeIfAbsent(context.getMessageQueue().getQueueId(), ignored -> new AtomicInteger());
            if (inside.incrementAndGet() != 1) {
                overlaps.incrementAndGet();
            }
            batch.forEach(inbox::put);
            inside.decrementAndGet();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        inbox.await(200, 45_000);
        inbox.expectQueueOrder();
        Suite.equal(0, overlaps.get(), "two listeners in one queue at a time");
        Suite.equal(numbers(0, 200), inbox.bodies(), "bodies");
    }

    private static void orderlySuspend(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        send(ctx.producer(), topic, 0, 5);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, "*");
        consumer.setSuspendCurrentQueueTimeMillis(500);
        List<Integer> times = Collections.synchronizedList(new ArrayList<>());
        consumer.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            MessageExt message = batch.get(0);
            if (Inbox.body(message).equals("2")) {
                times.add(message.getReconsumeTimes());
                if (times.size() < 3) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
            }
            inbox.put(message);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        inbox.await(5, 45_000);
        inbox.expectQueueOrder();
        Suite.equal(3, times.size(), "deliveries of the suspended message");
    }

    private static void rebalance(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        Inbox[] inboxes = new Inbox[2];
        DefaultMQPushConsumer[] consumers = new DefaultMQPushConsumer[2];
        for (int i = 0; i < 2; i++) {
            consumers[i] = ctx.push(ctx.group());
            inboxes[i] = listen(consumers[i], topic, "*");
        }
        awaitQueues(consumers[0], topic, 2);
        awaitQueues(consumers[1], topic, 2);
        send(producer, topic, 0, 200);
        Topics.await("200 messages between the two", 30_000, () -> inboxes[0].size() + inboxes[1].size() >= 200);
        Set<Integer> queues = new HashSet<>();
        for (Inbox inbox : inboxes) {
            Suite.equal(100, inbox.size(), "deliveries to one of two");
            inbox.all().forEach(message -> queues.add(message.getQueueId()));
        }
        Suite.equal(4, queues.size(), "queues seen");
        Set<String> both = inboxes[0].bodies();
        both.addAll(inboxes[1].bodies());
        Suite.equal(numbers(0, 200), both, "bodies of both");

        consumers[1].shutdown();
        awaitQueues(consumers[0], topic, 4);
        send(producer, topic, 200, 300);
        // The change may repeat what was delivered before it; everything new comes once, to the one that stayed.
        Suite.expect(inboxes[0].until(got -> inboxes[0].bodies().containsAll(numbers(200, 300)), 30_000), "the one that stayed has " + inboxes[0].size());
        List<String> fresh = new ArrayList<>();
        inboxes[0].all().stream().map(Inbox::body).filter(body -> Integer.parseInt(body) >= 200).forEach(fresh::add);
        Suite.equal(100, fresh.size(), "deliveries of what was sent after one left");
        Suite.equal(100, inboxes[1].size(), "deliveries to the one that left");
    }

    private static void broadcast(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        Inbox[] inboxes = new Inbox[2];
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = ctx.push(ctx.group());
            consumer.setMessageModel(MessageModel.BROADCASTING);
            inboxes[i] = listen(consumer, topic, "*");
        }
        send(ctx.producer(), topic, 0, 40);
        for (Inbox inbox : inboxes) {
            inbox.await(40, 30_000);
            Suite.equal(numbers(0, 40), inbox.bodies(), "bodies");
            Suite.equal(40, inbox.size(), "deliveries");
        }
    }

    private static void broadcastNoRetry(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setMessageModel(MessageModel.BROADCASTING);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(inbox::put);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        send(ctx.producer(), topic, 0, 10);
        inbox.await(10, 30_000);
        // A clustered group would see the first again after 10 s.
        Suite.expect(!inbox.until(got -> got.size() > 10, 12_000), "a broadcast message came again");
    }

    private static void retry(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        ctx.producer().send(Ctx.message(topic, "TagR", "key", "again"));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, "TagR");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(inbox::put);
            return batch.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.await(2, 45_000);
        MessageExt first = inbox.all().get(0);
        MessageExt second = inbox.all().get(1);
        Suite.equal(first.getMsgId(), second.getMsgId(), "id");
        Suite.equal(1, second.getReconsumeTimes(), "reconsume times");
        Suite.equal(topic, second.getTopic(), "topic");
        Suite.equal("again", Inbox.body(second), "body");
        Suite.equal("TagR", second.getTags(), "tag");
        Suite.equal("key", second.getKeys(), "keys");
        Suite.equal(topic, second.getProperty(MessageConst.PROPERTY_RETRY_TOPIC), "RETRY_TOPIC");
        Suite.expect(second.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID) != null, "no ORIGIN_MESSAGE_ID");
        long gap = inbox.time(1) - inbox.time(0);
        Suite.expect(gap >= 9_900 && gap < 14_000, "redelivered after " + gap + " ms");
    }

    private static void retryDelayLevel(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        ctx.producer().send(Ctx.message(topic, null, "key", "soon"));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(inbox::put);
            context.setDelayLevelWhenNextConsume(1);
            return inbox.size() < 4 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.await(4, 45_000);
        for (int i = 0; i < 4; i++) {
            Suite.equal(i, inbox.all().get(i).getReconsumeTimes(), "reconsume times of delivery " + i);
            if (i > 0) {
                long gap = inbox.time(i) - inbox.time(i - 1);
                Suite.expect(gap >= 950 && gap < 4_000, "delivery " + i + " after " + gap + " ms");
            }
        }
    }

    private static void deadLetter(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        String id = ctx.producer().send(Ctx.message(topic, null, "deadkey", "poison")).getMsgId();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setMaxReconsumeTimes(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(inbox::put);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        String dead = MixAll.DLQ_GROUP_TOPIC_PREFIX + ctx.group();
        Topics.await("a message in " + dead, 60_000, () -> {
            try {
                return Topics.admin(ctx).examineTopicStats(dead).getOffsetTable().values().stream().mapToLong(o -> o.getMaxOffset()).sum() == 1;
            } catch (MQClientException absent) {
                return false;
            }
        });
        Suite.equal(2, inbox.size(), "deliveries before the dead letter");
        Suite.equal(1, inbox.all().get(1).getReconsumeTimes(), "reconsume times of the second");
        Topics.await("the dead letter by its id", 10_000, () -> {
            try {
                MessageExt letter = Topics.admin(ctx).viewMessage(dead, id);
                return letter != null && id.equals(letter.getMsgId()) && "poison".equals(Inbox.body(letter))
                    && topic.equals(letter.getProperty(MessageConst.PROPERTY_RETRY_TOPIC));
            } catch (MQClientException notYet) {
                return false;
            }
        });
    }

    private static void delay(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        Inbox inbox = listen(consumer, topic, "*");
        awaitQueues(consumer, topic, 1);
        DefaultMQProducer producer = ctx.producer();
        for (int level = 1; level <= 2; level++) {
            for (int i = 0; i < 5; i++) {
                Message message = Ctx.message(topic, "Tag" + level, "k", level + "");
                message.setDelayTimeLevel(level);
                producer.send(message);
            }
        }
        inbox.await(10, 30_000);
        for (int i = 0; i < 10; i++) {
            MessageExt message = inbox.all().get(i);
            long wanted = Inbox.body(message).equals("1") ? 1_000 : 5_000;
            long late = inbox.time(i) - message.getBornTimestamp() - wanted;
            Suite.expect(late >= 0, "level " + Inbox.body(message) + " came " + -late + " ms early");
            Suite.expect(late < 3_000, "level " + Inbox.body(message) + " came " + late + " ms late");
            Suite.equal(topic, message.getTopic(), "topic");
            Suite.equal("Tag" + Inbox.body(message), message.getTags(), "tag");
        }
    }

    private static void tags(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        send(ctx.producer(), topic, 0, 30);
        Inbox inbox = listen(ctx.push(ctx.group()), topic, "T0 || T2");
        inbox.await(20, 30_000);
        ctx.producer().send(Ctx.message(topic, "T2", null, "last"));
        Suite.expect(inbox.until(got -> got.stream().anyMatch(message -> Inbox.body(message).equals("last")), 20_000), "the last message never came");
        for (MessageExt message : inbox.all()) {
            Suite.expect(!message.getTags().equals("T1"), "T1 was delivered to T0 || T2");
        }
        Suite.equal(21, inbox.size(), "deliveries");
    }

    private static void tagHashCollision(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        // "Aa" and "BB" have one hash: the broker cannot tell them apart, the client must.
        producer.send(Ctx.message(topic, "BB", null, "other"));
        producer.send(Ctx.message(topic, "Aa", null, "mine"));
        Inbox inbox = listen(ctx.push(ctx.group()), topic, "Aa");
        inbox.await(1, 30_000);
        Suite.equal("mine", Inbox.body(inbox.all().get(0)), "body");
    }

    private static void offsetsKept(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        DefaultMQProducer producer = ctx.producer();
        send(producer, topic, 0, 50);
        DefaultMQPushConsumer first = ctx.push(ctx.group());
        Inbox before = listen(first, topic, "*");
        before.await(50, 30_000);
        Asking.awaitNoLag(ctx, topic);
        first.shutdown();
        send(producer, topic, 50, 60);
        DefaultMQPushConsumer second = ctx.push(ctx.group());
        Inbox after = listen(second, topic, "*");
        Suite.expect(after.until(got -> after.bodies().containsAll(numbers(50, 60)), 45_000), "the new messages never came");
        Suite.equal(numbers(50, 60), after.bodies(), "what the second consumer of the group saw");
    }

    private static void fromFirst(Ctx ctx) throws Exception {
        from(ctx, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    }

    /** While offset 0 is still in memory, the original lets a new group begin there, whatever the client asked for. */
    private static void fromLastYoungTopic(Ctx ctx) throws Exception {
        from(ctx, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
    }

    private static void from(Ctx ctx, ConsumeFromWhere where) throws Exception {
        String topic = Topics.make(ctx, 2);
        send(ctx.producer(), topic, 0, 20);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setConsumeFromWhere(where);
        Inbox inbox = listen(consumer, topic, "*");
        inbox.await(20, 30_000);
        Suite.equal(numbers(0, 20), inbox.bodies(), "bodies");
    }

    private static void fromLastBroadcast(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        DefaultMQProducer producer = ctx.producer();
        send(producer, topic, 0, 20);
        Sending.awaitStored(ctx, topic, 20);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setMessageModel(MessageModel.BROADCASTING);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        Inbox inbox = listen(consumer, topic, "*");
        awaitQueues(consumer, topic, 2);
        send(producer, topic, 20, 30);
        inbox.await(10, 30_000);
        Suite.equal(numbers(20, 30), inbox.bodies(), "bodies");
    }

    private static void fromTimestampBroadcast(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        DefaultMQProducer producer = ctx.producer();
        send(producer, topic, 0, 20);
        long old = System.currentTimeMillis();
        // The client states the time in whole seconds: let the mark lie a full second after the old messages.
        Topics.await("two seconds", 5_000, () -> System.currentTimeMillis() > old + 2_100);
        String mark = new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(System.currentTimeMillis()));
        send(producer, topic, 20, 30);
        Sending.awaitStored(ctx, topic, 30);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setMessageModel(MessageModel.BROADCASTING);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(mark);
        Inbox inbox = listen(consumer, topic, "*");
        inbox.await(10, 30_000);
        Suite.equal(numbers(20, 30), inbox.bodies(), "bodies");
    }

    private static void longPollWakes(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        Inbox inbox = listen(consumer, topic, "*");
        awaitQueues(consumer, topic, 1);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 10; i++) {
            long sent = System.currentTimeMillis();
            producer.send(Ctx.message(topic, null, null, String.valueOf(i)));
            inbox.await(i + 1, 10_000);
            if (i > 0) {
                Suite.expect(inbox.time(i) - sent < 1_000, "message " + i + " came after " + (inbox.time(i) - sent) + " ms");
            }
        }
    }

    /** A consumer that knows a topic before it exists gets it with the next route refresh. */
    private static void subscribeBeforeTopic(Ctx ctx) throws Exception {
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        Inbox inbox = listen(consumer, ctx.topic(), "*");
        send(ctx.producer(), ctx.topic(), 0, 10);
        inbox.await(10, 60_000);
        Suite.equal(numbers(0, 10), inbox.bodies(), "bodies");
    }
}
