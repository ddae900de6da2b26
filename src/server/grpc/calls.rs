//! Counters of calls, by method and status.
//!
//! A call costs a linear search in a short list of names, some additions, and one allocation for a body that watches
//! for the status: a response without messages has the status in its head, any other in its trailers. A call that its
//! client gave up counts as cancelled. Methods are those of the definitions; all unknown methods of the package share
//! one count. Calls of other packages, such as health, are not counted, but keep their connections busy all the same.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response,
    body::{Body as HttpBody, Frame, SizeHint},
    header::{HeaderName, HeaderValue},
};
use prost::Message;
use tonic::{Code, Status, body::Body, codegen::Service, server::NamedService};

use super::connection::Peer;
use crate::{
    mirror::Lag,
    protocol::grpc::DESCRIPTORS,
    server::{
        activity::UnderWay,
        metrics::{Metered, Out},
    },
};

/// Label shared by all methods that are in no definition.
const OTHER: &str = "other";
/// Header of a mirror's responses with its lag: `entries=N, seconds=S`.
const LAG: HeaderName = HeaderName::from_static("touchmark-mirror-lag");
/// Prefix of our services in the path of a call.
const PACKAGE: &str = "/touchmark.v1.";
/// Package of our services in the definitions.
const PACKAGE_NAME: &str = "touchmark.v1";
/// Status codes of gRPC, in their order.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Calls that ended, by method.
#[derive(Debug)]
pub struct Calls(Vec<MethodCalls>);

/// Calls of one method that ended, by code.
#[derive(Debug)]
struct MethodCalls {
    /// `Service/Method`.
    method: String,
    codes: [AtomicU64; CODES.len()],
}

impl MethodCalls {
    fn new(method: String) -> Self {
        Self { method, codes: std::array::from_fn(|_| AtomicU64::default()) }
    }
}

impl Default for Calls {
    fn default() -> Self {
        let methods = methods(DESCRIPTORS).into_iter().chain([OTHER.to_owned()]);
        Self(methods.map(MethodCalls::new).collect())
    }
}

impl Calls {
    /// Numbers of calls: method, code, number; without the zeros.
    pub fn counted(&self) -> Vec<(&str, &'static str, u64)> {
        let mut counted = Vec::new();
        for MethodCalls { method, codes } in &self.0 {
            let codes = CODES.iter().zip(codes);
            let codes = codes.map(|(code, count)| (method.as_str(), *code, count.load(Ordering::Relaxed)));
            counted.extend(codes.filter(|(_, _, count)| *count > 0));
        }
        counted
    }

    /// Index of the counts for a path; `None` for other packages.
    fn place(&self, path: &str) -> Option<usize> {
        let name = path.strip_prefix(PACKAGE)?;
        let place = self.0.iter().position(|calls| calls.method == name);
        Some(place.unwrap_or(self.0.len() - 1))
    }
}

impl Metered for Calls {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        let calls = self.counted();
        let calls = calls.iter().map(|(method, code, count)| ([("method", *method), ("code", *code)], *count));
        out.counters("touchmark_grpc_calls", "Calls over gRPC that ended", calls)
    }
}

/// A set of definitions (`FileDescriptorSet` of descriptor.proto), reduced to the names of methods.
#[derive(Clone, PartialEq, Message)]
struct Definitions {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceDefinition>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceDefinition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

/// The methods of our services, as `Service/Method`; none if the set cannot be read.
fn methods(definitions: &[u8]) -> Vec<String> {
    let files = Definitions::decode(definitions).unwrap_or_default().files.into_iter();
    let services = files.filter(|file| file.package == PACKAGE_NAME).flat_map(|file| file.services);
    let named = |service: ServiceDefinition| {
        let ServiceDefinition { name, methods } = service;
        methods.into_iter().map(move |method| format!("{name}/{}", method.name))
    };
    services.flat_map(named).collect()
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    service: S,
    calls: Arc<Calls>,
    lag: Option<Arc<Lag>>,
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, calls: &Arc<Calls>, lag: &Option<Arc<Lag>>) -> Self {
        Self { service, calls: Arc::clone(calls), lag: lag.clone() }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>, Response = Response<Body>>> Service<Request<Body>> for Counted<S>
where
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.calls.place(request.uri().path());
        let under_way = request.extensions().get::<Peer>().map(|peer| peer.activity.begin());
        let call = Call { calls: Arc::clone(&self.calls), method, code: Code::Cancelled, under_way };
        Answering { answer: self.service.call(request), call: Some(call), lag: self.lag.clone() }
    }
}

/// Future of a call's response.
#[derive(Debug)]
pub(super) struct Answering<F> {
    answer: F,
    call: Option<Call>,
    lag: Option<Arc<Lag>>,
}

impl<F: Future<Output = Result<Response<Body>, E>> + Unpin, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(Pin::new(&mut self.answer).poll(cx))?;
        if let Some(lag) = self.lag.take().and_then(|lag| HeaderValue::try_from(lag.now().to_string()).ok()) {
            response.headers_mut().insert(LAG, lag);
        }
        let Some(mut call) = self.call.take() else { return Poll::Ready(Ok(response)) };
        if call.is_ended_by(response.headers()) {
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(response.map(|body| Body::new(Ending { body, call }))))
    }
}

/// A call under way; counted when dropped.
#[derive(Debug)]
struct Call {
    calls: Arc<Calls>,
    /// Index of its counts, if it is counted.
    method: Option<usize>,
    code: Code,
    /// Keeps the connection busy.
    under_way: Option<UnderWay>,
}

impl Call {
    /// Takes the status from headers or trailers; true if it stands there.
    fn is_ended_by(&mut self, headers: &HeaderMap) -> bool {
        let Some(code) = headers.get(Status::GRPC_STATUS) else { return false };
        self.code = Code::from_bytes(code.as_bytes());
        true
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let calls = self.method.and_then(|method| self.calls.0.get(method));
        let count = calls.and_then(|calls| calls.codes.get(self.code as usize));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Response body that watches its trailers for the status.
#[derive(Debug)]
struct Ending {
    body: Body,
    call: Call,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(under_way) = &self.call.under_way {
            under_way.sign();
        }
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.is_ended_by(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_definitions() {
        let methods = methods(DESCRIPTORS);
        for expected in ["Resolver/Resolve", "Registry/ApplyStream", "Auditor/Watch"] {
            assert!(methods.iter().any(|method| method == expected), "{methods:?}");
        }
        assert!(super::methods(b"\xff").is_empty());
        let calls = Calls::default();
        let named = |path| calls.place(path).map(|place| calls.0[place].method.as_str());
        assert_eq!(named("/touchmark.v1.Resolver/Resolve"), Some("Resolver/Resolve"));
        assert_eq!(named("/touchmark.v1.Resolver/Nothing"), Some(OTHER));
        assert_eq!(named("/grpc.health.v1.Health/Check"), None);
    }
}
