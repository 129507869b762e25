//! The verbs: one struct each, with its options and its `run`.

mod clusters;
mod messages;
mod topics;

use crate::Cluster;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::future::Future;

/// Runs a verb with its words, its own name first.
type Start = fn(&[String]) -> Result<()>;

/// A verb as the list shows it.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: Start,
}

/// All verbs, in the original's order.
const VERBS: &[Verb] = &[
    Verb {
        name: "updateTopic",
        about: "Create a topic, or change its queues and permission",
        run: start::<topics::UpdateTopic>,
    },
    Verb { name: "topicRoute", about: "Where a topic lives", run: start::<topics::TopicRoute> },
    Verb {
        name: "topicStatus",
        about: "First and last offset of every queue of a topic",
        run: start::<topics::TopicStatus>,
    },
    Verb {
        name: "clusterList",
        about: "All brokers with version, load and disk",
        run: start::<clusters::ClusterList>,
    },
    Verb { name: "topicList", about: "All topics", run: start::<topics::TopicNames> },
    Verb { name: "sendMessage", about: "Send one message", run: start::<messages::SendMessage> },
    Verb {
        name: "consumeMessage",
        about: "Read messages without committing",
        run: start::<messages::ConsumeMessage>,
    },
];

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Common {
    /// Name servers, joined by `;`. Default: the environment's NAMESRV_ADDR, else 127.0.0.1:9876.
    #[arg(short = 'n', long = "namesrvAddr")]
    namesrv_addr: Option<String>,
    /// Print JSON instead of columns.
    #[arg(long)]
    json: bool,
}

impl Common {
    fn cluster(&self) -> Cluster {
        let env = std::env::var("NAMESRV_ADDR").ok().filter(|addr| !addr.trim().is_empty());
        Cluster::new(self.namesrv_addr.as_deref().or(env.as_deref()).unwrap_or("127.0.0.1:9876"))
    }
}

/// A verb's options and what it does.
trait Run: Args {
    fn run(self) -> impl Future<Output = Result<()>>;
}

/// Runs the verb that the first word names, ignoring case.
pub fn run(words: &[String]) -> Result<()> {
    let Some(word) = words.first().filter(|word| !matches!(word.as_str(), "-h" | "--help")) else {
        list();
        return Ok(());
    };
    if word == "help" {
        match words.get(1) {
            Some(verb) => return find(verb)?(&[verb.clone(), "--help".into()]),
            None => list(),
        }
        return Ok(());
    }
    find(word)?(words)
}

fn find(name: &str) -> Result<Start> {
    match VERBS.iter().find(|verb| verb.name.eq_ignore_ascii_case(name)) {
        Some(verb) => Ok(verb.run),
        None => bail!("The sub command {name} not exist. Without a word the known ones are listed."),
    }
}

fn list() {
    println!("The most commonly used mqadmin commands are:");
    for verb in VERBS {
        println!("   {:<20} {}", verb.name, verb.about);
    }
    println!("\nSee 'mqadmin help <command>' for more information on a specific command.");
}

fn start<V: Run>(words: &[String]) -> Result<()> {
    let name =
        VERBS.iter().find(|verb| words.first().is_some_and(|word| verb.name.eq_ignore_ascii_case(word)));
    let command = clap::Command::new(name.map_or("mqadmin", |verb| verb.name));
    let matches = V::augment_args(command).get_matches_from(words);
    let verb = V::from_arg_matches(&matches)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the client")?;
    runtime.block_on(verb.run())
}
