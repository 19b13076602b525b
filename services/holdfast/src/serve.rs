//! `holdfast serve`: services in this process, each on a thread and a runtime of its own.
//!
//! A thread per service with a single-threaded runtime costs a third of the CPU time of one shared multi-threaded runtime, and keeps a busy
//! service from delaying its neighbours.

mod fleet;

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result, anyhow, bail};
use mesh::node::NodeArgs;

pub use fleet::serve;
pub(crate) use fleet::{Ended, Fleet};

use crate::audit::WatchArgs;
use crate::ports;
use crate::service::{Selection, Service};
use crate::signals::Signals;

/// Runs services in this process until it is told to end.
///
/// Each service has its own port, database, and thread. A first SIGTERM or Ctrl-C ends all of them in order: health says NOT_SERVING, calls in
/// progress finish, then background work stops. A second one cuts what is still in progress, a third one ends the process at once, which loses
/// nothing either. When one service fails, all end, and the exit code is 1.
///
/// A process that runs every service of the mesh audits them in the background, on a thread of its own (--audit-every).
///
/// Every option can come from the environment; --print-config shows which values hold and where they come from.
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct ServeArgs {
    /// Which services to run
    #[arg(value_enum, required = true, value_name = "SERVICE", hide_possible_values = true)]
    pub services: Vec<Selection>,
    /// Print every option with its value and where that comes from (secrets masked), and stop
    #[arg(long)]
    pub print_config: bool,
    /// Ends this process when that one ends, however sudden. Set by `up`.
    #[arg(long, hide = true)]
    pub parent: Option<u32>,
    /// What all services have in common.
    #[command(flatten, next_help_heading = "Every service")]
    pub node: NodeArgs,
    /// The audit in the background.
    #[command(flatten, next_help_heading = "Audit")]
    pub audit: WatchArgs,
    /// Listing's own.
    #[command(flatten, next_help_heading = "Listing")]
    pub listing: listing::Config,
    /// Reservation's own.
    #[command(flatten, next_help_heading = "Reservation")]
    pub reservation: reservation::Config,
    /// Payment's own.
    #[command(flatten, next_help_heading = "Payment")]
    pub payment: payment::Config,
    /// Mileage's own.
    #[command(flatten, next_help_heading = "Mileage")]
    pub mileage: mileage::Config,
    /// Message's own.
    #[command(flatten, next_help_heading = "Message")]
    pub message: message::Config,
    /// View's own.
    #[command(flatten, next_help_heading = "View")]
    pub view: view::Config,
    /// Voucher's own.
    #[command(flatten, next_help_heading = "Voucher")]
    pub voucher: voucher::Config,
    /// Marketing's own.
    #[command(flatten, next_help_heading = "Marketing")]
    pub marketing: marketing::Config,
}

impl ServeArgs {
    fn address(&self, service: Service) -> SocketAddr {
        match service {
            Service::Listing => self.listing.listing_listen,
            Service::Reservation => self.reservation.reservation_listen,
            Service::Payment => self.payment.payment_listen,
            Service::Mileage => self.mileage.mileage_listen,
            Service::Message => self.message.message_listen,
            Service::View => self.view.view_listen,
            Service::Voucher => self.voucher.voucher_listen,
            Service::Marketing => self.marketing.marketing_listen,
        }
    }

    /// Takes the ports of all selected services, before any of them starts. `remedy` says how to choose another port.
    ///
    /// # Errors
    /// A port is taken.
    pub(crate) fn listen(&self, remedy: impl Fn(Service) -> String) -> Result<Vec<(Service, TcpListener)>> {
        let listen =
            |service: Service| Ok((service, ports::listen(self.address(service), service.name(), &remedy(service))?));
        Selection::services(&self.services).into_iter().map(listen).collect()
    }
}

fn remedy(service: Service) -> String {
    format!("choose another with --{service}-listen (or HOLDFAST_{}_LISTEN)", service.name().to_uppercase())
}

/// Runs the command.
///
/// # Errors
/// A port is taken, a service failed, or a third signal cut the orderly end short.
pub async fn run(args: &ServeArgs) -> Result<()> {
    if let Some(parent) = args.parent {
        end_with(parent)?;
    }
    let _telemetry = mesh::telemetry::init("holdfast").context("telemetry cannot be set up")?;
    let mut signals = Signals::listen()?;
    let mut fleet = Fleet::start(args, args.listen(remedy)?)?;
    let mut ending = false;
    let mut hurrying = false;
    let mut failure = None;
    loop {
        // Both arms only receive: what the other one misses stays in its queue.
        tokio::select! {
            () = signals.next() => {
                match (ending, hurrying) {
                    (false, _) => fleet.stop(),
                    (true, false) => fleet.hurry(),
                    (true, true) => bail!("ended at once, by a third signal"),
                }
                (hurrying, ending) = (ending, true);
            }
            ended = fleet.next_end() => match ended {
                None => break,
                Some(Ended { service, result }) => {
                    let problem = match result {
                        Ok(()) if ending => None,
                        Ok(()) => Some(anyhow!("{service} ended unasked")),
                        Err(error) => Some(error.context(format!("{service} failed"))),
                    };
                    if let Some(problem) = problem {
                        ending = true;
                        fleet.stop();
                        failure.get_or_insert(problem);
                    }
                }
            },
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Has the kernel kill this process when its parent ends. Must be called on the main thread, and the parent must have started it from its own.
fn end_with(parent: u32) -> Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot tie this process to its parent")?;
    // It may have ended before the line above.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if now == Some(parent) { Ok(()) } else { bail!("process {parent}, which started this one, has ended") }
}
