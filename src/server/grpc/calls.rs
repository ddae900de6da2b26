//! Calls, counted by method and by how they ended.
//!
//! A call costs a walk along a short list of names, one addition, and one allocation for a body that looks for the status: it
//! stands in the head of a response without messages, and behind the messages otherwise. A call that its client gave up
//! counts as cancelled.

use std::{
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
use tonic::{Code, Status, body::Body, codegen::Service, server::NamedService};

use crate::mirror::Lag;

/// Methods that are counted by their name; all others share the last one.
const METHODS: [&str; 18] = [
    "Resolver/Resolve",
    "Registry/Apply",
    "Resolver/ResolveBatch",
    "Resolver/ResolveStream",
    "Registry/ApplyBatch",
    "Registry/ApplyStream",
    "Registry/Export",
    "Registry/ApplyPrefix",
    "Resolver/ListPrefixes",
    "Auditor/ResolveAt",
    "Auditor/History",
    "Auditor/Watch",
    "Auditor/Lookup",
    "Auditor/Prove",
    "Auditor/Consistency",
    "Auditor/Trace",
    "Auditor/Recall",
    "other",
];
/// Where an answer of a mirror says how far behind its primary it is: `entries=N, seconds=S`.
const LAG: HeaderName = HeaderName::from_static("touchmark-mirror-lag");
/// What stands before their names.
const PACKAGE: &str = "/touchmark.v1.";
/// The codes of gRPC, in their order.
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

/// Calls that ended.
#[derive(Debug)]
pub struct Calls([[AtomicU64; CODES.len()]; METHODS.len()]);

impl Default for Calls {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::default())))
    }
}

impl Calls {
    /// How many there were: method, code, number; without the zeros.
    pub fn counted(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counted = Vec::new();
        for (method, codes) in METHODS.iter().zip(&self.0) {
            let codes = CODES.iter().zip(codes).map(|(code, count)| (*method, *code, count.load(Ordering::Relaxed)));
            counted.extend(codes.filter(|(_, _, count)| *count > 0));
        }
        counted
    }
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
        let name = request.uri().path().strip_prefix(PACKAGE).unwrap_or_default();
        let method = METHODS.iter().position(|method| *method == name).unwrap_or(METHODS.len() - 1);
        let call = Call { calls: Arc::clone(&self.calls), method, code: Code::Cancelled };
        Answering { answer: self.service.call(request), call: Some(call), lag: self.lag.clone() }
    }
}

/// A call until its response begins.
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

/// A call that is under way; counted when it is dropped.
#[derive(Debug)]
struct Call {
    calls: Arc<Calls>,
    method: usize,
    code: Code,
}

impl Call {
    /// Takes note of the status if it stands here.
    fn is_ended_by(&mut self, headers: &HeaderMap) -> bool {
        let Some(code) = headers.get(Status::GRPC_STATUS) else { return false };
        self.code = Code::from_bytes(code.as_bytes());
        true
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let count = self.calls.0.get(self.method).and_then(|codes| codes.get(self.code as usize));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A body that looks at its trailers.
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
