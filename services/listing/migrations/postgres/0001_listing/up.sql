CREATE TABLE listings (
    id BYTEA NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    price_minor BIGINT NOT NULL CHECK (price_minor >= 0),
    currency TEXT NOT NULL,
    default_capacity INTEGER NOT NULL CHECK (default_capacity > 0),
    time_zone TEXT NOT NULL,
    mileage TEXT NOT NULL,
    mileage_points BIGINT NOT NULL,
    review_count INTEGER NOT NULL CHECK (review_count >= 0),
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One row for each night that somebody held or whose capacity was set; any other night is empty and has the listing's
-- default capacity. The CHECK is the last guard against overselling, whatever the program does.
CREATE TABLE nights (
    listing_id BYTEA NOT NULL,
    night INTEGER NOT NULL,
    held INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    pinned BOOLEAN NOT NULL,
    PRIMARY KEY (listing_id, night),
    CHECK (held >= 0 AND held <= capacity)
);

-- What each reservation holds, with the deal it was held under. A row of 0 units is the mark of a release that came first.
CREATE TABLE holds (
    reservation_id BYTEA NOT NULL PRIMARY KEY,
    listing_id BYTEA NOT NULL,
    customer TEXT NOT NULL,
    check_in INTEGER NOT NULL,
    check_out INTEGER NOT NULL,
    units INTEGER NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    total_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    mileage TEXT NOT NULL,
    mileage_points BIGINT NOT NULL,
    host TEXT NOT NULL,
    display_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (units > 0 OR state = 'RELEASED')
);
-- Who has held a listing: may a review be left, may the listing be deleted.
CREATE INDEX holds_listing ON holds (listing_id, customer);

-- A deleted review keeps its row, without the text, so that deleting it again is answered alike.
CREATE TABLE reviews (
    id BYTEA NOT NULL PRIMARY KEY,
    listing_id BYTEA NOT NULL,
    author TEXT NOT NULL,
    content TEXT NOT NULL,
    deleted BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX reviews_listing ON reviews (listing_id, id);
