//! WFDB header files: text to [`Header`], nothing else.
//!
//! ```text
//! record line    name[/segments] signals [fs[/counter[(base)]] [samples [time [date]]]]
//! signal line    file format[xPER_FRAME][:SKEW][+OFFSET]
//!                [gain[(baseline)][/units] [bits [zero [initial [checksum [block [name]]]]]]]
//! segment line   name samples, where the name ~ is a gap
//! ```
//!
//! Comments begin with `#`; those before the record line are kept as well.
//!
//! Reference: WFDB Applications Guide, header(5).

use std::str::FromStr;

use ecg::Utc;

use super::Record;
use super::error::Fault;
use super::format::Format;

/// What a header file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// Frames per second.
    pub(super) frame_hz: f64,
    /// Frames, `None` where the header leaves it to the length of the files.
    pub(super) n_frames: Option<u64>,
    /// Date and time of sample 0.
    pub(super) start: Option<Utc>,
    /// What follows the record line.
    pub(super) body: Body,
    /// Lines of free text, without their `#`.
    pub(super) comments: Vec<String>,
}

/// A record has signals of its own, or is made of other records.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Signals(Vec<SignalLine>),
    Segments(Vec<SegmentLine>),
}

/// One signal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SignalLine {
    pub(super) file: String,
    pub(super) format: Format,
    pub(super) per_frame: u64,
    /// Frames by which this signal comes later in the file than the others.
    pub(super) skew: u64,
    /// Bytes before the first sample, where stated.
    pub(super) offset: Option<u64>,
    /// adu per unit; never zero.
    pub(super) gain: f64,
    pub(super) baseline: i32,
    pub(super) units: String,
    /// The value before the first difference of format 8.
    pub(super) initial: i32,
    pub(super) name: String,
}

/// One segment; no name is a gap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentLine {
    pub(super) name: Option<String>,
    pub(super) n_frames: u64,
}

/// What adu per physical unit is where the header does not say.
const DEFAULT_GAIN: f64 = 200.0;
/// Frames per second where the header does not say.
const DEFAULT_HZ: f64 = 250.0;
/// Far beyond any recorder; keeps products of header fields small.
const MAX_PER_FRAME: u64 = 10_000;
/// The gains believed, adu per unit, either sign.
const GAINS: std::ops::RangeInclusive<f64> = 1e-9..=1e12;

/// Reads the text of a header file.
pub(super) fn parse(text: &str) -> Result<Header, Fault> {
    let mut comments = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
        } else if !line.is_empty() {
            lines.push(line);
        }
    }
    let (&record_line, rest) = lines
        .split_first()
        .ok_or_else(|| Fault::malformed("the header has no record line"))?;

    let mut fields = record_line.split_whitespace();
    let name = fields.next().unwrap_or_default();
    let n_signals: usize = number(fields.next().unwrap_or_default(), "number of signals")?;
    if n_signals > Record::MAX_SIGNALS {
        return Err(Fault::malformed(format!(
            "{n_signals} signals, where at most {} are read",
            Record::MAX_SIGNALS
        )));
    }
    let frame_hz = match fields.next() {
        // The counter of tape recorders, `360/1(0)`, numbers nothing that is used here.
        Some(field) => number(field.split('/').next().unwrap_or_default(), "frame rate")?,
        None => DEFAULT_HZ,
    };
    if !(frame_hz > 0.0 && frame_hz <= 1e6) {
        return Err(Fault::malformed(format!(
            "frame rate {frame_hz} Hz is not within 0 to 1000000 Hz"
        )));
    }
    let n_frames: u64 = fields
        .next()
        .map_or(Ok(0), |field| number(field, "number of samples"))?;
    let start = match (fields.next(), fields.next()) {
        (Some(time), Some(date)) => start(time, date),
        _ => None,
    };

    let body = if let Some((_, n_segments)) = name.split_once('/') {
        expect_lines(rest, number(n_segments, "number of segments")?, "segment")?;
        let lines = rest.iter().map(|line| segment_line(line));
        Body::Segments(lines.collect::<Result<_, _>>()?)
    } else {
        expect_lines(rest, n_signals, "signal")?;
        let lines = rest.iter().map(|line| signal_line(line));
        Body::Signals(lines.collect::<Result<_, _>>()?)
    };
    Ok(Header {
        frame_hz,
        n_frames: (n_frames > 0).then_some(n_frames),
        start,
        body,
        comments,
    })
}

fn expect_lines(lines: &[&str], promised: usize, what: &str) -> Result<(), Fault> {
    if lines.len() == promised {
        return Ok(());
    }
    Err(Fault::malformed(format!(
        "{} {what} lines, where the record line promises {promised}",
        lines.len()
    )))
}

fn segment_line(line: &str) -> Result<SegmentLine, Fault> {
    let mut fields = line.split_whitespace();
    let name = fields.next().unwrap_or_default();
    let n_frames = number(
        fields.next().unwrap_or_default(),
        "number of samples of a segment",
    )?;
    Ok(SegmentLine {
        name: if name == "~" {
            None
        } else {
            Some(file_name(name)?)
        },
        n_frames,
    })
}

fn signal_line(line: &str) -> Result<SignalLine, Fault> {
    let (file, rest) = next_field(line);
    let (format, rest) = next_field(rest);
    let (gain, rest) = next_field(rest);
    // ADC resolution; it changes nothing in what the samples mean.
    let (_, rest) = next_field(rest);
    let (zero, rest) = next_field(rest);
    let (initial, rest) = next_field(rest);
    // The checksum is not held against the samples: excerpts are published with that of the
    // whole, or with none.
    let (_, rest) = next_field(rest);
    // Block size, which only tape drives need.
    let (_, name) = next_field(rest);

    let zero: i32 = optional(zero, "ADC zero")?.unwrap_or(0);
    let (gain, units) = gain.split_once('/').unwrap_or((gain, "mV"));
    let (gain, baseline) = match gain.split_once('(') {
        Some((gain, baseline)) => (
            gain,
            number(baseline.strip_suffix(')').unwrap_or(baseline), "baseline")?,
        ),
        None => (gain, zero),
    };
    let gain = optional(gain, "gain")?.unwrap_or(0.0);
    let gain = if gain == 0.0 { DEFAULT_GAIN } else { gain };
    if !GAINS.contains(&f64::abs(gain)) {
        return Err(Fault::malformed(format!(
            "gain {gain} is not within {} to {} adu per unit",
            GAINS.start(),
            GAINS.end()
        )));
    }
    let storage = Storage::parse(format)?;
    Ok(SignalLine {
        file: file_name(file)?,
        format: storage.format,
        per_frame: storage.per_frame,
        skew: storage.skew,
        offset: storage.offset,
        gain,
        baseline,
        units: units.to_owned(),
        initial: optional(initial, "initial value")?.unwrap_or(zero),
        name: name.to_owned(),
    })
}

/// The second field of a signal line.
struct Storage {
    format: Format,
    per_frame: u64,
    skew: u64,
    offset: Option<u64>,
}

impl Storage {
    fn parse(field: &str) -> Result<Self, Fault> {
        let digits = |text: &str| {
            text.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len())
        };
        let (format, mut rest) = field.split_at(digits(field));
        let mut storage = Self {
            format: Format::new(number(format, "signal format")?)?,
            per_frame: 1,
            skew: 0,
            offset: None,
        };
        while let Some(mark) = rest.chars().next() {
            let after = &rest[mark.len_utf8()..];
            let (value, tail) = after.split_at(digits(after));
            match mark {
                'x' => storage.per_frame = number(value, "samples per frame")?,
                ':' => storage.skew = number(value, "skew")?,
                '+' => storage.offset = Some(number(value, "byte offset")?),
                _ => {
                    return Err(Fault::malformed(format!(
                        "signal format {field:?} has {mark:?}, where x, : or + may follow"
                    )));
                }
            }
            rest = tail;
        }
        if !(1..=MAX_PER_FRAME).contains(&storage.per_frame) {
            return Err(Fault::malformed(format!(
                "{} samples per frame, where 1 to {MAX_PER_FRAME} are read",
                storage.per_frame
            )));
        }
        Ok(storage)
    }
}

/// The first word of `line`, and the rest of it.
fn next_field(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    line.split_once(char::is_whitespace)
        .map_or((line, ""), |(field, rest)| (field, rest.trim()))
}

fn number<T: FromStr>(field: &str, what: &str) -> Result<T, Fault> {
    field
        .parse()
        .map_err(|_| Fault::malformed(format!("{what} {:?} is no such number", clip(field))))
}

/// Like [`number`], `None` for a field that is not there.
fn optional<T: FromStr>(field: &str, what: &str) -> Result<Option<T>, Fault> {
    if field.is_empty() {
        Ok(None)
    } else {
        number(field, what).map(Some)
    }
}

/// A name of another file of the record: below its folder, on this machine.
fn file_name(name: &str) -> Result<String, Fault> {
    let leaves = |part: &str| part.is_empty() || part == ".." || part.contains([':', '\0']);
    if name.split(['/', '\\']).any(leaves) {
        return Err(Fault::malformed(format!(
            "file name {:?} leads out of the record's folder",
            clip(name)
        )));
    }
    Ok(name.to_owned())
}

/// The start of a text that may be long, for a message.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The instant that `[hh:]mm:ss[.f]` and `dd/mm/yyyy` name, `None` where they name none: the
/// start of a record is shown and nothing more, so a wrong one is no reason to refuse it.
fn start(time: &str, date: &str) -> Option<Utc> {
    let mut seconds = 0.0;
    for part in time.trim_matches(['[', ']']).split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok().filter(|&v| v >= 0.0 && v < 60.0)?;
    }
    let mut parts = date.trim_matches(['[', ']']).split('/');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let year = parts.next()?.parse().ok()?;
    midnight(year, month, day).map(|midnight| midnight.plus_seconds(seconds))
}

/// The first instant of a day of the Gregorian calendar, years 1 to 9999.
pub(super) fn midnight(year: i64, month: i64, day: i64) -> Option<Utc> {
    const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const DAYS_BEFORE_1970: i64 = 719_162;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = *DAYS_BEFORE_MONTH.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let past = year - 1;
    let days = past * 365 + past / 4 - past / 100
        + past / 400
        + before
        + i64::from(leap && month > 2)
        + day
        - 1;
    Some(Utc((days - DAYS_BEFORE_1970) * 86_400_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signals(text: &str) -> Vec<SignalLine> {
        match parse(text).unwrap().body {
            Body::Signals(signals) => signals,
            Body::Segments(_) => panic!("segments"),
        }
    }

    #[test]
    fn a_header_as_published() {
        let text = "100 2 360 650000 0:0:0 0/0/0\r\n\
                    100.dat 212 200 11 1024 995 -22131 0 MLII\r\n\
                    100.dat 212 200 11 1024 1011 20052 0 V5\r\n\
                    # 69 M 1085 1629 x1\r\n";
        let header = parse(text).unwrap();
        assert_eq!((header.frame_hz, header.n_frames), (360.0, Some(650000)));
        assert_eq!(header.start, None);
        assert_eq!(header.comments, ["69 M 1085 1629 x1"]);
        let first = &signals(text)[0];
        assert_eq!(
            (first.gain, first.baseline, first.initial),
            (200.0, 1024, 995)
        );
        assert_eq!((first.units.as_str(), first.name.as_str()), ("mV", "MLII"));
    }

    #[test]
    fn every_optional_field() {
        let text = "# before\nr.1 3 500.5/100(-3) 20 12:30:15.5 02/01/1970\n\
                    a.dat 16x2:7+24 -0.5(-12)/uV 16 5 1 2 0 chest lead, upper\n\
                    b.dat 212+512\n\
                    c.dat 80 0 8 3";
        let header = parse(text).unwrap();
        assert_eq!((header.frame_hz, header.n_frames), (500.5, Some(20)));
        assert_eq!(
            header.start,
            Some(Utc((86_400 + 45_015) * 1_000_000 + 500_000))
        );
        let [a, b, c] = &signals(text)[..] else {
            panic!("three signals")
        };
        assert_eq!((a.per_frame, a.skew, a.offset), (2, 7, Some(24)));
        assert_eq!((a.gain, a.baseline, a.units.as_str()), (-0.5, -12, "uV"));
        assert_eq!(a.name, "chest lead, upper");
        assert_eq!((b.gain, b.baseline, b.offset), (200.0, 0, Some(512)));
        assert_eq!((c.gain, c.baseline, c.initial), (200.0, 3, 3));
    }

    #[test]
    fn segments() {
        let header = parse("m/3 2 360 30\na 10\n~ 5\nb 15\n").unwrap();
        let Body::Segments(segments) = header.body else {
            panic!("segments")
        };
        assert_eq!(segments.len(), 3);
        assert_eq!(
            segments[1],
            SegmentLine {
                name: None,
                n_frames: 5
            }
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("", "no record line"),
            ("a", "number of signals \"\""),
            ("a 513", "513 signals, where at most 512"),
            ("a 1 0\nx 16", "frame rate 0 Hz"),
            ("a 1 nan\nx 16", "frame rate NaN Hz"),
            ("a 1", "0 signal lines, where the record line promises 1"),
            (
                "a 0\nx 16",
                "1 signal lines, where the record line promises 0",
            ),
            (
                "a/2 1\nb 3",
                "1 segment lines, where the record line promises 2",
            ),
            ("a 1\nx 508", "signal format 508, where"),
            ("a 1\nx 16x0", "0 samples per frame, where 1 to 10000"),
            ("a 1\nx 16z", "has 'z'"),
            ("a 1\nx 16+-4", "byte offset \"\""),
            ("a 1\nx 16 inf", "gain inf"),
            (
                "a 1\nx 16 1e-20",
                "gain 0.00000000000000000001 is not within",
            ),
            ("a 1\nx 16 200(x)", "baseline \"x\""),
            ("a 1\n/etc/passwd 16", "leads out of the record's folder"),
            ("a 1\n../x 16", "leads out of the record's folder"),
            ("a/1 1\n.. 5", "leads out of the record's folder"),
        ] {
            match parse(text) {
                Err(Fault::Malformed(reason) | Fault::Unsupported(reason)) => {
                    assert!(reason.contains(said), "{text:?}: {reason}");
                }
                Ok(header) => panic!("{text:?} gave {header:?}"),
            }
        }
    }

    #[test]
    fn days_of_the_calendar() {
        assert_eq!(midnight(1970, 1, 1), Some(Utc(0)));
        assert_eq!(midnight(2000, 3, 1), Some(Utc(951_868_800_000_000)));
        assert_eq!(midnight(2024, 2, 29), Some(Utc(1_709_164_800_000_000)));
        for wrong in [(0, 1, 1), (2000, 0, 1), (2000, 13, 1), (2000, 1, 32)] {
            assert_eq!(midnight(wrong.0, wrong.1, wrong.2), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", lines in prop::collection::vec("[a-z~./]{1,4} [0-9x:+]{1,6}( [0-9.()/a-z-]{1,8}){0,8}", 0..4)) {
            parse(&text).ok();
            parse(&format!("r {} 360\n{}", lines.len(), lines.join("\n"))).ok();
            parse(&format!("r/{} 2 360 5\n{}", lines.len(), lines.join("\n"))).ok();
        }
    }
}
