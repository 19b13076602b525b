CREATE TABLE listings (
    id BLOB NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    currency TEXT NOT NULL,
    default_capacity INTEGER NOT NULL CHECK (default_capacity > 0),
    time_zone TEXT NOT NULL,
    mileage TEXT NOT NULL,
    mileage_points INTEGER NOT NULL,
    review_count INTEGER NOT NULL CHECK (review_count >= 0),
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each night that somebody held or whose capacity was set; any other night is empty and has the listing's
-- default capacity. The CHECK is the last guard against overselling, whatever the program does.
CREATE TABLE nights (
    listing_id BLOB NOT NULL,
    night INTEGER NOT NULL,
    held INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    PRIMARY KEY (listing_id, night),
    CHECK (held >= 0 AND held <= capacity)
) STRICT, WITHOUT ROWID;

-- What each reservation holds, with the deal it was held under. A row of 0 units is the mark of a release that came first.
CREATE TABLE holds (
    reservation_id BLOB NOT NULL PRIMARY KEY,
    listing_id BLOB NOT NULL,
    customer TEXT NOT NULL,
    check_in INTEGER NOT NULL,
    check_out INTEGER NOT NULL,
    units INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    total_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    mileage TEXT NOT NULL,
    mileage_points INTEGER NOT NULL,
    host TEXT NOT NULL,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK (units > 0 OR state = 'RELEASED')
) STRICT, WITHOUT ROWID;
-- Who has held a listing: may a review be left, may the listing be deleted.
CREATE INDEX holds_listing ON holds (listing_id, customer);

-- A deleted review keeps its row, without the text, so that deleting it again is answered alike.
CREATE TABLE reviews (
    id BLOB NOT NULL PRIMARY KEY,
    listing_id BLOB NOT NULL,
    author TEXT NOT NULL,
    content TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_listing ON reviews (listing_id, id);
