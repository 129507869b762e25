//! Why there is no route, and what to do about it.
//!
//! A pure look at the table. The three causes that users meet are a broker that is not registered here, a
//! topic that nobody created, and auto-creation that is off; the remark says which it is, and the command.

use crate::routes::Routes;
use kerolox_config::text::within;
use kerolox_protocol::TopicName;

/// Template topic from which brokers create topics at their first message.
const TEMPLATE: &str = "TBW102";
/// Longest part of a foreign text that a remark repeats.
const SHOWN_MAX: usize = 255;
/// Larger tables are not searched for a similar name: clients ask for missing topics again and again.
const SEARCHED_MAX: usize = 5_000;
/// Longest name that is compared with others.
const COMPARED_MAX: usize = 64;

/// The remark of an answer without a route. Its first line is the original's, which log searches look for.
pub fn no_route(routes: &Routes, topic: &str) -> String {
    let visible = |c: char| if c.is_control() { '?' } else { c };
    let shown: String = topic.chars().take(SHOWN_MAX).map(visible).collect();
    let cause = if let Err(why) = TopicName::new(topic) {
        format!("That is no legal topic name, so no broker can have it: {why}")
    } else if !routes.has_brokers() {
        "No broker is registered here. Start one with namesrvAddr naming this name server, and check that it \
         can reach it"
            .to_owned()
    } else if topic == TEMPLATE {
        "No broker creates topics at their first message (autoCreateTopicEnable=false everywhere). Create the \
         topic you want: mqadmin updateTopic -n <this name server> -c <cluster> -t <topic>"
            .to_owned()
    } else if routes.inherits(TEMPLATE) {
        format!(
            "Nobody created the topic yet. The first message of a producer creates it; a consumer waits until \
             then, or create it now: {}",
            command(&shown)
        )
    } else {
        // Giving a broker its write permission back makes its template an ordinary topic, as in the original.
        let why = match routes.route(TEMPLATE) {
            Some(_) => "its template TBW102 is switched off, or was reset by addWritePerm",
            None => "autoCreateTopicEnable=false",
        };
        format!(
            "Nobody created the topic, and no broker creates topics at their first message ({why}). Create it: {}",
            command(&shown)
        )
    };
    let similar =
        nearest(routes, topic).map(|name| format!(" A similar topic exists: {name}.")).unwrap_or_default();
    format!("No topic route info in name server for the topic: {shown}\n{cause}.{similar}")
}

fn command(topic: &str) -> String {
    format!("mqadmin updateTopic -n <this name server> -c <cluster> -t '{topic}'")
}

/// The known topic that was probably meant.
fn nearest<'a>(routes: &'a Routes, topic: &str) -> Option<&'a str> {
    if topic.len() > COMPARED_MAX || routes.topics().len() > SEARCHED_MAX {
        return None;
    }
    let edits = (topic.len() / 4).clamp(1, 3);
    let names = routes.topics().map(|name| name.as_str());
    // A look at the length spares most comparisons.
    let names = names.filter(|name| name.len().abs_diff(topic.len()) <= edits);
    within(edits, topic, names)
}
