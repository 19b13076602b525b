-- Events on their way to the broker, kept for a while after it has them.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    origin INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL,
    correlation TEXT NOT NULL,
    causation BLOB,
    traceparent TEXT,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    published_at INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox (seq) WHERE published_at IS NULL;

-- How far the stream is known to have come; a stream behind it has lost events.
CREATE TABLE outbox_progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    stream_sequence INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_progress VALUES (1, 0);

-- Events whose effect is stored, one row for each consumer.
CREATE TABLE inbox (
    event_id BLOB NOT NULL,
    consumer TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, consumer)
) STRICT, WITHOUT ROWID;

-- Commands already answered. The keys are hashes, so only the narrow index has random order.
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    resource BLOB NOT NULL,
    answer BLOB,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX requests_key ON requests (key);
