//! What rules can say: every label, with its code of SNOMED CT.
//!
//! Codes are those of the Dx mapping of the `PhysioNet` Challenges 2020 and 2021; a statement that has none there has
//! none here.

use ecg::Label;

/// Declares the labels and the list of all of them.
macro_rules! labels {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $text:literal, $snomed:expr;)*) => {
        $($(#[$doc])* pub const $constant: Label = Label::new($name, $text, $snomed);)*
        /// Every label, in the order in which findings come.
        pub const ALL: &[Label] = &[$($constant),*];
    };
}

labels! {
    /// A pause that is not a long one.
    PAUSE = "pause", "Pause", None;
    /// A long pause.
    LONG_PAUSE = "long_pause", "Long pause", None;
    /// Fast and wide: what it is must be found out elsewhere.
    WIDE_QRS_TACHYCARDIA = "wide_qrs_tachycardia", "Wide-QRS tachycardia", None;
    /// Slow, with P waves.
    SINUS_BRADYCARDIA = "sinus_bradycardia", "Sinus bradycardia", Some(426177001);
    /// Slow.
    BRADYCARDIA = "bradycardia", "Bradycardia", Some(426627000);
    /// Fast, with P waves.
    SINUS_TACHYCARDIA = "sinus_tachycardia", "Sinus tachycardia", Some(427084000);
    /// Fast. The mapping knows no tachycardia without an origin.
    TACHYCARDIA = "tachycardia", "Tachycardia", None;
    /// Uneven, with P waves.
    SINUS_ARRHYTHMIA = "sinus_arrhythmia", "Sinus arrhythmia", Some(427393009);
    /// Three and more in a row, fast.
    VENTRICULAR_TACHYCARDIA = "ventricular_tachycardia", "Ventricular tachycardia", Some(164895002);
    /// Three and more in a row, not fast.
    IDIOVENTRICULAR_RHYTHM = "idioventricular_rhythm", "Idioventricular rhythm", Some(49260003);
    /// Two in a row.
    VENTRICULAR_COUPLET = "ventricular_couplet", "Ventricular couplet", Some(251182009);
    /// In turn with one normal beat.
    VENTRICULAR_BIGEMINY = "ventricular_bigeminy", "Ventricular bigeminy", Some(11157007);
    /// Singles.
    VENTRICULAR_PREMATURE_BEATS = "ventricular_premature_beats", "Ventricular premature beats", Some(17338001);
    /// Three and more in a row, fast.
    SUPRAVENTRICULAR_TACHYCARDIA = "supraventricular_tachycardia", "Supraventricular tachycardia", Some(426761007);
    /// In turn with one normal beat.
    SUPRAVENTRICULAR_BIGEMINY = "supraventricular_bigeminy", "Supraventricular bigeminy", Some(251168009);
    /// Singles, couplets, and runs that are not fast.
    SUPRAVENTRICULAR_PREMATURE_BEATS = "supraventricular_premature_beats", "Supraventricular premature beats", Some(63593006);
    /// A long PR interval before each QRS.
    FIRST_DEGREE_AV_BLOCK = "first_degree_av_block", "First-degree AV block", Some(270492004);
    /// Wide, negative in V1.
    LEFT_BUNDLE_BRANCH_BLOCK = "left_bundle_branch_block", "Left bundle branch block pattern", Some(164909002);
    /// Wide, positive in V1, with S at the left.
    RIGHT_BUNDLE_BRANCH_BLOCK = "right_bundle_branch_block", "Right bundle branch block pattern", Some(59118001);
    /// Wide.
    WIDE_QRS = "wide_qrs", "Wide QRS", None;
    /// Between -30 and -90 degrees.
    LEFT_AXIS_DEVIATION = "left_axis_deviation", "Left axis deviation", Some(39732003);
    /// Between 90 and 180 degrees.
    RIGHT_AXIS_DEVIATION = "right_axis_deviation", "Right axis deviation", Some(47665007);
    /// Between -90 and -180 degrees.
    EXTREME_AXIS_DEVIATION = "extreme_axis_deviation", "Extreme axis deviation", None;
    /// Low in limb leads, chest leads, or both.
    LOW_QRS_VOLTAGE = "low_qrs_voltage", "Low QRS voltage", Some(251146004);
    /// `QTc` beyond the upper limit.
    LONG_QTC = "long_qtc", "Prolonged QTc", Some(111975006);
    /// `QTc` below the lower limit.
    SHORT_QTC = "short_qtc", "Short QTc", Some(77867006);
    /// ST above the PR segment.
    ST_ELEVATION = "st_elevation", "ST elevation", Some(164931005);
    /// ST below the PR segment.
    ST_DEPRESSION = "st_depression", "ST depression", Some(429622005);
    /// Sinus rhythm, and none of the others.
    NORMAL_SINUS_RHYTHM = "normal_sinus_rhythm", "Normal sinus rhythm", Some(426783006);
}
