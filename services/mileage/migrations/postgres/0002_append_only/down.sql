DROP TRIGGER entries_append_only ON entries;
DROP FUNCTION refuse_change;
