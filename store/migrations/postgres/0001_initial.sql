-- What lasts, in PostgreSQL. The same tables, columns and units as in ../sqlite, so that one set of
-- queries reads both.
--
-- Units, everywhere:
--   *_index, r_peak, onset, decided_at   samples at the record's base rate since the device started
--   *utc, *_seen                         microseconds since 1970-01-01 UTC, exact in both databases;
--                                        to_timestamp(utc / 1e6) reads as a time
--   boot                                 the 32-bit number a device draws at each start, unsigned
--
-- Words (states, priorities, conditions...) are text, as they stand in the API. The closed sets are
-- checked here; conditions are not, because new ones come with new versions.
--
-- Names of devices and patients compare byte by byte ("C"), so that both databases sort them alike.

-- Pseudonyms only. Who a patient is, is known elsewhere.
CREATE TABLE patients (
    patient  TEXT COLLATE "C" PRIMARY KEY CHECK (patient ~ '^[A-Za-z0-9_-]{1,64}$'),
    created_utc BIGINT NOT NULL,
    -- Alarm limits in beats per minute: both, or neither for the defaults.
    low_bpm  DOUBLE PRECISION,
    high_bpm DOUBLE PRECISION,
    CONSTRAINT limits_are_a_pair CHECK ((low_bpm IS NULL) = (high_bpm IS NULL)),
    CONSTRAINT limits_in_range CHECK (low_bpm >= 20 AND low_bpm < high_bpm AND high_bpm <= 300)
);

-- Append-only: every change of a patient's limits, by whom and when.
CREATE TABLE limit_changes (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient  TEXT COLLATE "C" NOT NULL REFERENCES patients,
    low_bpm  DOUBLE PRECISION,
    high_bpm DOUBLE PRECISION,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc      BIGINT NOT NULL
);

-- A device may be assigned before it was ever heard of: then nothing was seen yet.
CREATE TABLE devices (
    device     TEXT COLLATE "C" PRIMARY KEY CHECK (device ~ '^[A-Za-z0-9_-]{1,64}$'),
    patient    TEXT COLLATE "C" REFERENCES patients,
    first_seen BIGINT,
    last_seen  BIGINT
);

CREATE INDEX devices_by_patient ON devices (patient) WHERE patient IS NOT NULL;

-- Append-only: who wore which device since when; no patient means that it was taken back.
CREATE TABLE assignments (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device   TEXT COLLATE "C" NOT NULL REFERENCES devices,
    patient  TEXT COLLATE "C" REFERENCES patients,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc      BIGINT NOT NULL
);

-- One row per boot of a device.
CREATE TABLE records (
    device        TEXT COLLATE "C" NOT NULL REFERENCES devices,
    boot          BIGINT NOT NULL CHECK (boot BETWEEN 0 AND 4294967295),
    -- The signals in order with their rates in hertz, 'II@250 V1@250 PPG@100'; the rate of the
    -- first is the base rate.
    layout        TEXT NOT NULL,
    base_rate_hz  DOUBLE PRECISION NOT NULL,
    -- Ties samples to UTC: this sample was taken then, and this many follow per second.
    anchor_index  BIGINT NOT NULL CHECK (anchor_index >= 0),
    anchor_utc    BIGINT NOT NULL,
    anchor_hz     DOUBLE PRECISION NOT NULL CHECK (anchor_hz > 0),
    -- Everything derived from samples before this one is in this database. Never goes back.
    durable_until BIGINT NOT NULL CHECK (durable_until >= 0),
    ended         BOOLEAN NOT NULL,
    started_utc   BIGINT NOT NULL,
    updated_utc   BIGINT NOT NULL,
    PRIMARY KEY (device, boot)
);

-- For the latest record of a device.
CREATE INDEX records_latest ON records (device, updated_utc);

-- No foreign key to records from here on: beats come by the thousand per second, and a check on
-- each would buy nothing, since records are never deleted alone.
CREATE TABLE beats (
    device TEXT COLLATE "C" NOT NULL,
    boot   BIGINT NOT NULL,
    r_peak BIGINT NOT NULL CHECK (r_peak >= 0),
    -- EC57 class, absent while nothing has classified the beat.
    class  TEXT CHECK (class IN ('N', 'S', 'V', 'F', 'Q')),
    utc    BIGINT NOT NULL,
    PRIMARY KEY (device, boot, r_peak)
);

CREATE INDEX beats_by_time ON beats (device, utc);

CREATE TABLE gaps (
    device      TEXT COLLATE "C" NOT NULL,
    boot        BIGINT NOT NULL,
    start_index BIGINT NOT NULL CHECK (start_index >= 0),
    end_index   BIGINT NOT NULL,
    PRIMARY KEY (device, boot, start_index),
    CHECK (start_index < end_index)
);

-- One row per minute of a record: sums and extrema, so that a minute cut in two can be carried on.
CREATE TABLE trends (
    device           TEXT COLLATE "C" NOT NULL,
    boot             BIGINT NOT NULL,
    minute           BIGINT NOT NULL CHECK (minute >= 0),
    start_utc        BIGINT NOT NULL,
    n_beats          BIGINT NOT NULL,
    n_pulses         BIGINT NOT NULL,
    n_rates          BIGINT NOT NULL,
    rate_sum         DOUBLE PRECISION NOT NULL,
    -- Beats per minute, absent where no rate was seen in the minute.
    rate_min         DOUBLE PRECISION,
    rate_max         DOUBLE PRECISION,
    usable_seconds   BIGINT NOT NULL,
    unusable_seconds BIGINT NOT NULL,
    gap_samples      BIGINT NOT NULL,
    PRIMARY KEY (device, boot, minute)
);

CREATE INDEX trends_by_time ON trends (device, start_utc);

-- Alarms as they stand: what the events of each add up to. Nothing is here that could not be
-- computed again from alarm_events, except who wore the device when the alarm came in.
CREATE TABLE alarms (
    alarm        UUID PRIMARY KEY,
    device       TEXT COLLATE "C" NOT NULL,
    boot         BIGINT NOT NULL,
    patient      TEXT COLLATE "C" REFERENCES patients,
    condition    TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('physiological', 'technical')),
    priority     TEXT NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    onset        BIGINT NOT NULL CHECK (onset >= 0),
    -- The furthest state reached. The step numbers order the states (0 active, 1 acknowledged,
    -- 2 latched, 3 cleared): an event of a lower step than `step` never changes `state`, one of a
    -- higher step than `raised_step` never changes what was raised. So the row comes out the same
    -- in whatever order events arrive, and however often.
    state        TEXT NOT NULL CHECK (state IN ('active', 'acknowledged', 'latched', 'cleared')),
    step         SMALLINT NOT NULL,
    updated_utc  BIGINT NOT NULL,
    raised_step  SMALLINT NOT NULL,
    raised_utc   BIGINT NOT NULL,
    evidence     TEXT NOT NULL,
    -- From the event of the lowest step that names somebody.
    acknowledged_step SMALLINT,
    acknowledged_by   TEXT,
    acknowledged_utc  BIGINT
);

-- Newest first, all of them or one device's or patient's; and the few that are open.
CREATE INDEX alarms_by_time ON alarms (raised_utc DESC, alarm DESC);
CREATE INDEX alarms_by_device ON alarms (device, raised_utc DESC, alarm DESC);
CREATE INDEX alarms_by_patient ON alarms (patient, raised_utc DESC, alarm DESC);
CREATE INDEX alarms_open ON alarms (raised_utc DESC, alarm DESC) WHERE state <> 'cleared';

-- Append-only. The id is computed from alarm and state, so storing an event twice stores it once.
CREATE TABLE alarm_events (
    event      UUID PRIMARY KEY,
    alarm      UUID NOT NULL REFERENCES alarms,
    device     TEXT COLLATE "C" NOT NULL,
    boot       BIGINT NOT NULL,
    condition  TEXT NOT NULL,
    kind       TEXT NOT NULL,
    priority   TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('active', 'acknowledged', 'latched', 'cleared')),
    onset      BIGINT NOT NULL CHECK (onset >= 0),
    decided_at BIGINT NOT NULL CHECK (decided_at >= 0),
    utc        BIGINT NOT NULL,
    given_by   TEXT,
    evidence   TEXT NOT NULL,
    UNIQUE (alarm, state)
);

-- For the alarms of a record that still lack their strip.
CREATE INDEX alarm_events_by_record ON alarm_events (device, boot) WHERE state = 'active';

-- The signals around an alarm. The body holds signals, origins and samples; its format is
-- described in store/src/strip.rs and named by its first byte. No foreign key: a strip may be
-- ready before the batch with its alarm could be committed.
CREATE TABLE strips (
    alarm         UUID PRIMARY KEY,
    start_index   BIGINT NOT NULL CHECK (start_index >= 0),
    end_index     BIGINT NOT NULL,
    rate_hz       DOUBLE PRECISION NOT NULL,
    -- The model behind the reconstructed leads: all three, or none.
    model_name    TEXT,
    model_version TEXT,
    model_sha256  TEXT,
    body          BYTEA NOT NULL,
    CHECK (start_index <= end_index),
    CHECK ((model_name IS NULL) = (model_version IS NULL)),
    CHECK ((model_name IS NULL) = (model_sha256 IS NULL))
);

-- Deflated already.
ALTER TABLE strips ALTER COLUMN body SET STORAGE EXTERNAL;
