//! What each consumer of events does with them.
//!
//! While journeys run, every batch is kept as its handler was about to see it, with a copy of the service's database. Afterwards
//! the handler is run on the copies, with the event and with every variant of it; nothing of that is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use diesel::{Connection as _, SqliteConnection};
use mesh::event::Received;
use mesh::store::Conn;
use mesh::testing::{Batch, Handle, observe_consumers};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

use crate::evidence::{Evidence, Outcome};
use crate::rows::{Rows, Tables, Volatile, execute, steady, volatile};
use crate::variants::variants;

/// A batch, and the database before it.
struct Kept {
    service: &'static str,
    stream: &'static str,
    subjects: Vec<String>,
    handle: Handle,
    database: PathBuf,
    events: Vec<Received>,
}

/// Everything that consumers were given, until it is enough.
#[derive(Clone, Default)]
pub(crate) struct Deliveries {
    kept: Arc<Mutex<Vec<Kept>>>,
    is_enough: Arc<AtomicBool>,
}

/// What a consumer reads of a type: consumer, provider, type.
pub(crate) type Read = BTreeMap<(String, String, String), Evidence>;

impl Deliveries {
    /// Keeps what services that start from now on are given. `data` is the folder of their databases.
    pub(crate) fn keep(data: PathBuf, copies: PathBuf) -> Self {
        fs::create_dir_all(&copies).expect("room for copies");
        let deliveries = Self::default();
        let Self { kept, is_enough } = deliveries.clone();
        observe_consumers(move |batch: &Batch<'_>| {
            if is_enough.load(Ordering::SeqCst) {
                return;
            }
            let mut kept = kept.lock().expect("nobody panics with it");
            let database = copies.join(format!("{}.db", kept.len()));
            copy(&data.join(format!("{}.db", batch.service)), &database);
            kept.push(Kept {
                service: batch.service,
                stream: batch.spec.stream,
                subjects: batch.spec.subjects.clone(),
                handle: Arc::clone(batch.handle),
                database,
                events: batch.events.to_vec(),
            });
        });
        deliveries
    }

    /// How many batches there were.
    pub(crate) fn count(&self) -> usize {
        self.kept.lock().expect("nobody panics with it").len()
    }

    /// Keeps no more.
    pub(crate) fn end(&self) {
        self.is_enough.store(true, Ordering::SeqCst);
    }

    /// Probes every consumer with every type it asks for.
    pub(crate) fn probe(&self, pool: &DescriptorPool) -> Read {
        let kept = self.kept.lock().expect("nobody panics with it");
        let types = Types::of(pool);
        let chosen = choose(&kept, &types);
        let mut read = Read::new();
        for (index, batch) in kept.iter().enumerate() {
            let of_batch: Vec<&Sample> = chosen.iter().filter(|sample| sample.batch == index).collect();
            if !of_batch.is_empty() {
                probe_batch(batch, &of_batch, &types, &mut read);
            }
        }
        read
    }
}

/// The write-ahead log belongs to the file.
fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
    let beside = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if beside(from).exists() {
        fs::copy(beside(from), beside(to)).expect("a copy");
    }
}

/// The events that the contracts declare.
struct Types(BTreeMap<String, Type>);

struct Type {
    message: MessageDescriptor,
    subject: String,
    key: String,
}

impl Types {
    fn of(pool: &DescriptorPool) -> Self {
        let option = pool.get_extension_by_name("holdfast.options.v1.event").expect("our option");
        let declared = |message: MessageDescriptor| {
            let options = message.options();
            let event = options.has_extension(&option).then(|| options.get_extension(&option).into_owned())?;
            let text = |field| event.as_message()?.get_field_by_name(field)?.as_str().map(str::to_owned);
            let (subject, key) = (text("subject")?, text("key")?);
            Some((message.full_name().to_owned(), Type { message, subject, key }))
        };
        Self(pool.all_messages().filter_map(declared).collect())
    }

    /// Those of a consumer's subjects.
    fn wanted<'a>(&'a self, batch: &'a Kept) -> impl Iterator<Item = &'a str> {
        let asked_for = |it: &Type, pattern: &String| match pattern.strip_suffix('>') {
            Some(all) => it.subject.starts_with(all),
            None => it.subject.replace("{id}", "*") == *pattern,
        };
        let of_stream = move |it: &Type| {
            let service = batch.stream.to_ascii_lowercase();
            it.message.package_name() == format!("holdfast.{service}.v1")
        };
        let wanted = move |it: &Type| of_stream(it) && batch.subjects.iter().any(|pattern| asked_for(it, pattern));
        self.0.iter().filter(move |(_, it)| wanted(it)).map(|(name, _)| name.as_str())
    }
}

/// An event to probe a consumer with, before the n-th of a batch.
struct Sample {
    batch: usize,
    nth: usize,
    event: Received,
}

/// Of each type, for each consumer, one of each shape. A type that nothing brought about is tried with what was told
/// under another name: the message is the same.
fn choose(kept: &[Kept], types: &Types) -> Vec<Sample> {
    let mut chosen: Vec<Sample> = Vec::new();
    let mut shapes: BTreeMap<(&str, &str, String), BTreeSet<String>> = BTreeMap::new();
    for (batch, of) in kept.iter().enumerate() {
        for (nth, event) in of.events.iter().enumerate() {
            let Some(declared) = types.0.get(&event.kind) else { continue };
            let seen = shapes.entry((of.service, of.stream, event.kind.clone())).or_default();
            if seen.insert(shape(&decode(declared, event))) {
                chosen.push(Sample { batch, nth, event: event.clone() });
            }
        }
    }
    let mut substitutes = Vec::new();
    for of in kept {
        for name in types.wanted(of) {
            if shapes.insert((of.service, of.stream, name.to_owned()), BTreeSet::new()).is_some() {
                continue;
            }
            let alike = chosen.iter().filter(|sample| {
                let from = &kept[sample.batch];
                (from.service, from.stream) == (of.service, of.stream) && is_alike(types, &sample.event.kind, name)
            });
            substitutes.extend(
                alike.map(|sample| Sample {
                    event: Received { kind: name.to_owned(), ..sample.event.clone() },
                    ..*sample
                }),
            );
        }
    }
    chosen.extend(substitutes);
    chosen
}

/// The fields that are set, and the values of enums: messages of one shape take the same ways.
pub(crate) fn shape(message: &DynamicMessage) -> String {
    let mut shape = String::new();
    for (field, value) in message.fields() {
        shape += field.name();
        match value {
            Value::Message(inner) => shape += &format!("{{{}}}", self::shape(inner)),
            Value::EnumNumber(number) => shape += &number.to_string(),
            Value::List(items) => {
                let inner = items.first().and_then(Value::as_message).map(self::shape).unwrap_or_default();
                shape += &format!("[{inner}]");
            }
            _ => {}
        }
        shape.push(' ');
    }
    shape
}

fn is_alike(types: &Types, one: &str, other: &str) -> bool {
    let fields = |name: &str| -> Vec<_> {
        types.0[name].message.fields().map(|field| (field.number(), contract::type_name(&field.kind()))).collect()
    };
    fields(one) == fields(other)
}

fn decode(declared: &Type, event: &Received) -> DynamicMessage {
    DynamicMessage::decode(declared.message.clone(), event.payload.clone()).expect("an event of its type")
}

fn probe_batch(batch: &Kept, samples: &[&Sample], types: &Types, read: &mut Read) {
    let path = batch.database.to_str().expect("UTF-8");
    let mut conn = Conn::Sqlite(SqliteConnection::establish(path).expect("a copy of a database"));
    let tables = Tables::of(&mut conn);
    execute(&mut conn, "BEGIN");
    for (nth, event) in batch.events.iter().enumerate() {
        for sample in samples.iter().filter(|sample| sample.nth == nth) {
            let provider = batch.stream.to_ascii_lowercase();
            let evidence = read.entry((batch.service.to_owned(), provider, sample.event.kind.clone())).or_default();
            probe(&mut Probe { conn: &mut conn, tables: &tables, handle: &batch.handle }, types, sample, evidence);
        }
        // What a handler refuses changes nothing.
        let _ = (batch.handle)(&mut conn, std::slice::from_ref(event));
    }
}

struct Probe<'a> {
    conn: &'a mut Conn,
    tables: &'a Tables,
    handle: &'a Handle,
}

fn probe(probe: &mut Probe<'_>, types: &Types, sample: &Sample, evidence: &mut Evidence) {
    let declared = &types.0[&sample.event.kind];
    let (one, other) = (probe.run(&sample.event), probe.run(&sample.event));
    if !one.is_taken {
        return;
    }
    let volatile = volatile(&one.seen, &other.seen);
    let taken = settled(one, &volatile);
    let message = decode(declared, &sample.event);
    let outcomes: Vec<_> = variants(&message)
        .into_iter()
        .map(|variant| {
            let event = written(declared, &sample.event, &variant.of(&message));
            let outcome = settled(probe.run(&event), &volatile);
            (variant, outcome)
        })
        .collect();
    evidence.add(&message, &taken, &outcomes);
}

fn settled(outcome: Outcome<Rows>, volatile: &Volatile) -> Outcome<Rows> {
    Outcome { seen: steady(outcome.seen, volatile), ..outcome }
}

/// The event as it would have been published with this message.
fn written(declared: &Type, event: &Received, message: &DynamicMessage) -> Received {
    let key = declared.key.split('.').try_fold(Value::Message(message.clone()), |value, name| {
        value.as_message().and_then(|message| message.get_field_by_name(name)).map(std::borrow::Cow::into_owned)
    });
    let aggregate = key.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    Received { aggregate, payload: message.encode_to_vec().into(), ..event.clone() }
}

impl Probe<'_> {
    fn run(&mut self, event: &Received) -> Outcome<Rows> {
        execute(self.conn, "SAVEPOINT probe");
        let is_taken = (self.handle)(self.conn, std::slice::from_ref(event)).is_ok();
        let seen = self.tables.rows(self.conn);
        execute(self.conn, "ROLLBACK TO probe; RELEASE probe");
        Outcome { is_taken, seen }
    }
}
