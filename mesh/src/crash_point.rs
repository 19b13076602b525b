//! Crash points: named places at which a fault build dies, or freezes, when it is told to.
//!
//! A point is one line, [`crash_point!`](crate::crash_point!), at a boundary where a crash could leave something half done: before and after a
//! commit, a call, an acknowledgement. Without the feature `crash-points` it compiles to nothing; with it, and unarmed, it is one relaxed load.
//! The linker collects the points of a program, so a suite can ask for all of them (`names`), and none is forgotten.
//!
//! Points are armed by `arm`, e.g. `reservation.intent.committed:1:kill,mesh.outbox.acknowledged:2:stop`: at which hit what happens. There is
//! no panic among the actions: unwinding runs code that a power cut would not.

#[cfg(feature = "crash-points")]
pub use self::armed::{Action, InvalidOrder, POINTS, arm, linkme, names, reach};

/// Marks a place where a fault build may die.
#[cfg(feature = "crash-points")]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        #[allow(
            unsafe_code,
            reason = "linkme gives the name a place in a section of its own; the type of the slice is checked"
        )]
        #[$crate::crash_point::linkme::distributed_slice($crate::crash_point::POINTS)]
        #[linkme(crate = $crate::crash_point::linkme)]
        static POINT: &str = $name;
        $crate::crash_point::reach(POINT);
    }};
}

/// Marks a place where a fault build may die; this is none.
#[cfg(not(feature = "crash-points"))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{}};
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    #[doc(hidden)]
    pub use linkme;
    use rustix::process::{Signal, getpid, kill_process};

    /// The names of all points of the program.
    #[linkme::distributed_slice]
    pub static POINTS: [&'static str];

    static ARMED: AtomicBool = AtomicBool::new(false);
    static ORDERS: OnceLock<Vec<Order>> = OnceLock::new();

    /// A signal to oneself may reach another thread first; no thread goes further than this before it has taken effect.
    const DELIVERY: Duration = Duration::from_millis(100);

    /// What a point does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Action {
        /// Ends the process by SIGKILL: nothing is flushed, nothing is dropped.
        Kill,
        /// Freezes the process by SIGSTOP, until somebody lets it go on.
        Stop,
    }

    #[derive(Debug)]
    struct Order {
        point: String,
        nth: u32,
        action: Action,
        hits: AtomicU32,
    }

    /// The text does not say what to do where.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum InvalidOrder {
        /// Not of this form.
        #[error("{0:?} is not POINT:NTH:ACTION, with NTH from 1 and ACTION kill or stop")]
        Syntax(String),
        /// The program has no such point.
        #[error("there is no crash point {0:?}")]
        Unknown(String),
        /// Points are armed once.
        #[error("the crash points are armed already")]
        Twice,
    }

    impl FromStr for Order {
        type Err = InvalidOrder;

        fn from_str(text: &str) -> Result<Self, InvalidOrder> {
            let syntax = || InvalidOrder::Syntax(text.to_owned());
            let [point, nth, action] = text.split(':').collect::<Vec<_>>()[..] else { return Err(syntax()) };
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                _ => return Err(syntax()),
            };
            let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(syntax)?;
            if !POINTS.contains(&point) {
                return Err(InvalidOrder::Unknown(point.to_owned()));
            }
            Ok(Self { point: point.to_owned(), nth, action, hits: AtomicU32::new(0) })
        }
    }

    /// Arms points, several separated by commas.
    ///
    /// # Errors
    /// The text is malformed, a point does not exist, or points are armed already.
    pub fn arm(orders: &str) -> Result<(), InvalidOrder> {
        let orders = orders.split(',').map(str::parse).collect::<Result<Vec<Order>, _>>()?;
        ORDERS.set(orders).map_err(|_| InvalidOrder::Twice)?;
        ARMED.store(true, Ordering::Release);
        Ok(())
    }

    /// The names of all points, in order; one that stands twice is at two places.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        let mut names = POINTS.to_vec();
        names.sort_unstable();
        names
    }

    /// Says that a point was reached; for [`crash_point!`](crate::crash_point!).
    #[inline]
    pub fn reach(point: &str) {
        if ARMED.load(Ordering::Relaxed) {
            reach_armed(point);
        }
    }

    #[cold]
    fn reach_armed(point: &str) {
        for order in ORDERS.get().into_iter().flatten().filter(|order| order.point == point) {
            if order.hits.fetch_add(1, Ordering::Relaxed) + 1 == order.nth {
                let signal = match order.action {
                    Action::Kill => Signal::KILL,
                    Action::Stop => Signal::STOP,
                };
                kill_process(getpid(), signal).expect("a process may signal itself");
                std::thread::sleep(DELIVERY);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_order_names_a_point_of_the_program_a_hit_and_an_action() {
            crate::crash_point!("test.point");
            let parse = |text: &str| text.parse::<Order>().map(|order| (order.point, order.nth, order.action));
            assert_eq!(parse("test.point:2:stop"), Ok(("test.point".to_owned(), 2, Action::Stop)));
            for malformed in ["", "test.point", "test.point:1", "test.point:0:kill", "test.point:1:panic", "a:1:kill:b"]
            {
                assert_eq!(parse(malformed), Err(InvalidOrder::Syntax(malformed.to_owned())));
            }
            assert_eq!(parse("test.no:1:kill"), Err(InvalidOrder::Unknown("test.no".to_owned())));
            assert!(names().contains(&"test.point"));
        }
    }
}
