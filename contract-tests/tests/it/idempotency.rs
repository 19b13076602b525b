//! Idempotency as a contract: whatever changes something is named, by its caller or by what it is about, and a repeat with the same name is
//! answered like the first call and does nothing more.
//!
//! The RPCs come from the contract: one that changes something and has no case in [`cases`] fails.

mod cases;

use std::{path::Path, time::Duration};

use mesh::testing::eventually;
use prost_reflect::DescriptorPool;
use proto::contract::{FILE_DESCRIPTOR_SET, METHODS, MethodRule, Role};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use world::{
    PATIENCE, World,
    caller::{reason, request_id},
    raw,
};

use cases::{Call, Stage};

const CALLERS: usize = 16;
const HOUR: i64 = 3_600_000_000;
/// A repeat after the request id is forgotten is a call of its own; of these it comes to the same.
const SAME_AGAIN: [&str; 4] = ["DeleteListing", "UpdateReview", "DeleteReview", "CompleteReservation"];

/// What operators do to what the mesh itself does is tried where that is at hand: method, file, test.
const TRIED_ELSEWHERE: [(&str, &str, &str); 7] = [
    ("RedriveDeadLetter", "mesh/tests/it/admin.rs", "a_redrive_that_was_cut_off_is_repeated_without_a_second_effect"),
    ("RetrySaga", OPERATE, "a_saga_that_cannot_be_undone_is_abandoned_and_taken_up_again"),
    ("AbandonSaga", OPERATE, "a_saga_that_cannot_be_undone_is_abandoned_and_taken_up_again"),
    ("OverrideBreaker", CALLS, "an_operator_sees_breakers_and_decides_for_them"),
    ("SetInjectedFault", CALLS, "an_operator_injects_faults_and_ends_them"),
    ("DeleteInjectedFault", CALLS, "an_operator_injects_faults_and_ends_them"),
    (
        "RebuildViews",
        "services/view/tests/it/rebuild.rs",
        "a_rebuild_that_is_cut_off_changes_nothing_and_can_be_repeated",
    ),
];
const CALLS: &str = "mesh/tests/it/calls.rs";
const OPERATE: &str = "services/reservation/tests/it/operate.rs";

fn mutating() -> impl Iterator<Item = &'static MethodRule> {
    METHODS.iter().filter(|method| !method.no_side_effects)
}

/// The fields that name what a call does.
fn keys(path: &str) -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let option = pool.get_extension_by_name("holdfast.options.v1.idempotency_key").expect("the option");
    let (service, method) = path.trim_start_matches('/').split_once('/').expect("a path");
    let service = pool.get_service_by_name(service).expect("a service");
    let method = service.methods().find(|found| found.name() == method).expect("a method");
    let options = method.options();
    let keys = options.get_extension(&option);
    keys.as_list().expect("a list").iter().filter_map(|key| key.as_str()).map(str::to_owned).collect()
}

fn is_tried_elsewhere(path: &str) -> bool {
    TRIED_ELSEWHERE.iter().any(|(method, _, _)| path.rsplit('/').next() == Some(method))
}

fn is_named_by_its_caller(path: &str) -> bool {
    keys(path) == ["request_id"]
}

/// K10: every RPC that changes something can be repeated, and says by what a repeat is known: customers and hosts name it, operators and services
/// are known by what it is about.
#[test]
fn whatever_changes_something_says_how_a_repeat_is_known() {
    for method in mutating() {
        assert!(method.idempotent, "{}", method.path);
        let is_business = [Role::Customer, Role::Host].iter().any(|role| method.roles.contains(role));
        assert_eq!(is_named_by_its_caller(method.path), is_business, "{}", method.path);
        assert!(!keys(method.path).is_empty(), "{}", method.path);
    }
    assert_eq!(mutating().filter(|method| is_named_by_its_caller(method.path)).count(), 13);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (method, file, test) in TRIED_ELSEWHERE {
        assert!(mutating().any(|found| found.path.ends_with(method)), "{method}");
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        assert!(text.contains(&format!("fn {test}(")), "{file} has no {test}");
    }
}

/// Again until there is an answer: services come and go.
async fn settled(call: &Call) -> Result<Vec<u8>, Status> {
    eventually(PATIENCE, || async {
        let answer = raw::call(&call.channel, call.path, &call.body).await;
        let later = answer
            .as_ref()
            .is_err_and(|refused| matches!(refused.code(), Code::Unavailable | Code::Aborted | Code::DeadlineExceeded));
        (!later).then_some(answer)
    })
    .await
}

/// Sixteen at once, as one: one effect, and one answer for all that get one.
async fn at_once(world: &World, call: &Call) -> Vec<u8> {
    let (service, rows) = call.effect;
    let before = world.tables(service).count(rows);
    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let call = call.clone();
        calls.spawn(async move { raw::call(&call.channel, call.path, &call.body).await });
    }
    let answers = calls.join_all().await;
    let first = settled(call).await.unwrap_or_else(|refused| panic!("{}: {refused:?}", call.path));
    for answer in answers {
        match answer {
            Ok(answer) => assert_eq!(answer, first, "{}", call.path),
            Err(refused) => {
                let pause = refused.get_details_retry_info().and_then(|info| info.retry_delay);
                assert_eq!((refused.code(), pause.is_some()), (Code::Aborted, true), "{}: {refused:?}", call.path);
            }
        }
    }
    assert_eq!(world.tables(service).count(rows) - before, 1, "{}: one effect", call.path);
    first
}

async fn refuses_another_body(call: &Call) {
    let Some((body, expected)) = &call.other else { return };
    let refused = raw::call(&call.channel, call.path, body).await.expect_err("another body");
    assert_eq!(reason(&refused), *expected, "{}", call.path);
}

async fn restart(world: &mut World) {
    for service in ["listing", "reservation", "payment", "mileage"] {
        world.kill(service);
        world.begin(service).await;
    }
}

/// Makes every request id look so much older, and ends what prunes them; the processes that follow prune when they start.
async fn age(world: &mut World, hours: i64) {
    for service in ["listing", "reservation"] {
        world.tables(service).execute(&format!("UPDATE requests SET created_at = created_at - {}", hours * HOUR));
    }
    restart(world).await;
}

async fn all_are_answered_as_before(made: &[(Call, Vec<u8>)], when: &str) {
    for (call, first) in made {
        let again = settled(call).await.unwrap_or_else(|refused| panic!("{} {when}: {refused:?}", call.path));
        assert_eq!(&again, first, "{} {when}", call.path);
    }
}

/// K8, K10: equal and other bodies, sixteen at once, another user, after a crash, after what was made is ended, after a day, and after the
/// promise is over.
#[tokio::test]
async fn a_request_id_has_one_effect_and_one_answer() {
    let mut world = World::start().await;
    let mut made = Vec::new();
    let end = {
        let mut stage = Stage::new(&world);
        for method in mutating().filter(|method| is_named_by_its_caller(method.path)) {
            let key = request_id();
            // The same key of another user is another's: it has an effect of its own.
            for user in ["gil", "nadia"] {
                let call = stage.prepare(method.path, user, &key).await;
                let call = call.unwrap_or_else(|| panic!("{} has no case", method.path));
                let answer = at_once(&world, &call).await;
                refuses_another_body(&call).await;
                made.push((call, answer));
            }
        }
        stage.into_end()
    };
    all_are_answered_as_before(&made, "at once").await;
    restart(&mut world).await;
    all_are_answered_as_before(&made, "after a crash").await;
    end.all().await;
    all_are_answered_as_before(&made, "after what it made is ended").await;
    age(&mut world, 25).await;
    all_are_answered_as_before(&made, "after a day").await;

    age(&mut world, 24).await;
    for service in ["listing", "reservation"] {
        let database = world.tables(service);
        let old = format!("requests WHERE created_at < {}", mesh::store::Micros::now().0 - 48 * HOUR);
        eventually(Duration::from_secs(120), || std::future::ready(database.count(&old) == 0)).await;
    }
    for (call, first) in made.iter().filter(|(call, _)| !SAME_AGAIN.iter().any(|same| call.path.ends_with(same))) {
        let again = settled(call).await;
        assert!(again.as_ref().ok() != Some(first), "{}: a call of its own by now", call.path);
        assert!(again.err().is_none_or(|refused| reason(&refused) != "REQUEST_ID_REUSED"), "{}", call.path);
    }
    world.audit();
}

/// K3, K8, K10: what services ask of each other is known by what it is about.
#[tokio::test]
async fn a_natural_key_has_one_effect_and_one_answer() {
    let mut world = World::start().await;
    let mut made = Vec::new();
    {
        let mut stage = Stage::new(&world);
        let natural = mutating().filter(|method| !is_named_by_its_caller(method.path));
        for method in natural.filter(|method| !is_tried_elsewhere(method.path)) {
            let call = stage.prepare(method.path, "gil", "").await;
            let call = call.unwrap_or_else(|| panic!("{} has no case", method.path));
            let answer = at_once(&world, &call).await;
            refuses_another_body(&call).await;
            made.push((call, answer));
        }
    }
    assert!(!made.is_empty());
    restart(&mut world).await;
    all_are_answered_as_before(&made, "after a crash").await;
}
