use super::*;
use ecg::{SampleRate, SignalSpec};
use proptest::prelude::*;

const JSON: &str = r#"{"version":1,"boot":305419896,"sequence":7,"first_sample":1750,
    "device_time_us":1767225607000000,"battery_percent":81,
    "signals":[{"kind":"II","rate_hz":250,"gain":200,"baseline":0,"samples":[0,12,40,100]}]}"#;

fn parse(payload: &[u8]) -> Result<Packet, Error> {
    Packet::parse(payload, &Limits::default())
}

fn layout(signals: &[(&str, f64)]) -> Layout {
    let spec = |&(kind, hz): &(&str, f64)| SignalSpec {
        kind: kind.parse().unwrap(),
        rate: SampleRate::new(hz).unwrap(),
    };
    Layout::new(&signals.iter().map(spec).collect::<Vec<_>>()).unwrap()
}

fn signal(samples: Vec<i32>) -> PacketSignal {
    PacketSignal {
        gain: 200.0,
        baseline: -7,
        lead_off: false,
        samples,
    }
}

fn example() -> Packet {
    let ecg: Vec<i32> = (0..250).map(|k| (k * 37) % 301 - 150).collect();
    Packet {
        boot: BootId(0xdead_beef),
        sequence: 3,
        first_sample: SampleIndex(750),
        device_time: Utc(1_767_225_607_000_000),
        layout: layout(&[("II", 250.0), ("V1", 250.0), ("PPG-green", 50.0)]),
        signals: vec![signal(ecg.clone()), signal(ecg), signal((0..50).collect())],
        battery_percent: Some(81),
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let signals = prop::collection::vec(
        (
            1e-6..1e6_f64,
            any::<i32>(),
            any::<bool>(),
            prop::collection::vec(any::<i32>(), 60),
        ),
        1..4,
    );
    (
        any::<u32>(),
        0..INDEX_END,
        0..INDEX_END / 100,
        any::<i64>(),
        signals,
        prop::option::of(0..=100_u8),
        1_usize..=12,
    )
        .prop_map(
            |(boot, sequence, start, time, signals, battery_percent, n)| {
                // 5 n samples of 250 Hz last as long as n of 50 Hz.
                let rates = [("II", 250.0, 5), ("PPG", 50.0, 1), ("V5", 500.0, 10)];
                Packet {
                    boot: BootId(boot),
                    sequence,
                    first_sample: SampleIndex(start * 5),
                    device_time: Utc(time),
                    layout: layout(&rates.map(|(kind, hz, _)| (kind, hz))[..signals.len()]),
                    signals: signals
                        .into_iter()
                        .zip(rates)
                        .map(
                            |((gain, baseline, lead_off, samples), (.., per))| PacketSignal {
                                gain,
                                baseline,
                                lead_off,
                                samples: samples.into_iter().cycle().take(n * per).collect(),
                            },
                        )
                        .collect(),
                    battery_percent,
                }
            },
        )
}

proptest! {
    #[test]
    fn both_encodings_round_trip(packet in packets()) {
        prop_assert_eq!(&parse(&packet.encode()).unwrap(), &packet);
        prop_assert_eq!(&parse(&packet.encode_json()).unwrap(), &packet);
        for signal in packet.to_block().signals {
            prop_assert!(signal.samples.iter().all(|mv| mv.is_finite()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(parse(&bytes));
        drop(parse(&[b"{", bytes.as_slice()].concat()));
    }

    #[test]
    fn damaged_packets_never_panic(at in any::<prop::sample::Index>(), byte: u8, insert: bool) {
        for mut bytes in [example().encode(), example().encode_json()] {
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
            if let Ok(packet) = parse(&bytes) {
                packet.check(&Limits::default()).unwrap();
                drop(packet.to_block());
            }
        }
    }
}

#[test]
fn the_schema_example_parses() {
    let packet = parse(JSON.as_bytes()).unwrap();
    assert_eq!(packet.boot, BootId(0x1234_5678));
    assert_eq!(packet.end(), SampleIndex(1754));
    assert_eq!(packet.to_block().signals[0].samples, [0.0, 0.06, 0.2, 0.5]);
    assert!(include_str!("../../proto/packet.proto").contains(r#""samples": [0, 12, 40, 100]"#));
}

#[test]
fn three_leads_of_a_second_take_about_800_bytes() {
    let mut packet = example();
    packet.layout = layout(&[("II", 250.0), ("V1", 250.0), ("V5", 250.0)]);
    // Slopes of at most 0.3 mV per sample at 200 adu/mV, as in most of an ECG.
    let samples = (0..250).map(|k| (k * k) % 61);
    packet.signals = vec![signal(samples.collect()); 3];
    let n_bytes = packet.encode().len();
    assert!((780..900).contains(&n_bytes), "{n_bytes}");
}

#[test]
fn a_truncated_packet_is_refused_at_every_length() {
    for whole in [example().encode(), example().encode_json()] {
        for length in 0..whole.len() {
            assert!(
                parse(&whole[..length]).is_err(),
                "{length} of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn samples_that_leave_32_bits_are_refused() {
    let mut packet = example();
    packet.layout = layout(&[("II", 250.0)]);
    packet.signals = vec![signal(vec![i32::MAX, i32::MIN, 0])];
    let mut bytes = packet.encode();
    assert_eq!(parse(&bytes).unwrap(), packet);
    // The last difference is +2^31; the largest varint of the same length takes the sum beyond.
    let last = bytes.len() - 1;
    bytes[last] = 0x7e;
    assert_eq!(parse(&bytes).unwrap_err().reason(), "sample_range");
}

/// A length-delimited field with a length of one's choice.
fn field(number: u8, length: &[u8], content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], length, content].concat()
}

#[test]
fn hostile_lengths_are_refused_before_allocation() {
    let head = [0x08, 0x01];
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for payload in [
        [&head[..], &field(8, &huge, &[])].concat(),
        [&head[..], &field(8, &[12], &field(6, &huge, &[1]))].concat(),
        [&head[..], &field(8, &[0x80; 11], &[])].concat(),
        vec![0x0b; 100],
        vec![0xff; 100],
    ] {
        assert_eq!(parse(&payload).unwrap_err().reason(), "protobuf");
    }
    let many_signals = field(8, &[0], &[]).repeat(17);
    let packed = field(6, &[0xa1, 0x9c, 0x01], &vec![0; 20_001]);
    let one_by_one = [6 << 3, 0].repeat(20_001);
    let length = |n: usize| {
        let byte = |shift: usize, more: u8| u8::try_from(n >> shift & 0x7f).unwrap() | more;
        [byte(0, 0x80), byte(7, 0x80), byte(14, 0)]
    };
    for payload in [
        many_signals,
        field(8, &length(packed.len()), &packed),
        field(8, &length(one_by_one.len()), &one_by_one),
        vec![0; 256 * 1024 + 1],
    ] {
        let error = parse(&payload).unwrap_err();
        assert_eq!(error.reason(), "too_large", "{error}");
    }
}

#[test]
fn each_mistake_has_its_reason() {
    let check = |from: &str, to: &str, reason: &str, says: &str| {
        let text = JSON.replacen(from, to, 1);
        assert_ne!(text, JSON, "{from}");
        let error = parse(text.as_bytes()).expect_err(&text);
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    check("\"version\":1", "\"version\":2", "version", "version 2");
    check("\"version\":1,", "", "json", "version");
    check("\"boot\"", "\"boots\"", "json", "boots");
    check(":305419896", ":-1", "json", "-1");
    check(
        "\"sequence\":7",
        "\"sequence\":9007199254740992",
        "field",
        "2^53",
    );
    check(":1750", ":18446744073709551615", "field", "2^53");
    check(":81", ":101", "field", "101");
    check(":81", ":256", "field", "256");
    check("\"II\"", "\"V7\"", "unknown_signal", "V7");
    check("\"rate_hz\":250", "\"rate_hz\":24", "rate", "24 Hz");
    check("\"rate_hz\":250", "\"rate_hz\":2001", "rate", "2001 Hz");
    check("\"rate_hz\":250", "\"rate_hz\":NaN", "json", "line");
    check(
        "\"rate_hz\":250",
        "\"rate_hz\":1e999",
        "json",
        "number out of range",
    );
    check("\"gain\":200", "\"gain\":0", "field", "gain 0 ");
    check("\"gain\":200", "\"gain\":-200", "field", "gain -200");
    check("\"gain\":200", "\"gain\":1000001", "field", "gain 1000001");
    check(
        "\"baseline\":0",
        "\"baseline\":2147483648",
        "json",
        "2147483648",
    );
    check("40,100", "40,2147483648", "json", "2147483648");
    check("40,100", "40,1.5", "json", "1.5");
    check("0,12,40,100", "", "misaligned", "no samples");
    check(
        "\"signals\"",
        "\"n_signals\":2,\"signals\"",
        "field",
        "n_signals 2",
    );
    let one = &JSON[JSON.find("[{").unwrap() + 1..JSON.len() - 2];
    check(one, "", "layout", "0 signals");
    check(one, &[one; 2].join(","), "layout", "II is there twice");
    check(one, &[one; 17].join(","), "too_large", "17 signals");
    let short = one.replace("II", "V1").replace(",100]", "]");
    check(one, &[one, &short].join(","), "misaligned", "V1");
    let slow = one.replace("II", "PPG").replace(":250", ":25");
    check(one, &[one, &slow].join(","), "misaligned", "PPG");
}

#[test]
fn a_body_with_another_header_is_the_packet_of_another_device() {
    let packet = example();
    let header = Header {
        boot: BootId(7),
        sequence: 0,
        first_sample: SampleIndex(0),
        device_time: Utc(-5),
        battery_percent: None,
    };
    let expected = Packet {
        boot: header.boot,
        sequence: header.sequence,
        first_sample: header.first_sample,
        device_time: header.device_time,
        battery_percent: None,
        ..packet.clone()
    };
    let body = Body::new(&packet);
    assert_eq!(parse(&body.encode(&header)).unwrap(), expected);
    let own = Header {
        boot: packet.boot,
        sequence: packet.sequence,
        first_sample: packet.first_sample,
        device_time: packet.device_time,
        battery_percent: packet.battery_percent,
    };
    assert_eq!(parse(&body.encode(&own)).unwrap(), packet);
    assert_eq!(body.encode(&own).len(), packet.encode().len());
}
