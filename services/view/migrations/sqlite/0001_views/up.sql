-- One row for each reservation that any service has told of. What comes from an aggregate stands beside the version it came with, 0 for
-- nothing yet; a row without a reservation version is a beginning and not shown.
CREATE TABLE trips (
    id BLOB PRIMARY KEY NOT NULL,
    listing BLOB,
    customer TEXT,
    host TEXT,
    reservation BLOB,
    reservation_state INTEGER NOT NULL,
    reservation_version INTEGER NOT NULL,
    hold_state INTEGER NOT NULL,
    hold_version INTEGER NOT NULL,
    payment BLOB,
    payment_state INTEGER NOT NULL,
    payment_version INTEGER NOT NULL,
    mileage_points INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trips_customer ON trips (customer, id) WHERE customer IS NOT NULL;
CREATE INDEX trips_host ON trips (host, id) WHERE host IS NOT NULL;
CREATE INDEX trips_listing ON trips (listing, id) WHERE listing IS NOT NULL;
CREATE INDEX trips_confirmed ON trips (listing) WHERE reservation_state = 2;

-- Listings as last told.
CREATE TABLE listing_views (
    id BLOB PRIMARY KEY NOT NULL,
    listing BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Reviews there are and were, to count them.
CREATE TABLE reviews (
    id BLOB PRIMARY KEY NOT NULL,
    listing BLOB NOT NULL,
    present INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_listing ON reviews (listing) WHERE present;

-- What happened to each reservation.
CREATE TABLE timeline (
    reservation BLOB NOT NULL,
    event_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    version INTEGER NOT NULL,
    causation BLOB,
    trace_id BLOB,
    summary TEXT NOT NULL,
    PRIMARY KEY (reservation, event_id)
) STRICT, WITHOUT ROWID;
