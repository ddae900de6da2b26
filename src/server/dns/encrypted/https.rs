//! DNS over HTTPS (RFC 8484): POST over HTTP/2, with the message as body.
//!
//! Connections come from [`crate::server::accept`], since the listeners of hickory-server bound neither connections nor
//! the requests at once on one; here both are bounded, and the length of a request. A request counts only after its
//! body has arrived: until then its connection counts as silent.
//!
//! Messages go through the request layer of hickory-server: [`Handler`] answers requests that the library has read,
//! with the responder of all transports, and so could serve behind a listener of the library, too. The library takes
//! records and encodes the response again.
//!
//! Deliberately absent: GET, whose responses caches would keep; padding, which tells less under HTTP/2; HTTP/1.1, which
//! clients of RFC 8484 do not speak (section 5.2).

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use hickory_proto::{
    op::{Header, HeaderCounts, Message, Metadata},
    rr::Record,
    serialize::binary::BinEncoder,
};
use hickory_server::{
    net::{
        NetError,
        runtime::{Time, TokioTime},
        xfer::Protocol,
    },
    server::{self as library, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponse, MessageResponseBuilder},
};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::server::{
    accept::Accepted,
    activity::{Activity, Attended},
    dns::{Respond, TCP_REQUEST_OCTETS_MAX},
};

/// Path of DNS over HTTPS (RFC 8484 section 4.1 leaves it to the server; clients expect this one).
pub const HTTPS_PATH: &str = "/dns-query";
/// The protocol's name in the handshake (RFC 9113 section 3.3).
pub(super) const ALPN: &[u8] = b"h2";
/// The media type of requests and responses (RFC 8484 section 6).
const DNS_MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");
/// Maximum length of a request's head, in octets.
const HEAD_OCTETS_MAX: u32 = 16 << 10;

/// Answers the requests of one connection.
pub(super) async fn attend(accepted: Accepted, respond: Arc<Respond>, streams_max: u32) {
    let Accepted { stream, peer, activity, mut ending } = accepted;
    activity.opened();
    let handler = Arc::new(Handler { respond });
    let service = service_fn(move |request| {
        let (handler, activity) = (Arc::clone(&handler), activity.clone());
        async move { Ok::<_, Infallible>(answer(request, peer, &handler, &activity).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(streams_max)
        .max_header_list_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = ending.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection for DNS over HTTPS ended badly");
    }
}

type Answered = Response<Attended<Whole>>;

/// Response to a request (RFC 8484 section 4).
async fn answer(request: Request<Incoming>, peer: SocketAddr, handler: &Handler, activity: &Activity) -> Answered {
    let (head, body) = request.into_parts();
    let refused = |status| without_message(status, activity);
    if head.uri.path() != HTTPS_PATH {
        return refused(StatusCode::NOT_FOUND);
    }
    if head.method != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    if head.headers.get(CONTENT_TYPE) != Some(&DNS_MESSAGE) {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let message = match read(body).await {
        Ok(message) => message,
        Err(status) => return refused(status),
    };
    let under_way = activity.begin();
    let Ok(request) = library::Request::from_bytes(message, peer, Protocol::Https) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let sent = Sent::default();
    handler.handle_request::<_, TokioTime>(&request, sent.clone()).await;
    let Some(response) = sent.take() else { return refused(StatusCode::BAD_REQUEST) };
    let mut response = Response::new(Attended::new(Whole(response.into()), under_way));
    response.headers_mut().insert(CONTENT_TYPE, DNS_MESSAGE);
    response
}

fn without_message(status: StatusCode, activity: &Activity) -> Answered {
    let mut response = Response::new(Attended::new(Whole::default(), activity.begin()));
    *response.status_mut() = status;
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(ACCEPT, DNS_MESSAGE);
    }
    response
}

/// Handler of requests that hickory-server has read.
struct Handler {
    respond: Arc<Respond>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &library::Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let silent =
            || Header { metadata: Metadata::response_from_request(&request.metadata), counts: HeaderCounts::default() };
        let mut response = Vec::new();
        if !self.respond.respond(request.as_slice(), request.src().ip(), &mut response).await {
            return silent().into();
        }
        let Ok(message) = Message::from_vec(&response) else { return silent().into() };
        let Message { metadata, answers, authorities, additionals, edns, .. } = &message;
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let response = response.build(*metadata, answers, authorities, &[], additionals);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS response was not sent");
                silent().into()
            }
        }
    }
}

/// Response to one request, after its handler has sent it.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<Mutex<Option<Vec<u8>>>>);

impl Sent {
    /// Octets of the response; `None` if none was sent.
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl ResponseHandler for Sent {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(u16::MAX);
        let info = response.destructive_emit(&mut encoder)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(octets);
        Ok(info)
    }
}

/// Reads a body to its end.
///
/// # Errors
///
/// Status for a body that is broken or too long.
async fn read(body: Incoming) -> Result<Vec<u8>, StatusCode> {
    let mut body = pin!(body);
    let mut message = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else { continue };
        if message.len() + data.remaining() > usize::from(TCP_REQUEST_OCTETS_MAX) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        message.extend_from_slice(&data);
    }
    Ok(message)
}

/// A body that is held as a whole.
#[derive(Debug, Default)]
struct Whole(Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
