//! The original's `-D` properties: those that stand for a key, and those that mean nothing yet.

use crate::whys::TLS;

/// What a `-D` property means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The same as a key, in the same text form; a file wins over it.
    Key(&'static str),
    /// A fraction of 1 for a key in percents; it wins over a file, as in the original.
    Fraction(&'static str),
    /// Known, without effect until the named thing exists.
    Later(&'static str),
}

/// What to tell somebody whose environment has options for a Java virtual machine.
pub(crate) const NOTICE: &str = "options of a Java virtual machine (heap, collector, logging) have no effect here: \
     memory is bounded by limits, not by a heap; only `-D` properties of the original are read";

/// What a fraction looks like.
pub(crate) const FRACTION: &str = "a fraction above 0 and up to 1, such as 0.90";

/// The properties of the original's servers. Others belong to the virtual machine or to clients and are ignored.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    Some(match name {
        "rocketmq.home.dir" => Meaning::Key("rocketmqHome"),
        "rocketmq.namesrv.addr" => Meaning::Key("namesrvAddr"),
        "rocketmq.namesrv.domain" => Meaning::Key("rmqAddressServerDomain"),
        "rocketmq.namesrv.domain.subgroup" => Meaning::Key("rmqAddressServerSubGroup"),
        "rocketmq.broker.diskSpaceWarningLevelRatio" => Meaning::Fraction("diskSpaceWarningLevelRatio"),
        "rocketmq.broker.diskSpaceCleanForciblyRatio" => Meaning::Fraction("diskSpaceCleanForciblyRatio"),
        "com.rocketmq.remoting.frameMaxLength" => Meaning::Key("com.rocketmq.remoting.frameMaxLength"),
        "com.rocketmq.remoting.socket.sndbuf.size" => Meaning::Key("serverSocketSndBufSize"),
        "com.rocketmq.remoting.socket.rcvbuf.size" => Meaning::Key("serverSocketRcvBufSize"),
        "com.rocketmq.remoting.socket.backlog" => Meaning::Key("serverSocketBacklog"),
        "com.rocketmq.remoting.write.buffer.high.water.mark" => Meaning::Key("writeBufferHighWaterMark"),
        "com.rocketmq.remoting.write.buffer.low.water.mark" => Meaning::Key("writeBufferLowWaterMark"),
        "com.rocketmq.remoting.client.connect.timeout" => Meaning::Key("connectTimeoutMillis"),
        _ if name.starts_with("tls.") => Meaning::Later(TLS),
        _ => return None,
    })
}

/// A fraction of 1 as whole percents, rounded.
pub(crate) fn percents(text: &str) -> Option<String> {
    let fraction = text.parse::<f64>().ok().filter(|fraction| *fraction > 0.0 && *fraction <= 1.0)?;
    Some(format!("{:.0}", fraction * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_become_percents() {
        for (text, expected) in [("0.98", Some("98")), ("0.9", Some("90")), ("1", Some("100")), ("98", None)]
        {
            assert_eq!(percents(text).as_deref(), expected, "{text}");
        }
        for text in ["0", "-0.5", "NaN", "inf", "x", ""] {
            assert_eq!(percents(text), None, "{text}");
        }
    }
}
