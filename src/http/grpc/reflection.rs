//! gRPC's server reflection: a tool such as grpcurl learns from the server itself what can be called.
//! Both versions of it have the same messages.

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{
    codec::{Proto, frame},
    methods::{Method, split},
};
use crate::http::v3::{
    Answers, Requests,
    error::Code,
    pb::{
        FILES,
        grpc::reflection::v1::{
            ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
            ServerReflectionResponse, ServiceResponse, server_reflection_request::MessageRequest,
            server_reflection_response::MessageResponse,
        },
    },
};

/// Answers each question of a stream.
pub fn answer(requests: Requests<Bytes>) -> Answers<Bytes> {
    Box::pin(requests.map(|request| {
        let request: ServerReflectionRequest = Proto { streamed: true }.read(request?)?;
        Ok(frame(&response(request)))
    }))
}

fn response(request: ServerReflectionRequest) -> ServerReflectionResponse {
    let answer = match &request.message_request {
        Some(MessageRequest::FileByFilename(name)) => file(|file| file.0 == name, name),
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            file(|file| declares(file.2, symbol), symbol)
        }
        Some(MessageRequest::ListServices(_)) => {
            MessageResponse::ListServicesResponse(ListServiceResponse { service: services() })
        }
        Some(MessageRequest::FileContainingExtension(extension)) => error(
            Code::NotFound,
            format!("there are no extensions of {}", extension.containing_type),
        ),
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
            error(Code::NotFound, format!("there are no extensions of {name}"))
        }
        None => error(Code::InvalidArgument, "nothing is asked".to_owned()),
    };
    ServerReflectionResponse {
        valid_host: request.host.clone(),
        original_request: Some(request),
        message_response: Some(answer),
    }
}

type File = (&'static str, &'static [u8], &'static [&'static str]);

/// The file that fits. What it imports is asked for by name.
fn file(fits: impl Fn(&File) -> bool, name: &str) -> MessageResponse {
    match FILES.iter().find(|file| fits(file)) {
        Some(file) => MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![Bytes::from_static(file.1)],
        }),
        None => error(Code::NotFound, format!("not found: {name}")),
    }
}

/// Whether a file declares the symbol, or the message that the symbol is a field of.
fn declares(symbols: &[&str], symbol: &str) -> bool {
    let parent = symbol.rsplit_once('.').map(|(parent, _)| parent);
    symbols.iter().any(|known| *known == symbol || Some(*known) == parent)
}

fn services() -> Vec<ServiceResponse> {
    let described = |name: &&str| FILES.iter().any(|file| file.2.contains(name));
    let all = Method::all().filter_map(|(_, path)| split(path)).map(|(service, _)| service);
    let mut names: Vec<&str> = all.filter(described).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| ServiceResponse { name: name.to_owned() }).collect()
}

fn error(code: Code, message: String) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code as i32,
        error_message: message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: MessageRequest) -> MessageResponse {
        let request =
            ServerReflectionRequest { host: "h".to_owned(), message_request: Some(request) };
        let response = response(request.clone());
        assert_eq!((response.valid_host.as_str(), response.original_request), ("h", Some(request)));
        response.message_response.expect("an answer")
    }

    #[test]
    fn every_service_is_listed_and_described() {
        let MessageResponse::ListServicesResponse(list) =
            asked(MessageRequest::ListServices(String::new()))
        else {
            panic!("a list");
        };
        let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert!(names.contains(&"etcdserverpb.KV") && names.contains(&"grpc.health.v1.Health"));
        for name in names {
            let answer = asked(MessageRequest::FileContainingSymbol(name.to_owned()));
            let MessageResponse::FileDescriptorResponse(file) = answer else { panic!("{name}") };
            let bytes = &file.file_descriptor_proto[0];
            let short = name.rsplit('.').next().expect("a name");
            assert!(bytes.windows(short.len()).any(|at| at == short.as_bytes()), "{name}");
        }
    }

    #[test]
    fn symbols_and_files() {
        for (request, found) in [
            (MessageRequest::FileByFilename("rpc.proto".to_owned()), true),
            (MessageRequest::FileByFilename("passwd".to_owned()), false),
            (MessageRequest::FileContainingSymbol("etcdserverpb.KV.Range".to_owned()), true),
            (MessageRequest::FileContainingSymbol("mvccpb.KeyValue".to_owned()), true),
            (MessageRequest::FileContainingSymbol("mvccpb.KeyValue.lease".to_owned()), true),
            (MessageRequest::FileContainingSymbol("mvccpb.Nothing".to_owned()), false),
            (MessageRequest::AllExtensionNumbersOfType("mvccpb.KeyValue".to_owned()), false),
        ] {
            let answer = asked(request.clone());
            let is_file = matches!(answer, MessageResponse::FileDescriptorResponse(_));
            assert_eq!(is_file, found, "{request:?}");
        }
    }
}
