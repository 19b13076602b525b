//! The table. See the migrations for what the columns mean.

diesel::table! {
    vouchers (id) {
        id -> Binary,
        reservation_id -> Binary,
        reservation_version -> BigInt,
        customer -> Text,
        host -> Text,
        listing_id -> Binary,
        listing_display_name -> Text,
        ticket_number -> Nullable<Text>,
        state -> SmallInt,
        version -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}
