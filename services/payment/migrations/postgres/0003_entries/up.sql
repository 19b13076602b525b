-- The ledger of money. Rows are only ever added, by the move they record: a trigger writes them, so that no program, an older one included, can
-- move a payment without its entry. kind: 1 charge, 2 refund, 3 void (nothing was kept, and nothing will be taken). A payment has at most one of
-- each; what it holds is the sum.
CREATE TABLE entries (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id BYTEA NOT NULL,
    kind SMALLINT NOT NULL,
    attempt INTEGER NOT NULL,
    -- More than zero for a charge, less for a refund, zero for a void.
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((kind = 1 AND amount_minor > 0) OR (kind = 2 AND amount_minor < 0) OR (kind = 3 AND amount_minor = 0))
);
CREATE UNIQUE INDEX entries_payment ON entries (payment_id, kind);

-- What was taken before there was a ledger; a cancelled payment that still has its reference was approved, and given back. When it was approved
-- is not known any more of one that was cancelled.
INSERT INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at)
SELECT id, 1, attempt, amount_minor, currency, updated_at FROM payments
WHERE amount_minor > 0 AND (state = 2 OR (state = 4 AND provider_answer IS NOT NULL)) ORDER BY updated_at, id;
INSERT INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at)
SELECT id, CASE WHEN provider_answer IS NULL THEN 3 ELSE 2 END, attempt, CASE WHEN provider_answer IS NULL THEN 0 ELSE -amount_minor END, currency,
    updated_at
FROM payments WHERE amount_minor > 0 AND state = 4 ORDER BY updated_at, id;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION record_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at)
    VALUES (NEW.id,
        CASE WHEN NEW.state = 2 THEN 1 WHEN OLD.state = 2 THEN 2 ELSE 3 END,
        NEW.attempt,
        CASE WHEN NEW.state = 2 THEN NEW.amount_minor WHEN OLD.state = 2 THEN -NEW.amount_minor ELSE 0 END,
        NEW.currency,
        NEW.updated_at);
    RETURN NULL;
END
$$;
CREATE TRIGGER payments_moved AFTER UPDATE OF state ON payments FOR EACH ROW WHEN (NEW.state IN (2, 4) AND NEW.state <> OLD.state)
    EXECUTE FUNCTION record_entry();
