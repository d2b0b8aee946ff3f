-- What was found in the signals, from when to when: one row per episode. An episode goes on as long as windows one
-- after the other say the same; a short interruption does not end it.
CREATE TABLE findings (
    device     TEXT COLLATE "C" NOT NULL,
    boot       BIGINT NOT NULL,
    -- Who says so: 'rule', or the name of a model.
    source     TEXT NOT NULL,
    -- What: atrial_fibrillation, wide_qrs and so on; unique among those of one source.
    name       TEXT NOT NULL,
    -- The first sample of the first window that says so, and the first sample after the last one.
    onset      BIGINT NOT NULL CHECK (onset >= 0),
    end_index  BIGINT NOT NULL,
    ended      BOOLEAN NOT NULL,
    start_utc  BIGINT NOT NULL,
    end_utc    BIGINT NOT NULL,
    -- For people, and the concept of SNOMED CT where there is one.
    text       TEXT NOT NULL,
    snomed     BIGINT,
    -- The highest of the episode, calibrated; absent for a rule.
    probability DOUBLE PRECISION CHECK (probability BETWEEN 0 AND 1),
    model_version TEXT,
    model_sha256  TEXT,
    -- Against what is usual for the patient, at the onset; absent while nothing is known of that.
    change     TEXT CHECK (change IN ('new', 'worse', 'better', 'unchanged')),
    -- The finding of the first window with its evidence: JSON, as the API gives it.
    body       TEXT NOT NULL,
    PRIMARY KEY (device, boot, source, name, onset),
    CHECK (onset <= end_index),
    CHECK ((model_version IS NULL) = (model_sha256 IS NULL))
);

CREATE INDEX findings_by_time ON findings (device, start_utc);

-- What was found in the strip itself: JSON, an array as the API gives it.
ALTER TABLE strips ADD COLUMN findings TEXT;

-- What is usual for a patient, learnt once from the first hour of signal: JSON, as the program writes it.
CREATE TABLE baselines (
    patient TEXT COLLATE "C" PRIMARY KEY REFERENCES patients,
    body    TEXT NOT NULL
);
