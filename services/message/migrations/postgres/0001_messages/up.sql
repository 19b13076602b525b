-- Messages to users. due_at is when to try next, or when whoever is trying is given up on; NULL once nothing is left to do.
CREATE TABLE messages (
    id BYTEA PRIMARY KEY,
    event_id BYTEA NOT NULL,
    recipient TEXT NOT NULL,
    reservation BYTEA NOT NULL,
    topic SMALLINT NOT NULL,
    body TEXT NOT NULL,
    state SMALLINT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at BIGINT,
    created_at BIGINT NOT NULL,
    sent_at BIGINT,
    CHECK ((state = 1) = (due_at IS NOT NULL)),
    CHECK ((state = 2) = (sent_at IS NOT NULL))
);
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_recipient ON messages (recipient, id);
CREATE INDEX messages_reservation ON messages (reservation, id);
