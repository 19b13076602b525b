//! Every rule: its name, how bad breaking it is, and what it says.

/// How bad a finding is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Programs that are already built misread each other's bytes or JSON (buf's category WIRE_JSON).
    WireJson,
    /// Programs that are already built go on, but do not compile against the new contract (buf's FILE without WIRE_JSON).
    Source,
    /// Shapes stay, their meaning does not: calls that worked are refused, answers or events surprise.
    Meaning,
    /// Worth a line in the release notes. Stops nothing.
    Notice,
}

impl Tier {
    /// Whether a finding of this tier fails the gate.
    #[must_use]
    pub const fn breaks(self) -> bool {
        !matches!(self, Self::Notice)
    }

    /// The name used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WireJson => "wire_json",
            Self::Source => "source",
            Self::Meaning => "meaning",
            Self::Notice => "notice",
        }
    }
}

/// One rule. Structural rules have buf's names and meaning; ours begin with `SEM_`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// UPPER_SNAKE_CASE, never renamed.
    pub id: &'static str,
    /// How bad breaking it is.
    pub tier: Tier,
    /// What it finds, in one line.
    pub finds: &'static str,
}

impl Rule {
    /// Whether the name is its own or its tier's.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.tier.as_str() == name
    }
}

macro_rules! rules {
    ($($id:ident $tier:ident $finds:literal;)*) => {
        $(pub(crate) static $id: Rule = Rule { id: stringify!($id), tier: Tier::$tier, finds: $finds };)*
        /// Every rule there is.
        pub static RULES: &[&Rule] = &[$(&$id),*];
    };
}

rules! {
    FILE_NO_DELETE Source "a file vanished";
    FILE_SAME_PACKAGE WireJson "a file's package changed, and so every full name in it";
    FILE_SAME_SYNTAX Source "a file's syntax changed; none counts as proto2";
    FILE_SAME_CC_ENABLE_ARENAS Source "a file option changed";
    FILE_SAME_CC_GENERIC_SERVICES Source "a file option changed";
    FILE_SAME_CSHARP_NAMESPACE Source "a file option changed";
    FILE_SAME_GO_PACKAGE Source "a file option changed";
    FILE_SAME_JAVA_GENERIC_SERVICES Source "a file option changed";
    FILE_SAME_JAVA_MULTIPLE_FILES Source "a file option changed";
    FILE_SAME_JAVA_OUTER_CLASSNAME Source "a file option changed";
    FILE_SAME_JAVA_PACKAGE Source "a file option changed";
    FILE_SAME_OBJC_CLASS_PREFIX Source "a file option changed";
    FILE_SAME_OPTIMIZE_FOR Source "a file option changed";
    FILE_SAME_PHP_CLASS_PREFIX Source "a file option changed";
    FILE_SAME_PHP_METADATA_NAMESPACE Source "a file option changed";
    FILE_SAME_PHP_NAMESPACE Source "a file option changed";
    FILE_SAME_PY_GENERIC_SERVICES Source "a file option changed";
    FILE_SAME_RUBY_PACKAGE Source "a file option changed";
    FILE_SAME_SWIFT_PREFIX Source "a file option changed";
    MESSAGE_NO_DELETE Source "a message left its file";
    ENUM_NO_DELETE Source "an enum left its file";
    SERVICE_NO_DELETE Source "a service left its file";
    EXTENSION_NO_DELETE Source "an extension left its file";
    FIELD_NO_DELETE Source "a field number is gone, reserved or not";
    FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED WireJson "a field number is gone and not reserved";
    FIELD_NO_DELETE_UNLESS_NAME_RESERVED WireJson "a field is gone and its name not reserved";
    FIELD_SAME_NAME WireJson "a field's name changed";
    FIELD_SAME_JSON_NAME WireJson "a field's JSON name changed";
    FIELD_SAME_TYPE Source "a field's type changed";
    FIELD_WIRE_JSON_COMPATIBLE_TYPE WireJson "a field's type changed to one that reads its bytes or JSON differently";
    FIELD_SAME_CARDINALITY Source "a field moved among implicit, explicit, required, repeated, map";
    FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY WireJson "a field moved among singular, repeated, map";
    FIELD_SAME_ONEOF WireJson "a field entered, left or switched a oneof";
    FIELD_SAME_JSTYPE Source "a 64-bit integer's JavaScript type changed";
    FIELD_SAME_CPP_STRING_TYPE Source "a text's C++ type changed";
    FIELD_SAME_UTF8_VALIDATION Source "whether a text is checked to be UTF-8 changed";
    FIELD_SAME_JAVA_UTF8_VALIDATION Source "whether Java checks a text to be UTF-8 changed";
    ONEOF_NO_DELETE Source "a oneof is gone";
    MESSAGE_SAME_REQUIRED_FIELDS WireJson "a proto2 required field came or went";
    MESSAGE_SAME_JSON_FORMAT WireJson "a message's JSON support was withdrawn";
    MESSAGE_NO_REMOVE_STANDARD_DESCRIPTOR_ACCESSOR Source "the option that removes the descriptor accessor was switched on";
    EXTENSION_MESSAGE_NO_DELETE Source "an extension range lost numbers";
    RESERVED_MESSAGE_NO_DELETE WireJson "a message's reserved number or name was freed";
    RESERVED_ENUM_NO_DELETE WireJson "an enum's reserved number or name was freed";
    ENUM_VALUE_NO_DELETE Source "an enum number is gone, reserved or not";
    ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED WireJson "an enum number is gone and not reserved";
    ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED WireJson "an enum number is gone and not all its names reserved";
    ENUM_VALUE_SAME_NAME WireJson "an enum number lost one of its names";
    ENUM_SAME_TYPE Source "an enum went from open to closed or back";
    ENUM_SAME_JSON_FORMAT WireJson "an enum's JSON support was withdrawn";
    RPC_NO_DELETE Source "an RPC is gone";
    RPC_SAME_REQUEST_TYPE WireJson "an RPC's request type changed";
    RPC_SAME_RESPONSE_TYPE WireJson "an RPC's response type changed";
    RPC_SAME_CLIENT_STREAMING WireJson "an RPC's requests became a stream, or ceased to be one";
    RPC_SAME_SERVER_STREAMING WireJson "an RPC's responses became a stream, or ceased to be one";
    RPC_SAME_IDEMPOTENCY_LEVEL WireJson "an RPC's declared idempotency changed";
    FIELD_SAME_DEFAULT WireJson "a proto2 field's default changed";
    SEM_INPUT_REQUIRED_ADDED Meaning "a field of a request has become required, or a new one is";
    SEM_INPUT_WRITABLE_LOST Meaning "a field that callers could set has become OUTPUT_ONLY";
    SEM_INPUT_RULE_NARROWED Meaning "a validation rule refuses requests that it let pass";
    SEM_OUTPUT_RULE_WIDENED Meaning "a validation rule lets values into responses or events that it kept out";
    SEM_RULE_UNDECIDABLE Meaning "a pattern or an expression changed: what it lets pass cannot be compared";
    SEM_HTTP_BINDING_LOST Meaning "an HTTP binding is gone";
    SEM_HTTP_BINDING_CHANGED Meaning "an HTTP binding's verb, path, body or response_body changed";
    SEM_IDEMPOTENCY_UNDECLARED Meaning "a new RPC does not say whether it can be repeated";
    SEM_IDEMPOTENCY_KEY_CHANGED Meaning "other fields of a request make a call a repeat, or none are named any more";
    SEM_ACCESS_NARROWED Meaning "a role or service may no longer call an RPC";
    SEM_ACCESS_WIDENED Notice "another role or service may call an RPC";
    SEM_DEADLINE_LOWERED Meaning "an RPC is given less time, or asks for more";
    SEM_ERROR_REASON_LOST Meaning "an RPC no longer declares a reason";
    SEM_ERROR_CODE_CHANGED Meaning "a reason comes with another status code";
    SEM_ERROR_REASON_ADDED Notice "an RPC declares another reason";
    SEM_ENUM_WIDENED_OUT Meaning "responses or events may hold an enum value that their readers do not know";
    SEM_ONEOF_WIDENED_OUT Meaning "responses or events may hold a choice that their readers do not know";
    SEM_EVENT_LOST Meaning "a message is no longer published as an event";
    SEM_EVENT_STREAM_CHANGED Meaning "an event goes to another stream";
    SEM_EVENT_SUBJECT_CHANGED Meaning "an event goes to another subject";
    SEM_EVENT_KEY_CHANGED Meaning "an event is about something else";
    SEM_PACKED_CHANGED Meaning "a repeated number is packed, or no longer";
    SEM_REDACT_LOST Meaning "a secret is no longer hidden from logs";
    SEM_REMOVAL_WITHOUT_DEPRECATION Meaning "something went that was not deprecated in the last two releases";
    SEM_DEPRECATED Notice "something became deprecated";
    SEM_UNDEPRECATED Notice "something is no longer deprecated";
    SEM_DOC_CHANGED Notice "a comment changed, and perhaps a meaning with it";
}
