use super::*;
use proptest::prelude::*;

fn annotation(at: u64, symbol: char) -> Annotation {
    Annotation::new(
        SampleIndex(at),
        AnnotationCode::from_symbol(symbol).unwrap(),
    )
}

#[test]
fn bytes_by_hand() {
    let bytes = [
        0x12, 0x70, 0x03, 0xfc, b'(', b'N', 0, 0, // + at 18, text "(N\0", padded
        0x3b, 0x04, // N, 59 later
        0x00, 0xec, 0x01, 0x00, 0x02, 0x00, // SKIP 0x10002
        0x05, 0x14, // V, 5 later
        0xff, 0xf4, 0x01, 0xf8, 0xfe, 0xf0, // SUB -1, CHN 1, NUM -2
        0x00, 0x04, // N at the same sample
        0x00, 0x00,
    ];
    let found = decode(&bytes).unwrap();
    assert_eq!(found.resolution_hz, None);
    let [rhythm, first, second, third] = &found.list[..] else {
        panic!("four annotations")
    };
    assert_eq!((rhythm.at.0, rhythm.aux.as_str()), (18, "(N"));
    assert_eq!(*first, annotation(77, 'N'));
    assert_eq!(second.at.0, 77 + 0x10002 + 5);
    assert_eq!((second.subtype, second.signal, second.num), (-1, 1, -2));
    assert_eq!((third.subtype, third.signal, third.num), (0, 1, -2));
    // The zero of a rhythm is written again, and is no part of the text.
    let written = encode(&found).unwrap();
    assert_eq!(written[..8], bytes[..8]);
    assert_eq!(decode(&written).unwrap(), found);
}

#[test]
fn a_resolution_is_a_note_in_the_file_and_a_number_here() {
    let annotations = Annotations {
        list: vec![annotation(0, 'N')],
        resolution_hz: Some(360.0),
    };
    let bytes = encode(&annotations).unwrap();
    assert!(
        bytes
            .windows(22)
            .any(|text| text == b"## time resolution: 36")
    );
    assert_eq!(decode(&bytes).unwrap(), annotations);
}

#[test]
fn what_is_wrong_is_said() {
    for (bytes, said) in [
        (&[0x12][..], "in the middle"),
        (&[0x00, 0xec, 1], "in the middle"),
        (&[0x05, 0xfc, 1, 2], "in the middle"),
        (&[0x01, 0xf4], "code 61 at byte 0 adds to"),
        (&[0x01, 0xc8], "annotation code 50 at byte 0"),
        (
            &[0x00, 0xec, 0xff, 0xff, 0xff, 0xff, 0x00, 0x04],
            "1 samples before the record",
        ),
    ] {
        match decode(bytes) {
            Err(Fault::Malformed(reason)) => assert!(reason.contains(said), "{reason}"),
            other => panic!("{bytes:?} gave {other:?}"),
        }
    }
    let late = Annotations {
        list: vec![annotation(1 << 31, 'N')],
        resolution_hz: None,
    };
    assert!(encode(&late).is_err());
    let mut longest = annotation(1, '+');
    longest.aux = "x".repeat(255);
    let longest = Annotations {
        list: vec![longest],
        resolution_hz: None,
    };
    assert_eq!(decode(&encode(&longest).unwrap()).unwrap(), longest);
    let mut long = annotation(1, '"');
    long.aux = "x".repeat(256);
    assert!(
        encode(&Annotations {
            list: vec![long],
            resolution_hz: None
        })
        .is_err()
    );
}

/// Records to try on, or `None` with a line that says so.
fn real(folder: &str) -> Option<PathBuf> {
    let root =
        std::env::var_os("EINTHOVEN_DATA").map_or_else(|| PathBuf::from("data"), PathBuf::from);
    let folder = root.join(folder);
    if !folder.is_dir() {
        eprintln!("skipped: no recordings in {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn the_annotations_of_a_database_round_trip() {
    let Some(folder) = real("mitdb") else { return };
    let mut n = 0;
    for record in crate::record::records_in(&folder).unwrap() {
        let file = path(&record, "atr");
        let found = Annotations::read(&file).unwrap();
        assert_eq!(decode(&encode(&found).unwrap()).unwrap(), found);
        n += found.list.len();
    }
    assert!(n > 50_000, "{n} annotations");
}

proptest! {
    #[test]
    fn all_that_is_written_is_read(
        rows in prop::collection::vec((0u64..1 << 31, 1u8..=49, any::<i8>(), any::<u8>(), any::<i8>(), "[a-z]{0,5}"), 0..20),
        hz in prop::option::of(1u32..2000),
    ) {
        let mut list: Vec<Annotation> = rows
            .into_iter()
            .map(|(at, code, subtype, signal, num, aux)| Annotation {
                at: SampleIndex(at),
                code: AnnotationCode::new(code).unwrap(),
                subtype,
                signal,
                num,
                aux,
            })
            .collect();
        list.sort_by_key(|annotation| annotation.at);
        let annotations = Annotations { list, resolution_hz: hz.map(f64::from) };
        prop_assert_eq!(decode(&encode(&annotations).unwrap()).unwrap(), annotations);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes).ok();
    }
}
