//! The tables, as diesel sees them on either database.

diesel::table! {
    reservations (id) {
        id -> Binary,
        listing_id -> Binary,
        customer -> Text,
        host -> Nullable<Text>,
        check_in -> Nullable<Integer>,
        check_out -> Nullable<Integer>,
        units -> Integer,
        state -> Text,
        total_minor -> Nullable<BigInt>,
        currency -> Nullable<Text>,
        payment_id -> Nullable<Binary>,
        approval_id -> Nullable<Binary>,
        expires_at -> Nullable<BigInt>,
        version -> BigInt,
        updated_at -> BigInt,
        details -> Binary,
    }
}

diesel::table! {
    sagas (reservation_id) {
        reservation_id -> Binary,
        step -> Text,
        request_key -> Nullable<Binary>,
        payment_method -> Nullable<Text>,
        charge_attempt -> Integer,
        expected_minor -> Nullable<BigInt>,
        expected_currency -> Nullable<Text>,
        failure -> Nullable<Text>,
        takeovers -> Integer,
        lease_until -> BigInt,
        began_at -> BigInt,
        last_error -> Nullable<Text>,
        abandoned_at -> Nullable<BigInt>,
        abandoned_by -> Nullable<Text>,
        abandon_reason -> Nullable<Text>,
    }
}

diesel::table! {
    closures (listing_id) {
        listing_id -> Binary,
        event_id -> Binary,
        traceparent -> Nullable<Text>,
    }
}
