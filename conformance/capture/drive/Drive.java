import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Says every everyday request once, so that a capture between client and server holds one of each. */
public final class Drive {
    static final String TOPIC = "Golden";
    static String namesrv;
    static int brokerPort;

    static Message message(String tag, String key, String body) {
        return new Message(TOPIC, tag, key, body.getBytes(StandardCharsets.UTF_8));
    }

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        brokerPort = Integer.parseInt(args[1]);
        String broker = "127.0.0.1:" + brokerPort;

        DefaultMQAdminExt admin = new DefaultMQAdminExt(3000);
        admin.setNamesrvAddr(namesrv);
        admin.start();
        TopicConfig config = new TopicConfig(TOPIC);
        config.setReadQueueNums(2);
        config.setWriteQueueNums(2);
        admin.createAndUpdateTopicConfig(broker, config);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName("golden_made");
        admin.createAndUpdateSubscriptionGroupConfig(broker, group);

        DefaultMQProducer producer = new DefaultMQProducer("golden_producer");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        SendResult sent = producer.send(message("TagA", "key1", "plain"));
        Message rich = message("TagB", "key2 key3", "with properties and a flag");
        rich.setFlag(7);
        rich.putUserProperty("colour", "red");
        rich.setDelayTimeLevel(1);
        producer.send(rich);
        producer.send(new Message(TOPIC, new byte[6000]));
        producer.sendOneway(message("TagA", "key4", "one-way"));
        producer.send(Arrays.asList(message("TagA", "b1", "batch 1"), message("TagB", "b2", "batch 2")));
        producer.send(new Message("GoldenAuto", "made by sending".getBytes(StandardCharsets.UTF_8)));

        CountDownLatch got = new CountDownLatch(6);
        DefaultMQPushConsumer push = new DefaultMQPushConsumer("golden_push");
        push.setNamesrvAddr(namesrv);
        push.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        push.subscribe(TOPIC, "TagA || TagB");
        push.setPersistConsumerOffsetInterval(1000);
        push.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            got.countDown();
            return batch.get(0).getReconsumeTimes() == 0 && "key1".equals(batch.get(0).getKeys())
                ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.start();
        got.await(30, TimeUnit.SECONDS);

        CountDownLatch ordered = new CountDownLatch(2);
        DefaultMQPushConsumer orderly = new DefaultMQPushConsumer("golden_orderly");
        orderly.setNamesrvAddr(namesrv);
        orderly.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        orderly.subscribe(TOPIC, "*");
        orderly.registerMessageListener((MessageListenerOrderly) (batch, context) -> {
            ordered.countDown();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        orderly.start();
        ordered.await(30, TimeUnit.SECONDS);
        DefaultMQPushConsumer second = new DefaultMQPushConsumer("golden_push");
        second.setNamesrvAddr(namesrv);
        second.subscribe(TOPIC, "TagA || TagB");
        second.registerMessageListener((MessageListenerConcurrently) (batch, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        second.start();
        Thread.sleep(3000);
        orderly.shutdown();
        push.shutdown();
        second.shutdown();

        DefaultMQPullConsumer pull = new DefaultMQPullConsumer("golden_pull");
        pull.setNamesrvAddr(namesrv);
        pull.start();
        for (MessageQueue queue : pull.fetchSubscribeMessageQueues(TOPIC)) {
            long max = pull.maxOffset(queue);
            pull.minOffset(queue);
            pull.earliestMsgStoreTime(queue);
            pull.searchOffset(queue, System.currentTimeMillis() - 60_000);
            pull.pull(queue, "*", 0, 32);
            pull.pull(queue, "TagNone", 0, 32);
            pull.pull(queue, "*", max, 32);
            pull.pull(queue, "*", max + 9, 32);
            pull.fetchConsumeOffset(queue, true);
            pull.updateConsumeOffset(queue, max);
            pull.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        }
        try {
            pull.pull(pull.fetchSubscribeMessageQueues(TOPIC).iterator().next(), MessageSelector.bySql("colour = 'red'"), 0, 32);
        } catch (Exception expected) {
            System.out.println("sql: " + expected.getMessage());
        }
        producer.queryMessage(TOPIC, "key1", 32, 0, System.currentTimeMillis() + 1000);
        producer.viewMessage(TOPIC, sent.getMsgId());
        // The id names the broker's own address; exchange its port for the proxy's so that the question passes here.
        String id = sent.getOffsetMsgId();
        producer.viewMessage(TOPIC, id.substring(0, 8) + String.format("%08X", brokerPort) + id.substring(16));
        pull.shutdown();

        TransactionMQProducer half = new TransactionMQProducer("golden_tx");
        half.setNamesrvAddr(namesrv);
        half.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt m) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        half.start();
        half.sendMessageInTransaction(message("TagT", "tx1", "half"), null);
        half.shutdown();

        admin.examineBrokerClusterInfo();
        admin.examineTopicStats(TOPIC);
        admin.examineConsumeStats("golden_push");
        admin.examineTopicRouteInfo(TOPIC);
        admin.fetchAllTopicList();
        admin.fetchBrokerRuntimeStats(broker);
        admin.getBrokerConfig(broker);
        admin.getUserTopicConfig(broker, true, 3000);
        admin.getAllSubscriptionGroup(broker, 3000);
        admin.createAndUpdateKvConfig("GOLDEN", "k", "v");
        admin.getKVListByNamespace("GOLDEN");
        admin.deleteKvConfig("GOLDEN", "k");
        admin.wipeWritePermOfBroker(namesrv, "broker-a");
        admin.addWritePermOfBroker(namesrv, "broker-a");
        admin.deleteTopicInBroker(new java.util.HashSet<>(Arrays.asList(broker)), "GoldenAuto");
        admin.deleteTopicInNameServer(new java.util.HashSet<>(Arrays.asList(namesrv)), "GoldenAuto", "DefaultCluster");
        admin.deleteSubscriptionGroup(broker, "golden_made");
        List<String> wrong = new ArrayList<>();
        try {
            admin.examineTopicRouteInfo("GoldenAbsent");
        } catch (Exception expected) {
            wrong.add(expected.getMessage());
        }
        System.out.println("route of an absent topic: " + wrong);
        admin.shutdown();
        producer.shutdown();
        System.out.println("done");
        System.exit(0);
    }
}
