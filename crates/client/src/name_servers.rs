//! Several independent name servers: any one that answers will do.

use crate::{Connection, Error, Reply};
use kerolox_protocol::rpc::{
    Rpc,
    route::{GetRouteInfoByTopic, RouteRequest},
};
use std::{sync::Mutex, time::Duration};

/// Name servers of one cluster, in the form `host:port;host:port`.
#[derive(Debug)]
pub struct NameServers {
    addrs: Vec<String>,
    current: Mutex<Option<Connection>>,
    within: Duration,
}

impl NameServers {
    /// Takes the addresses; connects at the first call. `within` limits each attempt.
    pub fn new(addrs: &str, within: Duration) -> NameServers {
        let addrs =
            addrs.split(';').map(str::trim).filter(|addr| !addr.is_empty()).map(str::to_owned).collect();
        NameServers { addrs, current: Mutex::new(None), within }
    }

    /// The addresses.
    pub fn addrs(&self) -> &[String] {
        &self.addrs
    }

    /// The brokers and queues of a topic: the body is a `TopicRouteData`.
    pub async fn route(&self, topic: &str) -> Result<Reply<()>, Error> {
        let request = RouteRequest { topic: topic.to_owned(), accept_standard_json_only: Some(true) };
        self.call::<GetRouteInfoByTopic>(&request, b"").await
    }

    /// Asks one name server, the next when that one cannot be reached. An answer that refuses is an answer.
    pub async fn call<R: Rpc>(&self, request: &R::Request, body: &[u8]) -> Result<Reply<R::Reply>, Error> {
        let kept = self.current.lock().map(|current| current.clone()).unwrap_or_default();
        if let Some(conn) = kept {
            match conn.call::<R>(request, body, self.within).await {
                Err(Error::NotSent { .. } | Error::MaybeSent { .. } | Error::TimedOut { .. }) => {}
                answered => return answered,
            }
        }
        let mut tried = Vec::new();
        for addr in &self.addrs {
            let attempt = match Connection::connect(addr, self.within).await {
                Ok(conn) => match conn.call::<R>(request, body, self.within).await {
                    Err(why @ (Error::NotSent { .. } | Error::MaybeSent { .. } | Error::TimedOut { .. })) => {
                        why
                    }
                    answered => {
                        if let Ok(mut current) = self.current.lock() {
                            *current = Some(conn);
                        }
                        return answered;
                    }
                },
                Err(why) => why,
            };
            tried.push(attempt.to_string());
        }
        let why = match tried.as_slice() {
            [] => "no name server is configured".to_owned(),
            tried => format!("no name server is reachable; tried {}", tried.join(" | ")),
        };
        Err(Error::NotSent { addr: self.addrs.join(";"), why })
    }
}
