//! Work that blocks, on a thread that may: on a simulated machine, which has one thread, at once.

use tokio::task::JoinError;

/// Runs `work` where it keeps no task waiting.
///
/// # Errors
/// It panicked.
///
/// # Cancel safety
/// Once begun it runs to its end.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(not(feature = "simulation"))]
    return tokio::task::spawn_blocking(work).await;
    #[cfg(feature = "simulation")]
    Ok(work())
}
