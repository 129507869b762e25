// Cases of the Go client, run side by side: CASE name when planned, then PASS name or FAIL name: reason.
//
// Arguments: NAMESRV BROKER [PATTERN].
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// caseLimit is how long a case may take before it is reported and left behind.
const caseLimit = 90 * time.Second

type entry struct {
	name string
	body func(*testCase) error
}

var entries = []entry{
	{"retry", retry},
	{"delay", delay},
	{"dead-letter", deadLetter},
	{"broadcast", broadcast},
	{"push-orderly", orderly},
	{"push-tag", pushTag},
	{"quickstart", quickstart},
	{"send-async", sendAsync},
	{"send-oneway", sendOneway},
	{"send-batch", sendBatch},
	{"compression", compression},
	{"pull-poll", pullPoll},
	{"pull-from", pullFrom},
}

func main() {
	pattern := ""
	if len(os.Args) > 3 {
		pattern = os.Args[3]
	}
	stamp := fmt.Sprint(time.Now().UnixMilli() % 100_000_000)
	var lines sync.Mutex
	say := func(line string) {
		lines.Lock()
		defer lines.Unlock()
		fmt.Println(line)
	}
	var all sync.WaitGroup
	for _, each := range entries {
		if !strings.Contains(each.name, pattern) {
			continue
		}
		say("CASE " + each.name)
		all.Add(1)
		go func(each entry) {
			defer all.Done()
			c := &testCase{name: each.name, topic: "GT_" + each.name + "_" + stamp, group: "GG_" + each.name + "_" + stamp}
			end := make(chan error, 1)
			go func() { end <- c.run(each.body) }()
			var err error
			select {
			case err = <-end:
			case <-time.After(caseLimit):
				err = fmt.Errorf("no end after %v", caseLimit)
			}
			if err != nil {
				say("FAIL " + each.name + ": " + strings.Join(strings.Fields(err.Error()), " "))
				return
			}
			say("PASS " + each.name)
		}(each)
	}
	all.Wait()
	os.Exit(0)
}

// testCase has names nobody else uses and the clients to shut down at its end.
type testCase struct {
	name, topic, group string
	count              int
	closers            []func() error
}

func (c *testCase) run(body func(*testCase) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
		for _, closer := range c.closers {
			if cause := closer(); cause != nil {
				fmt.Fprintln(os.Stderr, c.name, "at end:", cause)
			}
		}
	}()
	return body(c)
}

func servers() primitive.NamesrvAddr { return primitive.NamesrvAddr{os.Args[1]} }

// makeTopic makes the case's topic with the client's own admin.
func (c *testCase) makeTopic(queues int) error {
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(servers())))
	if err != nil {
		return err
	}
	return a.CreateTopic(context.Background(), admin.WithTopicCreate(c.topic), admin.WithBrokerAddrCreate(os.Args[2]),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
}

func (c *testCase) instance() string {
	c.count++
	return fmt.Sprintf("%s_%d", c.group, c.count)
}

func (c *testCase) producer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append([]producer.Option{producer.WithNameServer(servers()), producer.WithGroupName("P" + c.group),
		producer.WithInstanceName(c.instance()), producer.WithSendMsgTimeout(10 * time.Second)}, options...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, p.Shutdown)
	return p, p.Start()
}

// ready makes the case's topic and a producer for it.
func (c *testCase) ready(queues int, options ...producer.Option) (rocketmq.Producer, error) {
	if err := c.makeTopic(queues); err != nil {
		return nil, err
	}
	return c.producer(options...)
}

type verdict func(*primitive.MessageExt) consumer.ConsumeResult

// push starts a consumer whose messages go to the inbox; a nil verdict means success.
func (c *testCase) push(in *inbox, expression string, judge verdict, options ...consumer.Option) error {
	options = append([]consumer.Option{consumer.WithNameServer(servers()), consumer.WithGroupName(c.group),
		consumer.WithInstance(c.instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	p, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	err = p.Subscribe(c.topic, selector, func(_ context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		result := consumer.ConsumeSuccess
		for _, m := range batch {
			in.put(m)
			if judge != nil {
				result = judge(m)
			}
		}
		return result, nil
	})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, p.Shutdown)
	return p.Start()
}

// received starts a consumer and waits until it has so many messages.
func (c *testCase) received(count int, limit time.Duration, expression string, options ...consumer.Option) (*inbox, error) {
	in := &inbox{}
	if err := c.push(in, expression, nil, options...); err != nil {
		return nil, err
	}
	return in, in.await(count, limit)
}

type arrival struct {
	m  *primitive.MessageExt
	at time.Time
}

// inbox holds what a listener saw, in order of arrival.
type inbox struct {
	mutex sync.Mutex
	all   []arrival
}

func (in *inbox) put(m *primitive.MessageExt) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	in.all = append(in.all, arrival{m, time.Now()})
}

func (in *inbox) copy() []arrival {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	return append([]arrival(nil), in.all...)
}

func (in *inbox) await(count int, limit time.Duration) error {
	end := time.Now().Add(limit)
	for len(in.copy()) < count {
		if time.Now().After(end) {
			return fmt.Errorf("wanted %d messages, got %d in %v", count, len(in.copy()), limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// exactly checks that the bodies 0..count came, each once.
func (in *inbox) exactly(count int) error {
	seen := map[string]int{}
	for _, a := range in.copy() {
		seen[string(a.m.Body)]++
	}
	for i := 0; i < count; i++ {
		if seen[fmt.Sprint(i)] != 1 {
			return fmt.Errorf("message %d came %d times", i, seen[fmt.Sprint(i)])
		}
	}
	if len(seen) != count {
		return fmt.Errorf("wanted %d different messages, got %d", count, len(seen))
	}
	return nil
}

func (c *testCase) send(p rocketmq.Producer, count int) error {
	for i := 0; i < count; i++ {
		m := primitive.NewMessage(c.topic, []byte(fmt.Sprint(i))).WithTag(fmt.Sprintf("T%d", i%3)).WithKeys([]string{fmt.Sprintf("k%d", i)})
		result, err := p.SendSync(context.Background(), m)
		if err != nil {
			return err
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("send status %v", result.Status)
		}
	}
	return nil
}

func quickstart(c *testCase) error {
	p, err := c.producer()
	if err != nil {
		return err
	}
	// The topic does not exist: the first send makes it.
	if err := c.send(p, 50); err != nil {
		return err
	}
	in, err := c.received(50, 45*time.Second, "*")
	if err != nil {
		return err
	}
	for _, a := range in.copy() {
		if !strings.HasPrefix(a.m.GetTags(), "T") || !strings.HasPrefix(a.m.GetKeys(), "k") || a.m.Topic != c.topic {
			return fmt.Errorf("tag %q, keys %q, topic %q", a.m.GetTags(), a.m.GetKeys(), a.m.Topic)
		}
	}
	return in.exactly(50)
}

func pushTag(c *testCase) error {
	p, err := c.ready(4)
	if err != nil {
		return err
	}
	if err := c.send(p, 30); err != nil {
		return err
	}
	in, err := c.received(20, 45*time.Second, "T0 || T2")
	if err != nil {
		return err
	}
	last := primitive.NewMessage(c.topic, []byte("last")).WithTag("T2")
	if _, err := p.SendSync(context.Background(), last); err != nil {
		return err
	}
	if err := in.await(21, 20*time.Second); err != nil {
		return err
	}
	for _, a := range in.copy() {
		if a.m.GetTags() == "T1" {
			return fmt.Errorf("T1 was delivered to T0 || T2")
		}
	}
	return nil
}

func sendAsync(c *testCase) error {
	p, err := c.ready(4)
	if err != nil {
		return err
	}
	ends := make(chan error, 400)
	for i := 0; i < 200; i++ {
		m := primitive.NewMessage(c.topic, []byte(fmt.Sprint(i)))
		err := p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) { ends <- err }, m)
		if err != nil {
			return err
		}
	}
	for i := 0; i < 200; i++ {
		select {
		case err := <-ends:
			if err != nil {
				return err
			}
		case <-time.After(20 * time.Second):
			return fmt.Errorf("only %d of 200 callbacks", i)
		}
	}
	in, err := c.received(200, 45*time.Second, "*")
	if err != nil {
		return err
	}
	if len(ends) != 0 {
		return fmt.Errorf("%d callbacks too many", len(ends))
	}
	return in.exactly(200)
}

func sendOneway(c *testCase) error {
	p, err := c.ready(4)
	if err != nil {
		return err
	}
	for i := 0; i < 50; i++ {
		if err := p.SendOneWay(context.Background(), primitive.NewMessage(c.topic, []byte(fmt.Sprint(i)))); err != nil {
			return err
		}
	}
	in, err := c.received(50, 45*time.Second, "*")
	if err != nil {
		return err
	}
	return in.exactly(50)
}

func sendBatch(c *testCase) error {
	p, err := c.ready(4)
	if err != nil {
		return err
	}
	var batch []*primitive.Message
	for i := 0; i < 10; i++ {
		m := primitive.NewMessage(c.topic, []byte(fmt.Sprint(i))).WithTag("TagB")
		m.WithProperty("place", fmt.Sprint(i))
		batch = append(batch, m)
	}
	result, err := p.SendSync(context.Background(), batch...)
	if err != nil {
		return err
	}
	// The client leaves the id of a batch empty.
	if result.Status != primitive.SendOK {
		return fmt.Errorf("status %v", result.Status)
	}
	in, err := c.received(10, 45*time.Second, "TagB")
	if err != nil {
		return err
	}
	for _, a := range in.copy() {
		if a.m.GetProperty("place") != string(a.m.Body) {
			return fmt.Errorf("property %q of message %s", a.m.GetProperty("place"), a.m.Body)
		}
	}
	return in.exactly(10)
}

func compression(c *testCase) error {
	p, err := c.ready(1)
	if err != nil {
		return err
	}
	large := strings.Repeat("b", 20_000)
	if _, err := p.SendSync(context.Background(), primitive.NewMessage(c.topic, []byte(large))); err != nil {
		return err
	}
	in, err := c.received(1, 45*time.Second, "*")
	if err != nil {
		return err
	}
	m := in.copy()[0].m
	if string(m.Body) != large {
		return fmt.Errorf("the body changed: %d bytes", len(m.Body))
	}
	if m.StoreSize > 2000 {
		return fmt.Errorf("stored whole: %d bytes", m.StoreSize)
	}
	return nil
}

func retry(c *testCase) error {
	p, err := c.ready(1)
	if err != nil {
		return err
	}
	if err := c.send(p, 1); err != nil {
		return err
	}
	in := &inbox{}
	err = c.push(in, "*", func(m *primitive.MessageExt) consumer.ConsumeResult {
		if m.ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	})
	if err != nil {
		return err
	}
	if err := in.await(2, 80*time.Second); err != nil {
		return err
	}
	first, second := in.copy()[0], in.copy()[1]
	if second.m.ReconsumeTimes != 1 || second.m.MsgId != first.m.MsgId || string(second.m.Body) != "0" {
		return fmt.Errorf("reconsume times %d, ids %s and %s", second.m.ReconsumeTimes, first.m.MsgId, second.m.MsgId)
	}
	if gap := second.at.Sub(first.at); gap < 9900*time.Millisecond {
		return fmt.Errorf("redelivered after %v", gap)
	}
	return nil
}

func deadLetter(c *testCase) error {
	p, err := c.ready(1)
	if err != nil {
		return err
	}
	if err := c.send(p, 1); err != nil {
		return err
	}
	in := &inbox{}
	err = c.push(in, "*", func(*primitive.MessageExt) consumer.ConsumeResult { return consumer.ConsumeRetryLater },
		consumer.WithMaxReconsumeTimes(1))
	if err != nil {
		return err
	}
	if err := in.await(2, 80*time.Second); err != nil {
		return err
	}
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(servers())))
	if err != nil {
		return err
	}
	end := time.Now().Add(10 * time.Second)
	for {
		list, err := a.FetchAllTopicList(context.Background())
		if err != nil {
			return err
		}
		for _, topic := range list.TopicList {
			if topic == "%DLQ%"+c.group {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("no %%DLQ%%%s among %d topics", c.group, len(list.TopicList))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func delay(c *testCase) error {
	if err := c.makeTopic(1); err != nil {
		return err
	}
	in := &inbox{}
	if err := c.push(in, "*", nil); err != nil {
		return err
	}
	p, err := c.producer()
	if err != nil {
		return err
	}
	for level, wanted := range map[int]string{1: "1000", 2: "5000"} {
		m := primitive.NewMessage(c.topic, []byte(wanted)).WithDelayTimeLevel(level)
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	if err := in.await(2, 60*time.Second); err != nil {
		return err
	}
	for _, a := range in.copy() {
		wanted, err := time.ParseDuration(string(a.m.Body) + "ms")
		if err != nil {
			return err
		}
		if passed := a.at.Sub(time.UnixMilli(a.m.BornTimestamp)); passed < wanted {
			return fmt.Errorf("wanted after %v, came after %v", wanted, passed)
		}
	}
	return nil
}

func orderly(c *testCase) error {
	p, err := c.ready(4, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		m := primitive.NewMessage(c.topic, []byte(fmt.Sprint(i))).WithShardingKey(fmt.Sprintf("key%d", i%8))
		if _, err := p.SendSync(context.Background(), m); err != nil {
			return err
		}
	}
	in, err := c.received(100, 80*time.Second, "*", consumer.WithConsumerOrder(true))
	if err != nil {
		return err
	}
	last, queues := map[string]int64{}, map[string]int{}
	for _, a := range in.copy() {
		key := a.m.GetShardingKey()
		if queue, known := queues[key]; known && queue != a.m.Queue.QueueId {
			return fmt.Errorf("key %s in queues %d and %d", key, queue, a.m.Queue.QueueId)
		}
		queues[key] = a.m.Queue.QueueId
		queue := fmt.Sprint(a.m.Queue.QueueId)
		if before, known := last[queue]; known && a.m.QueueOffset != before+1 {
			return fmt.Errorf("queue %s: offset %d after %d", queue, a.m.QueueOffset, before)
		}
		last[queue] = a.m.QueueOffset
	}
	return in.exactly(100)
}

func broadcast(c *testCase) error {
	p, err := c.ready(4)
	if err != nil {
		return err
	}
	if err := c.send(p, 40); err != nil {
		return err
	}
	ins := []*inbox{{}, {}}
	for _, in := range ins {
		if err := c.push(in, "*", nil, consumer.WithConsumerModel(consumer.BroadCasting)); err != nil {
			return err
		}
	}
	for _, in := range ins {
		if err := in.await(40, 45*time.Second); err != nil {
			return err
		}
		if err := in.exactly(40); err != nil {
			return err
		}
	}
	return nil
}

// pull starts a consumer that asks for messages itself.
func (c *testCase) pull() (rocketmq.PullConsumer, error) {
	pull, err := rocketmq.NewPullConsumer(consumer.WithNameServer(servers()), consumer.WithGroupName(c.group),
		consumer.WithInstance(c.instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, err
	}
	if err := pull.Subscribe(c.topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
		return nil, err
	}
	c.closers = append(c.closers, pull.Shutdown)
	return pull, pull.Start()
}

func pullPoll(c *testCase) error {
	p, err := c.ready(2)
	if err != nil {
		return err
	}
	if err := c.send(p, 20); err != nil {
		return err
	}
	pull, err := c.pull()
	if err != nil {
		return err
	}
	in := &inbox{}
	for end := time.Now().Add(45 * time.Second); len(in.copy()) < 20; {
		request, err := pull.Poll(context.Background(), time.Second)
		if err == nil {
			for _, m := range request.GetMsgList() {
				in.put(m)
			}
			pull.ACK(context.Background(), request, consumer.ConsumeSuccess)
		} else if !consumer.IsNoNewMsgError(err) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("polled %d of 20", len(in.copy()))
		}
	}
	return in.exactly(20)
}

func pullFrom(c *testCase) error {
	p, err := c.ready(1)
	if err != nil {
		return err
	}
	sent := primitive.NewMessage(c.topic, []byte("first"))
	result, err := p.SendSync(context.Background(), sent)
	if err != nil {
		return err
	}
	if err := c.send(p, 9); err != nil {
		return err
	}
	pull, err := c.pull()
	if err != nil {
		return err
	}
	// The original acknowledges before its queues know the message: the last offset is answered a moment later.
	var found *primitive.PullResult
	for end := time.Now().Add(10 * time.Second); ; {
		last, err := pull.PullFrom(context.Background(), result.MessageQueue, 9, 1)
		if err == nil && last.Status == primitive.PullFound {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the last message was never found: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	found, err = pull.PullFrom(context.Background(), result.MessageQueue, 4, 3)
	if err != nil {
		return err
	}
	if found.Status != primitive.PullFound || len(found.GetMessageExts()) != 3 || found.NextBeginOffset != 7 {
		return fmt.Errorf("status %v, %d messages, next %d", found.Status, len(found.GetMessageExts()), found.NextBeginOffset)
	}
	if found.GetMessageExts()[0].QueueOffset != 4 {
		return fmt.Errorf("first offset %d", found.GetMessageExts()[0].QueueOffset)
	}
	return nil
}
