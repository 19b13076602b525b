//! Checks as tests: listed, filtered and reported as `cargo test` does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::runtime::Handle;

use crate::plan::Check;
use crate::suite::Suite;

/// Checks that wait for servers at the same time.
const THREADS: usize = 16;

/// The suite, made when the first check runs: listing starts nothing.
struct Lazy<S>(OnceLock<Result<Arc<Suite>, String>>, S);

impl<S: Fn() -> Result<Arc<Suite>, String>> Lazy<S> {
    fn get(&self) -> Result<&Suite, String> {
        let make = || catch_unwind(AssertUnwindSafe(&self.1)).unwrap_or_else(|panic| Err(said(&*panic)));
        self.0.get_or_init(make).as_deref().map_err(Clone::clone)
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Runs the checks that the arguments choose, then `others`, and prints what else was seen.
pub fn run(
    mut arguments: Arguments,
    runtime: &Handle,
    checks: Vec<Check>,
    others: Vec<Trial>,
    suite: impl Fn() -> Result<Arc<Suite>, String> + Send + Sync + 'static,
) -> Conclusion {
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let lazy = Arc::new(Lazy(OnceLock::new(), suite));
    let trials = checks.into_iter().map(|check| {
        let (lazy, runtime) = (Arc::clone(&lazy), runtime.clone());
        Trial::test(check.name.clone(), move || {
            let suite = lazy.get().map_err(Failed::from)?;
            runtime.block_on(suite.run(&check)).map_err(|failure| Failed::from(format!("\n{failure}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, others.into_iter().chain(trials).collect());
    if let Some(Ok(suite)) = lazy.0.get() {
        println!("{}", suite.report());
    }
    conclusion
}
