-- One row for a reservation at most. state: 1 issued, 2 cancelled. A cancelled row without a number is a tombstone: its reservation was
-- cancelled before the voucher was issued, and never gets one. reservation_version is that of the event the row follows.
CREATE TABLE vouchers (
    id BYTEA NOT NULL PRIMARY KEY,
    reservation_id BYTEA NOT NULL,
    reservation_version BIGINT NOT NULL,
    customer TEXT NOT NULL,
    host TEXT NOT NULL,
    listing_id BYTEA NOT NULL,
    listing_display_name TEXT NOT NULL,
    ticket_number TEXT,
    state SMALLINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (state = 2 OR (state = 1 AND ticket_number IS NOT NULL))
);
CREATE UNIQUE INDEX vouchers_reservation ON vouchers (reservation_id);
CREATE UNIQUE INDEX vouchers_number ON vouchers (ticket_number);
CREATE INDEX vouchers_customer ON vouchers (customer, id);
CREATE INDEX vouchers_host ON vouchers (host, id);
