//! The codec under every generated client and server: protobuf, with requests checked as they are decoded.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Code, Status,
    codec::{DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::contract::{FieldPath, Validate, Violation};

/// The `domain` of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "holdfast.dev";

/// No more violations than this are told, so that an answer fits into HTTP/2 headers.
const VIOLATIONS_MAX: usize = 16;

/// Encodes `T`, decodes `U`; a `U` that is a request and breaks its rules is refused with `INVALID_ARGUMENT`.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Validate + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ValidatingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ValidatingDecoder(PhantomData)
    }
}

/// Decodes and checks.
#[derive(Debug)]
pub struct ValidatingDecoder<U>(PhantomData<U>);

impl<U: Message + Default + Validate> Decoder for ValidatingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = U::decode(buf).map_err(|error| undecodable::<U>(&error))?;
        if U::IS_REQUEST {
            let mut violations = Vec::new();
            message.validate(&FieldPath::ROOT, &mut violations);
            if !violations.is_empty() {
                return Err(refusal(violations));
            }
        }
        Ok(Some(message))
    }
}

fn undecodable<U: Validate>(error: &prost::DecodeError) -> Status {
    if !U::IS_REQUEST {
        return Status::internal(format!("the answer cannot be decoded: {error}"));
    }
    let details = ErrorDetails::with_error_info("MESSAGE_MALFORMED", ERROR_DOMAIN, []);
    Status::with_error_details(Code::InvalidArgument, "the request is not the message this RPC takes", details)
}

fn refusal(mut violations: Vec<Violation>) -> Status {
    violations.truncate(VIOLATIONS_MAX);
    let fields = violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>().join(",");
    let message = format!("the request breaks its contract in: {fields}");
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", ERROR_DOMAIN, [("fields".to_owned(), fields)]);
    let violations = violations.into_iter().map(|violation| FieldViolation {
        field: violation.field,
        description: violation.description,
        reason: violation.reason.to_owned(),
        ..Default::default()
    });
    details.set_bad_request(violations.collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, message, details)
}
