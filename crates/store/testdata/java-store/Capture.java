import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import java.util.*;
import java.util.concurrent.*;

public class Capture {
  public static void main(String[] a) throws Exception {
    String ns = a[0];
    TransactionMQProducer p = new TransactionMQProducer("capture-producer");
    p.setNamesrvAddr(ns);
    p.setTransactionListener(new TransactionListener() {
      public LocalTransactionState executeLocalTransaction(Message m, Object arg) { return (LocalTransactionState) arg; }
      public LocalTransactionState checkLocalTransaction(MessageExt m) { return LocalTransactionState.UNKNOW; }
    });
    p.start();
    for (int i = 0; i < 40; i++) {
      Message m = new Message("Orders", i % 2 == 0 ? "even" : "odd", "order-" + (i % 7) + " all", ("body " + i + " käse").getBytes("UTF-8"));
      SendResult r = p.send(m);
      System.out.println("sent " + r.getMessageQueue().getQueueId() + " " + r.getQueueOffset() + " " + r.getOffsetMsgId() + " " + r.getMsgId());
    }
    List<Message> batch = new ArrayList<>();
    for (int i = 0; i < 5; i++) batch.add(new Message("Orders", "batch", "b-" + i, ("batch " + i).getBytes()));
    p.send(batch);
    for (int level : new int[] {2, 3, 16, 18}) {
      Message m = new Message("Later", "delayed", "level-" + level, ("level " + level).getBytes());
      m.setDelayTimeLevel(level);
      p.send(m);
    }
    p.sendMessageInTransaction(new Message("Orders", "tx", "tx-commit", "committed".getBytes()), LocalTransactionState.COMMIT_MESSAGE);
    p.sendMessageInTransaction(new Message("Orders", "tx", "tx-rollback", "rolled back".getBytes()), LocalTransactionState.ROLLBACK_MESSAGE);
    p.sendMessageInTransaction(new Message("Orders", "tx", "tx-unknown", "unknown".getBytes()), LocalTransactionState.UNKNOW);
    DefaultMQPushConsumer c = new DefaultMQPushConsumer("workers");
    c.setNamesrvAddr(ns);
    c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    c.subscribe("Orders", "*");
    c.setConsumeMessageBatchMaxSize(1);
    Set<String> seen = ConcurrentHashMap.newKeySet();
    c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
      for (MessageExt m : msgs) {
        String body = new String(m.getBody());
        seen.add(body + m.getReconsumeTimes());
        if (body.endsWith("käse") && body.startsWith("body 1") && m.getReconsumeTimes() == 0) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        if (body.startsWith("body 2 ")) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
      }
      return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    });
    c.start();
    Thread.sleep(25000);
    System.out.println("consumed " + seen.size());
    c.shutdown();
    for (int i = 100; i < 105; i++) p.send(new Message("Orders", "unread", "u-" + i, ("unread " + i).getBytes()));
    p.shutdown();
  }
}
