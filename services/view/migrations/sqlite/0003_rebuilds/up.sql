-- At most one row: the rebuild that is under way. One whose lease has ended is over, however it ended.
CREATE TABLE rebuilds (
    singleton INTEGER PRIMARY KEY NOT NULL CHECK (singleton = 1),
    id BLOB NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

-- The events that were folded since it began.
CREATE TABLE rebuild_journal (
    seq INTEGER PRIMARY KEY NOT NULL,
    event_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    causation BLOB,
    traceparent TEXT,
    payload BLOB NOT NULL
) STRICT;
