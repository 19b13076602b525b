-- The voucher of a reservation as last told. A table of its own: few reservations have one, and the rows of trips are written often.
CREATE TABLE vouchers (
    reservation BYTEA PRIMARY KEY,
    id BYTEA NOT NULL,
    state SMALLINT NOT NULL,
    ticket_number TEXT NOT NULL,
    version BIGINT NOT NULL
);

-- What the overview is filtered by, as the listing's message has it. Rows of before have no host; the service fills them when it starts.
ALTER TABLE listing_views ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE listing_views ADD COLUMN kind SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE listing_views ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE listing_views ADD COLUMN grade TEXT NOT NULL DEFAULT '';
CREATE INDEX listing_views_host ON listing_views (host, id);
CREATE INDEX listing_views_region ON listing_views (region, id);
