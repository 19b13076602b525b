DROP TRIGGER entries_no_update;
DROP TRIGGER entries_no_delete;
