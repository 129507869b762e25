//! What the fuzz target of this crate does with text; a bounded run of it is a test.

use crate::{
    kv::Kv,
    wire::{Form, read_queue_datas, read_registration, read_version},
};

/// Takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[("namesrv_text", namesrv_text)];

/// Inputs that a target can do something with.
pub fn seeds(_target: &str) -> Vec<Vec<u8>> {
    [
        "\0{\"configTable\":{\"ORDER_TOPIC_CONFIG\":{\"T\":\"broker-a:4\"},\"n\":{}}}",
        "\u{1}{\"brokerDatas\":[],\"queueDatas\":[{\"brokerName\":\"b-a\",\"perm\":6,\"readQueueNums\":2,\"writeQueueNums\":2}]}",
        "\u{2}{\"filterServerList\":[\"10.0.0.1:1\"],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":1,\"timestamp\":2},\
         \"topicConfigTable\":{\"T\":{\"topicName\":\"T\",\"readQueueNums\":4,\"writeQueueNums\":4,\"perm\":6}}}}",
        "\u{3}{\"dataVersion\":{\"counter\":1,\"timestamp\":2},\"topicConfigTable\":{\"T\":{\"topicName\":\"T\"}}}",
        "\u{4}{\"counter\":7,\"timestamp\":1700000000000}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// The file of values, which survives writing; a route as text; a registration in its forms, which says the same
/// whether or not its topics are wanted. The first byte chooses.
pub fn namesrv_text(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which % 6 {
        0 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if let Ok(kv) = Kv::load(text) {
                assert_eq!(Kv::load(&kv.text()).ok().as_ref(), Some(&kv));
            }
        }
        1 => drop(read_queue_datas(rest)),
        4 => drop(read_version(rest)),
        form => {
            let form = [Form::Json, Form::TopicsOnly, Form::Compressed][usize::from(form) % 3];
            let wanted = read_registration(rest, form, |_| true);
            let skipped = read_registration(rest, form, |_| false);
            if let (Ok(wanted), Ok(skipped)) = (wanted, skipped) {
                assert_eq!((wanted.version, wanted.filters), (skipped.version, skipped.filters));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_read_or_refused() {
        for (name, target) in TARGETS {
            kerolox_smoke::on_mutations(name, target, &seeds(name), 1_000);
        }
    }
}
