CREATE TABLE reservations (
    id BYTEA PRIMARY KEY NOT NULL,
    listing_id BYTEA NOT NULL,
    customer TEXT NOT NULL,
    host TEXT,
    listing_title TEXT,
    check_in INTEGER NOT NULL,
    check_out INTEGER NOT NULL CHECK (check_out > check_in),
    units INTEGER NOT NULL CHECK (units > 0),
    persons INTEGER NOT NULL CHECK (persons > 0),
    state TEXT NOT NULL CHECK (state IN ('REQUESTED', 'CONFIRMED', 'CANCEL_REQUESTED', 'CANCELLED', 'REJECTED')),
    total_minor BIGINT CHECK (total_minor >= 0),
    currency TEXT,
    mileage BIGINT,
    payment_id BYTEA,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Nothing is confirmed without its deal, nor without a payment of what it costs.
    CHECK (state <> 'CONFIRMED' OR (total_minor IS NOT NULL AND (total_minor = 0) = (payment_id IS NULL)))
);

CREATE INDEX reservations_of_customer ON reservations (customer, id);
CREATE INDEX reservations_of_host ON reservations (host, id) WHERE host IS NOT NULL;

-- One row while a saga runs; gone when it has ended.
CREATE TABLE sagas (
    reservation_id BYTEA PRIMARY KEY NOT NULL,
    request_key BYTEA NOT NULL,
    payment_method TEXT NOT NULL,
    expected_minor BIGINT,
    expected_currency TEXT,
    -- NULL while it goes forward; why it is being undone otherwise.
    failure TEXT,
    attempts INTEGER NOT NULL,
    lease_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX sagas_by_lease ON sagas (lease_until);
