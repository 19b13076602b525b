DROP TABLE languages;
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL;
ALTER TABLE messages DROP COLUMN traceparent;
ALTER TABLE messages DROP COLUMN language;
ALTER TABLE messages DROP COLUMN channel;
