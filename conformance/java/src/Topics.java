import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.protocol.body.ClusterInfo;
import org.apache.rocketmq.common.protocol.route.BrokerData;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** One admin client for all cases, and topics made with it. */
final class Topics {
    private static DefaultMQAdminExt admin;
    private static BrokerData broker;

    private Topics() {
    }

    static synchronized DefaultMQAdminExt admin(Ctx ctx) throws Exception {
        if (admin == null) {
            DefaultMQAdminExt made = new DefaultMQAdminExt(10_000);
            made.setNamesrvAddr(ctx.namesrv);
            made.setInstanceName("conformance_admin_" + System.nanoTime());
            made.start();
            ClusterInfo cluster = made.examineBrokerClusterInfo();
            broker = cluster.getBrokerAddrTable().values().iterator().next();
            admin = made;
        }
        return admin;
    }

    static String brokerAddr(Ctx ctx) throws Exception {
        admin(ctx);
        return broker.selectBrokerAddr();
    }

    static String brokerName(Ctx ctx) throws Exception {
        admin(ctx);
        return broker.getBrokerName();
    }

    static String cluster(Ctx ctx) throws Exception {
        admin(ctx);
        return broker.getCluster();
    }

    /** Makes the case's own topic and returns when the name server knows it. */
    static String make(Ctx ctx, int queues) throws Exception {
        return make(ctx, ctx.topic(), queues);
    }

    static String make(Ctx ctx, String topic, int queues) throws Exception {
        TopicConfig config = new TopicConfig(topic);
        config.setReadQueueNums(queues);
        config.setWriteQueueNums(queues);
        admin(ctx).createAndUpdateTopicConfig(brokerAddr(ctx), config);
        awaitRoute(ctx, topic);
        return topic;
    }

    static void awaitRoute(Ctx ctx, String topic) throws Exception {
        await("a route of " + topic, 15_000, () -> {
            try {
                return !admin(ctx).examineTopicRouteInfo(topic).getQueueDatas().isEmpty();
            } catch (MQClientException absent) {
                return false;
            }
        });
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Asks again and again until the condition holds. */
    static void await(String what, long millis, Condition condition) throws Exception {
        long end = System.currentTimeMillis() + millis;
        while (!condition.holds()) {
            Suite.expect(System.currentTimeMillis() < end, "not in " + millis + " ms: " + what);
            Thread.sleep(20);
        }
    }
}
