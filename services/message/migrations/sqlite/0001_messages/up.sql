-- Messages to users. due_at is when to try next, or when whoever is trying is given up on; NULL once nothing is left to do.
CREATE TABLE messages (
    id BLOB PRIMARY KEY NOT NULL,
    event_id BLOB NOT NULL,
    recipient TEXT NOT NULL,
    reservation BLOB NOT NULL,
    topic INTEGER NOT NULL,
    body TEXT NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    sent_at INTEGER,
    CHECK ((state = 1) = (due_at IS NOT NULL)),
    CHECK ((state = 2) = (sent_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_recipient ON messages (recipient, id);
CREATE INDEX messages_reservation ON messages (reservation, id);
