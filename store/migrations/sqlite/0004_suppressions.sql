-- Alarms that were not raised although their rule was met: what was held back, what spoke for it and against it.
-- Append-only. The id is that which the alarm would have; where the reason went away it was raised with it after all.
CREATE TABLE suppressions (
    alarm      BLOB NOT NULL PRIMARY KEY,
    device     TEXT NOT NULL,
    boot       INTEGER NOT NULL,
    condition  TEXT NOT NULL,
    priority   TEXT NOT NULL CHECK (priority IN ('low', 'medium', 'high')),
    onset      INTEGER NOT NULL CHECK (onset >= 0),
    decided_at INTEGER NOT NULL CHECK (decided_at >= 0),
    utc        INTEGER NOT NULL,
    evidence   TEXT NOT NULL,
    reason     TEXT NOT NULL CHECK (reason <> '')
) STRICT, WITHOUT ROWID;

CREATE INDEX suppressions_by_device ON suppressions (device, utc DESC, alarm);
