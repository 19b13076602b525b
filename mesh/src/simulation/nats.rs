//! The broker's client: as much of async-nats's interface as this crate uses, over the simulated [`broker`](super::broker).

pub(crate) use async_nats::{ConnectError, Error, Event, HeaderMap, HeaderValue, Message, ServerInfo, header};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::broker::{self, Callback, Publication};
use super::{happens, pause, roughness};

/// Who waits for a lost answer gives up after so long.
const TIMEOUT: Duration = Duration::from_millis(500);
const BATCH_ID: &str = "Nats-Batch-Id";
/// The newest version whose abilities are simulated.
const VERSION: &str = "2.12.0";

pub(crate) mod client {
    pub(crate) use super::Client;
}

pub(crate) mod connection {
    #[derive(PartialEq, Eq)]
    pub(crate) enum State {
        Connected,
        Disconnected,
    }
}

#[derive(Default)]
pub(crate) struct ConnectOptions {
    callback: Option<Callback>,
}

impl ConnectOptions {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn event_callback<F>(mut self, callback: impl Fn(Event) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        // Ours never waits.
        self.callback = Some(Box::new(move |event| callback(event).now_or_never().unwrap_or_default()));
        self
    }

    pub(crate) async fn connect(self, _: &[&str]) -> Result<Client, ConnectError> {
        let callback = broker::connect(self.callback.unwrap_or_else(|| Box::new(|_| ())));
        if !broker::is_away() {
            callback(Event::Connected);
        }
        Ok(Client { _callback: callback })
    }

    pub(crate) fn name(self, _: &str) -> Self {
        self
    }

    pub(crate) fn retry_on_initial_connect(self) -> Self {
        self
    }

    pub(crate) fn max_reconnects(self, _: Option<usize>) -> Self {
        self
    }

    pub(crate) fn reconnect_delay_callback(self, _: impl Fn(usize) -> Duration) -> Self {
        self
    }

    pub(crate) fn connection_timeout(self, _: Duration) -> Self {
        self
    }

    pub(crate) fn request_timeout(self, _: Option<Duration>) -> Self {
        self
    }

    pub(crate) fn ping_interval(self, _: Duration) -> Self {
        self
    }

    pub(crate) fn client_capacity(self, _: usize) -> Self {
        self
    }

    pub(crate) fn subscription_capacity(self, _: usize) -> Self {
        self
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    _callback: Arc<Callback>,
}

impl Client {
    pub(crate) fn connection_state(&self) -> connection::State {
        if broker::is_away() { connection::State::Disconnected } else { connection::State::Connected }
    }

    pub(crate) fn server_info(&self) -> ServerInfo {
        ServerInfo { version: VERSION.to_owned(), ..ServerInfo::default() }
    }

    pub(crate) fn is_server_compatible(&self, major: u64, minor: u64, patch: u64) -> bool {
        (major, minor, patch) <= (2, 12, 0)
    }

    /// A message of a batch that is not the last.
    pub(crate) async fn publish_with_headers(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Error> {
        let batch = batch_of(&headers);
        broker::add_to_batch(&batch, Publication { subject, headers, payload });
        Ok(())
    }

    /// The last message of a batch.
    pub(crate) async fn request_with_headers(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, Error> {
        let batch = batch_of(&headers);
        broker::add_to_batch(&batch, Publication { subject: subject.clone(), headers, payload });
        let all = broker::take_batch(&batch);
        let count = all.len();
        let answer = exchange(|| broker::store_batch(all)).await?;
        let text = match answer {
            Ok(stored) => {
                let (stream, sequence) = stored.ok_or("no stream takes the subject")?;
                format!(r#"{{"stream":"{stream}","seq":{sequence},"batch":"{batch}","count":{count}}}"#)
            }
            Err(broker::Duplicate) => {
                r#"{"error":{"code":400,"err_code":10201,"description":"duplicate in batch"}}"#.to_owned()
            }
        };
        Ok(Message {
            subject: subject.into(),
            reply: None,
            length: text.len(),
            payload: text.into(),
            headers: None,
            status: None,
            description: None,
        })
    }
}

fn batch_of(headers: &HeaderMap) -> String {
    headers.get(BATCH_ID).map(ToString::to_string).unwrap_or_default()
}

/// A request to the broker and its answer, either of which may get lost.
async fn exchange<T>(request: impl FnOnce() -> T) -> Result<T, Error> {
    pause().await;
    if broker::is_away() || happens(roughness().lost_publish) {
        return lost().await;
    }
    let answer = request();
    pause().await;
    if broker::is_away() || happens(roughness().lost_publish_ack) {
        return lost().await;
    }
    Ok(answer)
}

async fn lost<T>() -> Result<T, Error> {
    broker::count_lost();
    tokio::time::sleep(TIMEOUT).await;
    Err("no answer in time".into())
}

pub(crate) mod jetstream {
    pub(crate) use async_nats::jetstream::{AckKind, ErrorCode, publish, response};

    use std::ops::Deref;

    use super::{Error, broker};

    /// A delivery.
    pub(crate) struct Message {
        pub(crate) message: async_nats::Message,
        pub(super) stream: String,
        pub(super) durable: String,
        pub(super) sequence: u64,
        pub(super) delivered: i64,
    }

    pub(crate) struct Info {
        pub(crate) delivered: i64,
        pub(crate) stream_sequence: u64,
    }

    impl Message {
        pub(crate) fn info(&self) -> Result<Info, Error> {
            Ok(Info { delivered: self.delivered, stream_sequence: self.sequence })
        }

        pub(crate) async fn ack_with(&self, kind: AckKind) -> Result<(), Error> {
            broker::settle(&self.stream, &self.durable, self.sequence, kind);
            Ok(())
        }
    }

    impl Deref for Message {
        type Target = async_nats::Message;

        fn deref(&self) -> &async_nats::Message {
            &self.message
        }
    }

    pub(crate) mod context {
        pub(crate) use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};

        use std::time::Duration;

        use async_nats::HeaderMap;
        use async_nats::jetstream::publish::PublishAck;
        use bytes::Bytes;

        use super::super::broker::{self, Publication};
        use super::super::{Client, Error, exchange};
        use super::consumer::{PullConsumer, pull};
        use super::stream::{Config, Info, State, Stream};

        pub(crate) struct ContextBuilder;

        impl ContextBuilder {
            pub(crate) fn new() -> Self {
                Self
            }

            pub(crate) fn timeout(self, _: Duration) -> Self {
                self
            }

            pub(crate) fn ack_timeout(self, _: Duration) -> Self {
                self
            }

            pub(crate) fn build(self, _: Client) -> Context {
                Context
            }
        }

        #[derive(Clone)]
        pub(crate) struct Context;

        impl Context {
            pub(crate) async fn get_stream(&self, name: impl AsRef<str>) -> Result<Stream, GetStreamError> {
                let found = exchange(|| broker::describe(name.as_ref())).await;
                let found = found.map_err(|error| GetStreamError::with_source(GetStreamErrorKind::Request, error))?;
                let (config, last_sequence) = found.ok_or_else(unknown_stream)?;
                Ok(Stream(Info { config, state: State { messages: last_sequence, first_sequence: 1, last_sequence } }))
            }

            pub(crate) async fn create_stream(&self, config: Config) -> Result<(), Error> {
                exchange(|| broker::create_stream(config)).await
            }

            pub(crate) async fn update_stream(&self, config: Config) -> Result<(), Error> {
                self.create_stream(config).await
            }

            pub(crate) async fn publish_with_headers(
                &self,
                subject: String,
                headers: HeaderMap,
                payload: Bytes,
            ) -> Result<impl Future<Output = Result<PublishAck, Error>>, Error> {
                Ok(async {
                    let stored = exchange(|| broker::store(Publication { subject, headers, payload })).await?;
                    let (stream, sequence) = stored.ok_or("no stream takes the subject")?;
                    Ok(PublishAck { stream, sequence, ..PublishAck::default() })
                })
            }

            pub(crate) async fn get_consumer_from_stream(
                &self,
                durable: &str,
                stream: &str,
            ) -> Result<PullConsumer, Error> {
                let found = exchange(|| broker::consumer(stream, durable)).await?.ok_or("no such consumer")?;
                Ok(PullConsumer::new(stream, found))
            }

            pub(crate) async fn create_consumer_on_stream(
                &self,
                config: pull::Config,
                stream: &str,
            ) -> Result<PullConsumer, Error> {
                let durable = config.durable_name.clone().unwrap_or_default();
                exchange(|| broker::create_consumer(stream, config)).await?;
                self.get_consumer_from_stream(&durable, stream).await
            }
        }

        fn unknown_stream() -> GetStreamError {
            let error = serde_json::from_str(r#"{"code":404,"err_code":10059,"description":"stream not found"}"#);
            GetStreamError::new(GetStreamErrorKind::JetStream(error.expect("an error of JetStream's")))
        }
    }

    pub(crate) mod message {
        use async_nats::{HeaderMap, Message, Subject};
        use bytes::Bytes;

        use crate::store::Micros;

        /// A message as the stream has it.
        pub(crate) struct StreamMessage {
            pub(crate) sequence: u64,
            pub(crate) subject: Subject,
            pub(crate) headers: HeaderMap,
            pub(crate) payload: Bytes,
            pub(crate) time: Time,
        }

        impl StreamMessage {
            pub(super) fn new(sequence: u64, message: Message, at: Micros) -> Self {
                let Message { subject, headers, payload, .. } = message;
                Self { sequence, subject, headers: headers.unwrap_or_default(), payload, time: Time(at) }
            }
        }

        pub(crate) struct Time(Micros);

        impl Time {
            pub(crate) fn unix_timestamp_nanos(&self) -> i128 {
                i128::from(self.0.0) * 1000
            }
        }
    }

    pub(crate) mod stream {
        pub(crate) use async_nats::jetstream::stream::{
            Config, DirectGetError, DirectGetErrorKind, DiscardPolicy, RawMessageError, RawMessageErrorKind,
            RetentionPolicy, StorageType,
        };

        use futures_util::{TryStream, stream};

        use super::super::{Error, broker, exchange};
        use super::consumer;
        use super::message::StreamMessage;

        pub(crate) struct Stream(pub(super) Info);

        pub(crate) struct Info {
            pub(crate) config: Config,
            pub(crate) state: State,
        }

        pub(crate) struct State {
            pub(crate) messages: u64,
            pub(crate) first_sequence: u64,
            pub(crate) last_sequence: u64,
        }

        impl Stream {
            pub(crate) fn cached_info(&self) -> &Info {
                &self.0
            }

            pub(crate) async fn get_raw_message(&self, sequence: u64) -> Result<StreamMessage, RawMessageError> {
                let found = exchange(|| broker::stored(&self.0.config.name, sequence)).await;
                let found = found.map_err(|error| RawMessageError::with_source(RawMessageErrorKind::Other, error))?;
                let (message, at) = found.ok_or_else(|| RawMessageError::new(RawMessageErrorKind::NoMessageFound))?;
                Ok(StreamMessage::new(sequence, message, at))
            }

            pub(crate) async fn direct_get(&self, sequence: u64) -> Result<StreamMessage, DirectGetError> {
                let found = exchange(|| broker::stored(&self.0.config.name, sequence)).await;
                let found = found.map_err(|error| DirectGetError::with_source(DirectGetErrorKind::Request, error))?;
                let (message, at) = found.ok_or_else(|| DirectGetError::new(DirectGetErrorKind::NotFound))?;
                Ok(StreamMessage::new(sequence, message, at))
            }

            pub(crate) async fn direct_get_next_for_subject(
                &self,
                subject: String,
                first: Option<u64>,
            ) -> Result<StreamMessage, DirectGetError> {
                let next = broker::numbers(&self.0.config.name, &subject, first.unwrap_or(1)).into_iter().next();
                self.direct_get(next.unwrap_or(0)).await
            }

            pub(crate) async fn info_with_subjects(
                &self,
                subject: String,
            ) -> Result<impl TryStream<Ok = (String, usize), Error = Error>, Error> {
                let count = exchange(|| broker::numbers(&self.0.config.name, &subject, 1).len()).await?;
                Ok(stream::iter([Ok((subject, count))]))
            }

            /// Only operators delete, and none are simulated.
            pub(crate) async fn delete_message(&self, _: u64) -> Result<bool, Error> {
                Err("the simulated broker deletes nothing".into())
            }

            pub(crate) fn consumers(&self) -> impl TryStream<Ok = consumer::Info, Error = Error> {
                let standings = broker::consumers(&self.0.config.name);
                stream::iter(standings.into_iter().map(|standing| Ok(consumer::Info::from(standing))))
            }

            pub(crate) async fn delete_consumer(&self, durable: &str) -> Result<(), Error> {
                exchange(|| broker::delete_consumer(&self.0.config.name, durable)).await
            }

            pub(crate) async fn create_consumer<C: consumer::Create>(&self, config: C) -> Result<C::Consumer, Error> {
                exchange(|| config.create(&self.0.config.name)).await
            }

            /// Nothing is ever deleted, so the next message is the one of that number.
            pub(crate) async fn get_first_raw_message_by_subject(
                &self,
                _: &str,
                sequence: u64,
            ) -> Result<StreamMessage, RawMessageError> {
                self.get_raw_message(sequence).await
            }
        }
    }

    pub(crate) mod consumer {
        pub(crate) use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, FromConsumer};

        use async_nats::jetstream::consumer::IntoConsumerConfig;

        use super::super::broker;

        pub(crate) struct Info {
            pub(crate) config: Config,
            pub(crate) delivered: Place,
            pub(crate) ack_floor: Place,
        }

        pub(crate) struct Place {
            pub(crate) stream_sequence: u64,
        }

        impl From<broker::Standing> for Info {
            fn from((config, delivered, acknowledged): broker::Standing) -> Self {
                Self {
                    config: config.into_consumer_config(),
                    delivered: Place { stream_sequence: delivered },
                    ack_floor: Place { stream_sequence: acknowledged },
                }
            }
        }

        /// The kinds of consumers.
        pub(crate) trait Create {
            type Consumer;
            fn create(self, stream: &str) -> Self::Consumer;
        }

        impl Create for pull::Config {
            type Consumer = ();

            fn create(self, stream: &str) {
                broker::create_consumer(stream, self);
            }
        }

        impl Create for pull::OrderedConfig {
            type Consumer = pull::OrderedConsumer;

            fn create(self, stream: &str) -> pull::OrderedConsumer {
                pull::OrderedConsumer(stream.to_owned())
            }
        }

        pub(crate) struct PullConsumer {
            stream: String,
            info: Info,
        }

        impl PullConsumer {
            pub(super) fn new(stream: &str, standing: broker::Standing) -> Self {
                Self { stream: stream.to_owned(), info: standing.into() }
            }

            pub(crate) fn cached_info(&self) -> &Info {
                &self.info
            }

            pub(crate) fn stream(self) -> pull::StreamBuilder {
                pull::StreamBuilder(self)
            }
        }

        pub(crate) mod pull {
            pub(crate) use async_nats::jetstream::consumer::pull::{Config, OrderedConfig};

            use std::io;
            use std::pin::Pin;
            use std::task::{Context, Poll, ready};
            use std::time::Duration;

            use tokio::time::{Sleep, sleep};

            use super::super::super::Error;
            use super::super::super::broker::{self, Nothing};
            use super::super::Message;
            use super::PullConsumer;

            pub(crate) struct StreamBuilder(pub(super) PullConsumer);

            impl StreamBuilder {
                pub(crate) fn max_messages_per_batch(self, _: usize) -> Self {
                    self
                }

                pub(crate) fn expires(self, _: Duration) -> Self {
                    self
                }

                pub(crate) fn heartbeat(self, _: Duration) -> Self {
                    self
                }

                pub(crate) async fn messages(self) -> Result<Stream, Error> {
                    let durable = self.0.info.config.durable_name.unwrap_or_default();
                    Ok(Stream { stream: self.0.stream, durable, timer: None })
                }
            }

            pub(crate) struct OrderedConsumer(pub(super) String);

            impl OrderedConsumer {
                pub(crate) async fn messages(self) -> Result<Ordered, Error> {
                    Ok(Ordered { stream: self.0, read: 0 })
                }
            }

            /// All of a stream in order, as far as it goes.
            pub(crate) struct Ordered {
                stream: String,
                read: u64,
            }

            impl futures_util::Stream for Ordered {
                type Item = Result<Message, io::Error>;

                fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                    let sequence = self.read + 1;
                    let Some((message, _)) = broker::stored(&self.stream, sequence) else { return Poll::Ready(None) };
                    self.read = sequence;
                    let (stream, durable) = (self.stream.clone(), String::new());
                    Poll::Ready(Some(Ok(Message { message, stream, durable, sequence, delivered: 1 })))
                }
            }

            /// What the consumer gets.
            pub(crate) struct Stream {
                stream: String,
                durable: String,
                timer: Option<Pin<Box<Sleep>>>,
            }

            impl futures_util::Stream for Stream {
                type Item = Result<Message, io::Error>;

                fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                    loop {
                        match broker::deliver(&self.stream, &self.durable, cx.waker()) {
                            Ok(delivery) => {
                                return Poll::Ready(Some(Ok(Message {
                                    message: delivery.message,
                                    stream: self.stream.clone(),
                                    durable: self.durable.clone(),
                                    sequence: delivery.sequence,
                                    delivered: delivery.delivered,
                                })));
                            }
                            Err(Nothing::Gone) => {
                                return Poll::Ready(Some(Err(io::Error::other("the consumer is gone"))));
                            }
                            Err(Nothing::Yet) => return Poll::Pending,
                            Err(Nothing::For(wait)) => self.timer = Some(Box::pin(sleep(wait))),
                        }
                        if let Some(timer) = &mut self.timer {
                            ready!(timer.as_mut().poll(cx));
                        }
                    }
                }
            }
        }
    }
}
