import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Cases of the original's own mqadmin: its verbs are run as an operator runs them and their printed answers read. */
final class Mqadmin {
    private static final PrintStream SCREEN = System.out;

    private Mqadmin() {
    }

    static void add(Suite suite) {
        suite.add("clusterList", Mqadmin::clusterList);
        suite.add("brokerStatus", Mqadmin::brokerStatus);
        suite.add("getBrokerConfig", Mqadmin::getBrokerConfig);
        suite.add("updateTopic-topicList-topicRoute", Mqadmin::topicVerbs);
        suite.add("topicStatus", Mqadmin::topicStatus);
        suite.add("deleteTopic", Mqadmin::deleteTopic);
        suite.add("updateSubGroup-deleteSubGroup", Mqadmin::groupVerbs);
        suite.add("consumerProgress", Mqadmin::consumerProgress);
        suite.add("sendMessage-consumeMessage", Mqadmin::sendAndConsume);
        suite.add("queryMsgById", Mqadmin::queryById);
        suite.add("queryMsgByKey", Mqadmin::queryByKey);
        suite.add("queryMsgByUniqueKey", Mqadmin::queryByUniqueKey);
        suite.add("wipeWritePerm-addWritePerm", Mqadmin::writePerm);
        suite.add("updateKvConfig-deleteKvConfig", Mqadmin::kvConfig);
        suite.add("updateBrokerConfig", Mqadmin::updateBrokerConfig);
    }

    /** What one command prints. */
    private static String run(Ctx ctx, String... command) throws Exception {
        // The tool finds the name server by this property, and its own -n sets nothing else.
        System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, ctx.namesrv);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        System.setOut(new PrintStream(bytes, true, "UTF-8"));
        try {
            MQAdminStartup.main(command);
        } finally {
            System.setOut(SCREEN);
        }
        return new String(bytes.toByteArray(), StandardCharsets.UTF_8);
    }

    private static void contains(String text, String... parts) throws Suite.Failed {
        for (String part : parts) {
            if (!text.contains(part)) {
                throw new Suite.Failed("no '" + part + "' in: " + text.substring(0, Math.min(text.length(), 400)));
            }
        }
    }

    private static void matches(String text, String pattern) throws Suite.Failed {
        if (!Pattern.compile(pattern, Pattern.MULTILINE).matcher(text).find()) {
            throw new Suite.Failed("no match of '" + pattern + "' in: " + text.substring(0, Math.min(text.length(), 600)));
        }
    }

    private static void clusterList(Ctx ctx) throws Exception {
        String text = run(ctx, "clusterList");
        contains(text, "#Cluster Name", "#BID", Topics.cluster(ctx), Topics.brokerName(ctx), Topics.brokerAddr(ctx), "V4_9_");
        contains(run(ctx, "clusterList", "-m"), "#InTotalYest", Topics.brokerName(ctx));
    }

    private static void brokerStatus(Ctx ctx) throws Exception {
        String text = run(ctx, "brokerStatus", "-b", Topics.brokerAddr(ctx));
        contains(text, "bootTimestamp", "brokerVersionDesc", "commitLogMaxOffset", "commitLogMinOffset", "putTps", "getTransferedTps", "msgPutTotalTodayNow", "runtime");
        matches(text, "^brokerVersionDesc\\s+: V4_9_\\d");
    }

    private static void getBrokerConfig(Ctx ctx) throws Exception {
        String text = run(ctx, "getBrokerConfig", "-b", Topics.brokerAddr(ctx));
        matches(text, "^brokerName\\s+=\\s+" + Topics.brokerName(ctx));
        matches(text, "^listenPort\\s+=\\s+\\d+");
        matches(text, "^flushDiskType\\s+=\\s+ASYNC_FLUSH");
        matches(text, "^autoCreateTopicEnable\\s+=\\s+true");
    }

    private static void updateBrokerConfig(Ctx ctx) throws Exception {
        String text = run(ctx, "updateBrokerConfig", "-b", Topics.brokerAddr(ctx), "-k", "fileReservedTime", "-v", "71");
        contains(text, "update broker config success");
        matches(run(ctx, "getBrokerConfig", "-b", Topics.brokerAddr(ctx)), "^fileReservedTime\\s+=\\s+71");
    }

    private static void topicVerbs(Ctx ctx) throws Exception {
        String made = run(ctx, "updateTopic", "-b", Topics.brokerAddr(ctx), "-t", ctx.topic(), "-r", "3", "-w", "3");
        contains(made, "create topic to " + Topics.brokerAddr(ctx) + " success.", "readQueueNums=3");
        Topics.awaitRoute(ctx, ctx.topic());
        contains(run(ctx, "topicList"), ctx.topic(), "TBW102");
        String route = run(ctx, "topicRoute", "-t", ctx.topic());
        contains(route, "\"brokerDatas\"", "\"queueDatas\"", Topics.brokerAddr(ctx));
        matches(route, "\"readQueueNums\"\\s*:\\s*3");
        String list = run(ctx, "topicRoute", "-t", ctx.topic(), "-l");
        contains(list, "#ReadQueue", Topics.brokerName(ctx));
        contains(run(ctx, "updateTopic", "-c", Topics.cluster(ctx), "-t", ctx.topic() + "_c"), "success.");
    }

    private static void topicStatus(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        for (int i = 0; i < 4; i++) {
            ctx.producer().send(Ctx.message(topic, null, null, "x"), (queues, message, arg) -> queues.get(0), null);
        }
        Sending.awaitStored(ctx, topic, 4);
        String text = run(ctx, "topicStatus", "-t", topic);
        contains(text, "#Broker Name", "#QID", "#Min Offset", "#Max Offset");
        matches(text, "^" + Topics.brokerName(ctx) + "\\s+0\\s+0\\s+4\\s+\\d{4}-\\d\\d-\\d\\d");
        matches(text, "^" + Topics.brokerName(ctx) + "\\s+1\\s+0\\s+0");
    }

    private static void deleteTopic(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        String text = run(ctx, "deleteTopic", "-c", Topics.cluster(ctx), "-t", topic);
        contains(text, "delete topic [" + topic + "] from cluster [" + Topics.cluster(ctx) + "] success.", "from NameServer success.");
        Topics.await("a topic list without " + topic, 20_000, () -> !run(ctx, "topicList").contains(topic));
    }

    private static void groupVerbs(Ctx ctx) throws Exception {
        String made = run(ctx, "updateSubGroup", "-b", Topics.brokerAddr(ctx), "-g", ctx.group(), "-r", "4");
        contains(made, "create subscription group to " + Topics.brokerAddr(ctx) + " success.", "retryMaxTimes=4");
        String gone = run(ctx, "deleteSubGroup", "-b", Topics.brokerAddr(ctx), "-g", ctx.group());
        contains(gone, "delete subscription group [" + ctx.group() + "]", "success.");
    }

    private static void consumerProgress(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        for (int i = 0; i < 5; i++) {
            ctx.producer().send(Ctx.message(topic, null, null, "x"));
        }
        org.apache.rocketmq.client.consumer.DefaultMQPushConsumer consumer = ctx.push(ctx.group());
        Inbox inbox = Consuming.listen(consumer, topic, "*");
        inbox.await(5, 30_000);
        Asking.awaitNoLag(ctx, topic);
        consumer.shutdown();
        String text = run(ctx, "consumerProgress", "-g", ctx.group());
        contains(text, "#Topic", "#Broker Offset", "#Consumer Offset", "#Diff", "Consume TPS:", "Diff Total: 0");
        matches(text, "^" + topic.substring(0, Math.min(topic.length(), 32)) + "\\S*\\s+" + Topics.brokerName(ctx) + "\\s+0\\s+5\\s+5\\s+0");
        contains(run(ctx, "consumerProgress"), "#Group", ctx.group().substring(0, Math.min(ctx.group().length(), 32)));
    }

    private static void sendAndConsume(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 2);
        // One call only: the verb keeps its producer, and a process is meant to run one verb.
        String sent = run(ctx, "sendMessage", "-t", topic, "-p", "hello from the tool", "-k", "toolkey", "-c", "TagTool", "-b", Topics.brokerName(ctx), "-i", "1");
        contains(sent, "#Broker Name", "#MsgId");
        matches(sent, Topics.brokerName(ctx) + "\\s+1\\s+SEND_OK");
        Sending.awaitStored(ctx, topic, 1);
        String got = run(ctx, "consumeMessage", "-t", topic);
        contains(got, "hello from the tool", "TagTool", "toolkey");
    }

    private static SendResult sendOne(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        DefaultMQProducer producer = ctx.producer();
        SendResult sent = producer.send(Ctx.message(topic, "TagQ", "askkey", "asked for"));
        Topics.await("the message by its key", 15_000, () -> {
            try {
                return producer.queryMessage(topic, "askkey", 32, 0, Long.MAX_VALUE).getMessageList().size() == 1;
            } catch (MQClientException nothing) {
                return false;
            }
        });
        return sent;
    }

    private static void queryById(Ctx ctx) throws Exception {
        SendResult sent = sendOne(ctx);
        String text = run(ctx, "queryMsgById", "-i", sent.getOffsetMsgId());
        contains(text, "OffsetID:", sent.getOffsetMsgId(), "Topic:", ctx.topic(), "Queue Offset:", "Store Host:", Topics.brokerAddr(ctx), "Message Body Path:", "askkey");
        matches(text, "^Tags:\\s+\\[TagQ\\]");
    }

    private static void queryByKey(Ctx ctx) throws Exception {
        SendResult sent = sendOne(ctx);
        contains(run(ctx, "queryMsgByKey", "-t", ctx.topic(), "-k", "askkey"), "#Message ID", "#QID", "#Offset", sent.getMsgId());
    }

    private static void queryByUniqueKey(Ctx ctx) throws Exception {
        SendResult sent = sendOne(ctx);
        String text = run(ctx, "queryMsgByUniqueKey", "-t", ctx.topic(), "-i", sent.getMsgId());
        contains(text, ctx.topic(), "askkey", "Queue Offset:", "Message Body Path:");
    }

    private static void writePerm(Ctx ctx) throws Exception {
        String topic = Topics.make(ctx, 1);
        try {
            String wiped = run(ctx, "wipeWritePerm", "-b", Topics.brokerName(ctx));
            contains(wiped, "wipe write perm of broker[" + Topics.brokerName(ctx) + "]", "OK");
            matches(wiped, "OK, \\d+");
            matches(run(ctx, "topicRoute", "-t", topic), "\"perm\"\\s*:\\s*4");
        } finally {
            String added = run(ctx, "addWritePerm", "-b", Topics.brokerName(ctx));
            matches(added, "OK, \\d+");
        }
        matches(run(ctx, "topicRoute", "-t", topic), "\"perm\"\\s*:\\s*6");
    }

    private static void kvConfig(Ctx ctx) throws Exception {
        contains(run(ctx, "updateKvConfig", "-s", "CONFORMANCE", "-k", "colour", "-v", "red"), "create or update kv config to namespace success.");
        Suite.equal("red", Topics.admin(ctx).getKVConfig("CONFORMANCE", "colour"), "value");
        contains(run(ctx, "deleteKvConfig", "-s", "CONFORMANCE", "-k", "colour"), "delete kv config from namespace success.");
        Matcher gone = Pattern.compile("colour").matcher(String.valueOf(valueOrNull(ctx)));
        Suite.expect(!gone.find(), "the key is still there");
    }

    private static String valueOrNull(Ctx ctx) throws Exception {
        try {
            return "colour=" + Topics.admin(ctx).getKVConfig("CONFORMANCE", "colour");
        } catch (MQClientException absent) {
            return null;
        }
    }
}
