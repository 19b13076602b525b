//! The tables of this crate, the same on both databases.

diesel::table! {
    inbox (event_id, consumer) {
        event_id -> Binary,
        consumer -> Text,
        seen_at -> BigInt,
    }
}

diesel::table! {
    outbox (seq) {
        seq -> BigInt,
        origin -> BigInt,
        id -> Binary,
        kind -> Text,
        subject -> Text,
        aggregate -> Text,
        version -> BigInt,
        correlation -> Text,
        causation -> Nullable<Binary>,
        traceparent -> Nullable<Text>,
        payload -> Binary,
        created_at -> BigInt,
        published_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    requests (seq) {
        seq -> BigInt,
        key -> Binary,
        fingerprint -> Binary,
        resource -> Binary,
        answer -> Nullable<Binary>,
        created_at -> BigInt,
    }
}

diesel::table! {
    outbox_progress (id) {
        id -> Integer,
        stream_sequence -> BigInt,
        event_id -> Nullable<Binary>,
        acknowledged_at -> Nullable<BigInt>,
    }
}
