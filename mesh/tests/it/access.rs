use std::time::Duration;

use mesh::client::Credentials;
use mesh::fault::reason_of;
use mesh::identity::principal;
use proto::contract::Role;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Echo, Keys, Server, call, text};

async fn server(keys: &Keys) -> Server {
    let echo = Echo::new(|request| async move {
        assert!(!request.metadata().contains_key("authorization"), "the handler never sees the token");
        Ok(principal(&request)?.to_string())
    });
    keys.serve("back", echo).await
}

#[tokio::test]
async fn who_may_call_what() {
    let keys = Keys::new();
    let server = server(&keys).await;
    let short = Duration::from_secs(60);
    let callers: [(&str, Credentials); 9] = [
        ("customer", keys.user(&[Role::Customer])),
        ("host", keys.user(&[Role::Host])),
        ("nobody", keys.user(&[])),
        ("front", keys.identity("front").into()),
        ("middle", keys.identity("middle").into()),
        ("anonymous", Credentials::Anonymous),
        ("garbage", Credentials::token("garbage")),
        ("expired", Credentials::token(&expired(&keys))),
        ("stranger", Credentials::token(&Keys::new().issuer.token("mallory", &Role::ALL, short))),
    ];
    let expected = |caller: &str, method: &str| match (caller, method) {
        ("anonymous" | "garbage" | "expired" | "stranger", "Open" | "HostOnly" | "FrontOnly") => Code::Unauthenticated,
        (_, "Nothing") => Code::Unimplemented,
        ("customer" | "host" | "front" | "middle", "Open") | ("host", "HostOnly") | ("front", "FrontOnly") => Code::Ok,
        _ => Code::PermissionDenied,
    };
    for (caller, credentials) in callers {
        let channel = server.channel("back", credentials);
        for method in ["Open", "HostOnly", "FrontOnly", "Nothing"] {
            let answer = call(&channel, method, text("")).await;
            let code = answer.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok);
            assert_eq!(code, expected(caller, method), "{caller} calls {method}: {answer:?}");
            match answer {
                Ok(name) => {
                    assert!(matches!(name.as_str(), "users/alice" | "services/front" | "services/middle"), "{name}");
                }
                Err(status) => assert!(reason_of(&status).is_some(), "{caller} calls {method}"),
            }
        }
    }
    server.stop().await;
}

fn expired(keys: &Keys) -> String {
    let token = crate::identity::Token::user(keys).set("exp", 1_000_000_000);
    token.sign()
}

#[tokio::test]
async fn a_token_on_the_call_itself_is_kept() {
    let keys = Keys::new();
    let server = server(&keys).await;
    let channel = server.channel("back", keys.identity("front"));
    let mut request = text("");
    let token = keys.issuer.token("bob", &[Role::Customer], Duration::from_secs(60));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(call(&channel, "Open", request).await.unwrap(), "users/bob");
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    let keys = Keys::new();
    let server = server(&keys).await;
    let channel = server.channel("back", Credentials::Anonymous);
    let mut health = HealthClient::new(channel.clone());
    let request = HealthCheckRequest { service: "liveness".to_owned() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);

    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    assert!(answers.message().await.unwrap().is_some());
    drop(answers);
    server.stop().await;
}
