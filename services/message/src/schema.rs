//! The tables, as both databases have them.

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
        channel -> SmallInt,
        language -> Text,
        traceparent -> Nullable<Text>,
    }
}

diesel::table! {
    languages (recipient) {
        recipient -> Text,
        language -> Text,
    }
}
