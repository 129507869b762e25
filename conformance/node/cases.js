'use strict';
// Cases of the Node client `ali-ons`, run side by side: CASE name when planned, then PASS name or FAIL name: reason.
// Arguments: NAMESRV BROKER [PATTERN].
const { Producer, Consumer, Message } = require('ali-ons');

const [namesrv, broker, pattern = ''] = process.argv.slice(2);
const stamp = (Date.now() % 1e8).toString(36);
const caseMillisMax = 90000;
// The client says a lot about topics that do not exist yet; only the harness's log needs it.
const logger = { info() {}, debug() {}, warn() {}, error: (...args) => console.error(...args) };

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

async function until(what, millis, holds) {
  const end = Date.now() + millis;
  while (!holds()) {
    expect(Date.now() < end, `not in ${millis} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/** Names nobody else uses, and the clients to close at the end. */
class Case {
  constructor(name) {
    this.topic = `NT_${name}_${stamp}`;
    this.group = `NG_${name}_${stamp}`;
    this.count = 0;
    this.clients = [];
  }

  async client(Kind, options) {
    const client = new Kind({
      nameSrv: namesrv, httpclient: {}, logger, instanceName: `${this.group}_${this.count++}`, rebalanceInterval: 2000, ...options,
    });
    client.on('error', cause => console.error(this.topic, cause));
    this.clients.push(client);
    return client;
  }

  async producer() {
    const producer = await this.client(Producer, { producerGroup: `P${this.group}` });
    await producer.ready();
    return producer;
  }

  /** Makes the topic by hand: this client cannot send to one that does not exist. */
  async makeTopic(producer, queues) {
    await producer._mqClient.createTopic(broker, 'TBW102', {
      topicName: this.topic, readQueueNums: queues, writeQueueNums: queues, perm: 6, topicFilterType: 'SINGLE_TAG', topicSysFlag: 0, order: false,
    }, 5000);
  }

  async consume(expression, listener, options = {}) {
    const consumer = await this.client(Consumer, {
      consumerGroup: this.group, consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET', ...options,
    });
    const inbox = [];
    consumer.subscribe(this.topic, expression, async msg => {
      inbox.push({ msg, at: Date.now() });
      return listener && listener(msg);
    });
    await consumer.ready();
    return inbox;
  }

}

function exactly(inbox, count) {
  const bodies = inbox.map(({ msg }) => msg.body.toString());
  for (let i = 0; i < count; i++) {
    const times = bodies.filter(body => body === String(i)).length;
    expect(times === 1, `message ${i} came ${times} times`);
  }
  expect(bodies.length === count, `wanted ${count} messages, got ${bodies.length}`);
}

async function send(c, producer, count) {
  for (let i = 0; i < count; i++) {
    const msg = new Message(c.topic, `T${i % 3}`, String(i));
    msg.keys = [ `k${i}` ];
    const result = await producer.send(msg);
    expect(result.sendStatus === 'SEND_OK', `send status ${result.sendStatus}`);
    expect(result.msgId, 'no id');
  }
}

const cases = {
  async quickstart(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 4);
    await send(c, producer, 50);
    const inbox = await c.consume('*');
    await until('50 messages', 45000, () => inbox.length >= 50);
    exactly(inbox, 50);
    for (const { msg } of inbox) {
      expect(/^T\d$/.test(msg.tags) && /^k\d+$/.test(msg.keys), `tags ${msg.tags}, keys ${msg.keys}`);
      expect(msg.topic === c.topic, `topic ${msg.topic}`);
    }
  },

  async tags(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 2);
    await send(c, producer, 30);
    const inbox = await c.consume('T0 || T2');
    await until('20 messages', 45000, () => inbox.length >= 20);
    await producer.send(new Message(c.topic, 'T2', 'last'));
    await until('the last message', 20000, () => inbox.some(({ msg }) => msg.body.toString() === 'last'));
    expect(inbox.every(({ msg }) => msg.tags !== 'T1'), 'T1 was delivered to T0 || T2');
    expect(inbox.length === 21, `${inbox.length} deliveries`);
  },

  async compression(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 1);
    const large = 'b'.repeat(20000);
    await producer.send(new Message(c.topic, 'TagA', large));
    const inbox = await c.consume('*');
    await until('the message', 45000, () => inbox.length >= 1);
    expect(inbox[0].msg.body.toString() === large, 'the body changed');
  },

  async retry(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 1);
    await send(c, producer, 1);
    const inbox = await c.consume('*', msg => (msg.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined));
    await until('the second delivery', 80000, () => inbox.length >= 2);
    const [ first, second ] = inbox;
    expect(second.msg.reconsumeTimes === 1, `reconsume times ${second.msg.reconsumeTimes}`);
    expect(second.msg.body.toString() === '0', 'the body changed');
    expect(second.at - first.at >= 9900, `redelivered after ${second.at - first.at} ms`);
  },

  async delay(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 1);
    const inbox = await c.consume('*');
    for (const level of [ 1, 2 ]) {
      const msg = new Message(c.topic, 'TagA', level === 1 ? '1000' : '5000');
      msg.delayTimeLevel = level;
      await producer.send(msg);
    }
    await until('both messages', 60000, () => inbox.length >= 2);
    for (const { msg, at } of inbox) {
      const late = at - msg.bornTimestamp - Number(msg.body.toString());
      expect(late >= 0, `${-late} ms early`);
    }
  },

  async broadcast(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 4);
    const inboxes = [ await c.consume('*', null, { isBroadcast: true }), await c.consume('*', null, { isBroadcast: true }) ];
    await send(c, producer, 20);
    for (const inbox of inboxes) {
      await until('20 messages', 60000, () => inbox.length >= 20);
      exactly(inbox, 20);
    }
  },

  async 'two-consumers'(c) {
    const producer = await c.producer();
    await c.makeTopic(producer, 4);
    const inboxes = [ await c.consume('*'), await c.consume('*') ];
    await send(c, producer, 40);
    // While the second joins, the first may hand over a queue with messages both have seen.
    const bodies = () => new Set(inboxes.flat().map(({ msg }) => msg.body.toString()));
    await until('40 messages between the two', 60000, () => bodies().size >= 40);
    expect(bodies().size === 40, `${bodies().size} different messages`);
  },
};

async function run(name) {
  const c = new Case(name);
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${caseMillisMax} ms`)), caseMillisMax);
  });
  try {
    await Promise.race([ cases[name](c), limit ]);
    console.log(`PASS ${name}`);
  } catch (cause) {
    console.error(name, cause);
    console.log(`FAIL ${name}: ${String(cause.message).replace(/\s+/g, ' ')}`);
  } finally {
    clearTimeout(timer);
  }
}

// A promise of the client that nobody awaits must not end the run; the case it belongs to fails by itself.
process.on('unhandledRejection', cause => console.error('unhandled', cause));

(async () => {
  const names = Object.keys(cases).filter(name => name.includes(pattern));
  names.forEach(name => console.log(`CASE ${name}`));
  await Promise.all(names.map(run));
  process.exit(0);
})();
