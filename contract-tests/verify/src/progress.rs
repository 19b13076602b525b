//! Runs a program whose output goes to a file, and shows meanwhile that it is alive.
//!
//! On a terminal the last line of the output is shown in place, elsewhere a line now and then. When the program fails
//! its output is printed: whole if short, else its end, with the file that holds all of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often the line on a terminal is renewed.
const TERMINAL_PERIOD: Duration = Duration::from_millis(500);
/// How often a line is printed where output is not a terminal.
const LOG_PERIOD: Duration = Duration::from_secs(30);
/// How much of the output of a failed program is printed.
const SHOWN_BYTES: u64 = 24 * 1024;
/// How much of a line is shown while the program runs.
const SHOWN_COLUMNS: usize = 100;

/// Shows how one step, or the fetching of one tool, gets on.
#[derive(Debug)]
pub struct Progress {
    label: String,
    log: PathBuf,
}

impl Progress {
    /// Output is collected in `log`, which is emptied first.
    #[must_use]
    pub fn new(label: &str, log: &Path) -> Self {
        // A leftover of an earlier run would be shown as this run's output; if it cannot be removed, opening it fails too.
        let _ = fs::remove_file(log);
        Self { label: label.to_owned(), log: log.to_owned() }
    }

    /// Runs the program to its end, prints its command line before and, if it failed, its output after.
    ///
    /// # Errors
    ///
    /// The program could not be started, or its output could not be written.
    pub fn run(&self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        println!("   $ {}", command_line(command));
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{}", self.log.display()))?;
        let begin = log.seek(SeekFrom::End(0))?;
        let status = self.wait(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?;
        if !status.success() {
            self.show_output(begin)?;
        }
        Ok(status)
    }

    /// As [`Progress::run`], but a program that fails is an error too.
    ///
    /// # Errors
    ///
    /// Those of [`Progress::run`], and an exit code other than zero.
    pub fn must(&self, command: &mut Command) -> anyhow::Result<()> {
        let status = self.run(command)?;
        anyhow::ensure!(status.success(), "{} ended with {status}", command.get_program().display());
        Ok(())
    }

    fn wait(&self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let terminal = io::stdout().is_terminal();
        let period = if terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
        let started = Instant::now();
        let (ended, end) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(move || ended.send(child.wait()));
            loop {
                match end.recv_timeout(period) {
                    Ok(status) => {
                        if terminal {
                            print!("\r\x1b[2K");
                        }
                        return Ok(status?);
                    }
                    Err(RecvTimeoutError::Timeout) => self.show_life(started.elapsed(), terminal),
                    Err(RecvTimeoutError::Disconnected) => {
                        anyhow::bail!("the thread that waits for {} is gone", self.label)
                    }
                }
            }
        })
    }

    fn show_life(&self, elapsed: Duration, terminal: bool) {
        let last: String = last_line(&self.log).chars().take(SHOWN_COLUMNS).collect();
        let seconds = elapsed.as_secs();
        if terminal {
            print!("\r\x1b[2K   {} … {seconds} s  {last}", self.label);
            // A closed terminal is no reason to stop checking.
            let _ = io::stdout().flush();
        } else {
            println!("   {} … {seconds} s  {last}", self.label);
        }
    }

    fn show_output(&self, begin: u64) -> io::Result<()> {
        let mut log = File::open(&self.log)?;
        let end = log.seek(SeekFrom::End(0))?;
        let from = begin.max(end.saturating_sub(SHOWN_BYTES));
        if from > begin {
            println!("   (the last {SHOWN_BYTES} bytes; all of it is in {})", self.log.display());
        }
        let output = read_from(&mut log, from)?;
        println!("{}", output.trim_end());
        Ok(())
    }
}

/// The command as it could be typed, without the variables that are set for it.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn last_line(log: &Path) -> String {
    let read = || {
        let mut log = File::open(log)?;
        let end = log.seek(SeekFrom::End(0))?;
        read_from(&mut log, end.saturating_sub(512))
    };
    // Only for show: a log that cannot be read shows as nothing.
    let text: String = read().unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

fn read_from(log: &mut File, offset: u64) -> io::Result<String> {
    log.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
