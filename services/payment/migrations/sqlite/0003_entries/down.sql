DROP TRIGGER payments_charged;
DROP TRIGGER payments_cancelled;
DROP TABLE entries;
