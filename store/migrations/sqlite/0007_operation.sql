-- For those who run it: whether anything can be written. (PostgreSQL has beats in one partition a day as well; here they
-- are deleted in small steps when they are old.)

-- One row, written every few seconds while a service runs.
CREATE TABLE heartbeat (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    utc INTEGER NOT NULL
) STRICT;

-- For whether somebody is still to be told of an alarm.
CREATE INDEX outbox_by_alarm ON outbox (alarm);
