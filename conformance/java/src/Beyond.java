import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Cases of the features beyond sending and consuming: SQL filters, transactions, request and reply. */
final class Beyond {
    private Beyond() {
    }

    static void add(Suite suite) {
        suite.add("sql-filter", Beyond::sqlFilter);
        suite.add("sql-filter-illegal", Beyond::sqlFilterIllegal);
        suite.add("transaction", Beyond::transaction);
        suite.add("request-reply", Beyond::requestReply);
    }

    private static void sqlFilter(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        DefaultMQProducer producer = ctx.producer();
        for (int i = 0; i < 20; i++) {
            Message message = Ctx.message(topic, "T" + i % 2, null, String.valueOf(i));
            message.putUserProperty("size", String.valueOf(i));
            if (i % 5 == 0) {
                message.putUserProperty("colour", "red");
            }
            producer.send(message);
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, MessageSelector.bySql("(size BETWEEN 5 AND 12 AND TAGS = 'T1') OR colour IS NOT NULL"));
        consumer.registerMessageListener(Consuming.into(inbox));
        consumer.start();
        Set<String> wanted = new HashSet<>(java.util.Arrays.asList("0", "5", "7", "9", "10", "11", "15"));
        inbox.await(wanted.size(), 30_000);
        Message last = Ctx.message(topic, "T1", null, "last");
        last.putUserProperty("colour", "blue");
        producer.send(last);
        inbox.await(wanted.size() + 1, 20_000);
        wanted.add("last");
        Suite.equal(wanted, inbox.bodies(), "bodies");
    }

    private static void sqlFilterIllegal(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, MessageSelector.bySql("size >> 5 AND"));
        consumer.registerMessageListener(Consuming.into(new Inbox()));
        try {
            consumer.start();
            throw new Suite.Failed("a consumer with an illegal expression started");
        } catch (MQClientException refused) {
            Suite.expect(refused.getMessage() != null, "no reason");
        }
    }

    /** Committed ones are seen, rolled back ones never; a marker sent last tells when to stop waiting. */
    private static void transaction(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        TransactionMQProducer producer = new TransactionMQProducer("X" + ctx.group());
        producer.setNamesrvAddr(ctx.namesrv);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return (LocalTransactionState) argument;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.UNKNOW;
            }
        });
        producer.start();
        ctx.atEnd(producer::shutdown);
        Inbox inbox = Consuming.listen(ctx.push(ctx.group()), topic, "*");
        for (int i = 0; i < 10; i++) {
            LocalTransactionState end = i % 2 == 0 ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            producer.sendMessageInTransaction(Ctx.message(topic, "TagX", "k" + i, String.valueOf(i)), end);
        }
        inbox.await(5, 30_000);
        producer.send(Ctx.message(topic, "TagX", null, "marker"));
        inbox.await(6, 20_000);
        Suite.equal(new HashSet<>(java.util.Arrays.asList("0", "2", "4", "6", "8", "marker")), inbox.bodies(), "bodies");
        MessageExt first = inbox.all().get(0);
        Suite.equal(topic, first.getTopic(), "topic");
        Suite.equal("TagX", first.getTags(), "tag");
        Suite.expect(first.getTransactionId() != null, "no transaction id");
    }

    private static void requestReply(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer replier = ctx.producer();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt question : batch) {
                try {
                    replier.send(MessageUtil.createReplyMessage(question, ("re: " + Inbox.body(question)).getBytes(StandardCharsets.UTF_8)));
                } catch (Exception cause) {
                    System.err.println("request-reply: " + cause);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        DefaultMQProducer asker = ctx.producer();
        for (int i = 0; i < 3; i++) {
            Message answer = asker.request(Ctx.message(topic, null, null, "question " + i), 20_000);
            Suite.equal("re: question " + i, new String(answer.getBody(), StandardCharsets.UTF_8), "answer");
        }
    }
}
