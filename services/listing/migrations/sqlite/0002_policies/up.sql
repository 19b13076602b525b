-- What a reservation is made under has many fields now, and no statement looks into them: they are one protobuf message,
-- holdfast.listing.v1.ReservationPolicy in `listings`, with what else a quote told in `holds`. Until now every listing was a room with the
-- defaults of a room, except for its miles; the first bytes below are these (field 1, and field 2 as a varint of three bytes), the constant
-- rest is that default.

-- A new table, because a CHECK cannot be changed: a listing of dates may offer nothing by default. `details` is a message of the program's.
CREATE TABLE new_listings (
    id BLOB NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    currency TEXT NOT NULL,
    default_capacity INTEGER NOT NULL CHECK (default_capacity >= 0),
    time_zone TEXT NOT NULL,
    policy BLOB NOT NULL,
    details BLOB NOT NULL,
    review_count INTEGER NOT NULL CHECK (review_count >= 0),
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO new_listings
SELECT
    id, host, display_name, description, kind, price_minor, currency, default_capacity, time_zone,
    unhex(
        '08' || CASE mileage WHEN 'NONE' THEN '01' WHEN 'EARN_GRACEFUL' THEN '02' ELSE '03' END ||
        printf('10%02x%02x%02x', (mileage_points & 127) | 128, ((mileage_points >> 7) & 127) | 128, mileage_points >> 14) ||
        '1801200128023001380140034a060804100118014a060805100118014a060803100118014a060807100118014a060806100118016a040880a30572040880a305'
    ),
    x'', review_count, state, version, created_at, updated_at
FROM listings;
DROP TABLE listings;
ALTER TABLE new_listings RENAME TO listings;

-- A hold's `deal` is the policy and the kind, ROOM. The mark of a release that came first has none.
ALTER TABLE holds ADD COLUMN deal BLOB NOT NULL DEFAULT x'';
UPDATE holds SET deal = unhex(
    '0a46' ||
    '08' || CASE mileage WHEN 'NONE' THEN '01' WHEN 'EARN_GRACEFUL' THEN '02' ELSE '03' END ||
    printf('10%02x%02x%02x', (mileage_points & 127) | 128, ((mileage_points >> 7) & 127) | 128, mileage_points >> 14) ||
    '1801200128023001380140034a060804100118014a060805100118014a060803100118014a060807100118014a060806100118016a040880a30572040880a305' ||
    '1204524f4f4d'
) WHERE units > 0;
ALTER TABLE holds DROP COLUMN mileage;
ALTER TABLE holds DROP COLUMN mileage_points;

-- `nights` also counts dates, as if they were nights, and stocks, as the night -1, which no date is.
