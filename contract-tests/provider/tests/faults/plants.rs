//! What servers do wrong, and which check says so.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use mesh::fault::Fault;
use prost::Message;
use proto::contract::Role;
use proto::listing::v1::{
    CreateListingRequest, CreateListingResponse, GetListingResponse, ListListingsRequest, ListListingsResponse,
    Listing, SetCapacityRequest, SetCapacityResponse,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use world::World;
use world::caller::request_id;
use world::offers;

use world::proxy::{Call, Plant, Reply};

/// A field that no contract of ours has, with the text "new".
const NEW_FIELD: &[u8] = &[0xfa, 0xff, 0xff, 0xff, 0x0f, 3, b'n', b'e', b'w'];
/// 9999 as a varint.
const UNDEFINED: &[u8] = &[0x8f, 0x4e];

/// A fault, and the check that has to find it.
pub(crate) struct Planted {
    pub(crate) fault: &'static str,
    pub(crate) check: String,
    pub(crate) plant: Plant,
}

fn passes(_: &mut Call) -> Option<Reply> {
    None
}

/// Answers that come back changed.
fn answer(path: &'static str, after: impl Fn(&Call, &mut Reply) + Send + Sync + 'static) -> Plant {
    Plant { path, before: Box::new(passes), after: Some(Box::new(after)), besides: None }
}

/// Refusals that come back as others.
fn refusal(path: &'static str, after: impl Fn(&Status) -> Status + Send + Sync + 'static) -> Plant {
    answer(path, move |_, reply| {
        if let Err(status) = &reply.end {
            *reply = Reply::refused(after(status));
        }
    })
}

/// Requests that arrive changed.
fn request(path: &'static str, change: impl Fn(&mut Call) + Send + Sync + 'static) -> Plant {
    let before = move |call: &mut Call| {
        change(call);
        None
    };
    Plant { path, before: Box::new(before), after: None, besides: None }
}

/// Requests of this type that arrive changed.
fn typed<M: Message + Default>(path: &'static str, change: impl Fn(&mut M) + Send + Sync + 'static) -> Plant {
    request(path, move |call| {
        if let Ok(mut message) = M::decode(call.message.as_slice()) {
            change(&mut message);
            call.message = message.encode_to_vec();
        }
    })
}

/// Calls that are answered by somebody else.
fn instead(path: &'static str, before: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static) -> Plant {
    Plant { path, before: Box::new(move |call| before(call)), after: None, besides: None }
}

/// Answers of this type that come back changed.
fn told<M: Message + Default>(path: &'static str, change: impl Fn(&Call, &mut M) + Send + Sync + 'static) -> Plant {
    answer(path, move |call, reply| {
        if let Some(mut message) = reply.message.as_deref().and_then(|bytes| M::decode(bytes).ok()) {
            change(call, &mut message);
            reply.message = Some(message.encode_to_vec());
        }
    })
}

fn invalid(field: &str, reason: &'static str) -> Reply {
    Reply::refused(Fault::invalid_fields([(field.to_owned(), reason.to_owned(), "planted".to_owned())]))
}

fn listing(call: &Call) -> Listing {
    CreateListingRequest::decode(call.message.as_slice()).ok().and_then(|request| request.listing).unwrap_or_default()
}

fn capacity(call: &Call) -> i32 {
    SetCapacityRequest::decode(call.message.as_slice()).map(|request| request.capacity).unwrap_or_default()
}

const CREATE: &str = "ListingService/CreateListing";
const GET: &str = "ListingService/GetListing";
const LIST: &str = "ListingService/ListListings";
const SET: &str = "ListingService/SetCapacity";

pub(crate) fn all(world: &World) -> Vec<Planted> {
    let mut all = Vec::new();
    let mut add = |fault, check: &str, plant| {
        let check = format!("holdfast.{check}");
        all.push(Planted { fault, check, plant });
    };
    validation(&mut add);
    refusals(&mut add);
    answers(&mut add);
    repeats(world, &mut add);
    pages(&mut add);
    access(world, &mut add);
    transport(&mut add);
    all
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &str, Plant);

fn validation(add: Add<'_>) {
    let accepts = |_: &Call, reply: &mut Reply| {
        if reply.code() == Code::InvalidArgument {
            *reply = Reply::ok(CreateListingResponse::default().encode_to_vec());
        }
    };
    add(
        "validation is skipped",
        "listing.v1.ListingService/CreateListing::rejects::listing.display_name.max_len",
        answer(CREATE, accepts),
    );
    let code = |_: &Status| Status::from(Fault::precondition("LISTING_DELETED", "STATE", "listings/1", "planted"));
    add(
        "an invalid field is refused with another code",
        "listing.v1.ListingService/CreateListing::rejects::request_id.uuid",
        refusal(CREATE, code),
    );
    let field = |_: &Status| Status::from(Fault::invalid("listing", "INVALID_FIELD", "planted"));
    add(
        "another field is named",
        "listing.v1.ListingService/CreateListing::rejects::listing.kind.defined_only",
        refusal(CREATE, field),
    );
    let strict = |call: &Call| listing(call).region.is_empty().then(|| invalid("listing.region", "REQUIRED"));
    add(
        "an optional field is required",
        "listing.v1.ListingService/CreateListing::rejects::listing.region.max_len",
        instead(CREATE, strict),
    );
    let low = |call: &Call| (capacity(call) == 100_000).then(|| invalid("capacity", "NUMBER_MAX"));
    add("a limit is one too low", "listing.v1.ListingService/SetCapacity::boundary::capacity", instead(SET, low));
    let high =
        |call: &Call| (capacity(call) == 100_001).then(|| Reply::ok(SetCapacityResponse::default().encode_to_vec()));
    add("a limit is one too high", "listing.v1.ListingService/SetCapacity::boundary::capacity", instead(SET, high));
    let bytes = |call: &Call| {
        (listing(call).display_name.len() > 200).then(|| invalid("listing.display_name", "STRING_MAX_LEN"))
    };
    add(
        "lengths are counted in bytes",
        "listing.v1.ListingService/CreateListing::boundary::listing.display_name",
        instead(CREATE, bytes),
    );
    let large = |call: &Call| (call.message.len() > 4_000).then(|| Reply::refused(Status::internal("planted")));
    add(
        "a large request breaks the server",
        "listing.v1.ListingService/CreateListing::accepts_maximal",
        instead(CREATE, large),
    );
    let new = |call: &Call| call.message.ends_with(NEW_FIELD).then(|| invalid("listing", "UNKNOWN_FIELD"));
    add(
        "an unknown field is refused",
        "listing.v1.ListingService/CreateListing::tolerates_unknown_field",
        instead(CREATE, new),
    );
    let number = |call: &Call| {
        let has = call.message.windows(UNDEFINED.len()).any(|bytes| bytes == UNDEFINED);
        has.then(|| Reply::refused(Status::internal("planted")))
    };
    add(
        "an unknown enum number breaks the server",
        "listing.v1.ListingService/CreateListing::tolerates_unknown_enum",
        instead(CREATE, number),
    );
}

fn refusals(add: Add<'_>) {
    const CHECK: &str = "listing.v1.ListingService/GetListing::errors_declared";
    let with = |details: ErrorDetails| Status::with_error_details(Code::NotFound, "planted", details);
    add("a reason is not declared", CHECK, refusal(GET, |_| Fault::not_found("OOPS", "listing", "listings/1").into()));
    add(
        "a code is another than declared",
        CHECK,
        refusal(GET, |_| Fault::aborted("LISTING_NOT_FOUND", "planted").into()),
    );
    add("a refusal has no ErrorInfo", CHECK, refusal(GET, |_| Status::not_found("planted")));
    let other = ErrorDetails::with_error_info("LISTING_NOT_FOUND", "example.com", []);
    add("an ErrorInfo has another domain", CHECK, refusal(GET, move |_| with(other.clone())));
    let long = [("value".to_owned(), "x".repeat(5_000))];
    let long = ErrorDetails::with_error_info("LISTING_NOT_FOUND", "holdfast.dev", long);
    add("details are larger than 4 KiB", CHECK, refusal(GET, move |_| with(long.clone())));
    let bare = ErrorDetails::with_error_info("STORE_UNAVAILABLE", "holdfast.dev", []);
    let bare = move |_: &Status| Status::with_error_details(Code::Unavailable, "planted", bare.clone());
    add("UNAVAILABLE comes without RetryInfo", CHECK, refusal(GET, bare));
    let internal = |_: &Status| Status::from(Fault::internal(&std::io::Error::other("planted")));
    add("a caller's mistake is answered INTERNAL", CHECK, refusal(GET, internal));
}

fn answers(add: Add<'_>) {
    let absent = |_: &Call| Some(Reply::refused(Fault::unimplemented("planted")));
    add("an RPC is missing", "listing.v1.ListingService/GetListing::is_implemented", instead(GET, absent));
    let broken = |_: &Call| Some(Reply::refused(Fault::internal(&std::io::Error::other("planted"))));
    add(
        "a valid request is answered INTERNAL",
        "listing.v1.ListingService/CreateListing::accepts_minimal",
        instead(CREATE, broken),
    );
    let surprise = |_: &Call, reply: &mut Reply| {
        if let Some(message) = &mut reply.message {
            message.extend_from_slice(NEW_FIELD);
        }
    };
    add(
        "an answer has a field of a newer contract",
        "listing.v1.ListingService/GetListing::no_surprise_fields",
        answer(GET, surprise),
    );
    let long = |_: &Call, told: &mut GetListingResponse| {
        told.listing.get_or_insert_default().description = "x".repeat(4_001);
    };
    add(
        "an answer breaks a rule of its fields",
        "listing.v1.ListingService/GetListing::output_honours_rules",
        told(GET, long),
    );
    let nothing = |_: &Call| Some(Reply::empty());
    add(
        "a stream ends before its first item",
        "view.v1.ViewService/WatchTrip::stream_shape",
        instead("ViewService/WatchTrip", nothing),
    );
}

fn repeats(world: &World, add: Add<'_>) {
    let count = AtomicI32::new(0);
    let counts = move |_: &Call, told: &mut GetListingResponse| {
        told.listing.get_or_insert_default().review_count = count.fetch_add(1, Ordering::Relaxed);
    };
    add("reading changes what is read", "listing.v1.ListingService/GetListing::is_safe", told(GET, counts));
    let again = |request: &mut CreateListingRequest| {
        // What is no request id at all stays so.
        if request.request_id.len() == 36 {
            request.request_id = request_id();
        }
    };
    add(
        "a repeat creates another listing",
        "listing.v1.ListingService/CreateListing::is_idempotent",
        typed(CREATE, again),
    );

    let forgets = answer(CREATE, |call, reply| {
        if reply.code() == Code::InvalidArgument {
            let listing = Some(listing(call));
            *reply = Reply::ok(CreateListingResponse { listing }.encode_to_vec());
        }
    });
    add(
        "a request id is taken for another request",
        "listing.v1.ListingService/CreateListing::refuses_reused_request_id",
        forgets,
    );

    // As above, but the caller is told the first answer.
    let first: Mutex<HashMap<Vec<u8>, Vec<u8>>> = Mutex::default();
    let hide = move |call: &Call, reply: &mut Reply| {
        let mut request = CreateListingRequest::decode(call.message.as_slice()).unwrap_or_default();
        request.request_id =
            call.headers.get("x-first-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        if let Some(message) = &mut reply.message {
            let told = first
                .lock()
                .expect("nothing panics with it")
                .entry(request.encode_to_vec())
                .or_insert(message.clone())
                .clone();
            *message = told;
        }
    };
    let replace = |call: &mut Call| {
        if let Ok(mut request) = CreateListingRequest::decode(call.message.as_slice()) {
            call.headers.insert("x-first-id", request.request_id.parse().expect("ASCII"));
            request.request_id = request_id();
            call.message = request.encode_to_vec();
        }
        None
    };
    let twice = Plant { path: CREATE, before: Box::new(replace), after: Some(Box::new(hide)), besides: None };
    add("a repeat publishes again", "listing.v1.ListingService/CreateListing::publishes_once", twice);

    let token = world.token("besides", Role::Host);
    let besides = move || {
        let request = CreateListingRequest { listing: Some(offers::room(1)), request_id: request_id() };
        Call::new(request.encode_to_vec(), &token)
    };
    let mut writes = answer(GET, |_, _| {});
    writes.besides = Some(("/holdfast.listing.v1.ListingService/CreateListing", Box::new(besides)));
    add("reading writes", "listing.v1.ListingService/GetListing::publishes_nothing", writes);
}

fn pages(add: Add<'_>) {
    const CHECK: &str = "listing.v1.ListingService/ListListings::pagination";
    add(
        "the page token is ignored",
        CHECK,
        typed(LIST, |request: &mut ListListingsRequest| request.page_token.clear()),
    );
    add("the page size is ignored", CHECK, typed(LIST, |request: &mut ListListingsRequest| request.page_size = 500));
    let strange = |request: &mut ListListingsRequest| {
        if request.page_token == "from-nowhere" {
            request.page_token.clear();
        }
    };
    add("a token from nowhere is accepted", CHECK, typed(LIST, strange));
    let size =
        |call: &Call| ListListingsRequest::decode(call.message.as_slice()).map_or(0, |request| request.page_size);
    let lose = move |call: &Call, page: &mut ListListingsResponse| {
        if size(call) < 500 && !page.listings.is_empty() {
            page.listings.remove(0);
        }
    };
    add("an item falls between two pages", CHECK, told(LIST, lose));
    let twice = move |call: &Call, page: &mut ListListingsResponse| {
        if size(call) > 1 && size(call) < 500 && page.listings.len() > 1 {
            page.listings[0] = page.listings[1].clone();
        }
    };
    add("an item is there twice", CHECK, told(LIST, twice));
}

fn access(world: &World, add: Add<'_>) {
    let (host, operator) = (world.token("hana", Role::Host), world.token("olga", Role::Operator));
    let as_user = |path, token: &str| {
        let token = token.to_owned();
        request(path, move |call| call.authorize(&token))
    };
    for (fault, check) in [
        ("a call without a token is accepted", "none"),
        ("an expired token is accepted", "expired"),
        ("a token for somebody else is accepted", "wrong_audience"),
        ("a token of another issuer is accepted", "wrong_issuer"),
        ("an unsigned token is accepted", "alg_none"),
        ("a token signed with the public key is accepted", "key_confusion"),
        ("a signature is not checked", "bad_signature"),
        ("a role is not checked", "role_customer"),
        ("a user calls what is for services", "service_payment"),
    ] {
        let check = format!("listing.v1.ListingService/CreateListing::access::{check}");
        add(fault, &check, as_user(CREATE, &host));
    }
    let denied = |_: &Call| Some(Reply::refused(Fault::denied("NOT_ALLOWED", "planted")));
    add(
        "a role that may call is refused",
        "listing.v1.ListingService/CreateListing::access::role_host",
        instead(CREATE, denied),
    );
    const RESERVATIONS: &str = "reservation.v1.ReservationService";
    let (get, list) = ("ReservationService/GetReservation", "ReservationService/ListReservations");
    add(
        "another's reservation is shown",
        &format!("{RESERVATIONS}/GetReservation::access::other_customer"),
        as_user(get, &operator),
    );
    add(
        "another's reservations are listed",
        &format!("{RESERVATIONS}/ListReservations::access::other_customer"),
        as_user(list, &operator),
    );
}

fn transport(add: Add<'_>) {
    let patient = request(GET, |call| drop(call.headers.remove("grpc-timeout")));
    add("the caller's deadline is ignored", "listing.v1.ListingService::deadline", patient);
    let cancelled = refusal(GET, |status| match status.code() {
        Code::DeadlineExceeded => Status::cancelled("planted"),
        _ => status.clone(),
    });
    add("an expired deadline is answered CANCELLED", "listing.v1.ListingService::deadline", cancelled);
    let malformed = refusal(GET, |status| match status.code() {
        Code::InvalidArgument => Status::internal("planted"),
        _ => status.clone(),
    });
    add("undecodable bytes are answered INTERNAL", "listing.v1.ListingService::malformed", malformed);
    let oversize = refusal(GET, |status| match status.code() {
        Code::ResourceExhausted => Status::out_of_range("planted"),
        _ => status.clone(),
    });
    add("a message over the limit is answered OUT_OF_RANGE", "listing.v1.ListingService::oversize", oversize);
    let unknown = instead("ListingService/NoSuchMethod", |_| Some(Reply::refused(Status::not_found("planted"))));
    add("an unknown method is answered NOT_FOUND", "listing.v1.ListingService::unknown_method", unknown);
    let old = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let absent = instead(old, |_| Some(Reply::refused(Fault::unimplemented("planted"))));
    add("reflection does not speak v1alpha", "listing.v1.ListingService::schema_served", absent);
    let fragile = refusal(CREATE, |_| Status::internal("planted"));
    add("random requests break the server", "listing.v1.ListingService::fuzz", fragile);
}
