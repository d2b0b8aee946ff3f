-- Limits of a patient's alarms beside those of the rate; absent where they are as on the ward. The bounds are those
-- beyond which an alarm on what kills would be weakened, and hold whoever writes here.
ALTER TABLE patients ADD COLUMN extreme_bradycardia_bpm REAL CHECK (extreme_bradycardia_bpm BETWEEN 20 AND 50);
ALTER TABLE patients ADD COLUMN extreme_tachycardia_bpm REAL CHECK (extreme_tachycardia_bpm BETWEEN 120 AND 200);
ALTER TABLE patients ADD COLUMN pause_seconds REAL CHECK (pause_seconds BETWEEN 1 AND 4);
ALTER TABLE patients ADD COLUMN rate_delay_seconds REAL CHECK (rate_delay_seconds BETWEEN 1 AND 15);
ALTER TABLE patients ADD COLUMN ventricular_per_minute REAL CHECK (ventricular_per_minute BETWEEN 1 AND 60);
ALTER TABLE patients ADD COLUMN st_elevation_mv REAL CHECK (st_elevation_mv BETWEEN 0.04 AND 0.51);
ALTER TABLE patients ADD COLUMN st_depression_mv REAL CHECK (st_depression_mv BETWEEN 0.02 AND 0.51);
-- Names of the conditions that are switched off, separated by spaces.
ALTER TABLE patients ADD COLUMN off_conditions TEXT CHECK (off_conditions NOT LIKE '%asystole%'
    AND off_conditions NOT LIKE '%ventricular_fibrillation%' AND off_conditions NOT LIKE '%ventricular_tachycardia%'
    AND off_conditions NOT LIKE '%extreme_%');

ALTER TABLE limit_changes ADD COLUMN extreme_bradycardia_bpm REAL;
ALTER TABLE limit_changes ADD COLUMN extreme_tachycardia_bpm REAL;
ALTER TABLE limit_changes ADD COLUMN pause_seconds REAL;
ALTER TABLE limit_changes ADD COLUMN rate_delay_seconds REAL;
ALTER TABLE limit_changes ADD COLUMN ventricular_per_minute REAL;
ALTER TABLE limit_changes ADD COLUMN st_elevation_mv REAL;
ALTER TABLE limit_changes ADD COLUMN st_depression_mv REAL;
ALTER TABLE limit_changes ADD COLUMN off_conditions TEXT;

CREATE INDEX limit_changes_by_patient ON limit_changes (patient, id);

-- For who wore what when.
CREATE INDEX assignments_by_patient ON assignments (patient, device);
CREATE INDEX assignments_by_device ON assignments (device, id);
