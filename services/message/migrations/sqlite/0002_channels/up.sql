-- How a message is told, in which language, and the trace it belongs to. Each channel is delivered by itself.
ALTER TABLE messages ADD COLUMN channel INTEGER NOT NULL DEFAULT 1;
ALTER TABLE messages ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
ALTER TABLE messages ADD COLUMN traceparent TEXT;
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (channel, due_at) WHERE due_at IS NOT NULL;
-- The language a user chose last.
CREATE TABLE languages (
    recipient TEXT PRIMARY KEY NOT NULL,
    language TEXT NOT NULL
) STRICT, WITHOUT ROWID;
