-- Before, every waiting payment was being charged, and a declined one could not be refunded: registered ones go, declined ones stay so.
CREATE TABLE payments_before (
    id BLOB NOT NULL PRIMARY KEY,
    reservation_id BLOB NOT NULL,
    customer TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0 OR (amount_minor = 0 AND state = 4)),
    currency TEXT NOT NULL,
    method TEXT NOT NULL CHECK (method = '' OR state = 1),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    mileage_points INTEGER NOT NULL,
    mileage INTEGER NOT NULL CHECK (mileage BETWEEN 0 AND 4),
    provider_answer TEXT,
    refund_requested_by BLOB,
    due_at INTEGER,
    leased INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((due_at IS NOT NULL) = (state = 1 OR (state = 2 AND refund_requested_by IS NOT NULL)))
) STRICT, WITHOUT ROWID;
INSERT INTO payments_before (id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, due_at, leased, version, created_at, updated_at)
SELECT id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, CASE WHEN state <> 3 THEN due_at END, leased, version,
    1000 * (
        ((instr('0123456789ABCDEF', substr(hex(id), 1, 1)) - 1) << 44)
        + ((instr('0123456789ABCDEF', substr(hex(id), 2, 1)) - 1) << 40)
        + ((instr('0123456789ABCDEF', substr(hex(id), 3, 1)) - 1) << 36)
        + ((instr('0123456789ABCDEF', substr(hex(id), 4, 1)) - 1) << 32)
        + ((instr('0123456789ABCDEF', substr(hex(id), 5, 1)) - 1) << 28)
        + ((instr('0123456789ABCDEF', substr(hex(id), 6, 1)) - 1) << 24)
        + ((instr('0123456789ABCDEF', substr(hex(id), 7, 1)) - 1) << 20)
        + ((instr('0123456789ABCDEF', substr(hex(id), 8, 1)) - 1) << 16)
        + ((instr('0123456789ABCDEF', substr(hex(id), 9, 1)) - 1) << 12)
        + ((instr('0123456789ABCDEF', substr(hex(id), 10, 1)) - 1) << 8)
        + ((instr('0123456789ABCDEF', substr(hex(id), 11, 1)) - 1) << 4)
        + ((instr('0123456789ABCDEF', substr(hex(id), 12, 1)) - 1) << 0)
    ),
    updated_at
FROM payments
WHERE state <> 1 OR attempt > 0;
DROP TABLE payments;
ALTER TABLE payments_before RENAME TO payments;
CREATE UNIQUE INDEX payments_reservation ON payments (reservation_id);
CREATE INDEX payments_customer ON payments (customer, id);
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
