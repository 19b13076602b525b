//! The tables. See the migrations for what the columns mean.

diesel::table! {
    listings (id) {
        id -> Binary,
        host -> Nullable<Text>,
        default_capacity -> Nullable<Integer>,
        version -> BigInt,
        increments -> Integer,
    }
}

diesel::table! {
    capacities (listing_id, day) {
        listing_id -> Binary,
        day -> Integer,
        capacity -> Integer,
        version -> BigInt,
    }
}

diesel::table! {
    bookings (reservation_id) {
        reservation_id -> Binary,
        listing_id -> Binary,
        day -> Nullable<Integer>,
        units -> Integer,
        outcome -> SmallInt,
        version -> BigInt,
    }
}
