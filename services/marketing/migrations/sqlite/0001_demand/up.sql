-- Days are counted from 1970-01-01; -1 is a stock, which has none. A version is that of the event that was told last.
CREATE TABLE listings (
    id BLOB NOT NULL PRIMARY KEY,
    host TEXT,
    default_capacity INTEGER,
    version INTEGER NOT NULL,
    increments INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX listings_host ON listings (host, id);

-- What is offered on a date, where it differs from the listing's default.
CREATE TABLE capacities (
    listing_id BLOB NOT NULL,
    day INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (listing_id, day)
) STRICT, WITHOUT ROWID;

-- outcome: 1 confirmed, 2 completed, 3 cancelled. Without a day, it is of nights.
CREATE TABLE bookings (
    reservation_id BLOB NOT NULL PRIMARY KEY,
    listing_id BLOB NOT NULL,
    day INTEGER,
    units INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bookings_listing ON bookings (listing_id, day, outcome);

-- The highest capacity of a day at which its host was asked for more.
CREATE TABLE increments (
    listing_id BLOB NOT NULL,
    day INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    PRIMARY KEY (listing_id, day)
) STRICT, WITHOUT ROWID;
