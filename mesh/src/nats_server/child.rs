//! A child process that ends with its parent, even if the parent is killed.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

const POLL: Duration = Duration::from_millis(2);

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// Dropping it lets the thread go that the child was started from.
    _keeper: mpsc::SyncSender<()>,
}

impl Child {
    /// Starts the command. The kernel ends the child when the *thread* that started it ends, so that is a thread of its own, which lives as long as
    /// this value.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        let (started, result) = mpsc::sync_channel(1);
        let (keeper, released) = mpsc::sync_channel::<()>(1);
        end_with_parent(&mut command);
        thread::Builder::new().name("child-keeper".to_owned()).spawn(move || {
            if started.send(command.spawn()).is_ok() {
                // Nothing is ever sent: this returns when the owner is gone.
                let _ = released.recv();
            }
        })?;
        let process = result.recv().map_err(|_| io::Error::other("the thread that starts the child ended"))??;
        Ok(Self { process, _keeper: keeper })
    }

    /// What it prints, if that is piped; once.
    #[cfg(feature = "testing")]
    pub(crate) fn take_output(&mut self) -> Option<process::ChildStdout> {
        self.process.stdout.take()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Asks it to end, and kills it after `patience`.
    pub(crate) fn terminate(&mut self, patience: Duration) {
        self.end(Signal::TERM, patience);
    }

    /// Asks it in its own way.
    pub(crate) fn end(&mut self, signal: Signal, patience: Duration) {
        self.signal(signal);
        let asked = Instant::now();
        while self.is_running() && asked.elapsed() < patience {
            thread::sleep(POLL);
        }
        self.kill();
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        // A child that was waited for has given its id back to the system.
        if self.is_running()
            && let Some(pid) = pid(self.process.id())
        {
            let _ = kill_process(pid, signal);
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

#[expect(unsafe_code, reason = "the standard library has no safe way to prepare a child between fork and exec")]
fn end_with_parent(command: &mut Command) {
    let parent = process::id();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above; then nobody is left to end this process.
        if getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()) == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. `prepare` makes two plain system calls (prctl, getppid) and
    // builds an error without allocating; it touches no lock and no memory shared with other threads.
    unsafe { command.pre_exec(prepare) };
}

/// Ends the process named in `pid_file` if it still runs with `config` on its command line, and is thus a left-over and nobody else's.
pub(crate) fn end_left_over(pid_file: &Path, config: &Path) -> io::Result<()> {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| pid(text.trim().parse().ok()?)) else {
        return Ok(());
    };
    let command_line = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let is_ours = || {
        fs::read(&command_line)
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes()))
    };
    let found = Instant::now();
    while is_ours() {
        if found.elapsed() > Duration::from_secs(5) {
            return Err(io::Error::other("the nats-server of an earlier run does not end"));
        }
        let _ = kill_process(pid, Signal::KILL);
        thread::sleep(POLL);
    }
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
