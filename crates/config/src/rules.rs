//! Rules between keys, and defaults which depend on the machine.
//!
//! Reference: the start-up of broker and name server (`BrokerStartup`, `NamesrvStartup`).

use crate::loaded::{About, Loaded, Machine, Origin, Problem, Role};
use crate::{BrokerRole, Count, Kind, Number, PathText, Port};
use std::net::IpAddr;

/// What a rule found about one key.
pub(crate) struct Finding {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) verdict: Verdict,
}

pub(crate) enum Verdict {
    /// The configuration cannot be used; holds what was wanted.
    Refused(String),
    /// It can, with a warning.
    Warned(About, String),
}

/// Fills what nobody wrote and the machine knows.
pub(crate) fn machine_defaults(loaded: &mut Loaded, machine: &Machine) {
    let Machine { host_name, address, processors } = machine;
    let written = &loaded.written;
    let text = |field: &mut String, key: &str, known: &Option<String>| {
        if let Some(known) = known.as_ref().filter(|_| !written.contains(key)) {
            field.clone_from(known);
        }
    };
    text(&mut loaded.broker.broker_name, "brokerName", host_name);
    for ip in [&mut loaded.broker.broker_ip1, &mut loaded.broker.broker_ip2] {
        // Written empty is not written.
        if let Some(known) = address.as_ref().filter(|_| ip.trim().is_empty()) {
            ip.clone_from(known);
        }
    }

    let count = |field: &mut Count, key: &str, number: u32| {
        if !written.contains(key) {
            *field = Count(number);
        }
    };
    // The listed sizes of pools that do not exist here; tools compare them between brokers.
    let cpus = (*processors).clamp(1, 4_096);
    let broker = &mut loaded.broker;
    count(&mut broker.send_message_thread_pool_nums, "sendMessageThreadPoolNums", cpus.min(4));
    count(&mut broker.put_message_future_thread_pool_nums, "putMessageFutureThreadPoolNums", cpus.min(4));
    count(&mut broker.pull_message_thread_pool_nums, "pullMessageThreadPoolNums", 16 + 2 * cpus);
    count(
        &mut broker.process_reply_message_thread_pool_nums,
        "processReplyMessageThreadPoolNums",
        16 + 2 * cpus,
    );
    count(&mut broker.query_message_thread_pool_nums, "queryMessageThreadPoolNums", 8 + cpus);
    count(&mut broker.heartbeat_thread_pool_nums, "heartbeatThreadPoolNums", cpus.min(32));
    let ends = (8 + 2 * cpus).max(broker.send_message_thread_pool_nums.0.saturating_mul(4));
    count(&mut broker.end_transaction_thread_pool_nums, "endTransactionThreadPoolNums", ends);
    count(&mut loaded.server.client_callback_executor_threads, "clientCallbackExecutorThreads", cpus);
}

/// Fills the paths which lie under the user's home unless somebody wrote them.
pub(crate) fn home_defaults(loaded: &mut Loaded, home: Option<&str>) -> Result<(), Problem> {
    let home = home.filter(|home| !home.is_empty()).map(|home| home.trim_end_matches('/'));
    let file = loaded.file.clone();
    let under_home = |field: &mut PathText, key: &str, place: &str| {
        if !field.is_empty() {
            return Ok(());
        }
        let home = home.ok_or_else(|| Problem {
            origin: Origin { name: "environment HOME".to_owned(), line: None },
            key: key.to_owned(),
            value: String::new(),
            wanted: format!("HOME, or `{key}=` and a path: without both there is no place for files"),
        })?;
        *field = PathText(format!("{home}/{place}"));
        Ok(())
    };
    match loaded.role {
        Role::Broker => under_home(&mut loaded.store.store_path_root_dir, "storePathRootDir", "store"),
        Role::Namesrv => {
            // The original reads the key from the file and then overwrites it with the name of that file.
            if let Some(file) = file {
                loaded.namesrv.config_store_path = PathText(file);
            }
            under_home(&mut loaded.namesrv.kv_config_path, "kvConfigPath", "namesrv/kvConfig.json")?;
            under_home(&mut loaded.namesrv.config_store_path, "configStorePath", "namesrv/namesrv.properties")
        }
    }
}

/// Ports, role and id of a broker depend on each other.
pub(crate) fn between_keys(loaded: &mut Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(ports(loaded));
    findings.extend(role_and_id(loaded));
    findings.extend(role_is_later(loaded));
    findings.extend(no_own_name(loaded));
    findings.extend(no_own_address(loaded));
    findings.extend(no_access_control(loaded));
    findings.extend(disk_ratios(loaded));
    findings
}

fn ports(loaded: &mut Loaded) -> Option<Finding> {
    let port = loaded.server.listen_port.0;
    let written = loaded.written.contains("haListenPort").then_some(loaded.store.ha_listen_port);
    if port == 0 {
        loaded.store.ha_listen_port = Port(0);
        return None;
    }
    if !(3..u16::MAX).contains(&port) {
        let wanted = "a port from 3 to 65534 (the ports 2 below and 1 above are taken too), or 0 for any";
        let verdict = Verdict::Refused(wanted.to_owned());
        return Some(Finding { key: "listenPort", value: port.to_string(), verdict });
    }
    loaded.store.ha_listen_port = Port(port + 1);
    let other = written.filter(|written| *written != Port(port + 1))?;
    let text = format!("`haListenPort={}` is ignored: the port is listenPort + 1 = {}", other.0, port + 1);
    Some(Finding {
        key: "haListenPort",
        value: other.print(),
        verdict: Verdict::Warned(About::Overruled, text),
    })
}

fn role_and_id(loaded: &mut Loaded) -> Option<Finding> {
    let Number(id) = loaded.broker.broker_id;
    let role = loaded.store.broker_role;
    if role == BrokerRole::Slave {
        let wanted = "an id above 0 for `brokerRole=SLAVE`".to_owned();
        return (id <= 0).then(|| Finding {
            key: "brokerId",
            value: id.to_string(),
            verdict: Verdict::Refused(wanted),
        });
    }
    loaded.broker.broker_id = Number(0);
    let text = format!("`brokerId={id}` is ignored: id 0 belongs to `brokerRole={}`", role.print());
    (id != 0).then(|| Finding {
        key: "brokerId",
        value: id.to_string(),
        verdict: Verdict::Warned(About::Overruled, text),
    })
}

fn role_is_later(loaded: &Loaded) -> Option<Finding> {
    let role = loaded.store.broker_role;
    let text = match role {
        BrokerRole::AsyncMaster => return None,
        BrokerRole::SyncMaster => {
            "THERE IS NO REPLICATION YET: `brokerRole=SYNC_MASTER` is accepted, but no send waits for a replica and no copy exists"
        }
        BrokerRole::Slave => {
            "THERE IS NO REPLICATION YET: `brokerRole=SLAVE` is accepted, but nothing is copied from the master"
        }
    };
    let verdict = Verdict::Warned(About::Later, text.to_owned());
    Some(Finding { key: "brokerRole", value: role.print(), verdict })
}

/// A name server refuses what would break its lists, and an empty name is found by nobody. Host names have dots.
fn no_own_name(loaded: &Loaded) -> Vec<Finding> {
    let names = [
        ("brokerName", &loaded.broker.broker_name),
        ("brokerClusterName", &loaded.broker.broker_cluster_name),
    ];
    let refused = |(key, value): (&'static str, &String)| Finding {
        key,
        value: value.clone(),
        verdict: Verdict::Refused("a name of letters, digits, `-`, `_` and `.`".to_owned()),
    };
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    names
        .into_iter()
        .filter(|(_, value)| value.is_empty() || !value.chars().all(legal))
        .map(refused)
        .collect()
}

/// Whoever writes the key believes that strangers are kept out.
fn no_access_control(loaded: &Loaded) -> Option<Finding> {
    loaded.broker.acl_enable.then(|| Finding {
        key: "aclEnable",
        value: true.to_string(),
        verdict: Verdict::Refused(
            "`aclEnable=false`: there is no access control yet, and a broker that ignored the key would be open \
             to all. Keep strangers out with a firewall or network; administration is open to `adminNetworks` only"
                .to_owned(),
        ),
    })
}

/// What is told to clients must be something they can connect to; a name is looked up at the start.
fn no_own_address(loaded: &Loaded) -> Vec<Finding> {
    let addresses = [("brokerIP1", &loaded.broker.broker_ip1), ("brokerIP2", &loaded.broker.broker_ip2)];
    let wrong = |(_key, value): &(&'static str, &String)| !value.trim().is_empty() && !is_address(value);
    let refused = |(key, value): (&'static str, &String)| Finding {
        key,
        value: value.clone(),
        verdict: Verdict::Refused(format!(
            "an address that clients can connect to, as 10.0.0.7, or a host name; without `{key}=` one of this \
             machine's addresses is chosen"
        )),
    };
    addresses.into_iter().filter(wrong).map(refused).collect()
}

fn is_address(text: &str) -> bool {
    match text.trim().parse() {
        Ok(IpAddr::V4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Ok(IpAddr::V6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Err(_) => is_host_name(text.trim()),
    }
}

/// As RFC 1123 has it, and `_`, which names of containers have. A last part of digits is an address gone wrong.
fn is_host_name(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&part.len())
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(part) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Deleting must begin before refusing, or a full disk is never emptied.
pub(crate) fn disk_ratios(loaded: &Loaded) -> Option<Finding> {
    let forcibly = loaded.store.disk_space_clean_forcibly_ratio;
    let warning = loaded.store.disk_space_warning_level_ratio;
    (forcibly > warning).then(|| Finding {
        key: "diskSpaceCleanForciblyRatio",
        value: forcibly.print(),
        verdict: Verdict::Refused(format!("at most `diskSpaceWarningLevelRatio` ({})", warning.0)),
    })
}
