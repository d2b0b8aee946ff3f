-- For those who run it: whether anything can be written, and old beats that are dropped by the day.

-- One row, written every few seconds while a service runs.
CREATE TABLE heartbeat (
    id  SMALLINT PRIMARY KEY CHECK (id = 1),
    utc BIGINT NOT NULL
);

-- How the samples of a record lay in UTC when it was stored first. Unlike the anchor it never changes, so that what is
-- computed from it is the same whenever it is computed: when sample 0 was taken (microseconds; not a BIGINT, for an index may be
-- absurd), and the base rate.
ALTER TABLE records ADD COLUMN origin_utc DOUBLE PRECISION, ADD COLUMN origin_hz DOUBLE PRECISION;
UPDATE records SET origin_hz = base_rate_hz, origin_utc = anchor_utc - anchor_index / base_rate_hz * 1e6;
ALTER TABLE records
    ALTER COLUMN origin_utc SET NOT NULL,
    ALTER COLUMN origin_hz SET NOT NULL,
    ADD CHECK (origin_hz > 0);

-- Beats are by far the most rows: one partition a day (`day`, since 1970-01-01), named beats_YYYYMMDD, so that an old day is
-- dropped as a whole. A running service makes partitions some days ahead; what has none is in beats_default. The day
-- is computed from the record's origin and r_peak, for `utc` is an estimate that may differ when a beat is
-- stored again after a crash.
ALTER TABLE beats RENAME TO beats_before;
ALTER INDEX beats_pkey RENAME TO beats_before_pkey;
ALTER INDEX beats_by_time RENAME TO beats_before_by_time;

CREATE TABLE beats (
    device TEXT COLLATE "C" NOT NULL,
    boot   BIGINT NOT NULL,
    r_peak BIGINT NOT NULL CHECK (r_peak >= 0),
    -- EC57 class, absent while nothing has classified the beat.
    class  TEXT CHECK (class IN ('N', 'S', 'V', 'F', 'Q')),
    utc    BIGINT NOT NULL,
    day    INTEGER NOT NULL,
    PRIMARY KEY (device, boot, r_peak, day)
) PARTITION BY RANGE (day);

CREATE INDEX beats_by_time ON beats (device, utc);

CREATE TABLE beats_default PARTITION OF beats DEFAULT;

-- The day of a beat. -1 where its record is not known, or its index is absurd.
CREATE FUNCTION beat_day(origin_utc DOUBLE PRECISION, origin_hz DOUBLE PRECISION, r_peak BIGINT) RETURNS INTEGER
    LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN origin_utc + r_peak / origin_hz * 1e6 BETWEEN 0 AND 86400e11
        THEN floor((origin_utc + r_peak / origin_hz * 1e6) / 86400e6)::integer ELSE -1 END;

DO $$
DECLARE
    a_day INTEGER;
BEGIN
    FOR a_day IN
        SELECT DISTINCT beat_day(r.origin_utc, r.origin_hz, b.r_peak)
        FROM beats_before b JOIN records r ON r.device = b.device AND r.boot = b.boot
        WHERE beat_day(r.origin_utc, r.origin_hz, b.r_peak) >= 0
        UNION
        SELECT generate_series(current_date - 1, current_date + 7, interval '1 day')::date - DATE '1970-01-01'
    LOOP
        EXECUTE format('CREATE TABLE beats_%s PARTITION OF beats FOR VALUES FROM (%s) TO (%s)',
            to_char(DATE '1970-01-01' + a_day, 'YYYYMMDD'), a_day, a_day + 1);
    END LOOP;
END
$$;

INSERT INTO beats (device, boot, r_peak, class, utc, day)
    SELECT b.device, b.boot, b.r_peak, b.class, b.utc, beat_day(r.origin_utc, r.origin_hz, b.r_peak)
    FROM beats_before b LEFT JOIN records r ON r.device = b.device AND r.boot = b.boot;

DROP TABLE beats_before;

-- For whether somebody is still to be told of an alarm.
CREATE INDEX outbox_by_alarm ON outbox (alarm);
