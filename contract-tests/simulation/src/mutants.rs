//! Safety mechanisms, each of which can be taken away: the simulation has to notice, or it tests nothing.
//!
//! What the database enforces is taken away there; what code does is switched off by name ([`mesh::safety`]).

use anyhow::{Context as _, Result};
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use holdfast::serve::ServeArgs;
use holdfast::service::Service;
use mesh::simulation;
use mesh::store::DatabaseUrl;

/// A mechanism and how to do without it.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// Known to notice it, and tried first.
    pub(crate) seed: u64,
    without: Without,
}

#[derive(Clone, Copy)]
enum Without {
    /// Code asks for the mutant's name.
    Code,
    /// Statements on the databases of these services.
    Sql(&'static [Service], &'static str),
}

use Without::{Code, Sql};

/// All of them.
pub(crate) const ALL: &[Mutant] = &[
    Mutant {
        name: "claim of the request id",
        seed: 0,
        without: Sql(&[Service::Reservation], "DROP INDEX requests_key"),
    },
    Mutant {
        name: "conditional write of the capacity",
        seed: 26,
        without: Sql(
            &[Service::Listing],
            "PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (held >= 0 AND held <= capacity)', 'CHECK (held >= 0)') \
             WHERE name = 'nights'; \
             PRAGMA writable_schema = RESET; CREATE TABLE mutant (id INTEGER)",
        ),
    },
    Mutant {
        name: "one payment for a reservation",
        seed: 0,
        without: Sql(&[Service::Payment], "DROP INDEX payments_reservation"),
    },
    Mutant {
        name: "one entry of the ledger for a payment",
        seed: 3,
        without: Sql(&[Service::Mileage], "DROP INDEX entries_payment"),
    },
    Mutant {
        name: "recovery of sagas",
        seed: 2,
        without: Sql(
            &[Service::Reservation],
            "CREATE TRIGGER mutant_insert AFTER INSERT ON sagas BEGIN \
             UPDATE sagas SET lease_until = 9000000000000000000 WHERE reservation_id = NEW.reservation_id; END; \
             CREATE TRIGGER mutant_update AFTER UPDATE ON sagas BEGIN \
             UPDATE sagas SET lease_until = 9000000000000000000 WHERE reservation_id = NEW.reservation_id; END",
        ),
    },
    Mutant {
        name: "recovery of payments",
        seed: 0,
        without: Sql(
            &[Service::Payment],
            "CREATE TRIGGER mutant_insert AFTER INSERT ON payments WHEN NEW.due_at IS NOT NULL BEGIN \
             UPDATE payments SET due_at = 9000000000000000000 WHERE id = NEW.id; END; \
             CREATE TRIGGER mutant_update AFTER UPDATE ON payments WHEN NEW.due_at IS NOT NULL BEGIN \
             UPDATE payments SET due_at = 9000000000000000000 WHERE id = NEW.id; END",
        ),
    },
    Mutant {
        name: "outbox in the same transaction",
        seed: 0,
        // As if now and then a process died between the change and its event.
        without: Sql(
            &Service::ALL,
            "CREATE TRIGGER mutant AFTER INSERT ON outbox WHEN substr(hex(NEW.id), -1) = '7' BEGIN \
             DELETE FROM outbox WHERE seq = NEW.seq; END",
        ),
    },
    Mutant {
        name: "refusal of a charge after its refund",
        seed: 51,
        without: Sql(
            &[Service::Payment],
            "CREATE TRIGGER mutant AFTER INSERT ON payments WHEN NEW.amount_minor = 0 BEGIN \
             DELETE FROM payments WHERE id = NEW.id; END",
        ),
    },
    Mutant {
        name: "refusal of a hold after its release",
        seed: 5,
        without: Sql(
            &[Service::Listing],
            "CREATE TRIGGER mutant AFTER INSERT ON holds WHEN NEW.units = 0 BEGIN \
             DELETE FROM holds WHERE reservation_id = NEW.reservation_id; END",
        ),
    },
    Mutant {
        name: "refusal of miles after their reversal",
        seed: 11,
        without: Sql(
            &[Service::Mileage],
            "CREATE TRIGGER mutant AFTER INSERT ON entries WHEN NEW.points = 0 BEGIN \
             DELETE FROM entries WHERE id = NEW.id; END",
        ),
    },
    Mutant {
        name: "closing of a deleted listing",
        seed: 1,
        without: Sql(
            &[Service::Reservation],
            "CREATE TRIGGER mutant AFTER INSERT ON closures BEGIN \
             DELETE FROM closures WHERE listing_id = NEW.listing_id; END",
        ),
    },
    Mutant { name: "acknowledge after the commit", seed: 38, without: Code },
    Mutant { name: "refill of a stream that lost events", seed: 0, without: Code },
    Mutant { name: "release of the place", seed: 0, without: Code },
    Mutant { name: "refund of the payment", seed: 4, without: Code },
    Mutant { name: "version guard", seed: 73, without: Code },
    Mutant { name: "limit per person", seed: 51, without: Code },
    Mutant { name: "idempotency key of the provider", seed: 2, without: Code },
];

impl Mutant {
    /// Takes the mechanism away, once the databases are there.
    pub(crate) fn apply(&self, settings: &ServeArgs) -> Result<()> {
        let Sql(services, statements) = self.without else {
            simulation::switch_off(self.name);
            return Ok(());
        };
        for service in services {
            let DatabaseUrl::Sqlite(path) = settings.node.data.database(service.name()) else {
                unreachable!("the simulation runs on SQLite")
            };
            let path = path.to_str().context("a path of letters")?;
            SqliteConnection::establish(path)?.batch_execute(statements).context(self.name)?;
        }
        Ok(())
    }
}
