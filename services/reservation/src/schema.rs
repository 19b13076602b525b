//! The tables, as diesel sees them on either database.

diesel::table! {
    reservations (id) {
        id -> Binary,
        listing_id -> Binary,
        customer -> Text,
        host -> Nullable<Text>,
        listing_title -> Nullable<Text>,
        check_in -> Integer,
        check_out -> Integer,
        units -> Integer,
        persons -> Integer,
        state -> Text,
        total_minor -> Nullable<BigInt>,
        currency -> Nullable<Text>,
        mileage -> Nullable<BigInt>,
        payment_id -> Nullable<Binary>,
        version -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    sagas (reservation_id) {
        reservation_id -> Binary,
        request_key -> Binary,
        payment_method -> Text,
        expected_minor -> Nullable<BigInt>,
        expected_currency -> Nullable<Text>,
        failure -> Nullable<Text>,
        attempts -> Integer,
        lease_until -> BigInt,
        created_at -> BigInt,
    }
}
