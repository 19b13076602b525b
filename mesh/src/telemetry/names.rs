//! Names from the OpenTelemetry semantic conventions, in one place because some of them still move.
//!
//! State of 1.44.0. RPC is a release candidate: `rpc.response.status_code` becomes `rpc.status_code` in the next version. Messaging is in
//! development. Database is stable.

/// `rpc.system.name`; its value here is [`GRPC`].
pub const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// The value of [`RPC_SYSTEM_NAME`].
pub const GRPC: &str = "grpc";
/// The full method, `package.Service/Method`, or [`OTHER_METHOD`].
pub const RPC_METHOD: &str = "rpc.method";
/// For a method that this server does not know: its name would be the caller's choice.
pub const OTHER_METHOD: &str = "_OTHER";
/// The name of the status code, e.g. `NOT_FOUND`.
pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// Set when the call failed: the name of the status code.
pub const ERROR_TYPE: &str = "error.type";
/// The host of the configured target.
pub const SERVER_ADDRESS: &str = "server.address";
/// The port of the configured target.
pub const SERVER_PORT: &str = "server.port";
/// Histogram, seconds.
pub const RPC_SERVER_CALL_DURATION: &str = "rpc.server.call.duration";
/// Histogram, seconds.
pub const RPC_CLIENT_CALL_DURATION: &str = "rpc.client.call.duration";
/// The service that a span or log record of a shared process belongs to.
pub const SERVICE: &str = "holdfast.service";

/// The service a breaker stands before.
pub const BREAKER_TARGET: &str = "holdfast.breaker.target";
/// Before which of its methods, e.g. `holdfast.payment.v1.ChargeService/ChargePayment`.
pub const BREAKER_METHOD: &str = "holdfast.breaker.method";
/// Where a transition leads: `closed`, `open`, `half_open`, `forced_open` or `disabled`.
pub const BREAKER_TO: &str = "holdfast.breaker.to";
/// Why: `failure_rate`, `slow_rate`, `consecutive`, `open_time`, `probe` or `operator`.
pub const BREAKER_REASON: &str = "holdfast.breaker.reason";
/// Gauge, from the first transition on: 0 closed or disabled, 1 half open, 2 open or forced open.
pub const BREAKER_STATE: &str = "holdfast.breaker.state";
/// Counter.
pub const BREAKER_TRANSITIONS: &str = "holdfast.breaker.transitions";
/// Counter: calls that were answered without being made.
pub const BREAKER_REJECTIONS: &str = "holdfast.breaker.rejections";

/// The service whose calls are repeated, bounded or tampered with.
pub const CALL_TARGET: &str = "holdfast.call.target";
/// Which of its methods, e.g. `holdfast.payment.v1.ChargeService/ChargePayment`.
pub const CALL_METHOD: &str = "holdfast.call.method";
/// Counter: calls that were made once more. Also a span's attribute: how often this one was made.
pub const RETRY_ATTEMPTS: &str = "holdfast.retry.attempts";
/// Counter: calls that failed in a way that is worth another attempt, and got none.
pub const RETRY_GIVEN_UP: &str = "holdfast.retry.given_up";
/// Why not: `attempts`, `budget`, `deadline` or `callee`.
pub const RETRY_REASON: &str = "holdfast.retry.reason";
/// Counter: calls that were not made, as too many to the same service were under way.
pub const BULKHEAD_REJECTIONS: &str = "holdfast.bulkhead.rejections";
/// Counter: faults that an operator's rule put into calls.
pub const FAULTS_INJECTED: &str = "holdfast.fault.injected";
/// What it was: `delay`, `abort` or `hang`.
pub const FAULT_KIND: &str = "holdfast.fault.kind";

/// Gauge: calls that a server may work on at once, as found.
pub const ADMISSION_LIMIT: &str = "holdfast.admission.limit";
/// Gauge: calls in progress, open streams among them.
pub const ADMISSION_IN_PROGRESS: &str = "holdfast.admission.in_progress";
/// Counter: calls refused for want of room.
pub const ADMISSION_REFUSALS: &str = "holdfast.admission.refusals";
/// The priority of the refused: `new`, `read` or `finish`.
pub const ADMISSION_PRIORITY: &str = "holdfast.admission.priority";

/// Counter: calls whose `grpc-timeout` was malformed, so that they got their method's default.
pub const DEADLINE_MALFORMED: &str = "holdfast.deadline.malformed";

/// The service that an endpoint is one of.
pub const ENDPOINT_TARGET: &str = "holdfast.endpoint.target";
/// Why a request was sent again: `returned` (it was never on the wire) or `refused` (the server has not looked at it).
pub const ENDPOINT_REASON: &str = "holdfast.endpoint.reason";
/// Gauge, from the first ejection on: endpoints that are left out because they failed again and again.
pub const ENDPOINT_EJECTED: &str = "holdfast.endpoint.ejected";
/// Counter: requests that were sent again because no server had looked at them.
pub const ENDPOINT_RESENDS: &str = "holdfast.endpoint.resends";

/// Gauge: committed events that are not published yet.
pub const OUTBOX_WAITING: &str = "holdfast.outbox.waiting";
/// Gauge, seconds: how long the oldest of them has waited.
pub const OUTBOX_OLDEST_AGE: &str = "holdfast.outbox.oldest_age";
/// Gauge: events that the consumer [`MESSAGING_CONSUMER_GROUP_NAME`] gave up on and that nobody has redriven.
pub const DEAD_LETTERS_WAITING: &str = "holdfast.dead_letters.waiting";

/// What is reconciled: a ledger's service, or `audit`.
pub const RECONCILIATION_LEDGER: &str = "holdfast.reconciliation.ledger";
/// What was compared with what.
pub const RECONCILIATION_RULE: &str = "holdfast.reconciliation.rule";
/// Counter: differences found, each once in the life of a process.
pub const RECONCILIATION_DIFFERENCES: &str = "holdfast.reconciliation.differences";
/// Counter: rows compared. One that stands still says that nobody compares.
pub const RECONCILIATION_CHECKED: &str = "holdfast.reconciliation.checked";

/// `messaging.system`; its value here is [`NATS`].
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The value of [`MESSAGING_SYSTEM`].
pub const NATS: &str = "nats";
/// `send`, `receive`, `process` or `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// `publish`, `fetch`, `process`, `ack`, `nak` or `term`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// The subject without its id token.
pub const MESSAGING_DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// The durable consumer.
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// The event's id.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// How many messages the operation is about.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// Histogram, seconds.
pub const MESSAGING_PROCESS_DURATION: &str = "messaging.process.duration";

/// `sqlite` or `postgresql`.
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// What a transaction is for, low cardinality.
pub const DB_OPERATION_NAME: &str = "db.operation.name";
/// Histogram, seconds.
pub const DB_CLIENT_OPERATION_DURATION: &str = "db.client.operation.duration";
