DROP TRIGGER payments_moved ON payments;
DROP FUNCTION record_entry;
DROP TABLE entries;
DROP FUNCTION refuse_change;
