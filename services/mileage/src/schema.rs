//! The tables. See the migrations for what the columns mean.

diesel::table! {
    accounts (customer) {
        customer -> Text,
        balance -> BigInt,
        version -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    entries (id) {
        id -> Binary,
        customer -> Text,
        kind -> SmallInt,
        points -> BigInt,
        balance_after -> BigInt,
        payment_id -> Binary,
        reservation_id -> Binary,
        created_at -> BigInt,
    }
}
