use super::*;
use ecg::{Lead, SignalKind};
use proptest::prelude::*;

/// A folder of its own that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("einthoven-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn open(&self, name: &str) -> Result<Record, Error> {
        Record::open(self.0.join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn words(values: impl IntoIterator<Item = i16>) -> Vec<u8> {
    values.into_iter().flat_map(i16::to_le_bytes).collect()
}

#[test]
fn several_files_offsets_and_frames() {
    let folder = Folder::new("files");
    let mut with_offset = vec![0xaa; 24];
    // Frames of one sample of II and two of PLETH.
    with_offset.extend(words([1, 10, 11, -32768, 20, 21, 3, 30, 31]));
    folder
        .put("a.dat", with_offset)
        .put("b.dat", [0xe3, 0x33, 0xf3, 0x01, 0x00])
        .put(
            "r.hea",
            "r 4 125 3\na.dat 16+24 1000/uV 16 0 0 0 0 II\na.dat 16x2+24 -50(4)/NU 16 0 0 0 0 PLETH\n\
             b.dat 212 0.2(1024)/uV 11 1024 0 0 0 V1\n~ 16 200 16 0 0 0 0 V5\n# text\n",
        );
    for name in ["r", "r.hea", "r.dat"] {
        let record = folder.open(name).unwrap();
        assert_eq!((record.name.as_str(), record.n_frames), ("r", 3));
        assert_eq!(record.comments, ["text"]);
        let [ii, pleth, v1, v5] = &record.signals[..] else {
            panic!("four signals")
        };
        assert_eq!((ii.gain, ii.units.as_str()), (1e6, "mV"));
        assert_eq!(ii.samples, [1, Signal::MISSING, 3]);
        assert_eq!(
            (ii.sample(0), ii.sample(1), ii.sample(3)),
            (Some(1), None, None)
        );
        assert_eq!((pleth.hz, pleth.gain, pleth.baseline), (250.0, 50.0, -4));
        assert_eq!(pleth.samples, [-10, -11, -20, -21, -30, -31]);
        assert_eq!((v1.gain, v1.baseline), (200.0, 1024));
        assert_eq!(v1.samples, [995, 1011, 1]);
        assert_eq!(v1.kind, Some(SignalKind::Ecg(Lead::V1)));
        assert_eq!(v5.samples, [Signal::MISSING; 3]);
    }
}

#[test]
fn the_length_may_be_left_to_the_files() {
    let folder = Folder::new("length");
    folder
        .put("a.dat", words(0..7))
        .put("r.hea", "r 2 250\na.dat 16\na.dat 16\n");
    let record = folder.open("r").unwrap();
    assert_eq!(record.n_frames, 3);
    assert_eq!(record.signals[1].samples, [1, 3, 5]);
}

#[test]
fn skewed_signals_are_put_in_line() {
    let folder = Folder::new("skew");
    folder
        .put("a.dat", words([1, 0, 2, 1, 3, 2, 4, 3]))
        .put("r.hea", "r 2 250 4\na.dat 16\na.dat 16:1\n");
    let record = folder.open("r").unwrap();
    assert_eq!(record.signals[0].samples, [1, 2, 3, 4]);
    assert_eq!(record.signals[1].samples, [1, 2, 3, Signal::MISSING]);
}

#[test]
fn differences_add_up() {
    let folder = Folder::new("differences");
    folder.put("a.dat", [1, 2, 0xff, 2]).put(
        "r.hea",
        "r 2 250 2\na.dat 8 200 8 0 100\na.dat 8 200 8 0 -5\n",
    );
    let record = folder.open("r").unwrap();
    assert_eq!(record.signals[0].samples, [101, 100]);
    assert_eq!(record.signals[1].samples, [-3, -1]);
}

#[test]
fn segments_follow_each_other() {
    let folder = Folder::new("segments");
    folder
        .put("s1.dat", words([1, 2]))
        .put("s1.hea", "s1 1 250 2\ns1.dat 16 200 16 0 0 0 0 II\n")
        .put("s2.dat", words([3]))
        .put("s2.hea", "s2 1 250 1\ns2.dat 16 200 16 0 0 0 0 II\n")
        .put("odd.hea", "odd 1 250 1\ns2.dat 16 100 16 0 0 0 0 II\n")
        .put("m.hea", "m/4 1 250 6\n~ 1\ns1 2\n~ 2\ns2 1\n")
        .put("variable.hea", "variable/2 1 250 2\ns1 0\ns1 2\n")
        .put("mixed.hea", "mixed/2 1 250 3\ns1 2\nodd 1\n")
        .put("wrong.hea", "wrong/1 1 250 3\ns1 3\n")
        .put("sum.hea", "sum/1 1 250 3\ns1 2\n")
        .put("loop.hea", "loop/1 1 250 2\nloop 2\n")
        .put("gap.hea", "gap/1 1 250 2\n~ 2\n")
        .put("huge.hea", "huge/2 1 250\ns1 2\n~ 999999999999\n");
    let record = folder.open("m").unwrap();
    let missing = Signal::MISSING;
    assert_eq!(
        record.signals[0].samples,
        [missing, 1, 2, missing, missing, 3]
    );
    for (name, said) in [
        ("variable", "variable layout"),
        ("mixed", "differs from those before it"),
        ("wrong", "2 samples, where its record promises 3"),
        ("sum", "2 samples, where the record line promises 3"),
        ("loop", "itself made of segments"),
        ("gap", "every segment is a gap"),
        ("huge", "missing samples, where at most 67108864 are read"),
    ] {
        let error = folder.open(name).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let folder = Folder::new("wrong");
    folder
        .put("a.dat", words(0..10))
        .put("short.hea", "short 1 360 650000\na.dat 16\n")
        .put("huge.hea", "huge 1 360 99999999999999999\na.dat 16\n")
        .put("nowhere.hea", "nowhere 1 360 400000000\n~ 16\n")
        .put("s.hea", "s 1 360 10\na.dat 16\n")
        .put("chasm.hea", "chasm/2 1 360\n~ 1000000000000000000\ns 10\n")
        .put("end.hea", "end/2 1 360\ns 10\n~ 400000000\n")
        .put("mixed.hea", "mixed 2 360 1\na.dat 16\na.dat 212\n")
        .put("none.hea", "none 1 360 1\nb.dat 16\n")
        .put("folder.hea", "folder 1 360 1\n. 16\n")
        .put("past.hea", "past 1 360 1\na.dat 16+18446744073709551615\n");
    for (name, said) in [
        ("short", "20 bytes, where its header promises 1300000"),
        ("huge", "99999999999999999 samples, where at most"),
        ("nowhere", "400000000 missing samples, where at most"),
        (
            "chasm",
            "1000000000000000000 missing samples, where at most",
        ),
        ("end", "400000000 missing samples, where at most"),
        ("mixed", "differ in format or byte offset"),
        ("none", "cannot read"),
        ("missing", "cannot read"),
        ("folder", "not a regular file"),
        ("past", "20 bytes, where"),
    ] {
        let error = folder.open(name).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
}

#[test]
fn real_recordings_are_read_as_their_checksums_say() {
    let root =
        std::env::var_os("EINTHOVEN_DATA").map_or_else(|| PathBuf::from("data"), PathBuf::from);
    for (folder, n_least) in [("mitdb", 26), ("nstdb", 2), ("ludb/data", 100)] {
        let folder = root.join(folder);
        if !folder.is_dir() {
            eprintln!("skipped: no recordings in {}", folder.display());
            continue;
        }
        let records = crate::record::records_in(&folder).unwrap();
        assert!(records.len() >= n_least);
        for path in records {
            let record = Record::open(&path).unwrap();
            let header = std::fs::read_to_string(with_suffix(&path, "hea")).unwrap();
            for (signal, line) in record.signals.iter().zip(header.lines().skip(1)) {
                let promised: i64 = line.split_whitespace().nth(6).unwrap().parse().unwrap();
                let sum: i64 = signal.samples.iter().map(|&adu| i64::from(adu)).sum();
                // Checksums have 16 bits.
                assert_eq!(
                    (sum - promised) % 65536,
                    0,
                    "{} {}",
                    record.name,
                    signal.name
                );
                assert!(signal.kind.is_some(), "{}", signal.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_files_panic(
        case in any::<u64>(),
        data in prop::collection::vec(any::<u8>(), 0..60),
        n in 0u64..30,
        lines in prop::collection::vec("(a|b|~) (8|16|24|32|61|80|160|212|310|311)(x[123])?(:[0-9])?(\\+[0-9])?( (2|-0.1)(\\([0-9]\\))?(/uV|/mV|/NU)? 12 0 [0-9] 0 0 (II|V1|x))?", 0..4),
    ) {
        let folder = Folder::new(&format!("fuzz-{case}"));
        folder
            .put("a", &data)
            .put("b", data.repeat(7))
            .put("r.hea", format!("r {} 250 {n}\n{}", lines.len(), lines.join("\n")));
        if let Ok(record) = folder.open("r") {
            for signal in &record.signals {
                prop_assert_eq!(signal.samples.len() as u64, record.n_frames * signal.per_frame);
            }
        }
    }
}
