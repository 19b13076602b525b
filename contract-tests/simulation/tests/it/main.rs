//! The simulation itself: that a seed decides everything, that a planted fault is noticed, and that what was once found stays away.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().expect("the simulation runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_event() {
    let [first, second] = [(); 2].map(|()| simulate(&["--seed", "7", "--trace"]));
    assert!(first.status.success(), "{}", text(&first.stdout));
    assert!(first.stderr.len() > 10_000, "a run of some length");
    assert_eq!(text(&first.stdout), text(&second.stdout));
    assert_eq!(text(&first.stderr), text(&second.stderr));
    assert_ne!(text(&first.stderr), text(&simulate(&["--seed", "8", "--trace"]).stderr), "another seed, another run");
}

/// A simulation that cannot fail tells nothing. The recorded seed is tried first: any change of what is called makes it another run.
#[test]
fn without_any_one_of_the_safety_mechanisms_something_is_wrong() {
    let hunt = simulate(&["--mutants", "--seeds", "0..300"]);
    assert!(hunt.status.success(), "{}", text(&hunt.stdout));
}

#[test]
fn a_misspelt_mechanism_does_not_pass_for_one_that_is_not_needed() {
    let unknown = simulate(&["--seed", "1", "--mutant", "luck"]);
    assert_eq!(unknown.status.code(), Some(2));
}

/// Each line of the file: a seed, and what it found.
#[test]
fn seeds_that_found_something_find_it_no_more() {
    let lines = include_str!("../../seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in lines {
        let (seed, found) = line.split_once(char::is_whitespace).expect("a seed and what it found");
        let run = simulate(&["--seed", seed]);
        assert!(run.status.success(), "seed {seed}, which once found: {found}\n{}", text(&run.stdout));
    }
}
