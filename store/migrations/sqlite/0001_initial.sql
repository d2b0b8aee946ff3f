-- What lasts, in SQLite. The same tables, columns and units as in ../postgres, so that one set of
-- queries reads both. STRICT: a column holds what it says it holds.
--
-- Units, everywhere:
--   *_index, r_peak, onset, decided_at   samples at the record's base rate since the device started
--   *utc, *_seen                         microseconds since 1970-01-01 UTC, exact in both databases;
--                                        datetime(utc / 1e6, 'unixepoch') reads as a time
--   boot                                 the 32-bit number a device draws at each start, unsigned
--
-- Words (states, priorities, conditions...) are text, as they stand in the API. The closed sets are
-- checked here; conditions are not, because new ones come with new versions.

-- Pseudonyms only. Who a patient is, is known elsewhere.
CREATE TABLE patients (
    patient  TEXT NOT NULL PRIMARY KEY CHECK (length(patient) BETWEEN 1 AND 64 AND patient NOT GLOB '*[^A-Za-z0-9_-]*'),
    created_utc INTEGER NOT NULL,
    -- Alarm limits in beats per minute: both, or neither for the defaults.
    low_bpm  REAL,
    high_bpm REAL,
    CONSTRAINT limits_are_a_pair CHECK ((low_bpm IS NULL) = (high_bpm IS NULL)),
    CONSTRAINT limits_in_range CHECK (low_bpm >= 20 AND low_bpm < high_bpm AND high_bpm <= 300)
) STRICT, WITHOUT ROWID;

-- Append-only: every change of a patient's limits, by whom and when.
CREATE TABLE limit_changes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    patient  TEXT NOT NULL REFERENCES patients,
    low_bpm  REAL,
    high_bpm REAL,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc      INTEGER NOT NULL
) STRICT;

-- A device may be assigned before it was ever heard of: then nothing was seen yet.
CREATE TABLE devices (
    device     TEXT NOT NULL PRIMARY KEY CHECK (length(device) BETWEEN 1 AND 64 AND device NOT GLOB '*[^A-Za-z0-9_-]*'),
    patient    TEXT REFERENCES patients,
    first_seen INTEGER,
    last_seen  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_by_patient ON devices (patient) WHERE patient IS NOT NULL;

-- Append-only: who wore which device since when; no patient means that it was taken back.
CREATE TABLE assignments (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    device   TEXT NOT NULL REFERENCES devices,
    patient  TEXT REFERENCES patients,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc      INTEGER NOT NULL
) STRICT;

-- One row per boot of a device.
CREATE TABLE records (
    device        TEXT NOT NULL REFERENCES devices,
    boot          INTEGER NOT NULL CHECK (boot BETWEEN 0 AND 4294967295),
    -- The signals in order with their rates in hertz, 'II@250 V1@250 PPG@100'; the rate of the
    -- first is the base rate.
    layout        TEXT NOT NULL,
    base_rate_hz  REAL NOT NULL,
    -- Ties samples to UTC: this sample was taken then, and this many follow per second.
    anchor_index  INTEGER NOT NULL CHECK (anchor_index >= 0),
    anchor_utc    INTEGER NOT NULL,
    anchor_hz     REAL NOT NULL CHECK (anchor_hz > 0),
    -- Everything derived from samples before this one is in this database. Never goes back.
    durable_until INTEGER NOT NULL CHECK (durable_until >= 0),
    ended         INTEGER NOT NULL CHECK (ended IN (0, 1)),
    started_utc   INTEGER NOT NULL,
    updated_utc   INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) STRICT, WITHOUT ROWID;

-- For the latest record of a device.
CREATE INDEX records_latest ON records (device, updated_utc);

-- No foreign key to records from here on: beats come by the thousand per second, and a check on
-- each would buy nothing, since records are never deleted alone.
CREATE TABLE beats (
    device TEXT NOT NULL,
    boot   INTEGER NOT NULL,
    r_peak INTEGER NOT NULL CHECK (r_peak >= 0),
    -- EC57 class, absent while nothing has classified the beat.
    class  TEXT CHECK (class IN ('N', 'S', 'V', 'F', 'Q')),
    utc    INTEGER NOT NULL,
    PRIMARY KEY (device, boot, r_peak)
) STRICT, WITHOUT ROWID;

CREATE INDEX beats_by_time ON beats (device, utc);

CREATE TABLE gaps (
    device      TEXT NOT NULL,
    boot        INTEGER NOT NULL,
    start_index INTEGER NOT NULL CHECK (start_index >= 0),
    end_index   INTEGER NOT NULL,
    PRIMARY KEY (device, boot, start_index),
    CHECK (start_index < end_index)
) STRICT, WITHOUT ROWID;

-- One row per minute of a record: sums and extrema, so that a minute cut in two can be carried on.
CREATE TABLE trends (
    device           TEXT NOT NULL,
    boot             INTEGER NOT NULL,
    minute           INTEGER NOT NULL CHECK (minute >= 0),
    start_utc        INTEGER NOT NULL,
    n_beats          INTEGER NOT NULL,
    n_pulses         INTEGER NOT NULL,
    n_rates          INTEGER NOT NULL,
    rate_sum         REAL NOT NULL,
    -- Beats per minute, absent where no rate was seen in the minute.
    rate_min         REAL,
    rate_max         REAL,
    usable_seconds   INTEGER NOT NULL,
    unusable_seconds INTEGER NOT NULL,
    gap_samples      INTEGER NOT NULL,
    PRIMARY KEY (device, boot, minute)
) STRICT, WITHOUT ROWID;

CREATE INDEX trends_by_time ON trends (device, start_utc);

-- Alarms as they stand: what the events of each add up to. Nothing is here that could not be
-- computed again from alarm_events, except who wore the device when the alarm came in.
CREATE TABLE alarms (
    alarm        BLOB NOT NULL PRIMARY KEY,
    device       TEXT NOT NULL,
    boot         INTEGER NOT NULL,
    patient      TEXT REFERENCES patients,
    condition    TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('physiological', 'technical')),
    priority     TEXT NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    onset        INTEGER NOT NULL CHECK (onset >= 0),
    -- The furthest state reached. The step numbers order the states (0 active, 1 acknowledged,
    -- 2 latched, 3 cleared): an event of a lower step than `step` never changes `state`, one of a
    -- higher step than `raised_step` never changes what was raised. So the row comes out the same
    -- in whatever order events arrive, and however often.
    state        TEXT NOT NULL CHECK (state IN ('active', 'acknowledged', 'latched', 'cleared')),
    step         INTEGER NOT NULL,
    updated_utc  INTEGER NOT NULL,
    raised_step  INTEGER NOT NULL,
    raised_utc   INTEGER NOT NULL,
    evidence     TEXT NOT NULL,
    -- From the event of the lowest step that names somebody.
    acknowledged_step INTEGER,
    acknowledged_by   TEXT,
    acknowledged_utc  INTEGER
) STRICT, WITHOUT ROWID;

-- Newest first, all of them or one device's or patient's; and the few that are open.
CREATE INDEX alarms_by_time ON alarms (raised_utc DESC, alarm DESC);
CREATE INDEX alarms_by_device ON alarms (device, raised_utc DESC, alarm DESC);
CREATE INDEX alarms_by_patient ON alarms (patient, raised_utc DESC, alarm DESC);
CREATE INDEX alarms_open ON alarms (raised_utc DESC, alarm DESC) WHERE state <> 'cleared';

-- Append-only. The id is computed from alarm and state, so storing an event twice stores it once.
CREATE TABLE alarm_events (
    event      BLOB NOT NULL PRIMARY KEY,
    alarm      BLOB NOT NULL REFERENCES alarms,
    device     TEXT NOT NULL,
    boot       INTEGER NOT NULL,
    condition  TEXT NOT NULL,
    kind       TEXT NOT NULL,
    priority   TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('active', 'acknowledged', 'latched', 'cleared')),
    onset      INTEGER NOT NULL CHECK (onset >= 0),
    decided_at INTEGER NOT NULL CHECK (decided_at >= 0),
    utc        INTEGER NOT NULL,
    given_by   TEXT,
    evidence   TEXT NOT NULL,
    UNIQUE (alarm, state)
) STRICT, WITHOUT ROWID;

-- For the alarms of a record that still lack their strip.
CREATE INDEX alarm_events_by_record ON alarm_events (device, boot) WHERE state = 'active';

-- The signals around an alarm. The body holds signals, origins and samples; its format is
-- described in store/src/strip.rs and named by its first byte. No foreign key: a strip may be
-- ready before the batch with its alarm could be committed.
CREATE TABLE strips (
    alarm         BLOB NOT NULL PRIMARY KEY,
    start_index   INTEGER NOT NULL CHECK (start_index >= 0),
    end_index     INTEGER NOT NULL,
    rate_hz       REAL NOT NULL,
    -- The model behind the reconstructed leads: all three, or none.
    model_name    TEXT,
    model_version TEXT,
    model_sha256  TEXT,
    body          BLOB NOT NULL,
    CHECK (start_index <= end_index),
    CHECK ((model_name IS NULL) = (model_version IS NULL)),
    CHECK ((model_name IS NULL) = (model_sha256 IS NULL))
) STRICT;
