ALTER TABLE sagas DROP COLUMN abandon_reason;
ALTER TABLE sagas DROP COLUMN abandoned_by;
ALTER TABLE sagas DROP COLUMN abandoned_at;
ALTER TABLE sagas DROP COLUMN last_error;
