//! K8: what operators see of sagas, and what they can do where one is stuck. Nothing is lost silently.

use mesh::{client::Channel, testing::eventually};
use proto::{
    contract::Role,
    payment::v1::payment::State as Paid,
    reservation::v1::{
        AbandonSagaRequest, GetSagaRequest, ListSagasRequest, RetrySagaRequest, Saga,
        reservation::State,
        saga::{State as Standing, Step},
        saga_service_client::SagaServiceClient,
    },
};
use tonic::{Code, Status};

use crate::{
    neighbours::Mood,
    scene::{PATIENCE, Scene, a_listing, create, get, patient, resort, room, until, wish},
};

type Sagas = SagaServiceClient<Channel>;

fn reason(answer: Result<Saga, Status>) -> String {
    mesh::fault::Fault::from_status(&answer.expect_err("refused")).reason().to_owned()
}

fn name_of(reservation: &str) -> String {
    reservation.replacen("reservations/", "sagas/", 1)
}

async fn find(client: &Sagas, reservation: &str) -> Result<Saga, Status> {
    let request = GetSagaRequest { name: name_of(reservation) };
    Ok(client.clone().get_saga(request).await?.into_inner().saga.expect("a saga"))
}

async fn list(client: &Sagas, states: &[Standing]) -> Vec<Saga> {
    mesh::testing::all_pages(async |page_token| {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let page = client.clone().list_sagas(ListSagasRequest { page_size: 1, page_token, states }).await;
        let page = page.expect("a page").into_inner();
        (page.sagas, page.next_page_token)
    })
    .await
}

async fn retry(client: &Sagas, reservation: &str) -> Result<Saga, Status> {
    let request = RetrySagaRequest { name: name_of(reservation) };
    Ok(client.clone().retry_saga(request).await?.into_inner().saga.expect("a saga"))
}

async fn abandon(client: &Sagas, reservation: &str, give_up: bool) -> Result<Saga, Status> {
    let request = AbandonSagaRequest { name: name_of(reservation), reason: "no way out".to_owned(), give_up };
    Ok(client.clone().abandon_saga(request).await?.into_inner().saga.expect("a saga"))
}

/// A reservation whose undoing cannot end, as refunds do not work.
async fn stuck(scene: &Scene) -> String {
    scene.neighbours.payment_is(Mood::TakesSilently);
    scene.neighbours.books().refunds_work = false;
    create(&scene.guest(), wish(&a_listing(), "pm_card_visa")).await.expect_err("no answer from payment");
    let sagas = scene.sagas(Role::Operator);
    let undoing =
        || async { list(&sagas, &[Standing::Undoing]).await.pop().filter(|saga| !saga.last_error.is_empty()) };
    eventually(PATIENCE, undoing).await.reservation
}

/// Seen with what went wrong; abandoned with what may be lost; mended by a retry, of which nothing is left.
#[tokio::test]
async fn a_saga_that_cannot_be_undone_is_abandoned_and_taken_up_again() {
    let scene = Scene::of(100, room()).await;
    let sagas = scene.sagas(Role::Operator);
    let name = stuck(&scene).await;
    let seen = find(&sagas, &name).await.expect("there");
    assert_eq!(
        (seen.state(), seen.step(), seen.reservation_state()),
        (Standing::Undoing, Step::Book, State::Requested)
    );
    assert_eq!((seen.failure.as_str(), seen.last_error.as_str()), ("PAYMENT_UNAVAILABLE", "PROVIDER_UNAVAILABLE"));
    let taken = seen.outstanding.expect("told");
    assert!(taken.charge && taken.customer == "users/gil" && taken.listing.starts_with("listings/"));
    assert_eq!(abandon(&sagas, &name, false).await.expect("it is left to its undoing").state(), Standing::Undoing);

    let given_up = abandon(&sagas, &name, true).await.expect("stopped");
    assert_eq!((given_up.state(), given_up.abandoned_by.as_str()), (Standing::Abandoned, "users/olga"));
    assert_eq!(given_up.abandon_reason, "no way out");
    assert!(given_up.abandon_time.is_some() && given_up.outstanding.is_some_and(|taken| taken.charge));
    let again = abandon(&sagas, &name, true).await.expect("a repeat");
    assert_eq!(again.abandon_time, given_up.abandon_time, "the first one stays");
    assert_eq!(list(&sagas, &[Standing::Abandoned]).await.len(), 1);
    assert!(list(&sagas, &[Standing::Forward, Standing::Waiting, Standing::Undoing]).await.is_empty());
    let audit = scene.audit().await;
    let violations = reservation::audit::violations(&audit, mesh::store::Micros(0));
    assert!(violations.iter().any(|told| told.contains("abandoned by users/olga")), "{violations:?}");

    scene.neighbours.books().refunds_work = true;
    retry(&sagas, &name).await.expect("taken up again");
    eventually(PATIENCE, || async { find(&sagas, &name).await.is_err() }).await;
    assert_eq!(reason(find(&sagas, &name).await), "SAGA_NOT_FOUND");
    assert_eq!(get(&scene.guest(), &name).await.state(), State::Rejected);
    assert_eq!((scene.neighbours.payment(&name), scene.neighbours.held()), (Some(Paid::Cancelled), 0));
    scene.end().await;
}

/// An abandoned saga is nobody's, whatever the time and whoever starts.
#[tokio::test]
async fn an_abandoned_saga_survives_a_restart() {
    let mut scene = Scene::of(100, room()).await;
    let name = stuck(&scene).await;
    abandon(&scene.sagas(Role::Operator), &name, true).await.expect("stopped");
    scene.neighbours.books().refunds_work = true;
    scene.kill();
    scene.begin().await;
    let sagas = scene.sagas(Role::Operator);
    // Another one's end shows that recovery has looked.
    scene.neighbours.payment_is(Mood::Away);
    create(&scene.guest(), wish(&a_listing(), "pm_card_visa")).await.expect_err("no payment");
    eventually(PATIENCE, || async { list(&sagas, &[Standing::Forward, Standing::Undoing]).await.is_empty() }).await;
    assert_eq!(find(&sagas, &name).await.expect("there").state(), Standing::Abandoned);
    assert_eq!(get(&scene.guest(), &name).await.state(), State::Requested);
    scene.end().await;
}

/// One that tries again and again: a retry need not wait for its turn, abandoning it cancels and gives all back.
#[tokio::test]
async fn a_saga_that_goes_forward_is_retried_at_once_or_turned_round() {
    let scene = Scene::of(100, patient(room())).await;
    let (sagas, guest) = (scene.sagas(Role::Operator), scene.guest());
    scene.neighbours.payment_is(Mood::Away);
    let [first, second] = [wish(&a_listing(), "pm_card_visa"), wish(&a_listing(), "pm_card_visa")];
    let first = create(&guest, first).await.expect("it waits").name;
    let second = create(&guest, second).await.expect("it waits").name;
    let tried = |name: String| {
        let sagas = sagas.clone();
        move || {
            let (sagas, name) = (sagas.clone(), name.clone());
            async move { find(&sagas, &name).await.ok().filter(|saga| !saga.last_error.is_empty()) }
        }
    };
    let saga = eventually(PATIENCE, tried(first.clone())).await;
    assert_eq!((saga.state(), saga.step()), (Standing::Forward, Step::Retry));
    assert_eq!(reason(abandon(&sagas, &first, true).await), "SAGA_NOT_UNDOING");
    eventually(PATIENCE, tried(second.clone())).await;

    let turned = eventually(PATIENCE, || async { abandon(&sagas, &second, false).await.ok() }).await;
    assert_eq!((turned.state(), turned.failure.as_str()), (Standing::Undoing, "RESERVATION_CANCELLED"));
    scene.neighbours.payment_is(Mood::Takes);
    until(&guest, &second, State::Cancelled).await;
    eventually(PATIENCE, || async {
        // Unless its turn has come by itself.
        let _ = retry(&sagas, &first).await;
        get(&guest, &first).await.state() == State::Confirmed
    })
    .await;
    assert_eq!((scene.neighbours.held(), list(&sagas, &[]).await), (1, Vec::new()));
    scene.end().await;
}

/// Its lease is a time limit of people.
#[tokio::test]
async fn a_saga_that_waits_for_somebody_is_left_alone() {
    let scene = Scene::of(100, resort()).await;
    let sagas = scene.sagas(Role::Operator);
    let name = create(&scene.guest(), wish(&a_listing(), "")).await.expect("to be paid later").name;
    assert_eq!(list(&sagas, &[Standing::Waiting]).await[0].reservation, name);
    assert_eq!(reason(retry(&sagas, &name).await), "SAGA_WAITS");
    for give_up in [false, true] {
        assert_eq!(reason(abandon(&sagas, &name, give_up).await), "SAGA_WAITS");
    }
    assert_eq!(get(&scene.guest(), &name).await.state(), State::AwaitingPayment);
    scene.end().await;
}

#[tokio::test]
async fn nobody_but_an_operator_sees_or_touches_sagas() {
    let scene = Scene::of(100, room()).await;
    let nobody = a_listing().replacen("listings/", "reservations/", 1);
    for role in [Role::Customer, Role::Host] {
        let sagas = scene.sagas(role);
        let listed = sagas.clone().list_sagas(ListSagasRequest::default()).await;
        assert_eq!(listed.expect_err("refused").code(), Code::PermissionDenied);
        let answers =
            [find(&sagas, &nobody).await, retry(&sagas, &nobody).await, abandon(&sagas, &nobody, false).await];
        for answer in answers {
            assert_eq!(answer.expect_err("refused").code(), Code::PermissionDenied);
        }
    }
    assert_eq!(reason(retry(&scene.sagas(Role::Operator), &nobody).await), "SAGA_NOT_FOUND");
    scene.end().await;
}
