//! Text forms of the kinds of value: what is taken, how it is printed, what is refused.

use kerolox_config::{
    Addresses, BrokerRole, Bytes, DelayLevels, HourList, Kind, Names, Paths, Percent, Port,
};

fn takes<K: Kind>(text: &str, printed: &str) {
    let value = K::parse(text).unwrap_or_else(|wanted| panic!("{text}: {wanted}"));
    assert_eq!(value.print(), printed, "{text}");
}

fn refuses<K: Kind>(text: &str) {
    let found = K::parse(text).map(|value| value.print());
    assert!(found.is_err(), "{} takes `{text}` as {found:?}", K::NAME);
}

#[test]
fn numbers() {
    takes::<Bytes>("1073741824", "1073741824");
    takes::<Percent>("100", "100");
    takes::<Port>("0", "0");
    for text in ["", "-1", "1.5", "1k", "1_000", " 1", "0x10", "9223372036854775808"] {
        refuses::<Bytes>(text);
    }
    refuses::<Percent>("101");
    refuses::<Port>("65536");
}

#[test]
fn words() {
    takes::<BrokerRole>("SLAVE", "SLAVE");
    for text in ["slave", "SLAVE ", "", "MASTER"] {
        refuses::<BrokerRole>(text);
    }
    takes::<bool>("TRUE", "true");
    takes::<bool>("False", "false");
    for text in ["yes", "1", "", "true "] {
        refuses::<bool>(text);
    }
}

#[test]
fn addresses() {
    takes::<Addresses>("", "");
    takes::<Addresses>("a:1;b.c-d:65535;", "a:1;b.c-d:65535");
    takes::<Addresses>(" 10.0.0.1:9876 ; 10.0.0.2:9876 ", "10.0.0.1:9876;10.0.0.2:9876");
    takes::<Addresses>("[2001:db8::1]:9876", "[2001:db8::1]:9876");
    for text in ["a", "a:", ":1", "a:0", "a:65536", "a:1,b:2", "http://a:1", "a b:1", "[]:1"] {
        refuses::<Addresses>(text);
    }
    let address = Addresses::parse("[::1]:9876").expect("IPv6").0.remove(0);
    assert_eq!((address.host.as_str(), address.port), ("::1", 9876));
}

#[test]
fn delays() {
    let levels = DelayLevels::parse("1s  2m 3h 4d").expect("delays");
    assert_eq!(levels.millis(), [1_000, 120_000, 10_800_000, 345_600_000]);
    assert_eq!(levels.print(), "1s  2m 3h 4d");
    assert_eq!((levels.delay_ms(0), levels.delay_ms(1), levels.delay_ms(5)), (None, Some(1_000), None));
    assert_eq!(DelayLevels::default().max_level(), 18);
    assert_eq!(DelayLevels::parse(&DelayLevels::default().print()), Ok(DelayLevels::default()));
    for text in ["", " ", "1", "s", "1x", "-1s", "1s,2s", "1秒", "99999999999s"] {
        refuses::<DelayLevels>(text);
    }
    refuses::<DelayLevels>(&"1s ".repeat(257));
}

#[test]
fn lists() {
    takes::<HourList>("04", "04");
    takes::<HourList>("4;16;", "04;16");
    takes::<HourList>("", "");
    for text in ["24", "-1", "4,5", "noon"] {
        refuses::<HourList>(text);
    }
    takes::<Paths>("/a, /b,", "/a,/b");
    refuses::<Paths>("/a\0");
    takes::<Names>("a;;b", "a;b");
}
