//! The tables, as both databases have them.

diesel::table! {
    trips (id) {
        id -> Binary,
        listing -> Nullable<Binary>,
        customer -> Nullable<Text>,
        host -> Nullable<Text>,
        reservation -> Nullable<Binary>,
        reservation_state -> SmallInt,
        reservation_version -> BigInt,
        hold_state -> SmallInt,
        hold_version -> BigInt,
        payment -> Nullable<Binary>,
        payment_state -> SmallInt,
        payment_version -> BigInt,
        mileage_points -> BigInt,
        message_count -> Integer,
        updated_at -> BigInt,
    }
}

diesel::table! {
    listing_views (id) {
        id -> Binary,
        listing -> Binary,
        version -> BigInt,
        host -> Text,
        kind -> SmallInt,
        region -> Text,
        grade -> Text,
    }
}

diesel::table! {
    vouchers (reservation) {
        reservation -> Binary,
        id -> Binary,
        state -> SmallInt,
        ticket_number -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    reviews (id) {
        id -> Binary,
        listing -> Binary,
        present -> Bool,
        version -> BigInt,
    }
}

diesel::table! {
    timeline (reservation, event_id) {
        reservation -> Binary,
        event_id -> Binary,
        at -> BigInt,
        kind -> Text,
        resource -> Text,
        version -> BigInt,
        causation -> Nullable<Binary>,
        trace_id -> Nullable<Binary>,
        summary -> Text,
    }
}

diesel::table! {
    rebuilds (singleton) {
        singleton -> Integer,
        id -> Binary,
        lease_until -> BigInt,
    }
}

diesel::table! {
    rebuild_journal (seq) {
        seq -> BigInt,
        event_id -> Binary,
        kind -> Text,
        aggregate -> Text,
        version -> BigInt,
        at -> BigInt,
        causation -> Nullable<Binary>,
        traceparent -> Nullable<Text>,
        payload -> Binary,
    }
}

diesel::joinable!(vouchers -> trips (reservation));
diesel::allow_tables_to_appear_in_same_query!(trips, vouchers);
