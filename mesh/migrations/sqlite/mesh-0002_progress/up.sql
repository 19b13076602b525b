-- Which event the stream acknowledged last, so that another one in its place is noticed, and when: what the stream has from before is intact.
ALTER TABLE outbox_progress ADD COLUMN event_id BLOB;
ALTER TABLE outbox_progress ADD COLUMN acknowledged_at INTEGER;
