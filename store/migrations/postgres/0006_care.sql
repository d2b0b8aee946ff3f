-- Limits of a patient's alarms beside those of the rate; absent where they are as on the ward. The bounds are those
-- beyond which an alarm on what kills would be weakened, and hold whoever writes here.
ALTER TABLE patients
    ADD COLUMN extreme_bradycardia_bpm DOUBLE PRECISION CHECK (extreme_bradycardia_bpm BETWEEN 20 AND 50),
    ADD COLUMN extreme_tachycardia_bpm DOUBLE PRECISION CHECK (extreme_tachycardia_bpm BETWEEN 120 AND 200),
    ADD COLUMN pause_seconds DOUBLE PRECISION CHECK (pause_seconds BETWEEN 1 AND 4),
    ADD COLUMN rate_delay_seconds DOUBLE PRECISION CHECK (rate_delay_seconds BETWEEN 1 AND 15),
    ADD COLUMN ventricular_per_minute DOUBLE PRECISION CHECK (ventricular_per_minute BETWEEN 1 AND 60),
    ADD COLUMN st_elevation_mv DOUBLE PRECISION CHECK (st_elevation_mv BETWEEN 0.04 AND 0.51),
    ADD COLUMN st_depression_mv DOUBLE PRECISION CHECK (st_depression_mv BETWEEN 0.02 AND 0.51),
    -- Names of the conditions that are switched off, separated by spaces.
    ADD COLUMN off_conditions TEXT CHECK (off_conditions NOT LIKE '%asystole%'
        AND off_conditions NOT LIKE '%ventricular_fibrillation%' AND off_conditions NOT LIKE '%ventricular_tachycardia%'
        AND off_conditions NOT LIKE '%extreme_%');

ALTER TABLE limit_changes
    ADD COLUMN extreme_bradycardia_bpm DOUBLE PRECISION,
    ADD COLUMN extreme_tachycardia_bpm DOUBLE PRECISION,
    ADD COLUMN pause_seconds DOUBLE PRECISION,
    ADD COLUMN rate_delay_seconds DOUBLE PRECISION,
    ADD COLUMN ventricular_per_minute DOUBLE PRECISION,
    ADD COLUMN st_elevation_mv DOUBLE PRECISION,
    ADD COLUMN st_depression_mv DOUBLE PRECISION,
    ADD COLUMN off_conditions TEXT;

CREATE INDEX limit_changes_by_patient ON limit_changes (patient, id);

-- For who wore what when.
CREATE INDEX assignments_by_patient ON assignments (patient, device);
CREATE INDEX assignments_by_device ON assignments (device, id);
