-- Getting alarms out: what is to be told, to whom, how far that is, and when it was asked to wait.

-- When an alarm came in, by the clock of the service (absent where it is older than this column), and how often
-- nobody's answer has been escalated, last when.
ALTER TABLE alarms ADD COLUMN stored_utc INTEGER;
ALTER TABLE alarms ADD COLUMN escalated_level INTEGER NOT NULL DEFAULT 0 CHECK (escalated_level >= 0);
ALTER TABLE alarms ADD COLUMN escalated_utc INTEGER;

-- The outbox: one row per alarm event, written in the transaction that stores the event for the first time, and one
-- per escalation. There is one writer at a time, so `seq` is the order in which they became visible, and whoever has
-- read up to a `seq` has missed none before it. Rows are removed when they are old and nobody waits for them.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The idempotency key: the id of the alarm event, or one computed from alarm and level.
    message    BLOB NOT NULL UNIQUE,
    alarm      BLOB NOT NULL,
    device     TEXT NOT NULL,
    boot       INTEGER NOT NULL,
    patient    TEXT,
    kind       TEXT NOT NULL CHECK (kind IN ('raised', 'acknowledged', 'latched', 'cleared', 'escalated')),
    -- How often it was escalated; 0 for the other kinds.
    level      INTEGER NOT NULL CHECK (level >= 0),
    condition  TEXT NOT NULL,
    alarm_kind TEXT NOT NULL,
    priority   TEXT NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    -- Where the alarm stood with this message.
    state      TEXT NOT NULL CHECK (state IN ('active', 'acknowledged', 'latched', 'cleared')),
    onset      INTEGER NOT NULL,
    utc        INTEGER NOT NULL,
    raised_utc INTEGER NOT NULL,
    -- When it was stored, by the clock of the service.
    stored_utc INTEGER NOT NULL,
    given_by   TEXT,
    evidence   TEXT NOT NULL,
    -- How the record's samples lay in UTC: all three, or none.
    anchor_index INTEGER,
    anchor_utc   INTEGER,
    anchor_hz    REAL
) STRICT;

CREATE INDEX outbox_by_age ON outbox (stored_utc);

-- Webhooks. Lists are words with spaces between; an empty one lets everything through.
CREATE TABLE subscribers (
    subscriber     BLOB NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL,
    url            TEXT NOT NULL,
    -- The key that messages are signed with, as it was given. Never shown.
    secret         TEXT NOT NULL,
    least_priority TEXT NOT NULL CHECK (least_priority IN ('low', 'medium', 'high')),
    conditions     TEXT NOT NULL,
    kinds          TEXT NOT NULL,
    devices        TEXT NOT NULL,
    patients       TEXT NOT NULL,
    created_utc    INTEGER NOT NULL,
    changed_utc    INTEGER NOT NULL,
    changed_by     TEXT NOT NULL CHECK (changed_by <> ''),
    -- Every message up to this one was looked at: it is in deliveries, delivered, or not for this subscriber.
    read_until     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a subscriber has not got (yet). A message that arrived has no row.
CREATE TABLE deliveries (
    subscriber BLOB NOT NULL REFERENCES subscribers ON DELETE CASCADE,
    seq        INTEGER NOT NULL REFERENCES outbox,
    device     TEXT NOT NULL,
    -- pending: to be sent; held: its device is paused; dead: given up; skipped: the alarm came and went in a pause.
    state      TEXT NOT NULL CHECK (state IN ('pending', 'held', 'dead', 'skipped')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_utc   INTEGER NOT NULL,
    -- Since when it has been tried in vain; what makes it dead.
    since_utc  INTEGER NOT NULL,
    -- Why it has not arrived.
    reason     TEXT,
    PRIMARY KEY (subscriber, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_pending ON deliveries (subscriber, device, seq) WHERE state = 'pending';
CREATE INDEX deliveries_by_message ON deliveries (seq);

-- Append-only: who asked that less urgent messages of a device wait, when and until when. The newest row of a device is
-- in force; a pause is ended early by a row that ends at once.
CREATE TABLE pauses (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    device     TEXT NOT NULL,
    until_utc  INTEGER NOT NULL,
    changed_by TEXT NOT NULL CHECK (changed_by <> ''),
    utc        INTEGER NOT NULL
) STRICT;

CREATE INDEX pauses_by_device ON pauses (device, id);
