-- What the last try came to.
ALTER TABLE sagas ADD COLUMN last_error TEXT;

-- All three or none: an operator has stopped the saga before all was undone. Nobody takes it up.
ALTER TABLE sagas ADD COLUMN abandoned_at INTEGER;
ALTER TABLE sagas ADD COLUMN abandoned_by TEXT;
ALTER TABLE sagas ADD COLUMN abandon_reason TEXT;
