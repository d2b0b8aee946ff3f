//! The alarm limits of a patient, from the row to the machine.

use ecg::PatientLimits;

/// The limits in a patient's row. Where this version or this configuration cannot keep to them, those of the ward, and the
/// log says so: a row may be older than the configuration.
pub fn own(row: PatientLimits, config: &alarm::Config) -> alarm::Limits {
    check(row, config).unwrap_or_else(|error| {
        tracing::error!(%error, "limits of a patient cannot be used, those of the ward are in force");
        alarm::Limits::default()
    })
}

/// Limits as somebody asks for them.
///
/// # Errors
/// What cannot be, with the limit.
pub fn check(asked: PatientLimits, config: &alarm::Config) -> Result<alarm::Limits, alarm::Error> {
    let limits = alarm::Limits::of(asked)?;
    config.accept(&limits)?;
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_used_leaves_the_limits_of_the_ward() {
        let config = alarm::Config::default();
        let row = |bpm| PatientLimits {
            extreme_bradycardia_bpm: Some(bpm),
            ..PatientLimits::default()
        };
        assert_eq!(*own(row(30.0), &config).asked(), row(30.0));
        assert_eq!(own(row(5.0), &config), alarm::Limits::default());
    }
}
