//! Asking services whether they serve, by the standard health protocol.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::failure::finding;

const ASK_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the server behind the channel says SERVING.
///
/// # Errors
/// It does not within `limit`; the error says what it answered last.
pub(crate) async fn serving(channel: Channel, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut client = HealthClient::new(channel);
    loop {
        let answer = timeout(ASK_LIMIT, client.check(HealthCheckRequest::default())).await;
        let seen = match answer {
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => return Ok(()),
            Ok(Ok(answer)) => answer.get_ref().status().as_str_name().to_owned(),
            Ok(Err(status)) => finding(&status),
            Err(_) => "no answer".to_owned(),
        };
        if started.elapsed() >= limit {
            bail!("not serving after {}: {seen}", crate::duration::readable(limit));
        }
        sleep(PAUSE).await;
    }
}
