//! Second processes of services, on the databases of the first ones.

use std::{collections::HashMap, net::SocketAddr};

use mesh::{
    client::{self, Credentials},
    testing::free_port,
};
use proto::contract::Role;
use rustix::process::Signal;

use crate::{
    caller::Caller,
    world::{Process, World, listening, ready, send},
};

/// One more process of some services of a world. Replicas call replicas, where there are any: that makes a second mesh on the same databases and
/// the same broker.
pub struct Replicas {
    processes: HashMap<&'static str, Process>,
    ports: HashMap<&'static str, u16>,
}

impl Replicas {
    pub async fn start(world: &World, services: &[&'static str]) -> Self {
        let ports = services.iter().map(|service| (*service, free_port())).collect();
        let mut replicas = Self { processes: HashMap::new(), ports };
        for service in services {
            replicas.spawn(world, service);
        }
        for service in services {
            ready(service, replicas.address(world, service).into()).await;
        }
        replicas
    }

    fn spawn(&mut self, world: &World, service: &'static str) {
        let mut command = world.serve(service);
        command.envs(self.ports.iter().flat_map(|(service, port)| listening(service, *port)));
        self.processes.insert(service, Process::spawn(&mut command));
    }

    /// Starts one again that was killed.
    pub async fn begin(&mut self, world: &World, service: &'static str) {
        self.spawn(world, service);
        ready(service, self.address(world, service).into()).await;
    }

    /// Kills one.
    pub fn kill(&mut self, service: &'static str) {
        self.processes.remove(service).expect("it runs").kill();
    }

    /// Stops one in its tracks, or lets it go on.
    pub fn freeze(&self, service: &'static str, frozen: bool) {
        send(self.processes[service].id(), if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// The replica's, or the world's own if there is none.
    pub fn address(&self, world: &World, service: &str) -> SocketAddr {
        self.ports.get(service).map_or_else(|| world.address(service), |port| SocketAddr::from(([127, 0, 0, 1], *port)))
    }

    /// A caller of the replicas.
    pub fn customer(&self, world: &World, subject: &str) -> Caller {
        let token = world.token(subject, Role::Customer);
        Caller::new(subject, |service| {
            client::connect(service, &self.address(world, service).into(), Credentials::token(&token))
        })
    }
}
