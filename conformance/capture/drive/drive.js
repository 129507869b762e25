'use strict';
// Says the everyday requests of the Node client once, so that a capture holds one of each.
const { Producer, Consumer, Message } = require('ali-ons');
const quiet = { info() {}, warn: console.error, error: console.error, debug() {} };
const options = { nameSrv: process.argv[2], httpclient: {}, logger: quiet };

(async () => {
  const producer = new Producer({ ...options, producerGroup: 'golden_node_producer' });
  await producer.ready();
  const first = new Message('GoldenNode', 'TagA', 'plain');
  first.keys = ['k1'];
  await producer.send(first);
  await producer.send(new Message('GoldenNode', 'TagB', Buffer.alloc(6000).toString()));
  const consumer = new Consumer({ ...options, consumerGroup: 'golden_node', consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET' });
  let got = 0;
  consumer.subscribe('GoldenNode', '*', async msg => {
    got += 1;
    if (got === 1) return Consumer.ACTION_RETRY;
  });
  await consumer.ready();
  await new Promise(resolve => setTimeout(resolve, 20000));
  console.log('got', got);
  await consumer.close();
  await producer.close();
  console.log('done');
  process.exit(0);
})().catch(cause => { console.error(cause); process.exit(1); });
