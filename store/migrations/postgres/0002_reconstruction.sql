-- What a model says of its own answer: how far reconstructed leads can be trusted and how unusual the measured ones
-- were, both 0 to 1, or why there are none.
ALTER TABLE strips
    ADD COLUMN trust DOUBLE PRECISION CHECK (trust BETWEEN 0 AND 1),
    ADD COLUMN novelty DOUBLE PRECISION CHECK (novelty BETWEEN 0 AND 1),
    ADD COLUMN withheld TEXT CHECK (withheld IN ('too_few_leads', 'unusable', 'unfamiliar', 'failed'));

-- Append-only: corrections of the model for a patient, each from one twelve-lead recording. The one of the highest
-- version is in force, unless it has no body: that one takes those before it back.
CREATE TABLE calibrations (
    patient    TEXT NOT NULL REFERENCES patients,
    version    BIGINT NOT NULL CHECK (version > 0),
    -- The name of the recording, absent where calibrations are taken back.
    recording  TEXT,
    -- JSON, as the program writes it.
    body       TEXT,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc        BIGINT NOT NULL,
    PRIMARY KEY (patient, version),
    CHECK ((recording IS NULL) = (body IS NULL))
);
