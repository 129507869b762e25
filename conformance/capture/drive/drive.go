// Says the everyday requests of the Go client once, so that a capture holds one of each.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func must(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	servers := primitive.NamesrvAddr{os.Args[1]}
	p, err := rocketmq.NewProducer(producer.WithNameServer(servers), producer.WithGroupName("golden_go_producer"))
	must(err)
	must(p.Start())
	m := primitive.NewMessage("GoldenGo", []byte("plain")).WithTag("TagA").WithKeys([]string{"k1"})
	_, err = p.SendSync(ctx, m)
	must(err)
	rich := primitive.NewMessage("GoldenGo", make([]byte, 6000)).WithTag("TagB").WithDelayTimeLevel(1)
	rich.WithProperty("colour", "red")
	_, err = p.SendSync(ctx, rich)
	must(err)
	must(p.SendOneWay(ctx, primitive.NewMessage("GoldenGo", []byte("one-way"))))
	_, err = p.SendSync(ctx, primitive.NewMessage("GoldenGo", []byte("b1")), primitive.NewMessage("GoldenGo", []byte("b2")))
	must(err)
	for _, orderly := range []bool{false, true} {
		got := make(chan struct{}, 100)
		c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(servers),
			consumer.WithGroupName(fmt.Sprintf("golden_go_%v", orderly)),
			consumer.WithConsumerOrder(orderly),
			consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		must(err)
		must(c.Subscribe("GoldenGo", consumer.MessageSelector{}, func(_ context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			got <- struct{}{}
			if !orderly && batch[0].ReconsumeTimes == 0 && batch[0].GetTags() == "TagA" {
				return consumer.ConsumeRetryLater, nil
			}
			return consumer.ConsumeSuccess, nil
		}))
		must(c.Start())
		for i := 0; i < 5; i++ {
			select {
			case <-got:
			case <-time.After(20 * time.Second):
				fmt.Println("only", i, "arrived")
			}
		}
		time.Sleep(12 * time.Second)
		must(c.Shutdown())
	}
	must(p.Shutdown())
	fmt.Println("done")
}
