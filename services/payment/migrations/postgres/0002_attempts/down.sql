-- Before, every waiting payment was being charged, and a declined one could not be refunded: registered ones go, declined ones stay so.
CREATE TABLE payments_before (
    id BYTEA NOT NULL PRIMARY KEY,
    reservation_id BYTEA NOT NULL,
    customer TEXT NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (amount_minor > 0 OR (amount_minor = 0 AND state = 4)),
    currency TEXT NOT NULL,
    method TEXT NOT NULL CHECK (method = '' OR state = 1),
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    mileage_points BIGINT NOT NULL,
    mileage SMALLINT NOT NULL CHECK (mileage BETWEEN 0 AND 4),
    provider_answer TEXT,
    refund_requested_by BYTEA,
    due_at BIGINT,
    leased BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK ((due_at IS NOT NULL) = (state = 1 OR (state = 2 AND refund_requested_by IS NOT NULL)))
);
INSERT INTO payments_before (id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, due_at, leased, version, created_at, updated_at)
SELECT id, reservation_id, customer, amount_minor, currency, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, CASE WHEN state <> 3 THEN due_at END, leased, version,
    ('x' || encode(substr(id, 1, 6), 'hex'))::bit(48)::bigint * 1000,
    updated_at
FROM payments
WHERE state <> 1 OR attempt > 0;
DROP TABLE payments;
ALTER TABLE payments_before RENAME TO payments;
ALTER INDEX payments_before_pkey RENAME TO payments_pkey;
CREATE UNIQUE INDEX payments_reservation ON payments (reservation_id);
CREATE INDEX payments_customer ON payments (customer, id);
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
