-- What one booking makes PostgreSQL do while its caller waits, for pgbench: 6 transactions with 17 statements, and 3 reads before them, which is 32
-- round trips. Taken from the server's log (log_statement=all) of `holdfast load --concurrency 1`; take it from there again when the stores change.
-- Left out, to pgbench's advantage: the time limits in each BEGIN, and all that follows from events (marking them published, inbox, messages, views).
\set n :n + 1
\set listing random(1, 20)
\set customer random(1, 32)
\set night random(1, 300) + 21000

-- reservation: the intent
BEGIN;
INSERT INTO reservation.requests (key, fingerprint, resource, created_at) VALUES (sha256(int8send(:n) || int8send(:client_id)), sha256(int8send(:n)), int8send(:n) || int8send(:client_id), :n) ON CONFLICT DO NOTHING;
INSERT INTO reservation.reservations (id, listing_id, customer, host, check_in, check_out, units, state, total_minor, currency, payment_id, approval_id, expires_at, version, updated_at, details) VALUES (int8send(:n) || int8send(:client_id), int8send(0) || int8send(:listing), 'load-c6dd9f8edf954b7ea4fbc095e999f536-' || :customer::bigint, NULL, :night, :night + 2, 1, 'REQUESTED', NULL, NULL, NULL, NULL, NULL, 1, :n, decode(repeat('00', 40), 'hex'));
INSERT INTO reservation.sagas (reservation_id, step, request_key, payment_method, charge_attempt, expected_minor, expected_currency, failure, takeovers, lease_until, began_at) VALUES (int8send(:n) || int8send(:client_id), 'BOOK', sha256(int8send(:n) || int8send(:client_id)), 'pm_card_visa', 0, NULL, NULL, NULL, 0, :n, :n);
COMMIT;

-- listing: the hold
SELECT reservation_id, listing_id, customer, check_in, check_out, units, state, version, total_minor, currency, deal, host, display_name, created_at, updated_at FROM listing.holds WHERE reservation_id = int8send(:n) || int8send(:client_id);
SELECT id, host, display_name, description, kind, price_minor, currency, default_capacity, time_zone, policy, details, review_count, state, version, created_at, updated_at FROM listing.listings WHERE id = int8send(0) || int8send(:listing);
SELECT night, held, capacity, pinned FROM listing.nights WHERE listing_id = int8send(0) || int8send(:listing) AND night >= :night AND night < :night + 2 ORDER BY night;
BEGIN;
INSERT INTO listing.holds (reservation_id, listing_id, customer, check_in, check_out, units, state, version, total_minor, currency, deal, host, display_name, created_at, updated_at) VALUES (int8send(:n) || int8send(:client_id), int8send(0) || int8send(:listing), 'load-c6dd9f8edf954b7ea4fbc095e999f536-' || :customer::bigint, :night, :night + 2, 1, 'HELD', 1, 240000, 'KRW', decode(repeat('00', 83), 'hex'), 'load-host-c6dd9f8edf954b7ea4fbc095e999f536', 'Load test 1', :n, :n) ON CONFLICT DO NOTHING;
SELECT version FROM listing.listings WHERE id = int8send(0) || int8send(:listing) AND state = 'ACTIVE' FOR KEY SHARE;
INSERT INTO listing.nights (listing_id, night, held, capacity, pinned) VALUES (int8send(0) || int8send(:listing), :night, 1, 1000000, false), (int8send(0) || int8send(:listing), :night + 1, 1, 1000000, false) ON CONFLICT (listing_id, night) DO UPDATE SET held = nights.held + excluded.held;
INSERT INTO listing.outbox (origin, id, kind, subject, aggregate, version, correlation, causation, traceparent, payload, created_at) VALUES (:client_id, int8send(:n) || int8send(:client_id), 'holdfast.listing.v1.HoldPlaced', 'holdfast.evt.listing.hold.placed.v1.01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', 1, '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', NULL, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', decode(repeat('00', 187), 'hex'), :n);
COMMIT;

-- payment: the intent
BEGIN;
INSERT INTO payment.payments (id, reservation_id, customer, amount_minor, currency, attempt, method, state, mileage_points, mileage, provider_answer, refund_requested_by, due_at, leased, version, updated_at) VALUES (int8send(:n) || int8send(:client_id + 1000), int8send(:n) || int8send(:client_id), 'load-c6dd9f8edf954b7ea4fbc095e999f536-' || :customer::bigint, 240000, 'KRW', 1, 'pm_card_visa', 1, 1, 1, NULL, NULL, :n, true, 0, :n) ON CONFLICT DO NOTHING;
COMMIT;

-- mileage: the ledger
BEGIN;
INSERT INTO mileage.accounts (customer, balance, version, updated_at) VALUES ('load-c6dd9f8edf954b7ea4fbc095e999f536-' || :customer::bigint, 1, 1, :n) ON CONFLICT (customer) DO UPDATE SET balance = accounts.balance + excluded.balance, version = accounts.version + 1, updated_at = excluded.updated_at RETURNING balance;
INSERT INTO mileage.entries (id, customer, kind, points, balance_after, payment_id, reservation_id, created_at) VALUES (int8send(:n) || int8send(:client_id), 'load-c6dd9f8edf954b7ea4fbc095e999f536-' || :customer::bigint, 1, 1, 1, int8send(:n) || int8send(:client_id + 1000), int8send(:n) || int8send(:client_id), :n) ON CONFLICT DO NOTHING;
INSERT INTO mileage.outbox (origin, id, kind, subject, aggregate, version, correlation, causation, traceparent, payload, created_at) VALUES (:client_id, int8send(:n) || int8send(:client_id), 'holdfast.mileage.v1.MileageIncreased', 'holdfast.evt.mileage.entry.increased.v1.01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', 1, '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', NULL, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', decode(repeat('00', 220), 'hex'), :n);
COMMIT;

-- payment: approved
BEGIN;
UPDATE payment.payments SET state = 2, mileage = 3, provider_answer = 'sim_01a1ff3f-f86d-73eb-9901-c32c2ef50c36', method = '', due_at = NULL, leased = FALSE, version = 1, updated_at = :n WHERE id = int8send(:n) || int8send(:client_id + 1000) AND attempt = 1 AND state = 1 AND refund_requested_by IS NULL;
INSERT INTO payment.outbox (origin, id, kind, subject, aggregate, version, correlation, causation, traceparent, payload, created_at) VALUES (:client_id, int8send(:n) || int8send(:client_id), 'holdfast.payment.v1.PaymentApproved', 'holdfast.evt.payment.payment.approved.v1.01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', 1, '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', NULL, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', decode(repeat('00', 236), 'hex'), :n);
COMMIT;

-- reservation: confirmed
BEGIN;
UPDATE reservation.reservations SET host = 'load-host-c6dd9f8edf954b7ea4fbc095e999f536', state = 'CONFIRMED', total_minor = 240000, currency = 'KRW', payment_id = int8send(:n) || int8send(:client_id + 1000), approval_id = NULL, expires_at = NULL, version = 2, updated_at = :n, details = decode(repeat('00', 94), 'hex') WHERE id = int8send(:n) || int8send(:client_id) AND version = 1;
INSERT INTO reservation.outbox (origin, id, kind, subject, aggregate, version, correlation, causation, traceparent, payload, created_at) VALUES (:client_id, int8send(:n) || int8send(:client_id), 'holdfast.reservation.v1.ReservationRequested', 'holdfast.evt.reservation.reservation.requested.v1.01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', 1, '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', NULL, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', decode(repeat('00', 385), 'hex'), :n), (:client_id, int8send(:n) || int8send(:client_id + 1000), 'holdfast.reservation.v1.ReservationConfirmed', 'holdfast.evt.reservation.reservation.confirmed.v1.01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', 2, '01a1ff3f-f6e6-734d-a3ad-8a1438157ca7', NULL, '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', decode(repeat('00', 385), 'hex'), :n);
DELETE FROM reservation.sagas WHERE reservation_id = int8send(:n) || int8send(:client_id);
UPDATE reservation.requests SET answer = decode(repeat('00', 409), 'hex') WHERE key = sha256(int8send(:n) || int8send(:client_id));
COMMIT;
