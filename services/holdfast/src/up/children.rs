//! A child process per service. None outlives this process: each ties itself to it, and is killed when its handle is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ServeCommand, UpArgs};
use crate::home::Home;
use crate::serve::Ended;
use crate::service::Service;

/// An orderly end that takes longer (see `--drain-limit-ms`) is cut short.
const END_LIMIT: Duration = Duration::from_secs(35);

/// Children that run.
pub(super) struct Children {
    pids: [u32; Service::ALL.len()],
    stop: CancellationToken,
    ends: JoinSet<Ended>,
}

impl Children {
    /// Starts one per service. Must be called on the main thread: the kernel ends a child with the thread that started it.
    pub(super) fn start(args: &UpArgs, home: &Home, serve: &ServeCommand) -> Result<Self> {
        let logs = home.logs();
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let mut children = Self { pids: [0; Service::ALL.len()], stop: CancellationToken::new(), ends: JoinSet::new() };
        for service in Service::ALL {
            let log = if args.logs { None } else { Some(logs.join(format!("{service}.log"))) };
            let child = spawn(service, serve, log.as_deref()).with_context(|| format!("cannot start {service}"))?;
            children.pids[service as usize] = child.id().context("a child that was just started has an id")?;
            let stop = children.stop.clone();
            children.ends.spawn(async move { Ended { service, result: watch(child, stop, log).await } });
        }
        Ok(children)
    }

    pub(super) fn pid(&self, service: Service) -> u32 {
        self.pids[service as usize]
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn is_anything_left(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Waits until one more child has ended; `None` when none is left.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn next_end(&mut self) -> Option<Ended> {
        let joined = self.ends.join_next().await?;
        Some(joined.expect("watching a child neither panics nor is aborted"))
    }
}

fn spawn(service: Service, serve: &ServeCommand, log: Option<&Path>) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let mut command = Command::new(program);
    command.args(["serve", service.name()]).arg(format!("--parent={}", std::process::id())).args(&serve.words);
    command.envs(serve.secrets.iter().map(|(_, variable, value)| (variable, value)));
    // A group of its own: Ctrl-C reaches only this process, which then ends its children in order.
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
    if let Some(log) = log {
        command.stderr(File::create(log).with_context(|| format!("cannot write {}", log.display()))?);
    }
    Ok(command.spawn()?)
}

/// Waits for the child's end, or ends it when told to.
async fn watch(mut child: Child, stop: CancellationToken, log: Option<PathBuf>) -> Result<()> {
    let status = tokio::select! {
        status = child.wait() => status?,
        () = stop.cancelled() => terminate(&mut child).await?,
    };
    if status.success() { Ok(()) } else { Err(failure(status, log.as_deref())) }
}

async fn terminate(child: &mut Child) -> Result<ExitStatus> {
    // No id: it has been waited for, and the id may be another process' by now.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        kill_process(pid, Signal::TERM).context("cannot signal a child")?;
    }
    match timeout(END_LIMIT, child.wait()).await {
        Ok(status) => Ok(status?),
        Err(_) => {
            child.kill().await?;
            Ok(child.wait().await?)
        }
    }
}

fn failure(status: ExitStatus, log: Option<&Path>) -> anyhow::Error {
    let Some(log) = log else { return anyhow!("its process ended with {status}") };
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("(it wrote nothing)");
    anyhow!("its process ended with {status}; the last line of {}: {last}", log.display())
}
