-- The ledger of money. Rows are only ever added, by the move they record: a trigger writes them, so that no program, an older one included, can
-- move a payment without its entry. kind: 1 charge, 2 refund, 3 void (nothing was kept, and nothing will be taken). A payment has at most one of
-- each; what it holds is the sum.
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    payment_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- More than zero for a charge, less for a refund, zero for a void.
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CHECK ((kind = 1 AND amount_minor > 0) OR (kind = 2 AND amount_minor < 0) OR (kind = 3 AND amount_minor = 0))
) STRICT;
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

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries is append-only'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries is append-only'); END;

CREATE TRIGGER payments_charged AFTER UPDATE OF state ON payments WHEN NEW.state = 2 AND OLD.state <> 2 BEGIN
    INSERT INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at)
    VALUES (NEW.id, 1, NEW.attempt, NEW.amount_minor, NEW.currency, NEW.updated_at);
END;
CREATE TRIGGER payments_cancelled AFTER UPDATE OF state ON payments WHEN NEW.state = 4 AND OLD.state <> 4 BEGIN
    INSERT INTO entries (payment_id, kind, attempt, amount_minor, currency, created_at)
    VALUES (NEW.id, CASE OLD.state WHEN 2 THEN 2 ELSE 3 END, NEW.attempt, CASE OLD.state WHEN 2 THEN -NEW.amount_minor ELSE 0 END, NEW.currency,
        NEW.updated_at);
END;
