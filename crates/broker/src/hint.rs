//! What refusals say behind the original's words: the cause, and the command that helps.
//!
//! The first line is the original's, which clients and log searches look for. Names come from outside: they are cut,
//! and stand in a command only if they are legal.

use kerolox_protocol::{Fail, GroupName, TopicName, code, record::PROPERTIES_BYTES_MAX};
use kerolox_store::AppendError;
use std::io;

/// Code 17. `first` is the original's line; `why` is why the topic was not made, nothing where asking makes none.
pub(crate) fn no_topic(first: &str, name: &str, why: Option<&str>) -> Fail {
    let rest = match (TopicName::new(name), why) {
        (Err(why), _) => format!("That is no legal topic name: {why}."),
        (Ok(name), Some(why)) => {
            format!("This broker has no such topic and makes none: {why}. Create it: {}", create_topic(&name))
        }
        (Ok(name), None) => format!(
            "This broker has no such topic. A producer's first message creates it where autoCreateTopicEnable=true, \
             or create it now: {}",
            create_topic(&name)
        ),
    };
    Fail::new(code::TOPIC_NOT_EXIST, format!("{first}\n{rest}"))
}

/// Code 26. `auto`: whether a consumer's first pull may make groups.
pub(crate) fn no_group(first: &str, name: &str, auto: bool) -> Fail {
    let rest = match GroupName::new(name) {
        Err(why) => format!("That is no legal group name: {why}."),
        Ok(group) => {
            let why = match auto {
                true => {
                    "This broker has no such group; the first pull of a consumer creates it unless there are too many"
                }
                false => "This broker has no such group, and autoCreateSubscriptionGroup=false",
            };
            format!("{why}. Create it: mqadmin updateSubGroup -n <name server> -c <cluster> -g '{group}'")
        }
    };
    Fail::new(code::SUBSCRIPTION_GROUP_NOT_EXIST, format!("{first}\n{rest}"))
}

/// The original's line about a topic.
pub(crate) fn apply_first(name: &str) -> String {
    format!("topic[{}] not exist, apply first please!", shown(name))
}

fn create_topic(name: &TopicName) -> String {
    format!("mqadmin updateTopic -n <name server> -c <cluster> -t '{name}'")
}

/// A name from outside, cut for an answer.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

/// The store's refusal as an answer.
pub(crate) fn refused(why: AppendError) -> Fail {
    match why {
        AppendError::Refused(why) => {
            Fail::new(code::SERVICE_NOT_AVAILABLE, format!("service not available now: {why}"))
        }
        AppendError::TooLarge { bytes, max } => Fail::new(
            code::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal, maybe msg body or properties length not matched. msg body length limit \
                 {max}B, msg properties length limit 32KB. The message has {bytes}B."
            ),
        ),
        AppendError::Properties { bytes } => Fail::new(
            code::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal: its properties have {bytes} bytes, {PROPERTIES_BYTES_MAX} are allowed"
            ),
        ),
        AppendError::Topic => Fail::error("the topic's name does not fit into a record"),
    }
}

/// The refusal when a file of a queue cannot be read.
pub(crate) fn unreadable(topic: &str, queue: u32, why: &io::Error) -> Fail {
    Fail::error(format!("queue {queue} of topic {topic} cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_stands_in_no_command() {
        let long = "x".repeat(5_000);
        for name in ["a'; rm -rf /; '", "", "a b", &long] {
            let texts = [
                no_topic(&apply_first(name), name, None).remark,
                no_topic(&apply_first(name), name, Some("why")).remark,
                no_group(&shown(name), name, true).remark,
            ];
            for text in texts {
                assert!(!text.contains("mqadmin") && text.contains("no legal"), "{text}");
                assert!(text.len() < 500, "{}", text.len());
            }
        }
        let text = no_topic(&apply_first("T"), "T", None).remark;
        assert!(
            text.starts_with("topic[T] not exist, apply first please!\n") && text.contains("-t 'T'"),
            "{text}"
        );
    }
}
