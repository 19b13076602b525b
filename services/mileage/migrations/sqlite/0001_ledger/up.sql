-- What each customer has: the sum of the entries.
CREATE TABLE accounts (
    customer TEXT NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL,
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledger; rows are only ever added. kind: 1 accrual, 2 reversal. An accrual of no points and no customer is a tombstone: its payment was
-- cancelled before it earned anything, and never will.
CREATE TABLE entries (
    id BLOB NOT NULL PRIMARY KEY,
    customer TEXT NOT NULL,
    kind INTEGER NOT NULL,
    points INTEGER NOT NULL,
    balance_after INTEGER NOT NULL,
    payment_id BLOB NOT NULL,
    reservation_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    CHECK ((kind = 1 AND points >= 0) OR (kind = 2 AND points < 0)),
    CHECK ((points = 0) = (customer = ''))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX entries_payment ON entries (payment_id, kind);
CREATE INDEX entries_customer ON entries (customer, id);
