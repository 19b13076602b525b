//! What is sent that is no request, and calls that are given up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::Code;

use crate::call::{Answer, Sent};
use crate::chain::Chain;
use crate::credentials::Caller;
use crate::declared;
use crate::failure::{self, Failure};
use crate::model::Rpc;
use crate::suite::Suite;

/// A message of more than 4 MiB, which is the limit.
const OVERSIZE: usize = 5 * 1024 * 1024;
/// Given up while it is on its way.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(1);
/// Calls given up in a row.
const GIVEN_UP: usize = 8;
/// Field 1 announces 127 bytes and holds none.
const MALFORMED: &[u8] = &[0x0a, 0x7f];

/// One way to send what is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Deadline,
    Cancel,
    Oversize,
    Malformed,
    TwoMessages,
    NoMessage,
    UnknownMethod,
}

impl Probe {
    pub(crate) const ALL: [Self; 7] = [
        Self::Deadline,
        Self::Cancel,
        Self::Oversize,
        Self::Malformed,
        Self::TwoMessages,
        Self::NoMessage,
        Self::UnknownMethod,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Cancel => "cancel",
            Self::Oversize => "oversize",
            Self::Malformed => "malformed",
            Self::TwoMessages => "two_messages",
            Self::NoMessage => "no_message",
            Self::UnknownMethod => "unknown_method",
        }
    }

    /// The code and, where the contract names one, the reason of the answer. gRPC leaves more than one code open where a unary call has not
    /// one message, and grpc-go and tonic differ: those are documented here, not judged.
    const fn expected(self) -> (&'static [Code], &'static str) {
        match self {
            Self::Deadline => (&[Code::DeadlineExceeded], "DEADLINE_EXCEEDED"),
            Self::Oversize => (&[Code::ResourceExhausted], "MESSAGE_TOO_LARGE"),
            Self::Malformed => (&[Code::InvalidArgument], "MESSAGE_MALFORMED"),
            Self::NoMessage => (&[Code::Internal, Code::Unimplemented, Code::InvalidArgument], ""),
            Self::UnknownMethod => (&[Code::Unimplemented], "METHOD_UNKNOWN"),
            Self::TwoMessages | Self::Cancel => (&[], ""),
        }
    }
}

/// The probe, at every RPC of the service.
pub(super) async fn run(suite: &Suite, probe: Probe, rpcs: &[Arc<Rpc>]) -> Result<(), Failure> {
    for rpc in rpcs {
        let caller = Chain::new(suite, rpc, probe.name()).caller(rpc)?;
        match probe {
            Probe::Cancel => cancel(suite, rpc, &caller).await?,
            Probe::TwoMessages => two_messages(suite, rpc, &caller).await?,
            _ => refused(suite, probe, rpc, &caller).await?,
        }
    }
    Ok(())
}

fn least(suite: &Suite, rpc: &Rpc) -> DynamicMessage {
    let mut request = DynamicMessage::new(rpc.method.input());
    suite.maker(&rpc.path()).fill(suite.model(), &mut request, crate::values::Amount::Least);
    request
}

async fn refused(suite: &Suite, probe: Probe, rpc: &Rpc, caller: &Caller) -> Result<(), Failure> {
    let valid = Bytes::from(least(suite, rpc).encode_to_vec());
    let like = suite.sent(rpc);
    let (sent, what) = match probe {
        Probe::Deadline => (Sent { messages: vec![valid], timeout: Some("1n"), ..like }, "grpc-timeout: 1n"),
        Probe::Oversize => (Sent { messages: vec![oversize()], ..like }, "a message of 5 MiB"),
        Probe::Malformed => (Sent { messages: vec![Bytes::from_static(MALFORMED)], ..like }, "the bytes 0a 7f"),
        Probe::NoMessage => (like, "no message"),
        _ => {
            let path = format!("{}/NoSuchMethod", rpc.service());
            (Sent { messages: vec![valid], path, ..like }, "a call of NoSuchMethod")
        }
    };
    let answer = suite.send(rpc, caller, sent).await;
    let (codes, reason) = probe.expected();
    let is_expected = answer.error().is_some_and(|status| {
        codes.contains(&status.code()) && (reason.is_empty() || declared::reason(status) == reason)
    });
    if is_expected {
        return Ok(());
    }
    let names = codes.iter().map(|code| declared::name(*code)).collect::<Vec<_>>().join(" or ");
    Err(failed(rpc, what, format!("{names} {reason}"), &answer))
}

/// An unknown field of so many bytes: nothing else is wrong with it.
fn oversize() -> Bytes {
    let mut message = Vec::with_capacity(OVERSIZE + 16);
    prost::encoding::bytes::encode(536_870_911, &vec![0u8; OVERSIZE], &mut message);
    message.into()
}

/// A second message may be ignored or refused; it must not break the server.
async fn two_messages(suite: &Suite, rpc: &Rpc, caller: &Caller) -> Result<(), Failure> {
    let valid = Bytes::from(least(suite, rpc).encode_to_vec());
    let sent = Sent { messages: vec![valid.clone(), valid], ..suite.sent(rpc) };
    let answer = suite.send(rpc, caller, sent).await;
    match answer.error().map(tonic::Status::code) {
        Some(Code::Unknown | Code::DataLoss | Code::Unavailable) => {
            Err(failed(rpc, "two messages", "the first one's answer, or a refusal".to_owned(), &answer))
        }
        _ => Ok(()),
    }
}

/// Calls that are given up leave the server as it was.
async fn cancel(suite: &Suite, rpc: &Arc<Rpc>, caller: &Caller) -> Result<(), Failure> {
    let request = least(suite, rpc);
    let messages = vec![Bytes::from(request.encode_to_vec())];
    for _ in 0..GIVEN_UP {
        let sent = Sent { messages: messages.clone(), ..suite.sent(rpc) };
        // Whether it was answered in time or not makes no difference.
        let _ = tokio::time::timeout(GIVEN_UP_AFTER, suite.send(rpc, caller, sent)).await;
    }
    let answer = suite.call(rpc, caller, &request).await;
    let broken = [Code::Unknown, Code::Internal, Code::Unavailable, Code::ResourceExhausted];
    if answer.error().is_some_and(|status| broken.contains(&status.code())) {
        let contract = format!("an answer, after {GIVEN_UP} calls were given up");
        return Err(suite.failure(rpc, caller, &request, contract, &answer));
    }
    Ok(())
}

fn failed(rpc: &Rpc, sent: &str, contract: String, answer: &Answer) -> Failure {
    Failure { sent: format!("{sent} to {}", rpc.path()), ..Failure::of(contract, failure::answer(answer)) }
}
