//! Random requests and random bytes, for a while.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DynamicMessage;
use rand::Rng;
use tokio::time::Instant;
use tonic::Code;

use crate::call::Sent;
use crate::chain::Chain;
use crate::failure::{self, Failure};
use crate::model::Rpc;
use crate::suite::Suite;
use crate::values::{Amount, Maker};

/// No answer takes longer than its deadline allows, and no deadline sent here is longer.
const DEADLINE: &str = "10S";
/// Bytes changed in a message at most.
const CHANGES: usize = 4;

/// Whatever is sent, the server says what is wrong with it, in time.
pub(super) async fn run(suite: &Suite, name: &str, rpcs: &[Arc<Rpc>], time: Duration) -> Result<(), Failure> {
    let mut maker = suite.maker(name);
    let end = Instant::now() + time;
    while Instant::now() < end {
        for rpc in rpcs {
            shoot(suite, name, rpc, &mut maker).await?;
        }
    }
    Ok(())
}

async fn shoot(suite: &Suite, name: &str, rpc: &Arc<Rpc>, maker: &mut Maker) -> Result<(), Failure> {
    let caller = Chain::new(suite, rpc, name).caller(rpc)?;
    let mut request = DynamicMessage::new(rpc.method.input());
    maker.fill(suite.model(), &mut request, Amount::Some);
    let mut bytes = request.encode_to_vec();
    if maker.random().random() {
        mutate(&mut bytes, maker);
    }
    let messages = vec![Bytes::from(bytes.clone())];
    let answer = suite.send(rpc, &caller, Sent { messages, timeout: Some(DEADLINE), ..suite.sent(rpc) }).await;
    let broken = [Code::Internal, Code::Unknown, Code::DataLoss, Code::Unimplemented];
    match answer.error().filter(|status| broken.contains(&status.code())) {
        None => Ok(()),
        Some(status) => {
            let kept = keep(suite, rpc, &bytes);
            Err(Failure {
                sent: format!("{} random bytes to {}, kept in {}", bytes.len(), rpc.path(), kept.display()),
                contract: "any answer but INTERNAL, UNKNOWN, DATA_LOSS and UNIMPLEMENTED".to_owned(),
                server: failure::status(status),
                repeat: format!("--seed {} --fuzz 60 {name}", suite.seed()),
            })
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, maker: &mut Maker) {
    let random = maker.random();
    for _ in 0..random.random_range(1..=CHANGES) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..3) {
            0 => bytes.insert(at, random.random()),
            1 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.random();
                }
            }
        }
    }
}

/// Keeps what broke a server, for whoever mends it.
fn keep(suite: &Suite, rpc: &Rpc, bytes: &[u8]) -> PathBuf {
    let folder = suite.rejects();
    let path = folder.join(format!("{}.bin", rpc.name()));
    // Where the folder cannot be written the seed still repeats it.
    let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes));
    path
}
