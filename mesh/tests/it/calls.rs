//! Calls between real servers: repeated, bounded, tampered with, and what an operator sees and decides of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mesh::client::{Address, BREAKER_OPEN, BULKHEAD_FULL, CallSettings, Calls, Channel, Retry, connect_as};
use mesh::fault::{Fault, reason, reason_of, retry_delay_of};
use mesh::node::{Node, NodeArgs, NodeError};
use mesh::server::Routes;
use mesh::testing::{Running, TestMesh, eventually};
use proto::contract::Role;
use proto::mesh::v1::breaker::{Reason, State};
use proto::mesh::v1::breaker_service_client::BreakerServiceClient;
use proto::mesh::v1::injected_fault::Kind;
use proto::mesh::v1::injected_fault_service_client::InjectedFaultServiceClient;
use proto::mesh::v1::{
    Breaker, BreakerMode, DeleteInjectedFaultRequest, InjectedFault, ListBreakersRequest, ListInjectedFaultsRequest,
    OverrideBreakerRequest, SetInjectedFaultRequest,
};
use proto::mileage::v1::AccrueMileageRequest;
use proto::mileage::v1::accrual_service_client::AccrualServiceClient;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Echo, Keys, PATIENCE, RULES, Server, call, text};
use crate::things;

/// Only the retry loop.
const RETRIES: Retry =
    Retry { attempts: 3, backoff: Duration::from_millis(1), patience: Duration::from_secs(1), tokens: 20 };

fn channel(keys: &Keys, server: &Server, settings: CallSettings) -> Channel {
    let calls = Calls::new(settings);
    connect_as("back", &Address::from(server.address), keys.identity("front"), &RULES, &calls)
}

fn busy() -> Status {
    Fault::unavailable("BUSY", "come back", Duration::from_millis(1)).into()
}

/// Fails so often, and then answers how many attempts it was told there were.
fn failing(times: usize) -> (Echo, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let echo = Echo::new(move |request| {
        let failed = counted.fetch_add(1, Ordering::SeqCst) < times;
        let previous = request.metadata().get("grpc-previous-rpc-attempts").cloned();
        async move {
            let told = previous.map(|count| count.to_str().unwrap().to_owned());
            if failed { Err(busy()) } else { Ok(told.unwrap_or_default()) }
        }
    });
    (echo, reached)
}

#[tokio::test]
async fn a_call_that_is_safe_to_repeat_is_repeated() {
    let keys = Keys::new();
    let (echo, reached) = failing(2);
    let server = keys.serve("back", echo).await;
    let channel = channel(&keys, &server, CallSettings { retry: Some(RETRIES), ..CallSettings::plain() });
    assert_eq!(call(&channel, "Open", text("")).await.unwrap(), "2");
    assert_eq!(reached.load(Ordering::SeqCst), 3);
    server.stop().await;
}

/// A chain of three, the last in trouble: it is asked three times in all, not nine times.
#[tokio::test]
async fn one_level_of_a_chain_repeats() {
    let keys = Keys::new();
    let (echo, reached_back) = failing(usize::MAX);
    let back = keys.serve("back", echo).await;
    let calls = Calls::new(CallSettings { retry: Some(RETRIES), ..CallSettings::plain() });
    let on = connect_as("back", &Address::from(back.address), keys.identity("middle"), &RULES, &calls);
    let reached_middle = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached_middle);
    let middle = keys
        .serve(
            "middle",
            Echo::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                let on = on.clone();
                // What it answers is of its own making, and the call runs in a task of its own, as in a saga.
                async move {
                    mesh::deadline::spawn(async move { call(&on, "Open", text("")).await })
                        .await
                        .unwrap()
                        .map_err(|_| busy())
                }
            }),
        )
        .await;
    let front = connect_as("middle", &Address::from(middle.address), keys.identity("front"), &RULES, &calls);
    let error = call(&front, "Open", text("")).await.unwrap_err();
    assert_eq!(reason_of(&error).as_deref(), Some("BUSY"));
    let reached = [&reached_middle, &reached_back].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(reached, [1, 3]);
    middle.stop().await;
    back.stop().await;
}

/// Many callers of a callee that is down for all of them: hardly more attempts than calls.
#[tokio::test]
async fn a_callee_in_trouble_is_not_stormed() {
    const CALLS: usize = 400;
    let keys = Keys::new();
    let (echo, reached) = failing(usize::MAX);
    let server = keys.serve("back", echo).await;
    let channel = channel(&keys, &server, CallSettings { retry: Some(RETRIES), ..CallSettings::plain() });
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let channel = channel.clone();
            mesh::deadline::spawn(async move {
                for _ in 0..CALLS / 8 {
                    call(&channel, "Open", text("")).await.unwrap_err();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let attempts = reached.load(Ordering::SeqCst);
    assert!((CALLS..=CALLS + CALLS / 10).contains(&attempts), "{attempts} attempts of {CALLS} calls");
    server.stop().await;
}

#[tokio::test]
async fn calls_beyond_the_limit_are_not_made() {
    let (keys, open) = (Keys::new(), Arc::new(Semaphore::new(0)));
    let (entered, mut inside) = watch::channel(0);
    let gate = Arc::clone(&open);
    let server = keys
        .serve(
            "back",
            Echo::new(move |request| {
                let gate = Arc::clone(&gate);
                entered.send_modify(|inside| *inside += 1);
                async move {
                    let _pass = gate.acquire().await.unwrap();
                    Ok(request.into_inner())
                }
            }),
        )
        .await;
    let settings = CallSettings { limit: Some(2), retry: Some(RETRIES), ..CallSettings::plain() };
    let channel = channel(&keys, &server, settings);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            mesh::deadline::spawn(async move { call(&channel, "Open", text("in")).await })
        })
        .collect();
    tokio::time::timeout(PATIENCE, inside.wait_for(|inside| *inside == 2)).await.unwrap().unwrap();
    let refused = call(&channel, "Open", text("")).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_deref()), (Code::Unavailable, Some(BULKHEAD_FULL)));
    assert!(retry_delay_of(&refused).is_some());
    open.add_permits(2);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), "in");
    }
    assert_eq!(call(&channel, "Open", text("again")).await.unwrap(), "again");
    assert_eq!(*inside.borrow(), 3, "the refused call was not made");
    server.stop().await;
}

/// A node that calls mileage, where nothing listens.
struct Payment {
    mesh: TestMesh,
    running: Running,
    mileage: Channel,
}

impl Payment {
    async fn start() -> Self {
        let mesh = TestMesh::without_broker();
        let connected = Arc::new(OnceLock::new());
        let (args, slot) = (mesh.node(), Arc::clone(&connected));
        let running = Running::start(|listener, shutdown| serve(args, slot, listener, shutdown)).await;
        let mileage = eventually(PATIENCE, || async { connected.get().cloned() }).await;
        let payment = Self { mesh, running, mileage };
        eventually(PATIENCE, || async {
            payment.breakers().list_breakers(ListBreakersRequest::default()).await.is_ok()
        })
        .await;
        payment
    }

    fn as_user(&self, role: Role) -> Channel {
        self.mesh.user("payment", self.running.address, "olga", role)
    }

    fn breakers(&self) -> BreakerServiceClient<Channel> {
        BreakerServiceClient::new(self.as_user(Role::Operator))
    }

    fn faults(&self) -> InjectedFaultServiceClient<Channel> {
        InjectedFaultServiceClient::new(self.as_user(Role::Operator))
    }

    async fn listed(&self) -> Vec<Breaker> {
        let request = ListBreakersRequest::default();
        self.breakers().list_breakers(request).await.expect("a page").into_inner().breakers
    }

    async fn decide(&self, name: &str, mode: BreakerMode) -> Result<Breaker, Status> {
        let request = OverrideBreakerRequest { name: name.to_owned(), mode: mode.into() };
        Ok(self.breakers().override_breaker(request).await?.into_inner().breaker.expect("a breaker"))
    }

    /// The code and the reason that its own call of mileage ends with.
    async fn accrue(&self) -> (Code, String) {
        let request = AccrueMileageRequest {
            payment: format!("payments/{}", mesh::store::Id::generate()),
            reservation: format!("reservations/{}", mesh::store::Id::generate()),
            customer: "users/mina".to_owned(),
            points: 5,
        };
        let error = AccrualServiceClient::new(self.mileage.clone()).accrue_mileage(request).await.expect_err("nobody");
        (error.code(), reason_of(&error).unwrap_or_default())
    }
}

async fn serve(
    args: NodeArgs,
    connected: Arc<OnceLock<Channel>>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = Node::start("payment", &args, things::migrations(), shutdown).await?;
    let nowhere = "http://127.0.0.1:1".parse().expect("an address");
    let _ = connected.set(node.connect("mileage", &nowhere));
    node.serve(listener, Routes::default(), &[]).await
}

const ACCRUE: &str = "callees/mileage/breakers/holdfast.mileage.v1.AccrualService.AccrueMileage";

/// A35, E28: what a breaker does is seen, and an operator may take the decision.
#[tokio::test]
async fn an_operator_sees_breakers_and_decides_for_them() {
    let payment = Payment::start().await;
    assert_eq!(payment.listed().await, []);
    let last = eventually(PATIENCE, || async { Some(payment.accrue().await).filter(|(_, why)| why == BREAKER_OPEN) });
    assert_eq!(last.await.0, Code::Unavailable);
    let listed = payment.listed().await;
    let [breaker] = listed.as_slice() else { panic!("{listed:?}") };
    let names = (breaker.name.as_str(), breaker.callee.as_str(), breaker.method.as_str());
    assert_eq!(names, (ACCRUE, "mileage", "holdfast.mileage.v1.AccrualService/AccrueMileage"));
    assert_eq!((breaker.state(), breaker.reason()), (State::Open, Reason::Consecutive));
    assert!(breaker.rejection_count >= 1 && breaker.state_time.is_some() && breaker.next_probe_time.is_some());

    let forced = payment.decide(ACCRUE, BreakerMode::Open).await.unwrap();
    assert_eq!((forced.state(), forced.reason(), forced.next_probe_time), (State::ForcedOpen, Reason::Operator, None));
    assert_eq!(payment.accrue().await.1, BREAKER_OPEN);
    assert_eq!(payment.listed().await[0].state(), State::ForcedOpen);

    assert_eq!(payment.decide(ACCRUE, BreakerMode::Disabled).await.unwrap().state(), State::Disabled);
    for _ in 0..9 {
        assert_eq!(payment.accrue().await.1, reason::CONNECTION_FAILED);
    }
    let automatic = payment.decide(ACCRUE, BreakerMode::Auto).await.unwrap();
    assert_eq!((automatic.state(), automatic.call_count), (State::Closed, 0));
    eventually(PATIENCE, || async { payment.accrue().await.1 == BREAKER_OPEN }).await;

    for unknown in [ACCRUE.replace("Accrue", "Lose"), ACCRUE.replace("callees/mileage", "callees/view")] {
        let error = payment.decide(&unknown, BreakerMode::Open).await.unwrap_err();
        assert_eq!(reason_of(&error).as_deref(), Some("BREAKER_NOT_FOUND"), "{unknown}");
    }
    for malformed in ["", "breakers/x", "callees/mileage/breakers/"] {
        let error = payment.decide(malformed, BreakerMode::Open).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{malformed:?}");
    }
    payment.running.stop().await;
}

#[tokio::test]
async fn an_operator_injects_faults_and_ends_them() {
    let payment = Payment::start().await;
    let set = async |fault: InjectedFault| {
        let request = SetInjectedFaultRequest { injected_fault: Some(fault) };
        Ok::<_, Status>(payment.faults().set_injected_fault(request).await?.into_inner().injected_fault.expect("it"))
    };
    let abort = InjectedFault {
        callee: "mileage".to_owned(),
        method: "AccrueMileage".to_owned(),
        kind: Kind::Abort.into(),
        code: "NOT_FOUND".to_owned(),
        permille: 1000,
        ..InjectedFault::default()
    };
    let fault = set(abort.clone()).await.unwrap();
    assert_eq!(fault.name, "injectedFaults/mileage.AccrueMileage.abort");
    assert!(fault.expire_time.is_some(), "it ends by itself");
    assert_eq!(payment.accrue().await, (Code::NotFound, reason::FAULT_INJECTED.to_owned()));
    let listed = payment.faults().list_injected_faults(ListInjectedFaultsRequest::default()).await.unwrap();
    let listed = listed.into_inner().injected_faults;
    assert_eq!(listed.iter().map(|fault| (fault.call_count, fault.injected_count)).collect::<Vec<_>>(), [(1, 1)]);

    let delete = async || {
        let request = DeleteInjectedFaultRequest { name: fault.name.clone() };
        payment.faults().delete_injected_fault(request).await.map(|_| ())
    };
    delete().await.unwrap();
    assert_eq!(reason_of(&delete().await.unwrap_err()).as_deref(), Some("INJECTED_FAULT_NOT_FOUND"));
    assert_eq!(payment.accrue().await.1, reason::CONNECTION_FAILED);

    let refused = async |fault: InjectedFault, expected: &str| {
        assert_eq!(reason_of(&set(fault).await.unwrap_err()).as_deref(), Some(expected));
    };
    refused(InjectedFault { callee: "view".to_owned(), ..abort.clone() }, "CALLEE_NOT_FOUND").await;
    refused(InjectedFault { code: "OK".to_owned(), ..abort.clone() }, "INJECTED_FAULT_INVALID").await;
    let (from, to) = (Some(prost_types::Duration { seconds: 2, nanos: 0 }), Some(prost_types::Duration::default()));
    let delay = InjectedFault { kind: Kind::Delay.into(), min_delay: from, max_delay: to, ..abort.clone() };
    refused(delay, "INJECTED_FAULT_INVALID").await;
    refused(InjectedFault { permille: 0, ..abort.clone() }, reason::INVALID_FIELD).await;
    refused(InjectedFault { permille: 1001, ..abort }, reason::INVALID_FIELD).await;
    payment.running.stop().await;
}

/// Neither customers, hosts nor services: nothing but an operator's token reaches a breaker or a fault.
#[tokio::test]
async fn nobody_but_an_operator_decides() {
    let payment = Payment::start().await;
    let service = payment.mesh.service("payment", payment.running.address, "reservation");
    for channel in [payment.as_user(Role::Customer), payment.as_user(Role::Host), service] {
        let mut breakers = BreakerServiceClient::new(channel.clone());
        let mut faults = InjectedFaultServiceClient::new(channel);
        let fault = InjectedFault {
            callee: "mileage".to_owned(),
            kind: Kind::Hang.into(),
            permille: 1000,
            ..InjectedFault::default()
        };
        let decide = OverrideBreakerRequest { name: ACCRUE.to_owned(), mode: BreakerMode::Open.into() };
        let end = DeleteInjectedFaultRequest { name: "injectedFaults/mileage.hang".to_owned() };
        let answers = [
            breakers.list_breakers(ListBreakersRequest::default()).await.map(|_| ()),
            breakers.override_breaker(decide).await.map(|_| ()),
            faults.list_injected_faults(ListInjectedFaultsRequest::default()).await.map(|_| ()),
            faults.set_injected_fault(SetInjectedFaultRequest { injected_fault: Some(fault) }).await.map(|_| ()),
            faults.delete_injected_fault(end).await.map(|_| ()),
        ];
        for answer in answers {
            assert_eq!(answer.expect_err("refused").code(), Code::PermissionDenied);
        }
    }
    assert_eq!(payment.accrue().await.1, reason::CONNECTION_FAILED);
    payment.running.stop().await;
}
