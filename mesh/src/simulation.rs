//! A simulated machine for [turmoil](https://docs.rs/turmoil): what this crate takes from the outside, decided by a seed.
//!
//! Compiled only with the feature `simulation`, which no released binary has. Sockets are turmoil's ([`TcpListener`]), the broker is a model of
//! JetStream in this process ([`broker`]), and a database runs on the calling task with a disk that takes its time. All else (calls, deadlines,
//! breakers, outbox, relay, consumers, inbox, SQL) is the code that is released. The real broker is tested elsewhere: this one only does what
//! a broker may do to its clients.
//!
//! A simulation lives on one thread, and so does all its state.

pub mod broker;
pub(crate) mod nats;
mod net;

use std::cell::RefCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use self::net::TcpListener;
use crate::store::Micros;

/// A late call is late by up to so much.
const LATE_CALL: Duration = Duration::from_millis(1500);

/// How rough the simulated machine is. Chances are out of a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Roughness {
    /// A step of the disk, or one way to the broker, takes up to so long.
    pub latency: Duration,
    /// An event never reaches the broker; its publisher is told nothing.
    pub lost_publish: u32,
    /// An event reaches the broker; its acknowledgement is lost.
    pub lost_publish_ack: u32,
    /// The broker does not notice that it has an event already.
    pub stored_twice: u32,
    /// A delivery is late, behind others of the same aggregate.
    pub late_delivery: u32,
    /// A consumer's acknowledgement is lost: the event is delivered again.
    pub lost_ack: u32,
    /// A call arrives late, behind others that were sent after it.
    pub late_call: u32,
    /// A host crashes at a step of its disk.
    pub crash: u32,
}

impl Roughness {
    /// Nothing is lost, late or doubled.
    pub const CALM: Self = Self {
        latency: Duration::from_millis(4),
        lost_publish: 0,
        lost_publish_ack: 0,
        stored_twice: 0,
        late_delivery: 0,
        lost_ack: 0,
        late_call: 0,
        crash: 0,
    };
}

struct Machine {
    switched_off: Option<String>,
    random: StdRng,
    roughness: Roughness,
    dying: Vec<&'static str>,
    began: Micros,
    hash: DefaultHasher,
    trace: Vec<String>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self {
            switched_off: None,
            random: StdRng::seed_from_u64(seed),
            roughness: Roughness::CALM,
            dying: Vec::new(),
            began: Micros::now(),
            hash: DefaultHasher::new(),
            trace: Vec::new(),
        }
    }
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::new(Machine::new(0));
}

/// Begins a simulation on this thread: an empty broker, an empty trace, random numbers from `seed`.
pub fn begin(seed: u64) {
    MACHINE.replace(Machine::new(seed));
    broker::reset();
}

/// From now on the machine is so rough.
pub fn set_roughness(roughness: Roughness) {
    MACHINE.with_borrow_mut(|machine| machine.roughness = roughness);
}

/// Goes on without the mechanism of this name; see [`safety`](crate::safety).
pub fn switch_off(mechanism: &str) {
    MACHINE.with_borrow_mut(|machine| machine.switched_off = Some(mechanism.to_owned()));
}

/// Whether the mechanism of this name is switched off.
#[must_use]
pub fn is_off(mechanism: &'static str) -> bool {
    MACHINE.with_borrow(|machine| machine.switched_off.as_deref() == Some(mechanism))
}

/// Adds a line to the trace.
pub fn note(line: fmt::Arguments<'_>) {
    MACHINE.with_borrow_mut(|machine| {
        let at = Micros::now().since(machine.began);
        let line = format!("{:>9.3} {line}", at.as_secs_f64());
        line.hash(&mut machine.hash);
        machine.trace.push(line);
    });
}

/// What has happened so far, oldest first.
#[must_use]
pub fn trace() -> Vec<String> {
    MACHINE.with_borrow(|machine| machine.trace.clone())
}

/// How many lines the trace has.
#[must_use]
pub fn happened() -> usize {
    MACHINE.with_borrow(|machine| machine.trace.len())
}

/// Two simulations with the same are the same.
#[must_use]
pub fn trace_hash() -> u64 {
    MACHINE.with_borrow(|machine| machine.hash.finish())
}

/// The hosts that have crashed at a step of their disk since this was last asked. What they have begun never goes on.
#[must_use]
pub fn dying() -> Vec<&'static str> {
    MACHINE.with_borrow_mut(|machine| std::mem::take(&mut machine.dying))
}

/// Waits as long as a step of the disk takes; for ever, when the host crashes at it.
pub(crate) async fn disk(host: &'static str) {
    pause().await;
    if happens(roughness().crash) {
        note(format_args!("{host} crashes at its disk"));
        MACHINE.with_borrow_mut(|machine| machine.dying.push(host));
        std::future::pending::<()>().await;
    }
}

/// How late a call arrives, if it does.
pub(crate) fn late_call() -> Option<Duration> {
    happens(roughness().late_call).then(|| up_to(LATE_CALL))
}

async fn pause() {
    tokio::time::sleep(up_to(roughness().latency)).await;
}

fn roughness() -> Roughness {
    MACHINE.with_borrow(|machine| machine.roughness)
}

fn up_to(most: Duration) -> Duration {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(MACHINE.with_borrow_mut(|machine| machine.random.random_range(0..=most)))
}

/// Whether a misfortune of this chance out of a thousand happens now.
fn happens(chance: u32) -> bool {
    MACHINE.with_borrow_mut(|machine| machine.random.random_range(0..1000) < chance)
}
