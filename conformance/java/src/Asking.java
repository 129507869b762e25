import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.admin.ConsumeStats;
import org.apache.rocketmq.common.admin.TopicStatsTable;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.protocol.body.ClusterInfo;
import org.apache.rocketmq.common.protocol.body.ConsumerConnection;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.common.protocol.body.ProducerConnection;
import org.apache.rocketmq.common.protocol.route.QueueData;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Cases that ask about messages, topics, groups and the cluster, as tools and dashboards do. */
final class Asking {
    private Asking() {
    }

    static void add(Suite suite) {
        suite.add("query-by-key", Asking::byKey);
        suite.add("query-by-unique-id", Asking::byUniqueId);
        suite.add("query-by-offset-id", Asking::byOffsetId);
        suite.add("admin-cluster-info", Asking::clusterInfo);
        suite.add("admin-topic", Asking::topic);
        suite.add("admin-group", Asking::group);
        suite.add("admin-topic-stats", Asking::topicStats);
        suite.add("admin-consume-stats", Asking::consumeStats);
        suite.add("admin-delete-topic", Asking::deleteTopic);
        suite.add("admin-connections", Asking::connections);
        suite.add("route-absent-topic", Asking::routeAbsent);
    }

    private static void byKey(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 10; i++) {
            producer.send(Ctx.message(topic, null, "order" + i % 2 + " extra" + i, String.valueOf(i)));
        }
        long now = System.currentTimeMillis();
        Topics.await("5 messages of order1", 15_000, () -> {
            try {
                return producer.queryMessage(topic, "order1", 32, now - 60_000, now + 60_000).getMessageList().size() == 5;
            } catch (MQClientException nothing) {
                return false;
            }
        });
        QueryResult result = producer.queryMessage(topic, "extra7", 32, now - 60_000, now + 60_000);
        Suite.equal(1, result.getMessageList().size(), "messages of extra7");
        Suite.equal("7", Inbox.body(result.getMessageList().get(0)), "body");
        List<String> bodies = producer.queryMessage(topic, "order1", 32, now - 60_000, now + 60_000).getMessageList().stream()
            .map(Inbox::body).sorted().collect(Collectors.toList());
        Suite.equal("[1, 3, 5, 7, 9]", bodies.toString(), "bodies of order1");
        try {
            producer.queryMessage(topic, "absent", 32, now - 60_000, now + 60_000);
            throw new Suite.Failed("a key nobody sent was found");
        } catch (MQClientException nothing) {
            Suite.equal(208, nothing.getResponseCode(), "code for an absent key");
        }
    }

    private static void byUniqueId(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        SendResult sent = producer.send(Ctx.message(topic, null, null, "unique"));
        Topics.await("the message by its unique id", 15_000, () -> {
            try {
                MessageExt message = producer.viewMessage(topic, sent.getMsgId());
                return message != null && "unique".equals(Inbox.body(message)) && sent.getMsgId().equals(message.getMsgId());
            } catch (MQClientException nothing) {
                return false;
            }
        });
    }

    private static void byOffsetId(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        SendResult sent = producer.send(Ctx.message(topic, "TagA", "k", "by offset"));
        MessageExt message = producer.viewMessage(topic, sent.getOffsetMsgId());
        Suite.equal("by offset", Inbox.body(message), "body");
        Suite.equal("TagA", message.getTags(), "tag");
        Suite.equal(sent.getQueueOffset(), message.getQueueOffset(), "queue offset");
        String nowhere = sent.getOffsetMsgId().substring(0, 16) + "00000000FFFFFFF0";
        try {
            MessageExt none = Topics.admin(ctx).viewMessage(nowhere);
            throw new Suite.Failed("a message where there is none: " + none);
        } catch (MQBrokerException | MQClientException expected) {
            Suite.expect(expected.getMessage() != null, "no reason");
        }
    }

    private static void clusterInfo(Ctx ctx) throws Exception {
        ClusterInfo info = Topics.admin(ctx).examineBrokerClusterInfo();
        Suite.equal(1, info.getBrokerAddrTable().size(), "brokers");
        String name = info.getBrokerAddrTable().keySet().iterator().next();
        Suite.equal(Collections.singleton(name), info.getClusterAddrTable().get(Topics.cluster(ctx)), "brokers of the cluster");
        Suite.expect(info.getBrokerAddrTable().get(name).getBrokerAddrs().containsKey(0L), "no master");
    }

    private static void topic(Ctx ctx) throws Exception {
        DefaultMQAdminExt admin = Topics.admin(ctx);
        TopicConfig config = new TopicConfig(ctx.topic());
        config.setReadQueueNums(3);
        config.setWriteQueueNums(2);
        config.setPerm(4);
        admin.createAndUpdateTopicConfig(Topics.brokerAddr(ctx), config);
        Topics.awaitRoute(ctx, ctx.topic());
        QueueData queues = admin.examineTopicRouteInfo(ctx.topic()).getQueueDatas().get(0);
        Suite.equal(3, queues.getReadQueueNums(), "read queues");
        Suite.equal(2, queues.getWriteQueueNums(), "write queues");
        Suite.equal(4, queues.getPerm(), "permission");
        TopicConfig known = admin.getUserTopicConfig(Topics.brokerAddr(ctx), false, 10_000).getTopicConfigTable().get(ctx.topic());
        Suite.expect(known != null, "the broker's topic list lacks the topic");
        Suite.equal(3, known.getReadQueueNums(), "read queues at the broker");
        Suite.expect(admin.fetchAllTopicList().getTopicList().contains(ctx.topic()), "the name server's topic list lacks the topic");
        // A changed topic must reach the name server too.
        config.setPerm(6);
        config.setWriteQueueNums(3);
        admin.createAndUpdateTopicConfig(Topics.brokerAddr(ctx), config);
        Topics.await("the changed topic in the route", 10_000, () -> {
            QueueData changed = admin.examineTopicRouteInfo(ctx.topic()).getQueueDatas().get(0);
            return changed.getPerm() == 6 && changed.getWriteQueueNums() == 3;
        });
    }

    private static void group(Ctx ctx) throws Exception {
        DefaultMQAdminExt admin = Topics.admin(ctx);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(ctx.group());
        config.setRetryMaxTimes(5);
        config.setRetryQueueNums(2);
        config.setConsumeBroadcastEnable(false);
        admin.createAndUpdateSubscriptionGroupConfig(Topics.brokerAddr(ctx), config);
        SubscriptionGroupConfig known = admin.examineSubscriptionGroupConfig(Topics.brokerAddr(ctx), ctx.group());
        Suite.expect(known != null, "the group is unknown");
        Suite.equal(5, known.getRetryMaxTimes(), "retry times");
        Suite.equal(2, known.getRetryQueueNums(), "retry queues");
        Suite.equal(false, known.isConsumeBroadcastEnable(), "broadcast allowed");
        admin.deleteSubscriptionGroup(Topics.brokerAddr(ctx), ctx.group());
        Suite.expect(!admin.getAllSubscriptionGroup(Topics.brokerAddr(ctx), 10_000).getSubscriptionGroupTable().containsKey(ctx.group()), "the group is still there");
    }

    private static void topicStats(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 8; i++) {
            producer.send(Ctx.message(topic, null, null, String.valueOf(i)));
        }
        Sending.awaitStored(ctx, topic, 8);
        TopicStatsTable stats = Topics.admin(ctx).examineTopicStats(topic);
        Suite.equal(4, stats.getOffsetTable().size(), "queues");
        stats.getOffsetTable().forEach((queue, offset) -> {
            if (offset.getMinOffset() != 0 || offset.getMaxOffset() != 2 || offset.getLastUpdateTimestamp() <= 0) {
                throw new IllegalStateException(queue + ": " + offset);
            }
        });
    }

    private static void consumeStats(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 8; i++) {
            producer.send(Ctx.message(topic, null, null, String.valueOf(i)));
        }
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        Inbox inbox = Consuming.listen(consumer, topic, "*");
        inbox.await(8, 30_000);
        awaitNoLag(ctx, topic);
        consumer.shutdown();
        for (int i = 0; i < 4; i++) {
            producer.send(Ctx.message(topic, null, null, String.valueOf(i)));
        }
        Sending.awaitStored(ctx, topic, 12);
        Suite.equal(4L, lag(Topics.admin(ctx).examineConsumeStats(ctx.group(), topic), topic), "lag of four more");
    }

    /**
     * Waits until the broker has every offset of the case's group. Only then may a consumer be shut down and counted on: the
     * offset it says last can be overtaken, in the original, by an older one inside a pull that waited in another pool.
     */
    static void awaitNoLag(Ctx ctx, String topic) throws Exception {
        Topics.await("a lag of nothing", 40_000, () -> {
            ConsumeStats stats;
            try {
                stats = Topics.admin(ctx).examineConsumeStats(ctx.group());
            } catch (MQClientException notYet) {
                // 206: no offset at all so far.
                return false;
            }
            return stats.getOffsetTable().keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic)) && lag(stats, topic) == 0;
        });
    }

    private static long lag(ConsumeStats stats, String topic) {
        return stats.getOffsetTable().entrySet().stream().filter(entry -> entry.getKey().getTopic().equals(topic))
            .mapToLong(entry -> entry.getValue().getBrokerOffset() - entry.getValue().getConsumerOffset()).sum();
    }

    private static void deleteTopic(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 4);
        ctx.producer().send(Ctx.message(topic, null, null, "gone soon"));
        // The original unmaps the topic's queues at once: one that still waits for a message then takes the whole broker along.
        Sending.awaitStored(ctx, topic, 1);
        DefaultMQAdminExt admin = Topics.admin(ctx);
        Set<String> brokers = Collections.singleton(Topics.brokerAddr(ctx));
        admin.deleteTopicInBroker(brokers, topic);
        admin.deleteTopicInNameServer(Collections.singleton(ctx.namesrv), topic, Topics.cluster(ctx));
        Topics.await("the end of the route", 20_000, () -> {
            try {
                admin.examineTopicRouteInfo(topic);
                return false;
            } catch (MQClientException absent) {
                return absent.getResponseCode() == 17;
            }
        });
        Suite.expect(!admin.getUserTopicConfig(Topics.brokerAddr(ctx), false, 10_000).getTopicConfigTable().containsKey(topic), "the broker still lists the topic");
        Topics.make(ctx, topic, 1);
        Sending.awaitStored(ctx, topic, 0);
    }

    private static void connections(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        producer.send(Ctx.message(topic, null, null, "x"));
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        Consuming.listen(consumer, topic, "TagA || TagB");
        DefaultMQAdminExt admin = Topics.admin(ctx);
        Topics.await("the consumer's connection", 40_000, () -> {
            try {
                return admin.examineConsumerConnectionInfo(ctx.group()).getConnectionSet().size() == 1;
            } catch (MQBrokerException | MQClientException notYet) {
                return false;
            }
        });
        ConsumerConnection seen = admin.examineConsumerConnectionInfo(ctx.group());
        Suite.equal("TagA || TagB", seen.getSubscriptionTable().get(topic).getSubString(), "subscription");
        String clientId = seen.getConnectionSet().iterator().next().getClientId();
        Suite.equal(consumer.buildMQClientId(), clientId, "client id");
        producer.getDefaultMQProducerImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
        ProducerConnection producers = admin.examineProducerConnectionInfo(producer.getProducerGroup(), topic);
        Suite.equal(1, producers.getConnectionSet().size(), "producers of the group");
        ConsumerRunningInfo running = admin.getConsumerRunningInfo(ctx.group(), clientId, false);
        Suite.equal(2, running.getSubscriptionSet().size(), "subscriptions in the running info");
    }

    private static void routeAbsent(Ctx ctx) throws Exception {
        try {
            Topics.admin(ctx).examineTopicRouteInfo(ctx.topic());
            throw new Suite.Failed("a route of a topic nobody made");
        } catch (MQClientException absent) {
            Suite.equal(17, absent.getResponseCode(), "code");
        }
    }
}
