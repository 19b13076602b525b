-- Ten states, slots other than stays, and the whole policy. What nobody searches for is one encoded message, `details`.
CREATE TABLE reservations_next (
    id BLOB PRIMARY KEY NOT NULL,
    listing_id BLOB NOT NULL,
    customer TEXT NOT NULL,
    -- NULL until the place is held, and again once the request is refused.
    host TEXT,
    -- Both for a stay, check_in for a date, neither for a stock.
    check_in INTEGER,
    check_out INTEGER CHECK (check_out > check_in),
    units INTEGER NOT NULL CHECK (units > 0),
    state TEXT NOT NULL CHECK (state IN (
        'REQUESTED', 'AWAITING_APPROVAL', 'AWAITING_PAYMENT', 'CONFIRMED', 'CANCEL_REQUESTED',
        'CANCELLED', 'REJECTED', 'FORCE_CANCELLED', 'EXPIRED', 'COMPLETED')),
    total_minor INTEGER CHECK (total_minor >= 0),
    currency TEXT,
    payment_id BLOB,
    approval_id BLOB,
    expires_at INTEGER,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    details BLOB NOT NULL,
    CHECK (check_out IS NULL OR check_in IS NOT NULL),
    -- Nothing is confirmed without its deal, nor without a payment of what it costs.
    CHECK (state NOT IN ('CONFIRMED', 'COMPLETED')
        OR (total_minor IS NOT NULL AND (total_minor = 0) = (payment_id IS NULL))),
    -- Nothing waits without a deal, nor for ever.
    CHECK ((state IN ('AWAITING_APPROVAL', 'AWAITING_PAYMENT')) = (expires_at IS NOT NULL)),
    CHECK (expires_at IS NULL OR total_minor IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- The message's fields are persons (1), title (4), kind (5: a room), policy (8): until now all were rooms, paid at booking.
-- Lengths and numbers are written with more bytes than they may need, which every decoder takes.
INSERT INTO reservations_next
SELECT id, listing_id, customer, host, check_in, check_out, units, state, total_minor, currency, payment_id,
    NULL, NULL, version, updated_at,
    unhex(format('08%02X%02X', 128 | (persons & 127), persons >> 7)
        || CASE WHEN total_minor IS NULL THEN '' ELSE
            format('22%02X%02X', 128 | (length(title) & 127), length(title) >> 7)
            || hex(title)
            || '2801'
            || '4246'
            || CASE WHEN miles > 0 THEN '0802' WHEN miles < 0 THEN '0803' ELSE '0801' END
            || format('10%02X%02X%02X', 128 | (abs(miles) & 127), 128 | ((abs(miles) >> 7) & 127), abs(miles) >> 14)
            || '1801200128023001380140034A060804100118014A060805100118014A060803100118014A060807100118014A060806100118016A040880A30572040880A305'
        END)
FROM (SELECT *, CAST(coalesce(listing_title, '') AS BLOB) AS title, coalesce(mileage, 0) AS miles FROM reservations);

DROP TABLE reservations;
ALTER TABLE reservations_next RENAME TO reservations;

CREATE INDEX reservations_of_customer ON reservations (customer, id);
CREATE INDEX reservations_of_host ON reservations (host, id) WHERE host IS NOT NULL;
-- What a listing's deletion ends, and what counts against a person's limit.
CREATE INDEX reservations_open ON reservations (listing_id, customer)
    WHERE state IN ('REQUESTED', 'AWAITING_APPROVAL', 'AWAITING_PAYMENT', 'CONFIRMED');

-- One row as long as a reservation is on its way or waits; a wait's lease ends when the reservation expires.
CREATE TABLE sagas_next (
    reservation_id BLOB PRIMARY KEY NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('BOOK', 'WAIT', 'APPROVE', 'PAY', 'RETRY')),
    request_key BLOB,
    payment_method TEXT,
    charge_attempt INTEGER NOT NULL,
    expected_minor INTEGER,
    expected_currency TEXT,
    -- NULL while it goes forward; why it is being undone otherwise.
    failure TEXT,
    takeovers INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    began_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sagas_next
SELECT reservation_id, 'BOOK', request_key, payment_method, 0, expected_minor, expected_currency, failure, attempts,
    lease_until, created_at
FROM sagas;

DROP TABLE sagas;
ALTER TABLE sagas_next RENAME TO sagas;

CREATE INDEX sagas_by_lease ON sagas (lease_until);

-- Deleted listings whose open reservations are being cancelled.
CREATE TABLE closures (
    listing_id BLOB PRIMARY KEY NOT NULL,
    event_id BLOB NOT NULL,
    traceparent TEXT
) STRICT, WITHOUT ROWID;
