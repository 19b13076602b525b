//! Contracts as servers tell them.

use std::collections::BTreeMap;

use futures_util::stream;
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::Status;
use tonic_reflection::pb::{v1, v1alpha};

use crate::call::{Endpoints, Server};

/// The two versions of the protocol: old clients speak only the second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    V1,
    V1Alpha,
}

/// What is asked.
enum Question {
    Services,
    Symbol(String),
    File(String),
}

/// What is answered.
#[derive(Default)]
struct Told {
    services: Vec<String>,
    files: Vec<Vec<u8>>,
}

macro_rules! ask {
    ($version:ident, $server:expr, $question:expr) => {{
        use $version::server_reflection_request::MessageRequest as Request;
        use $version::server_reflection_response::MessageResponse as Response;
        let question = match $question {
            Question::Services => Request::ListServices(String::new()),
            Question::Symbol(name) => Request::FileContainingSymbol(name),
            Question::File(name) => Request::FileByFilename(name),
        };
        let question = $version::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut client = $version::server_reflection_client::ServerReflectionClient::with_origin(
            $server.connections.clone(),
            $server.origin.clone(),
        );
        let mut answers = client.server_reflection_info(stream::iter([question])).await?.into_inner();
        let answer = answers.message().await?.and_then(|answer| answer.message_response);
        match answer {
            Some(Response::FileDescriptorResponse(answer)) => {
                Ok(Told { files: answer.file_descriptor_proto, ..Told::default() })
            }
            Some(Response::ListServicesResponse(answer)) => {
                let services = answer.service.into_iter().map(|service| service.name).collect();
                Ok(Told { services, ..Told::default() })
            }
            Some(Response::ErrorResponse(error)) => Err(Status::unknown(error.error_message)),
            _ => Err(Status::unknown("reflection does not answer what was asked")),
        }
    }};
}

async fn ask(server: &Server, version: Version, question: Question) -> Result<Told, Status> {
    match version {
        Version::V1 => ask!(v1, server, question),
        Version::V1Alpha => ask!(v1alpha, server, question),
    }
}

/// The files that a server answers for a symbol, encoded, by path.
pub(crate) async fn files(
    server: &Server,
    version: Version,
    symbol: &str,
) -> Result<BTreeMap<String, Vec<u8>>, Status> {
    let told = ask(server, version, Question::Symbol(symbol.to_owned())).await?;
    told.files.into_iter().map(|file| Ok((path(&file)?, file))).collect()
}

fn path(file: &[u8]) -> Result<String, Status> {
    let file = FileDescriptorProto::decode(file);
    file.map(|file| file.name().to_owned()).map_err(|error| Status::unknown(format!("no descriptor: {error}")))
}

/// The descriptors of every service at these addresses, imports included, as one encoded set.
///
/// # Errors
/// A server is not there or does not serve reflection.
pub async fn discover(endpoints: &Endpoints) -> Result<Vec<u8>, Status> {
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for server in endpoints.servers() {
        let services = ask(server, Version::V1, Question::Services).await?.services;
        for service in services.into_iter().filter(|service| !service.starts_with("grpc.")) {
            found.extend(files(server, Version::V1, &service).await?);
        }
        while let Some(name) = missing(&found)? {
            let told = ask(server, Version::V1, Question::File(name.clone())).await?;
            let before = found.len();
            for file in told.files {
                found.insert(path(&file)?, file);
            }
            if found.len() == before {
                return Err(Status::unknown(format!("reflection does not know {name}, which another file imports")));
            }
        }
    }
    let mut set = Vec::new();
    for file in found.values() {
        // Field 1 of a FileDescriptorSet, as it came: decoded, it would lose the options.
        prost::encoding::bytes::encode(1, file, &mut set);
    }
    Ok(set)
}

fn missing(found: &BTreeMap<String, Vec<u8>>) -> Result<Option<String>, Status> {
    for file in found.values() {
        let file = FileDescriptorProto::decode(file.as_slice()).map_err(|error| Status::unknown(error.to_string()))?;
        if let Some(import) = file.dependency.into_iter().find(|import| !found.contains_key(import)) {
            return Ok(Some(import));
        }
    }
    Ok(None)
}

/// The files of an encoded set, each encoded, by path.
pub(crate) fn split(set: &[u8]) -> BTreeMap<String, Vec<u8>> {
    #[derive(Clone, PartialEq, Message)]
    struct Files {
        #[prost(bytes = "vec", repeated, tag = "1")]
        file: Vec<Vec<u8>>,
    }
    let files = Files::decode(set).map(|set| set.file).unwrap_or_default();
    files.into_iter().filter_map(|file| Some((path(&file).ok()?, file))).collect()
}
