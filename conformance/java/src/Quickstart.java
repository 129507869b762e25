import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;

/** The first thing anyone tries: a producer sends to a topic that does not exist yet, a push consumer gets everything. */
final class Quickstart {
    private static final int COUNT = 100;

    private Quickstart() {
    }

    static void add(Suite suite) {
        suite.add("quickstart", Quickstart::quickstart);
    }

    private static void quickstart(Ctx ctx) throws Exception {
        DefaultMQProducer producer = ctx.producer();
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < COUNT; i++) {
            SendResult result = producer.send(Ctx.message(ctx.topic(), "TagA", "k" + i, "Hello " + i));
            Suite.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
            Suite.expect(sent.add(result.getMsgId()), "two messages with the id " + result.getMsgId());
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        consumer.subscribe(ctx.topic(), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            batch.forEach(inbox::put);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        inbox.await(COUNT, 30_000);
        Set<String> got = new HashSet<>();
        for (MessageExt message : inbox.all()) {
            Suite.expect(got.add(message.getMsgId()), "delivered twice: " + message.getMsgId());
            Suite.equal(ctx.topic(), message.getTopic(), "topic");
            Suite.equal("TagA", message.getTags(), "tag");
        }
        Suite.equal(sent, got, "ids");
    }
}
