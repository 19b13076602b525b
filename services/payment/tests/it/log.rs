//! The payment log, over whole services.

use std::path::Path;

use mesh::testing::{TestMesh, eventually, postgres};
use serde_json::Value;

use crate::harness::{PATIENCE, Service, attempt, order, registration};

/// The lines of each file in the folder.
fn files(folder: &Path) -> Vec<Vec<Value>> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("an entry").path());
    files
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("text");
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
        })
        .collect()
}

#[tokio::test]
async fn each_settled_payment_is_a_line() {
    // D38: approved, declined and cancelled; one that only waits is none.
    let mesh = TestMesh::without_broker();
    let folder = mesh.folder().join("shared/log");
    let service = Service::start(mesh, &[&format!("--payment-log={}", folder.display())]).await;
    let wanted = order("pm_card_chargeDeclined");
    service.register(&registration(&wanted)).await.expect("registers");
    service.charge(&wanted).await.expect_err("declined");
    let payment = service.charge(&attempt(&wanted, 2, "pm_card_visa")).await.expect("charges");
    service.refund(&wanted.reservation).await.expect("refunds");
    eventually(PATIENCE, || async { files(&folder).concat().len() == 3 }).await;
    let lines = files(&folder).concat();
    let seen: Vec<_> = lines.iter().map(|line| (line["state"].as_str(), line["attempt"].as_i64())).collect();
    let expected = [("STATE_DECLINED", 1), ("STATE_APPROVED", 2), ("STATE_CANCELLED", 2)];
    assert_eq!(seen, expected.map(|(state, attempt)| (Some(state), Some(attempt))));
    for line in &lines {
        assert_eq!(
            (&line["payment"], &line["reservation"]),
            (&payment.name.as_str().into(), &wanted.reservation.as_str().into())
        );
        assert_eq!((&line["amountMinor"], &line["currency"]), (&38_000.into(), &"KRW".into()));
        assert_eq!(line["provider"], "simulator");
    }
    // A process that starts again leaves the file of the one before alone.
    let service = service.restart().await;
    service.charge(&order("pm_card_visa")).await.expect("charges");
    service.running.stop().await;
    let mut lengths: Vec<_> = files(&folder).iter().map(Vec::len).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 3]);
}

#[tokio::test]
async fn replicas_that_share_a_folder_never_mix_lines_and_lose_none() {
    // K42, T27: several writers on one shared volume.
    let (database, shared) = (postgres().url, tempfile::tempdir().expect("a folder"));
    let option = format!("--payment-log={}", shared.path().display());
    let start = async || Service::start(TestMesh::without_broker().on(database.clone()), &[&option]).await;
    let (one, two) = (start().await, start().await);
    let many = async |service: &Service| {
        for _ in 0..100 {
            service.charge(&order("pm_card_visa")).await.expect("charges");
        }
    };
    tokio::join!(many(&one), many(&two));
    // Stopping writes what is noted.
    one.running.stop().await;
    two.running.stop().await;
    let lengths: Vec<_> = files(shared.path()).iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 100]);
}
