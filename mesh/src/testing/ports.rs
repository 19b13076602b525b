//! Ports for listeners that must know theirs beforehand, or listen there again.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

use rand::Rng as _;

/// Where the kernel takes the ports of outgoing connections from (Linux, `ip(7)`).
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const FIRST: u16 = 10_000;
/// Fewer are too few for test processes that choose at random beside each other.
const LEAST: usize = 1_000;
const ATTEMPTS: usize = 1_000;

/// A port that is free, that no outgoing connection takes meanwhile, and that this process is given only once.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let ports = static_ports(&fs::read_to_string(EPHEMERAL).unwrap_or_default());
    let is_new = |port: &u16| GIVEN.lock().expect("nobody panics with it").insert(*port);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut tries = (0..ATTEMPTS).map(|_| rand::rng().random_range(ports.clone()));
    tries.find(|port| is_new(port) && is_free(port)).expect("a free port")
}

/// Those below the ephemeral range, else those above it; any, where that leaves too few.
fn static_ports(ephemeral: &str) -> Range<u16> {
    let mut bounds = ephemeral.split_whitespace().map_while(|bound| bound.parse::<u16>().ok());
    let (first, last) = (bounds.next().unwrap_or(32_768), bounds.next().unwrap_or(60_999));
    let outside = [FIRST..first, last.saturating_add(1)..u16::MAX];
    outside.into_iter().find(|ports| ports.len() >= LEAST).unwrap_or(FIRST..u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_outside_the_ephemeral_range_where_there_is_room() {
        let check =
            |ephemeral: &str, expected: Range<u16>| assert_eq!(static_ports(ephemeral), expected, "{ephemeral}");
        check("32768\t60999\n", 10_000..32_768);
        check("1024 60999", 61_000..65_535);
        check("1024 65535", 10_000..65_535);
        check("", 10_000..32_768);
    }

    #[test]
    fn a_port_is_free_and_given_once() {
        let ports: Vec<_> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        let ephemeral = fs::read_to_string(EPHEMERAL).unwrap_or_default();
        assert!(ports.iter().all(|port| static_ports(&ephemeral).contains(port)));
        // All at once, so that each is another listener's.
        let bound: Vec<_> =
            ports.iter().filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).ok()).collect();
        assert_eq!(bound.len(), ports.len());
    }
}
