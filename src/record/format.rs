//! How WFDB signal files store samples: one table of formats, and their decoder.
//!
//! Reference: WFDB Applications Guide, signal(5).

use super::Signal;
use super::error::Fault;

/// A storage format of a signal file, by its number in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// First differences, 8 bits.
    F8,
    /// 16 bits, little-endian.
    F16,
    /// 24 bits, little-endian.
    F24,
    /// 32 bits, little-endian.
    F32,
    /// 16 bits, big-endian.
    F61,
    /// 8 bits, offset binary.
    F80,
    /// 16 bits, offset binary, little-endian.
    F160,
    /// Two 12-bit samples in three bytes.
    F212,
    /// Three 10-bit samples in two 16-bit words, the third in the high bits of both.
    F310,
    /// Three 10-bit samples in one 32-bit word, one after the other.
    F311,
}

impl Format {
    /// The format that a header calls `number`.
    pub(super) fn new(number: u32) -> Result<Self, Fault> {
        Ok(match number {
            8 => Self::F8,
            16 => Self::F16,
            24 => Self::F24,
            32 => Self::F32,
            61 => Self::F61,
            80 => Self::F80,
            160 => Self::F160,
            212 => Self::F212,
            310 => Self::F310,
            311 => Self::F311,
            _ => {
                return Err(Fault::unsupported(format!(
                    "signal format {number}, where 8, 16, 24, 32, 61, 80, 160, 212, 310 and 311 are read"
                )));
            }
        })
    }

    /// Bytes and samples of the smallest unit that repeats.
    fn unit(self) -> (u64, u64) {
        match self {
            Self::F8 | Self::F80 => (1, 1),
            Self::F16 | Self::F61 | Self::F160 => (2, 1),
            Self::F24 => (3, 1),
            Self::F32 => (4, 1),
            Self::F212 => (3, 2),
            Self::F310 | Self::F311 => (4, 3),
        }
    }

    /// The bytes that hold `n_samples`; the last unit may be cut after its last sample.
    pub(super) fn bytes(self, n_samples: u64) -> Option<u64> {
        let (bytes, samples) = self.unit();
        let whole = (n_samples / samples).checked_mul(bytes)?;
        let rest = n_samples % samples;
        // A started unit ends with the 16-bit word or the byte that completes its last sample:
        // the second of 311 needs two bits of the second word.
        whole.checked_add(match (self, rest) {
            (_, 0) => 0,
            (Self::F311, 2) => 3,
            (Self::F310, 2) => 4,
            _ => 2,
        })
    }

    /// The samples that `bytes` hold.
    pub(super) fn samples_in(self, bytes: u64) -> u64 {
        let (unit, samples) = self.unit();
        let whole = bytes / unit * samples;
        whole
            + (1..samples)
                .filter(|&rest| {
                    self.bytes(rest)
                        .is_some_and(|needed| needed <= bytes % unit)
                })
                .count() as u64
    }

    /// The value that stands for a missing sample, `None` where there is no such value.
    fn missing(self) -> Option<i32> {
        match self {
            Self::F8 => None,
            Self::F16 | Self::F61 | Self::F160 => Some(-0x8000),
            Self::F24 => Some(-0x80_0000),
            Self::F32 => Some(i32::MIN),
            Self::F80 => Some(-0x80),
            Self::F212 => Some(-0x800),
            Self::F310 | Self::F311 => Some(-0x200),
        }
    }

    /// Calls `sample` with the first `n_samples` of `bytes` in the order of the file; missing ones
    /// as [`Signal::MISSING`], those of format 8 as differences. Stops where the bytes end.
    pub(super) fn decode(self, bytes: &[u8], n_samples: u64, mut sample: impl FnMut(i32)) {
        let missing = self.missing();
        let mut left = n_samples;
        let mut emit = |value: i32| {
            if left > 0 {
                left -= 1;
                sample(if Some(value) == missing {
                    Signal::MISSING
                } else {
                    value
                });
            }
        };
        let (unit, _) = self.unit();
        let mut padded = [0; 4];
        for chunk in bytes.chunks(usize::try_from(unit).unwrap_or(4)) {
            padded.fill(0);
            padded[..chunk.len()].copy_from_slice(chunk);
            let [a, b, c, d] = padded;
            let held = self.samples_in(chunk.len() as u64);
            if held == 0 {
                break;
            }
            match self {
                Self::F8 => emit(i32::from(a.cast_signed())),
                Self::F16 => emit(i32::from(i16::from_le_bytes([a, b]))),
                Self::F24 => emit(sign_extend(u32::from_le_bytes([a, b, c, 0]), 24)),
                Self::F32 => emit(i32::from_le_bytes(padded)),
                Self::F61 => emit(i32::from(i16::from_be_bytes([a, b]))),
                Self::F80 => emit(i32::from(a) - 0x80),
                Self::F160 => emit(i32::from(u16::from_le_bytes([a, b])) - 0x8000),
                Self::F212 => {
                    let (a, b, c) = (u32::from(a), u32::from(b), u32::from(c));
                    emit(sign_extend(a | (b & 0x0f) << 8, 12));
                    if held > 1 {
                        emit(sign_extend(c | (b & 0xf0) << 4, 12));
                    }
                }
                Self::F310 => {
                    let first = u32::from(u16::from_le_bytes([a, b]));
                    let second = u32::from(u16::from_le_bytes([c, d]));
                    emit(sign_extend(first >> 1, 10));
                    if held > 1 {
                        emit(sign_extend(second >> 1, 10));
                    }
                    if held > 2 {
                        emit(sign_extend(first >> 11 | (second >> 11) << 5, 10));
                    }
                }
                Self::F311 => {
                    let word = u32::from_le_bytes(padded);
                    for k in 0..held {
                        emit(sign_extend(word >> (10 * k), 10));
                    }
                }
            }
        }
    }
}

/// The low `bits` of `value` as a two's complement number.
fn sign_extend(value: u32, bits: u32) -> i32 {
    (value << (32 - bits)).cast_signed() >> (32 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(number: u32, bytes: &[u8], n: u64) -> Vec<i32> {
        let mut out = Vec::new();
        Format::new(number)
            .unwrap()
            .decode(bytes, n, |adu| out.push(adu));
        out
    }

    #[test]
    fn each_format_by_hand() {
        let missing = Signal::MISSING;
        let check = |number, bytes: &[u8], expected: &[i32]| {
            assert_eq!(
                decode(number, bytes, expected.len() as u64),
                expected,
                "format {number}"
            );
        };
        check(8, &[1, 0xff, 0x80], &[1, -1, -128]);
        check(
            16,
            &[0xe3, 0x03, 0xff, 0xff, 0x00, 0x80],
            &[995, -1, missing],
        );
        check(
            24,
            &[1, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0x80],
            &[1, -1, missing],
        );
        check(
            32,
            &[1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0x80],
            &[1, -2, missing],
        );
        check(
            61,
            &[0x03, 0xe3, 0xff, 0xff, 0x80, 0x00],
            &[995, -1, missing],
        );
        check(80, &[0x80, 0xff, 0x00], &[0, 127, missing]);
        check(160, &[0x00, 0x80, 0xff, 0xff, 0, 0], &[0, 32767, missing]);
        // The first bytes of record 100 of the MIT-BIH database: 995 and 1011.
        check(212, &[0xe3, 0x33, 0xf3], &[995, 1011]);
        check(212, &[0x00, 0x88, 0x00], &[missing, missing]);
        check(212, &[0xff, 0x0f], &[-1]);
        // 310: 1 and -1 in bits 1 to 10, 0b00011_00010 = 98 in the high bits (low ones first).
        check(310, &[0x02, 0x10, 0xfe, 0x1f], &[1, -1, 98]);
        // 311: 1 | -1 << 10 | 98 << 20.
        check(311, &[0x01, 0xfc, 0x2f, 0x06], &[1, -1, 98]);
        assert!(Format::new(508).is_err());
    }

    proptest! {
        #[test]
        fn sizes_agree_and_nothing_panics(
            number in prop::sample::select(vec![8, 16, 24, 32, 61, 80, 160, 212, 310, 311]),
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let format = Format::new(number).unwrap();
            let held = format.samples_in(bytes.len() as u64);
            prop_assert!(format.bytes(held).unwrap() <= bytes.len() as u64);
            prop_assert!(format.bytes(held + 1).unwrap() > bytes.len() as u64);
            prop_assert_eq!(decode(number, &bytes, u64::MAX).len() as u64, held);
            prop_assert_eq!(format.bytes(u64::MAX).is_none(), format.unit().0 > format.unit().1);
        }
    }
}
