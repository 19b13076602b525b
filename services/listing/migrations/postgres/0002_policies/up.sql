-- What a reservation is made under has many fields now, and no statement looks into them: they are one protobuf message,
-- holdfast.listing.v1.ReservationPolicy in `listings`, with what else a quote told in `holds`. Until now every listing was a room with the
-- defaults of a room, except for its miles; the first bytes below are these (field 1, and field 2 as a varint of three bytes), the constant
-- rest is that default.

-- A listing of dates may offer nothing by default. `details` is a message of the program's.
ALTER TABLE listings DROP CONSTRAINT listings_default_capacity_check;
ALTER TABLE listings ADD CONSTRAINT listings_default_capacity_check CHECK (default_capacity >= 0);
ALTER TABLE listings ALTER COLUMN mileage TYPE BYTEA USING decode(
    '08' || CASE mileage WHEN 'NONE' THEN '01' WHEN 'EARN_GRACEFUL' THEN '02' ELSE '03' END ||
    '10' || lpad(to_hex((mileage_points & 127) | 128), 2, '0') || lpad(to_hex(((mileage_points >> 7) & 127) | 128), 2, '0') ||
    lpad(to_hex(mileage_points >> 14), 2, '0') ||
    '1801200128023001380140034a060804100118014a060805100118014a060803100118014a060807100118014a060806100118016a040880a30572040880a305',
    'hex'
);
ALTER TABLE listings RENAME COLUMN mileage TO policy;
ALTER TABLE listings ALTER COLUMN mileage_points TYPE BYTEA USING '';
ALTER TABLE listings RENAME COLUMN mileage_points TO details;

-- A hold's `deal` is the policy and the kind, ROOM. The mark of a release that came first has none.
ALTER TABLE holds ALTER COLUMN mileage TYPE BYTEA USING CASE WHEN units = 0 THEN '' ELSE decode(
    '0a46' ||
    '08' || CASE mileage WHEN 'NONE' THEN '01' WHEN 'EARN_GRACEFUL' THEN '02' ELSE '03' END ||
    '10' || lpad(to_hex((mileage_points & 127) | 128), 2, '0') || lpad(to_hex(((mileage_points >> 7) & 127) | 128), 2, '0') ||
    lpad(to_hex(mileage_points >> 14), 2, '0') ||
    '1801200128023001380140034a060804100118014a060805100118014a060803100118014a060807100118014a060806100118016a040880a30572040880a305' ||
    '1204524f4f4d',
    'hex'
) END;
ALTER TABLE holds RENAME COLUMN mileage TO deal;
ALTER TABLE holds DROP COLUMN mileage_points;

-- `nights` also counts dates, as if they were nights, and stocks, as the night -1, which no date is.
