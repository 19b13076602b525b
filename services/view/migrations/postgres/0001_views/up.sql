-- One row for each reservation that any service has told of. What comes from an aggregate stands beside the version it came with, 0 for
-- nothing yet; a row without a reservation version is a beginning and not shown.
CREATE TABLE trips (
    id BYTEA PRIMARY KEY,
    listing BYTEA,
    customer TEXT,
    host TEXT,
    reservation BYTEA,
    reservation_state SMALLINT NOT NULL,
    reservation_version BIGINT NOT NULL,
    hold_state SMALLINT NOT NULL,
    hold_version BIGINT NOT NULL,
    payment BYTEA,
    payment_state SMALLINT NOT NULL,
    payment_version BIGINT NOT NULL,
    mileage_points BIGINT NOT NULL,
    message_count INTEGER NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX trips_customer ON trips (customer, id) WHERE customer IS NOT NULL;
CREATE INDEX trips_host ON trips (host, id) WHERE host IS NOT NULL;
CREATE INDEX trips_listing ON trips (listing, id) WHERE listing IS NOT NULL;
CREATE INDEX trips_confirmed ON trips (listing) WHERE reservation_state = 2;

-- Listings as last told.
CREATE TABLE listing_views (
    id BYTEA PRIMARY KEY,
    listing BYTEA NOT NULL,
    version BIGINT NOT NULL
);

-- Reviews there are and were, to count them.
CREATE TABLE reviews (
    id BYTEA PRIMARY KEY,
    listing BYTEA NOT NULL,
    present BOOLEAN NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX reviews_listing ON reviews (listing) WHERE present;

-- What happened to each reservation.
CREATE TABLE timeline (
    reservation BYTEA NOT NULL,
    event_id BYTEA NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    version BIGINT NOT NULL,
    causation BYTEA,
    trace_id BYTEA,
    summary TEXT NOT NULL,
    PRIMARY KEY (reservation, event_id)
);
