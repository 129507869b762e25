//! Keys of the network: the port, limits of connections, and the links to name servers.
//!
//! Reference: `NettyServerConfig` and `NettyClientConfig` of 4.9; most of their keys tune Netty.

use crate::declare::config;
use crate::kinds::{Bytes, Count, Millis, Port, Seconds};
use crate::whys::{CLIENT_SIDE, IO_SHAPE, POOLED, SEMAPHORE, TLS};

/// The largest number of the original's `int` keys.
const INT: i64 = i32::MAX as i64;

/// Port of a name server that names no other.
pub const NAMESRV_PORT: u16 = 9_876;

config! {
    /// Where a server listens and what a connection may cost.
    pub struct ServerConfig {
        /// Port for clients: 10911 for a broker, 9876 for a name server; 0 lets the system choose.
        /// A broker also takes the port 2 below and the one above.
        "listenPort" Restart listen_port: Port = Port(10_911), obeyed;
        /// Threads that decode.
        "serverWorkerThreads" Restart server_worker_threads: Count = Count(8), meaningless(IO_SHAPE);
        /// Threads for requests without a pool of their own.
        "serverCallbackExecutorThreads" Restart server_callback_executor_threads: Count = Count(0), meaningless(IO_SHAPE);
        /// Threads that read and write.
        "serverSelectorThreads" Restart server_selector_threads: Count = Count(3), meaningless(IO_SHAPE);
        /// One-way requests to clients under way.
        "serverOnewaySemaphoreValue" Restart server_oneway_semaphore_value: Count = Count(256), meaningless(SEMAPHORE);
        /// Requests to clients under way.
        "serverAsyncSemaphoreValue" Restart server_async_semaphore_value: Count = Count(64), meaningless(SEMAPHORE);
        /// Silence after which a connection is closed.
        "serverChannelMaxIdleTimeSeconds" Restart server_channel_max_idle_time_seconds: Seconds[1..=INT] = Seconds(120), obeyed;
        /// Send buffer of a socket; 0 leaves it to the system.
        "serverSocketSndBufSize" Restart server_socket_snd_buf_size: Bytes[0..=INT] = Bytes(0), obeyed;
        /// Receive buffer of a socket; 0 leaves it to the system.
        "serverSocketRcvBufSize" Restart server_socket_rcv_buf_size: Bytes[0..=INT] = Bytes(0), obeyed;
        /// Unsent bytes from which a connection counts as not writable.
        "writeBufferHighWaterMark" Restart write_buffer_high_water_mark: Bytes = Bytes(0), meaningless("unsent answers of a connection have a fixed limit, at which it is not read any more");
        /// Unsent bytes below which it counts as writable again.
        "writeBufferLowWaterMark" Restart write_buffer_low_water_mark: Bytes = Bytes(0), meaningless("unsent answers of a connection have a fixed limit, at which it is not read any more");
        /// Microseconds for which a server with nothing to do looks for the next request before it sleeps, while
        /// requests come one by one and soon and a processor is free; 0: never. Not a key of the original.
        "busyPollMicros" Restart busy_poll_micros: Count[0..=1_000] = Count(50), obeyed;
        /// Connections that may wait to be accepted.
        "serverSocketBacklog" Restart server_socket_backlog: Count[1..=INT] = Count(1_024), obeyed;
        /// Take buffers from a pool.
        "serverPooledByteBufAllocatorEnable" Restart server_pooled_byte_buf_allocator_enable: bool = true, meaningless(POOLED);
        /// Use epoll.
        "useEpollNativeSelector" Restart use_epoll_native_selector: bool = false, meaningless("always epoll where there is one");
        /// Threads of outgoing links.
        "clientWorkerThreads" Restart client_worker_threads: Count = Count(4), meaningless(CLIENT_SIDE);
        /// Threads for answers of outgoing links. Default: the processors.
        "clientCallbackExecutorThreads" Restart client_callback_executor_threads: Count = Count(4), meaningless(CLIENT_SIDE);
        /// One-way requests of outgoing links under way.
        "clientOnewaySemaphoreValue" Restart client_oneway_semaphore_value: Count = Count(65_535), meaningless(CLIENT_SIDE);
        /// Requests of outgoing links under way.
        "clientAsyncSemaphoreValue" Restart client_async_semaphore_value: Count = Count(65_535), meaningless(CLIENT_SIDE);
        /// How long opening a link to a name server may take.
        "connectTimeoutMillis" Restart connect_timeout_millis: Millis[1..=INT] = Millis(3_000), obeyed;
        /// Has no meaning in 4.9 any more.
        "channelNotActiveInterval" Restart channel_not_active_interval: Millis = Millis(60_000), meaningless(CLIENT_SIDE);
        /// Silence after which an outgoing link is closed.
        "clientChannelMaxIdleTimeSeconds" Restart client_channel_max_idle_time_seconds: Seconds = Seconds(120), meaningless(CLIENT_SIDE);
        /// Send buffer of an outgoing link.
        "clientSocketSndBufSize" Restart client_socket_snd_buf_size: Bytes = Bytes(0), meaningless(CLIENT_SIDE);
        /// Receive buffer of an outgoing link.
        "clientSocketRcvBufSize" Restart client_socket_rcv_buf_size: Bytes = Bytes(0), meaningless(CLIENT_SIDE);
        /// Take buffers of outgoing links from a pool.
        "clientPooledByteBufAllocatorEnable" Restart client_pooled_byte_buf_allocator_enable: bool = false, meaningless(POOLED);
        /// Close an outgoing link whose answer did not come in time.
        "clientCloseSocketIfTimeout" Restart client_close_socket_if_timeout: bool = true, meaningless("such a link is always closed and opened again");
        /// Speak TLS on outgoing links.
        "useTLS" Restart use_tls: bool = false, later(TLS);

        /// Largest frame that is read; the original knows it as a `-D` property only.
        "com.rocketmq.remoting.frameMaxLength" Restart frame_max_length: Bytes[1_024..=INT] = Bytes(16 << 20), obeyed;
    }
}

impl ServerConfig {
    /// The defaults of a name server: its own port.
    pub fn for_namesrv() -> ServerConfig {
        ServerConfig { listen_port: Port(NAMESRV_PORT), ..ServerConfig::default() }
    }

    /// The "VIP" port of a broker, 2 below the main one; `None` when the system chooses the main one.
    pub fn vip_port(&self) -> Option<u16> {
        self.listen_port.0.checked_sub(2).filter(|port| *port > 0)
    }
}
