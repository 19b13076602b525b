//! The tables, alike on both databases.

diesel::table! {
    listings (id) {
        id -> Binary,
        host -> Text,
        display_name -> Text,
        description -> Text,
        kind -> Text,
        price_minor -> BigInt,
        currency -> Text,
        default_capacity -> Integer,
        time_zone -> Text,
        policy -> Binary,
        details -> Binary,
        review_count -> Integer,
        state -> Text,
        version -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    nights (listing_id, night) {
        listing_id -> Binary,
        night -> Integer,
        held -> Integer,
        capacity -> Integer,
        pinned -> Bool,
    }
}

diesel::table! {
    holds (reservation_id) {
        reservation_id -> Binary,
        listing_id -> Binary,
        customer -> Text,
        check_in -> Integer,
        check_out -> Integer,
        units -> Integer,
        state -> Text,
        version -> BigInt,
        total_minor -> BigInt,
        currency -> Text,
        deal -> Binary,
        host -> Text,
        display_name -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    reviews (id) {
        id -> Binary,
        listing_id -> Binary,
        author -> Text,
        content -> Text,
        deleted -> Bool,
        version -> BigInt,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(listings, nights, holds, reviews);
