//! How often a user may call.

use std::num::NonZeroU32;
use std::time::Duration;

use mesh::client::{self, Address};
use mesh::fault::{reason_of, retry_delay_of};
use proto::contract::{DeadlineBudget, MethodRule, Priority, Role};
use tonic::Code;

use crate::harness::{Echo, Keys, Server, call, text};

static RULES: [MethodRule; 3] = [
    rule("/mesh.test.v1.Echo/Command", Priority::New, false),
    rule("/mesh.test.v1.Echo/Read", Priority::Read, true),
    rule("/mesh.test.v1.Echo/Admin", Priority::Admin, false),
];

const fn rule(path: &'static str, priority: Priority, no_side_effects: bool) -> MethodRule {
    let deadline = DeadlineBudget { default_ms: 5_000, max_ms: 10_000, min_ms: 1 };
    MethodRule { path, roles: &Role::ALL, services: &["front"], deadline, priority, no_side_effects, idempotent: true }
}

/// T23: the quota is the caller's own, and the answer says when to come back.
#[tokio::test]
async fn a_user_s_quota_is_refused_with_the_time_to_wait() {
    const RATE: u32 = 3;
    let keys = Keys::new();
    let mut spec = keys.spec("back");
    spec.rules = &RULES;
    spec.limits.rates.commands = NonZeroU32::new(RATE);
    let server = Server::start(spec, Echo::new(|request| async move { Ok(request.into_inner()) })).await;
    let address = Address::from(server.address);
    let user = client::connect_with_rules("back", &address, keys.user(&[Role::Customer]), &RULES);
    let service = client::connect_with_rules("back", &address, keys.identity("front"), &RULES);

    let mut refused = None;
    for _ in 0..1000 {
        if let Err(status) = call(&user, "Command", text("")).await {
            refused = Some(status);
            break;
        }
    }
    let status = refused.expect("a second's calls came at once");
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::ResourceExhausted, Some("RATE_LIMITED")));
    let wait = retry_delay_of(&status).expect("it says when");
    assert!(!wait.is_zero() && wait <= Duration::from_secs(1) / RATE, "{wait:?}");

    for _ in 0..3 * RATE {
        assert!(call(&user, "Read", text("")).await.is_ok(), "reads have a limit of their own, here none");
        assert!(call(&user, "Admin", text("")).await.is_ok(), "operators' calls are not counted");
        assert!(call(&service, "Command", text("")).await.is_ok(), "services are not counted");
    }
    tokio::time::sleep(wait).await;
    assert!(call(&user, "Command", text("")).await.is_ok(), "after exactly that time the next call is accepted");
    server.stop().await;
}
