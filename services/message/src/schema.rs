//! The table, as both databases have it.

diesel::table! {
    messages (id) {
        id -> Binary,
        event_id -> Binary,
        recipient -> Text,
        reservation -> Binary,
        topic -> SmallInt,
        body -> Text,
        state -> SmallInt,
        attempts -> Integer,
        due_at -> Nullable<BigInt>,
        created_at -> BigInt,
        sent_at -> Nullable<BigInt>,
    }
}
