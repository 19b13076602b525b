//! The clock of the machine is stepped while services run. Their monotonic clock stays right, as it does in reality, and so does the broker's own.
//!
//! Only for all services together: one whose clock is more than five seconds off those of others is refused by them, as its tokens are not valid
//! yet or not any more.

use std::{fs, path::PathBuf, time::SystemTime};

use mesh::{testing::eventually, value::Day};
use proto::{
    listing::v1::{Listing, Stay},
    reservation::v1::{CreateReservationRequest, reservation::Slot, reservation::State},
};
use tempfile::TempDir;
use tonic::Code;

use world::{
    PATIENCE, World,
    caller::{Caller, reason, stay, wish},
    offers,
};

use super::{until_booked, until_complete};

const HOUR: i64 = 3600;

/// The clock that every process of a world reads.
struct Clock {
    dir: TempDir,
}

impl Clock {
    /// So many seconds ahead of this process's.
    fn ahead_by(seconds: i64) -> Self {
        let clock = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        clock.step_to(seconds);
        clock
    }

    fn step_to(&self, seconds: i64) {
        // In one piece: the processes read it at any time.
        let next = self.dir.path().join("next");
        fs::write(&next, format!("{seconds:+}s\n")).expect("room for a line");
        fs::rename(next, self.file()).expect("the same folder");
    }

    /// Seconds since 1970 by that clock.
    fn step_to_unix(&self, seconds: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        self.step_to(seconds - i64::try_from(now).expect("before the sun ends"));
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clock")
    }

    async fn world(&self) -> World {
        World::start_with(&[
            ("LD_PRELOAD", &library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", &self.file().display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
        ])
        .await
    }
}

/// Debian's libfaketime.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a Unix system").flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is missing: run `cargo verify --only test`")
}

/// Somebody whose token was made by the services' clock.
fn caller(world: &World, persona: &str, subject: &str) -> Caller {
    let output = world.command(&["token", persona, "--subject", subject]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.caller_with(subject, String::from_utf8(output.stdout).expect("a token").trim())
}

fn with_limit(minutes: i64) -> Listing {
    let limit = prost_types::Duration { seconds: minutes * 60, nanos: 0 };
    offers::with(offers::room_by_approval(1), |policy| policy.approval_ttl = Some(limit))
}

/// An hour forward ends what had less than an hour left, once, and nothing else; an hour back revives nothing. Request ids are known all along.
#[tokio::test]
async fn an_hour_forward_or_back_ends_nothing_early_and_nothing_twice() {
    let clock = Clock::ahead_by(HOUR);
    let world = clock.world().await;
    let (host, guest) = (caller(&world, "host", "hana"), caller(&world, "customer", "gil"));
    let room = host.offer(3).await;
    let (long, short) = (host.offer_listing(with_limit(120)).await, host.offer_listing(with_limit(30)).await);
    let request = wish(&room);
    let booked = until_booked(&guest, &request).await;
    let patient = guest.reserve(&wish(&long)).await.expect("asked for");
    let hasty = guest.reserve(&wish(&short)).await.expect("asked for");

    clock.step_to(2 * HOUR);
    guest.until(&hasty.name, State::Expired).await;
    guest.until_free(&short, Some(first_night()), 1).await;
    until_complete(&guest, &until_booked(&guest, &wish(&room)).await).await;
    assert_eq!(guest.reservation(&patient.name).await.expect("there").state(), State::AwaitingApproval);
    assert_eq!(guest.reserve(&request).await.expect("a repeat"), booked);

    clock.step_to(HOUR);
    until_complete(&guest, &until_booked(&guest, &wish(&room)).await).await;
    assert_eq!(host.approve(&patient.name).await.expect("in time").state(), State::Confirmed);
    assert_eq!(guest.reserve(&request).await.expect("a repeat"), booked);
    guest.cancel(&booked.name).await.expect("accepted");
    until_complete(&guest, &guest.until(&booked.name, State::Cancelled).await).await;
    let happened = guest.until_happened(&hasty.name, 2).await;
    assert_eq!(happened.iter().filter(|event| *event == "ReservationExpired").count(), 1, "{happened:?}");
    assert_eq!(guest.reservation(&hasty.name).await.expect("there").state(), State::Expired);
    world.audit();
}

fn first_night() -> Day {
    Day::try_from(&stay(30).check_in_date.expect("a stay")).expect("a date")
}

/// K8: the clock jumps while a charge is under way, so that its saga's lease and its payment's seem to have run out. However many drive them then,
/// it is charged once.
#[tokio::test]
async fn a_charge_during_which_the_clock_jumps_is_made_once() {
    let clock = Clock::ahead_by(HOUR);
    let world = clock.world().await;
    let (host, guest) = (caller(&world, "host", "hana"), caller(&world, "customer", "gil"));
    let listing = host.offer(2).await;
    for (left, to) in [(1, 2 * HOUR), (0, HOUR)] {
        let slow = CreateReservationRequest { payment_method: "pm_sim_slow".to_owned(), ..wish(&listing) };
        let call = {
            let (guest, slow) = (guest.clone(), slow.clone());
            mesh::deadline::spawn(async move { guest.reserve(&slow).await })
        };
        eventually(PATIENCE, || async { guest.free(&listing, &stay(30)).await == left }).await;
        clock.step_to(to);
        let _ = call.await.expect("no panic");
        until_complete(&guest, &until_booked(&guest, &slow).await).await;
    }
    eventually(PATIENCE, || async { guest.miles().await == 2 }).await;
    assert_eq!(guest.free(&listing, &stay(30)).await, 0);
    world.audit();
}

/// From this day in New York for so many nights.
fn nights(listing: &str, day: (i32, u32, u32), count: i32) -> CreateReservationRequest {
    let (year, month, day) = day;
    let first = proto::google::r#type::Date {
        year,
        month: i32::try_from(month).expect("small"),
        day: i32::try_from(day).expect("small"),
    };
    let last = Day::try_from(&first).expect("a date").plus(count);
    let mut request = wish(listing);
    let slot = Slot::Stay(Stay { check_in_date: Some(first), check_out_date: Some(last.into()) });
    request.reservation.as_mut().expect("a wish has one").slot = Some(slot);
    request
}

/// Around the nights in which New York changes its clocks, today ends at New York's midnight, and a night is a night.
#[tokio::test]
async fn in_a_night_of_changing_clocks_today_is_the_listings_today() {
    // Seconds since 1970 half an hour before and after local midnight, of the evening after the clocks went forward, and after they went back.
    let evenings = [((2027, 3, 14), 1_805_081_400), ((2027, 11, 7), 1_825_648_200)];
    let clock = Clock::ahead_by(0);
    clock.step_to_unix(evenings[0].1);
    let world = clock.world().await;
    for (today, before) in evenings {
        clock.step_to_unix(before);
        let (host, guest) = (caller(&world, "host", "hana"), caller(&world, "customer", "gil"));
        let listing = Listing { time_zone: "America/New_York".to_owned(), ..offers::room(2) };
        let listing = host.offer_listing(listing).await;
        let three = until_booked(&guest, &nights(&listing, today, 3)).await;
        assert_eq!(three.total.expect("a price").units, 3 * offers::PRICE);
        clock.step_to_unix(before + HOUR);
        let refused = guest.reserve(&nights(&listing, today, 1)).await.expect_err("it is tomorrow there");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "DATE_IN_PAST"), "{refused:?}");
    }
    world.audit();
}
