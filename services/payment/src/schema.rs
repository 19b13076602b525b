//! The table. See the migrations for what the columns mean.

diesel::table! {
    payments (id) {
        id -> Binary,
        reservation_id -> Binary,
        customer -> Text,
        amount_minor -> BigInt,
        currency -> Text,
        attempt -> Integer,
        method -> Text,
        state -> SmallInt,
        mileage_points -> BigInt,
        mileage -> SmallInt,
        provider_answer -> Nullable<Text>,
        refund_requested_by -> Nullable<Binary>,
        due_at -> Nullable<BigInt>,
        leased -> Bool,
        version -> BigInt,
        updated_at -> BigInt,
    }
}
