-- What each customer has: the sum of the entries.
CREATE TABLE accounts (
    customer TEXT NOT NULL PRIMARY KEY,
    balance BIGINT NOT NULL,
    version BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- The ledger; rows are only ever added. kind: 1 accrual, 2 reversal. An accrual of no points and no customer is a tombstone: its payment was
-- cancelled before it earned anything, and never will.
CREATE TABLE entries (
    id BYTEA NOT NULL PRIMARY KEY,
    customer TEXT NOT NULL,
    kind SMALLINT NOT NULL,
    points BIGINT NOT NULL,
    balance_after BIGINT NOT NULL,
    payment_id BYTEA NOT NULL,
    reservation_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    CHECK ((kind = 1 AND points >= 0) OR (kind = 2 AND points < 0)),
    CHECK ((points = 0) = (customer = ''))
);
CREATE UNIQUE INDEX entries_payment ON entries (payment_id, kind);
CREATE INDEX entries_customer ON entries (customer, id);
