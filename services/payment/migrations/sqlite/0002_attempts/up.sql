-- A payment is registered before it is charged, and charged in attempts. The id has the time of recording, so created_at makes room.
-- One payment for each reservation. A row of amount 0 is a tombstone: the reservation was given up before there was a payment.
-- state: 1 waiting, 2 approved, 3 declined, 4 cancelled. mileage: 0 none, 1 to earn (graceful), 2 to earn (strict), 3 earned, 4 pending.
CREATE TABLE payments_next (
    id BLOB NOT NULL PRIMARY KEY,
    reservation_id BLOB NOT NULL,
    customer TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0 OR (amount_minor = 0 AND state = 4)),
    currency TEXT NOT NULL,
    -- The attempt it stands at; 0 as long as nothing was asked of the provider.
    attempt INTEGER NOT NULL CHECK (attempt > 0 OR (attempt = 0 AND state IN (1, 4))),
    -- The provider's token; blank unless an attempt is open.
    method TEXT NOT NULL CHECK (method = '' OR (state = 1 AND attempt > 0)),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    mileage_points INTEGER NOT NULL,
    mileage INTEGER NOT NULL CHECK (mileage BETWEEN 0 AND 4),
    -- The provider's reference, or of a declined payment the code.
    provider_answer TEXT,
    -- Who wants the money back: the event that asked, or the reservation itself.
    refund_requested_by BLOB,
    -- When somebody has to look at it: the end of the lease while somebody works on it, the next try otherwise. NULL: nothing to do.
    due_at INTEGER,
    leased INTEGER NOT NULL,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((due_at IS NOT NULL) = ((state = 1 AND attempt > 0) OR (state <> 4 AND refund_requested_by IS NOT NULL)))
) STRICT, WITHOUT ROWID;
INSERT INTO payments_next (id, reservation_id, customer, amount_minor, currency, attempt, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, due_at, leased, version, updated_at)
SELECT id, reservation_id, customer, amount_minor, currency, CASE WHEN amount_minor = 0 THEN 0 ELSE 1 END, method, state, mileage_points, mileage,
    provider_answer, refund_requested_by, due_at, leased, version, updated_at
FROM payments;
DROP TABLE payments;
ALTER TABLE payments_next RENAME TO payments;
CREATE UNIQUE INDEX payments_reservation ON payments (reservation_id);
CREATE INDEX payments_customer ON payments (customer, id);
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
