"""Says the everyday requests of the C++ client once, through its Python binding, so that a capture holds one of each."""
import os
import sys
import time

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, RecvMessage
from rocketmq.exceptions import ffi_check
from rocketmq.ffi import dll


def message(tag, body):
    m = Message("GoldenCpp")
    m.set_tags(tag)
    m.set_keys("k1")
    m.set_body(body)
    return m


def subscribe(consumer, on_message):
    """As the binding's own subscribe, except that the listener's return value is the verdict."""
    ffi_check(dll.Subscribe(consumer._handle, b"GoldenCpp", b"*"))
    consumer._register_callback(lambda _, handle: on_message(RecvMessage(handle)))


producer = Producer("golden_cpp_producer")
producer.set_namesrv_addr(sys.argv[1])
producer.start()
print(producer.send_sync(message("TagA", "plain")))
rich = message("TagB", "x" * 6000)
rich.set_property("colour", "red")
rich.set_delay_time_level(1)
print(producer.send_sync(rich))
producer.send_oneway(message("TagA", "one-way"))
print(producer.send_batch([message("TagA", "b1"), message("TagA", "b2")]))
print(producer.send_orderly(message("TagA", "ordered"), 1))
got = []
kept = []  # the binding frees a consumer it forgets, and crashes when that one is already shut down
for orderly in (False, True):
    consumer = PushConsumer("golden_cpp_%s" % orderly, orderly=orderly)
    consumer.set_namesrv_addr(sys.argv[1])

    def on_message(m):
        got.append(m.id)
        if not orderly and m.body == b"plain" and m.reconsume_times == 0:
            return 1  # RECONSUME_LATER
        return 0

    subscribe(consumer, on_message)
    consumer.start()
    kept.append(consumer)
    time.sleep(15)
    consumer.shutdown()
print(len(got), "consumed")
puller = PullConsumer("golden_cpp_pull")
puller.set_namesrv_addr(sys.argv[1])
puller.start()
print(sum(1 for _ in puller.pull("GoldenCpp")), "pulled")
puller.shutdown()
producer.shutdown()
print("done", flush=True)
os._exit(0)
