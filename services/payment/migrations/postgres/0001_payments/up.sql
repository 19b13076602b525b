-- One payment for each reservation. A row of amount 0 is a tombstone: the reservation was given up before anything was charged.
-- state: 1 waiting, 2 approved, 3 declined, 4 cancelled. mileage: 0 none, 1 to earn (graceful), 2 to earn (strict), 3 earned, 4 pending.
CREATE TABLE payments (
    id BYTEA NOT NULL PRIMARY KEY,
    reservation_id BYTEA NOT NULL,
    customer TEXT NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (amount_minor > 0 OR (amount_minor = 0 AND state = 4)),
    currency TEXT NOT NULL,
    -- The provider's token; blank once the outcome is known.
    method TEXT NOT NULL CHECK (method = '' OR state = 1),
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    mileage_points BIGINT NOT NULL,
    mileage SMALLINT NOT NULL CHECK (mileage BETWEEN 0 AND 4),
    -- The provider's reference, or of a declined payment the code.
    provider_answer TEXT,
    -- Who wants the money back: the event that asked, or the reservation itself.
    refund_requested_by BYTEA,
    -- When somebody has to look at it: the end of the lease while somebody works on it, the next attempt otherwise. NULL: nothing to do.
    due_at BIGINT,
    leased BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK ((due_at IS NOT NULL) = (state = 1 OR (state = 2 AND refund_requested_by IS NOT NULL)))
);
CREATE UNIQUE INDEX payments_reservation ON payments (reservation_id);
CREATE INDEX payments_customer ON payments (customer, id);
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
