//! One connection, many calls in flight.
//!
//! A reader task matches answers to callers by `opaque`; a writer task sends what callers queue. Both end with
//! the connection. Requests that the server sends to us (a client that takes part in groups must answer some)
//! are dropped in this layer.

use crate::Error;
use bytes::{Bytes, BytesMut};
use kerolox_protocol::{
    code,
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Ext, FLAG_ONEWAY, Fields, Header},
    rpc::Rpc,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
};

/// Requests that may wait for the socket at once; a caller beyond that waits for room.
const QUEUE_MAX: usize = 1024;

/// An answer before anyone looked at its code.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Bytes,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Reply<H> {
    /// Its typed header.
    pub header: H,
    /// Its body.
    pub body: Bytes,
}

/// A connection to a broker or a name server. Cheap to clone; closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    addr: String,
    opaque: AtomicI32,
    queue: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

impl Connection {
    /// Connects to `addr` (`host:port`).
    pub async fn connect(addr: &str, within: Duration) -> Result<Connection, Error> {
        let not_sent = |why: String| Error::NotSent { addr: addr.to_owned(), why };
        let socket = match tokio::time::timeout(within, TcpStream::connect(addr)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => return Err(not_sent(format!("cannot connect: {why}"))),
            Err(_) => return Err(not_sent(format!("cannot connect within {within:?}"))),
        };
        socket.set_nodelay(true).map_err(|why| not_sent(why.to_string()))?;
        let (reader, writer) = socket.into_split();
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(read(reader, waiting.clone()));
        tokio::spawn(write(writer, queued, waiting.clone()));
        let shared = Shared { addr: addr.to_owned(), opaque: AtomicI32::new(0), queue, waiting };
        Ok(Connection { shared: Arc::new(shared) })
    }

    /// The address that was given to [`Connection::connect`].
    pub fn addr(&self) -> &str {
        &self.shared.addr
    }

    /// Makes one call; every code but success is [`Error::Refused`].
    pub async fn call<R: Rpc>(
        &self,
        request: &R::Request,
        body: &[u8],
        within: Duration,
    ) -> Result<Reply<R::Reply>, Error> {
        let (_, reply) = self.call_accepting::<R>(request, body, &[code::SUCCESS], within).await?;
        Ok(reply)
    }

    /// Makes one call whose answer has a typed header under several codes, as a pull's.
    pub async fn call_accepting<R: Rpc>(
        &self,
        request: &R::Request,
        body: &[u8],
        accepted: &[i32],
        within: Duration,
    ) -> Result<(i32, Reply<R::Reply>), Error> {
        let answer = self.ask(R::CODE, request.to_ext(), body, within).await?;
        let addr = self.shared.addr.clone();
        let code = answer.header.code;
        if !accepted.contains(&code) {
            let remark = answer.header.remark.unwrap_or_default();
            return Err(Error::Refused { addr, code, remark });
        }
        let header = answer.header.fields().map_err(|why| Error::BadAnswer { addr, why: why.to_string() })?;
        Ok((code, Reply { header, body: answer.body }))
    }

    /// Sends a request by number and waits for whatever is answered.
    pub async fn ask(&self, code: i32, ext: Ext, body: &[u8], within: Duration) -> Result<Answer, Error> {
        let opaque = self.shared.opaque.fetch_add(1, Ordering::Relaxed);
        let mut frame = Vec::with_capacity(256 + body.len());
        Header::request(code, opaque, Some(ext)).write_frame(Codec::Json, body, &mut frame);
        let addr = || self.shared.addr.clone();
        let Some(answer) = self.shared.waiting.expect(opaque) else {
            return Err(Error::NotSent { addr: addr(), why: "the connection is closed".into() });
        };
        let exchange = async {
            if self.shared.queue.send(frame).await.is_err() {
                return Err(Error::NotSent { addr: addr(), why: "the connection is closed".into() });
            }
            answer.await.map_err(|_| Error::MaybeSent { addr: addr(), why: self.shared.waiting.why() })
        };
        let result = tokio::time::timeout(within, exchange).await;
        self.shared.waiting.forget(opaque);
        result.unwrap_or(Err(Error::TimedOut { addr: addr(), after: within }))
    }

    /// Sends a request that wants no answer; returns when it is queued for the socket.
    pub async fn oneway<R: Rpc>(&self, request: &R::Request, body: &[u8]) -> Result<(), Error> {
        let opaque = self.shared.opaque.fetch_add(1, Ordering::Relaxed);
        let mut header = Header::request(R::CODE, opaque, Some(request.to_ext()));
        header.flag |= FLAG_ONEWAY;
        let mut frame = Vec::with_capacity(256 + body.len());
        header.write_frame(Codec::Json, body, &mut frame);
        let sent = self.shared.queue.send(frame).await;
        sent.map_err(|_| Error::NotSent {
            addr: self.shared.addr.clone(),
            why: "the connection is closed".into(),
        })
    }
}

/// Callers waiting for an answer, until the connection ends.
#[derive(Debug, Default)]
struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    callers: HashMap<i32, oneshot::Sender<Answer>>,
    closed: Option<String>,
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, opaque: i32) -> Option<oneshot::Receiver<Answer>> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        state.callers.insert(opaque, sender);
        Some(receiver)
    }

    fn answer(&self, answer: Answer) {
        let caller = self.lock().callers.remove(&answer.header.opaque);
        if let Some(caller) = caller {
            // The caller may have given up meanwhile; then nobody wants the answer.
            let _ = caller.send(answer);
        }
    }

    fn forget(&self, opaque: i32) {
        self.lock().callers.remove(&opaque);
    }

    fn close(&self, why: String) {
        let mut state = self.lock();
        state.closed.get_or_insert(why);
        state.callers.clear();
    }

    fn why(&self) -> String {
        self.lock().closed.clone().unwrap_or_else(|| "closed".into())
    }
}

async fn read(mut socket: OwnedReadHalf, waiting: Arc<Waiting>) {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    let why = loop {
        match socket.read_buf(&mut buffer).await {
            Ok(0) => break "the server closed the connection".to_owned(),
            Ok(_) => {}
            Err(why) => break why.to_string(),
        }
        if let Err(why) = deliver(&mut buffer, &waiting) {
            break why;
        }
    };
    waiting.close(why);
}

/// Hands out every whole frame at the start of the buffer.
fn deliver(buffer: &mut BytesMut, waiting: &Waiting) -> Result<(), String> {
    loop {
        let (header, from, to) = match split(buffer, FRAME_BYTES_MAX).map_err(|why| why.to_string())? {
            Split::Partial(need) => {
                // Room for the claimed length is taken in steps, as bytes come.
                buffer.reserve(need.saturating_sub(buffer.len()).min(1 << 20));
                return Ok(());
            }
            Split::Whole(frame, taken) => {
                let header = Header::decode(frame.codec, frame.header).map_err(|why| why.to_string())?;
                (header, taken - frame.body.len(), taken)
            }
        };
        let body = buffer.split_to(to).freeze().slice(from..);
        if header.is_response() {
            waiting.answer(Answer { header, body });
        }
    }
}

async fn write(mut socket: OwnedWriteHalf, mut queued: mpsc::Receiver<Vec<u8>>, waiting: Arc<Waiting>) {
    let mut out = Vec::new();
    while let Some(frame) = queued.recv().await {
        out.clear();
        out.extend_from_slice(&frame);
        // What queued up meanwhile leaves in the same write.
        while out.len() < 256 * 1024
            && let Ok(frame) = queued.try_recv()
        {
            out.extend_from_slice(&frame);
        }
        if let Err(why) = socket.write_all(&out).await {
            return waiting.close(why.to_string());
        }
    }
    // Every handle is gone: say goodbye so that the reader ends too.
    let _ = socket.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::rpc::offset::{GetMaxOffset, OffsetReply, QueueRef};
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that answers each request with what `answer` says, until it says nothing.
    async fn server(answer: impl Fn(&Header) -> Option<Vec<Header>> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = BytesMut::new();
            while socket.read_buf(&mut buffer).await.unwrap() > 0 {
                while let Ok(Split::Whole(frame, taken)) = split(&buffer, FRAME_BYTES_MAX) {
                    let request = Header::decode(frame.codec, frame.header).unwrap();
                    let Some(answers) = answer(&request) else { return };
                    let mut out = Vec::new();
                    answers.iter().for_each(|header| header.write_frame(Codec::Json, b"", &mut out));
                    socket.write_all(&out).await.unwrap();
                    let _ = buffer.split_to(taken);
                }
            }
        });
        addr
    }

    fn queue(queue_id: i32) -> QueueRef {
        QueueRef { topic: "T".into(), queue_id }
    }

    #[tokio::test]
    async fn answers_find_their_callers_in_any_order() {
        // The first request is answered together with the second, and after it.
        let addr = server(|request| {
            let answer = |opaque: i32| {
                let mut header = Header::answer(code::SUCCESS, opaque);
                header.ext = Some(OffsetReply { offset: i64::from(opaque) * 10 }.to_ext());
                header
            };
            Some(if request.opaque == 0 { vec![] } else { vec![answer(1), answer(0)] })
        })
        .await;
        let conn = Connection::connect(&addr, SOON).await.unwrap();
        let (first, second) = (queue(0), queue(1));
        let (first, second) = tokio::join!(
            conn.call::<GetMaxOffset>(&first, b"", SOON),
            conn.call::<GetMaxOffset>(&second, b"", SOON)
        );
        assert_eq!((first.unwrap().header.offset, second.unwrap().header.offset), (0, 10));
    }

    #[tokio::test]
    async fn a_refusal_carries_the_servers_words() {
        let addr = server(|request| {
            let mut header = Header::answer(code::TOPIC_NOT_EXIST, request.opaque);
            header.remark = Some("topic[T] not exist".into());
            Some(vec![header])
        })
        .await;
        let conn = Connection::connect(&addr, SOON).await.unwrap();
        let refused = conn.call::<GetMaxOffset>(&queue(0), b"", SOON).await.unwrap_err();
        let remark = "topic[T] not exist".to_owned();
        assert_eq!(refused, Error::Refused { addr, code: code::TOPIC_NOT_EXIST, remark });
    }

    #[tokio::test]
    async fn a_connection_that_ends_fails_the_calls_in_flight_and_later_ones() {
        let addr = server(|_| None).await;
        let conn = Connection::connect(&addr, SOON).await.unwrap();
        let lost = conn.call::<GetMaxOffset>(&queue(0), b"", SOON).await.unwrap_err();
        assert!(matches!(lost, Error::MaybeSent { .. }), "{lost:?}");
        let later = conn.call::<GetMaxOffset>(&queue(0), b"", SOON).await.unwrap_err();
        assert!(matches!(later, Error::NotSent { .. }), "{later:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_in_time_is_said_so() {
        let addr = server(|_| Some(vec![])).await;
        let conn = Connection::connect(&addr, SOON).await.unwrap();
        let within = Duration::from_millis(200);
        let late = conn.call::<GetMaxOffset>(&queue(0), b"", within).await.unwrap_err();
        assert_eq!(late, Error::TimedOut { addr, after: within });
    }

    #[tokio::test]
    async fn a_closed_port_is_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(matches!(Connection::connect(&addr, SOON).await, Err(Error::NotSent { .. })));
    }
}
