//! The table of annotation codes.
//!
//! References: WFDB Applications Guide, annot(5) (codes and symbols); ANSI/AAMI EC57 (beat classes).

use std::fmt;

use ecg::BeatClass;

/// What an annotation says, by the numbers of WFDB: 1 to 49, of which 42 to 49 are free for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnotationCode(u8);

/// Number, symbol, whether it labels a QRS complex, and its beat class.
type Row = (u8, char, bool, Option<BeatClass>);

use BeatClass::{F, N, Q, S, V};

/// Every code with a meaning. Escape beats are N, but for the ventricular one, which is V; a beat
/// in the learning phase and one that is not classified are Q, as are paced beats and fusions
/// with them. A flutter wave is marked like a QRS complex and is no beat.
const TABLE: &[Row] = &[
    (1, 'N', true, Some(N)),
    (2, 'L', true, Some(N)),
    (3, 'R', true, Some(N)),
    (4, 'a', true, Some(S)),
    (5, 'V', true, Some(V)),
    (6, 'F', true, Some(F)),
    (7, 'J', true, Some(S)),
    (8, 'A', true, Some(S)),
    (9, 'S', true, Some(S)),
    (10, 'E', true, Some(V)),
    (11, 'j', true, Some(N)),
    (12, '/', true, Some(Q)),
    (13, 'Q', true, Some(Q)),
    (14, '~', false, None),
    (16, '|', false, None),
    (18, 's', false, None),
    (19, 'T', false, None),
    (20, '*', false, None),
    (21, 'D', false, None),
    (22, '"', false, None),
    (23, '=', false, None),
    (24, 'p', false, None),
    (25, 'B', true, Some(N)),
    (26, '^', false, None),
    (27, 't', false, None),
    (28, '+', false, None),
    (29, 'u', false, None),
    (30, '?', true, Some(Q)),
    (31, '!', true, None),
    (32, '[', false, None),
    (33, ']', false, None),
    (34, 'e', true, Some(N)),
    (35, 'n', true, Some(N)),
    (36, '@', false, None),
    (37, 'x', false, None),
    (38, 'f', true, Some(Q)),
    (39, '(', false, None),
    (40, ')', false, None),
    (41, 'r', true, Some(V)),
];

impl AnnotationCode {
    /// Normal beat, `N`.
    pub const NORMAL: Self = Self(1);
    /// Premature ventricular contraction, `V`.
    pub const VENTRICULAR: Self = Self(5);
    /// Fusion of a ventricular and a normal beat, `F`.
    pub const FUSION: Self = Self(6);
    /// Premature or ectopic supraventricular beat, `S`.
    pub const SUPRAVENTRICULAR: Self = Self(9);
    /// `/`: a paced beat.
    pub const PACED: Self = Self(12);
    /// Unclassifiable beat, `Q`.
    pub const UNCLASSIFIABLE: Self = Self(13);
    /// Change of signal quality, `~`; subtype -1: no signal is readable from here on.
    pub const QUALITY: Self = Self(14);
    /// Isolated artifact, `|`.
    pub const ARTIFACT: Self = Self(16);
    /// Comment, `"`; the text says it.
    pub const NOTE: Self = Self(22);
    /// Peak of the P wave, `p`.
    pub const P_WAVE: Self = Self(24);
    /// Peak of the T wave, `t`.
    pub const T_WAVE: Self = Self(27);
    /// Change of rhythm, `+`; the text names the new one.
    pub const RHYTHM: Self = Self(28);
    /// Start of ventricular flutter or fibrillation, `[`.
    pub const FLUTTER_ONSET: Self = Self(32);
    /// End of ventricular flutter or fibrillation, `]`.
    pub const FLUTTER_OFFSET: Self = Self(33);
    /// Onset of a wave, `(`.
    pub const WAVE_ONSET: Self = Self(39);
    /// End of a wave, `)`.
    pub const WAVE_OFFSET: Self = Self(40);
    /// The greatest number of a code.
    pub const MAX: u8 = 49;

    /// The code of this number, `None` outside 1 to 49.
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The code that is printed as `symbol`.
    pub fn from_symbol(symbol: char) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.1 == symbol)
            .map(|row| Self(row.0))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The symbol it is printed as, `None` for a number without a meaning.
    pub fn symbol(self) -> Option<char> {
        self.row().map(|row| row.1)
    }

    /// Whether it labels a QRS complex (or a flutter wave, which is no beat).
    pub fn is_qrs(self) -> bool {
        self.row().is_some_and(|row| row.2)
    }

    /// The EC57 class of the beat it labels, `None` where it labels none.
    pub fn beat_class(self) -> Option<BeatClass> {
        self.row().and_then(|row| row.3)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self.0)
    }
}

impl From<BeatClass> for AnnotationCode {
    fn from(class: BeatClass) -> Self {
        match class {
            N => Self::NORMAL,
            S => Self::SUPRAVENTRICULAR,
            V => Self::VENTRICULAR,
            F => Self::FUSION,
            Q => Self::UNCLASSIFIABLE,
        }
    }
}

impl From<Option<BeatClass>> for AnnotationCode {
    /// A beat that nothing has classified is written as `N`, as detectors do.
    fn from(class: Option<BeatClass>) -> Self {
        class.map_or(Self::NORMAL, Self::from)
    }
}

impl fmt::Display for AnnotationCode {
    /// The symbol, or the number in brackets as WFDB prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(symbol) => write!(f, "{symbol}"),
            None => write!(f, "[{}]", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_symbols_name_one_code_each() {
        for number in 1..=AnnotationCode::MAX {
            let code = AnnotationCode::new(number).unwrap();
            if let Some(symbol) = code.symbol() {
                assert_eq!(AnnotationCode::from_symbol(symbol), Some(code));
            }
            assert!(code.beat_class().is_none() || code.is_qrs());
        }
        assert_eq!(AnnotationCode::new(0), None);
        assert_eq!(AnnotationCode::new(50), None);
        assert_eq!(AnnotationCode::new(42).unwrap().to_string(), "[42]");
        assert_eq!(TABLE.len(), 39);
    }

    #[test]
    fn classes_have_a_code_of_their_own() {
        for class in [N, S, V, F, Q] {
            let code = AnnotationCode::from(class);
            assert_eq!(code.beat_class(), Some(class));
            assert_eq!(code.to_string(), class.to_string());
        }
    }
}
