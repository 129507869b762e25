import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Cases of the pull consumers: every status of a pull, offsets by position and by time, lite pull both ways. */
final class Pulling {
    private Pulling() {
    }

    static void addBasic(Suite suite) {
        suite.add("pull-status", Pulling::status);
    }

    static void add(Suite suite) {
        addBasic(suite);
        suite.add("pull-offsets", Pulling::offsets);
        suite.add("pull-commits", Pulling::commits);
        suite.add("pull-blocks", Pulling::blocks);
        suite.add("lite-pull-subscribe", Pulling::liteSubscribe);
        suite.add("lite-pull-assign", Pulling::liteAssign);
    }

    private static MessageQueue only(Ctx ctx, DefaultMQPullConsumer pull, String topic) throws Exception {
        Set<MessageQueue> queues = pull.fetchSubscribeMessageQueues(topic);
        Suite.equal(1, queues.size(), "queues");
        return queues.iterator().next();
    }

    private static void send(Ctx ctx, String topic, int count) throws Exception {
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < count; i++) {
            producer.send(Ctx.message(topic, "TagA", null, String.valueOf(i)));
        }
        Sending.awaitStored(ctx, topic, count);
    }

    private static void status(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        send(ctx, topic, 10);
        DefaultMQPullConsumer pull = ctx.pull();
        MessageQueue queue = only(ctx, pull, topic);

        PullResult found = pull.pull(queue, "*", 2, 5);
        Suite.equal(PullStatus.FOUND, found.getPullStatus(), "status in the middle");
        Suite.equal(5, found.getMsgFoundList().size(), "messages found");
        Suite.equal(2L, found.getMsgFoundList().get(0).getQueueOffset(), "first offset");
        Suite.equal(7L, found.getNextBeginOffset(), "next offset");
        Suite.equal(0L, found.getMinOffset(), "min offset");
        Suite.equal(10L, found.getMaxOffset(), "max offset");

        PullResult end = pull.pull(queue, "*", 10, 5);
        Suite.equal(PullStatus.NO_NEW_MSG, end.getPullStatus(), "status at the end");
        Suite.equal(10L, end.getNextBeginOffset(), "next offset at the end");

        PullResult beyond = pull.pull(queue, "*", 100, 5);
        Suite.equal(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "status beyond the end");
        Suite.equal(10L, beyond.getNextBeginOffset(), "next offset beyond the end");

        PullResult unmatched = pull.pull(queue, "TagNone", 0, 5);
        Suite.equal(PullStatus.NO_MATCHED_MSG, unmatched.getPullStatus(), "status when no tag matches");
        Suite.expect(unmatched.getNextBeginOffset() > 0, "a pull that matches nothing made no progress");
    }

    private static void offsets(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        long start = System.currentTimeMillis();
        send(ctx, topic, 10);
        DefaultMQPullConsumer pull = ctx.pull();
        MessageQueue queue = only(ctx, pull, topic);
        Suite.equal(10L, pull.maxOffset(queue), "max offset");
        Suite.equal(0L, pull.minOffset(queue), "min offset");
        long earliest = pull.earliestMsgStoreTime(queue);
        Suite.expect(earliest >= start - 1_000 && earliest <= System.currentTimeMillis() + 1_000, "earliest store time " + earliest);
        Suite.equal(0L, pull.searchOffset(queue, start - 60_000), "offset by a time before all");
        Suite.equal(9L, pull.searchOffset(queue, System.currentTimeMillis() + 60_000), "offset by a time after all");
        List<MessageExt> all = pull.pull(queue, "*", 0, 32).getMsgFoundList();
        long at = pull.searchOffset(queue, all.get(5).getStoreTimestamp());
        Suite.equal(all.get(5).getStoreTimestamp(), all.get((int) at).getStoreTimestamp(), "store time behind the offset by time");
    }

    private static void commits(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        send(ctx, topic, 10);
        DefaultMQPullConsumer pull = ctx.pull();
        MessageQueue queue = only(ctx, pull, topic);
        Suite.expect(pull.fetchConsumeOffset(queue, true) <= 0, "a new group has the offset " + pull.fetchConsumeOffset(queue, true));
        pull.updateConsumeOffset(queue, 7);
        pull.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        Topics.await("the committed offset 7", 10_000, () -> pull.fetchConsumeOffset(queue, true) == 7);
    }

    private static void blocks(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        producer.send(Ctx.message(topic, null, null, "first"));
        Sending.awaitStored(ctx, topic, 1);
        DefaultMQPullConsumer pull = ctx.pull();
        MessageQueue queue = only(ctx, pull, topic);
        Inbox inbox = new Inbox();
        Thread waiting = new Thread(() -> {
            try {
                PullResult result = pull.pullBlockIfNotFound(queue, "*", 1, 32);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    result.getMsgFoundList().forEach(inbox::put);
                }
            } catch (Exception cause) {
                System.err.println("pull-blocks: " + cause);
            }
        });
        waiting.start();
        Suite.expect(!inbox.until(got -> !got.isEmpty(), 2_000), "a pull at the end found something");
        Suite.expect(waiting.isAlive(), "a pull that may be held returned at once");
        producer.send(Ctx.message(topic, null, null, "second"));
        inbox.await(1, 5_000);
        Suite.equal("second", Inbox.body(inbox.all().get(0)), "body");
    }

    private static DefaultLitePullConsumer lite(Ctx ctx, String group) {
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer(group);
        lite.setNamesrvAddr(ctx.namesrv);
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        ctx.atEnd(lite::shutdown);
        return lite;
    }

    private static List<MessageExt> poll(DefaultLitePullConsumer lite, int count) throws Suite.Failed {
        List<MessageExt> got = new ArrayList<>();
        long end = System.currentTimeMillis() + 45_000;
        while (got.size() < count) {
            Suite.expect(System.currentTimeMillis() < end, "polled " + got.size() + " of " + count);
            got.addAll(lite.poll(1_000));
        }
        return got;
    }

    private static void liteSubscribe(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        send(ctx, topic, 50);
        DefaultLitePullConsumer first = lite(ctx, ctx.group());
        first.setAutoCommit(false);
        first.subscribe(topic, "*");
        first.start();
        Set<String> bodies = new HashSet<>();
        for (MessageExt message : poll(first, 50)) {
            bodies.add(Inbox.body(message));
        }
        Suite.equal(50, bodies.size(), "different bodies");
        first.commitSync();
        long committed = 0;
        for (MessageQueue queue : first.assignment()) {
            committed += Math.max(0, first.committed(queue));
        }
        Suite.equal(50L, committed, "committed offsets");
        first.shutdown();
        ctx.producer().send(Ctx.message(topic, "TagA", null, "new"));
        DefaultLitePullConsumer second = lite(ctx, ctx.group());
        second.subscribe(topic, "TagA");
        second.start();
        Suite.equal("new", Inbox.body(poll(second, 1).get(0)), "first message of the next consumer");
    }

    private static void liteAssign(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        send(ctx, topic, 20);
        DefaultLitePullConsumer lite = lite(ctx, ctx.group());
        lite.start();
        Collection<MessageQueue> queues = lite.fetchMessageQueues(topic);
        Suite.equal(2, queues.size(), "queues");
        MessageQueue one = queues.iterator().next();
        lite.assign(Collections.singletonList(one));
        lite.seek(one, 4);
        List<MessageExt> got = poll(lite, 6);
        for (int i = 0; i < 6; i++) {
            Suite.equal(one.getQueueId(), got.get(i).getQueueId(), "queue");
            Suite.equal(4L + i, got.get(i).getQueueOffset(), "offset");
        }
        lite.seekToBegin(one);
        Suite.equal(0L, poll(lite, 10).get(0).getQueueOffset(), "offset after seeking to the begin");
        Suite.equal(10L, lite.offsetForTimestamp(one, System.currentTimeMillis() + 60_000) + 1, "offset by a time after all, plus one");
    }
}
