//! DNS over HTTPS (RFC 8484), by the listener of hickory-server.
//!
//! A request arrives here as its bytes and is answered by the same responder as everywhere; the library wants records and
//! encodes them again, so that padding would not come out as it was meant and is left away.
//!
//! It answers POST only. It bounds how long a client may take for the handshake of TLS and between requests, but not how long it
//! is silent between the two, and neither connections nor the requests at once on one. Where that matters, a proxy that
//! ends TLS belongs in front of the TCP listener.
//!
//! The library logs single requests at level `info` and what clients send wrongly at `warn`;
//! [`crate::server::dns::LOG_DIRECTIVES`] keeps that out of the log.

use std::{io, sync::Arc};

use hickory_proto::op::{Header, HeaderCounts, Message, Metadata};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::TcpListener;

use super::EncryptedParts;
use crate::server::dns::Respond;

/// Where DNS over HTTPS is asked (RFC 8484 section 4.1 leaves the path to the server; this is what clients expect).
pub const HTTPS_PATH: &str = "/dns-query";

/// A running listener.
pub(super) struct HttpsServer {
    server: Server<Handler>,
}

impl HttpsServer {
    /// Starts to answer.
    pub(super) fn start(listener: TcpListener, parts: &EncryptedParts) -> io::Result<Self> {
        let mut server = Server::new(Handler { respond: Arc::clone(&parts.respond_https) });
        let certificate = Arc::clone(&parts.certificate);
        let idle_timeout = parts.limits.idle_timeout();
        server.register_https_listener(listener, idle_timeout, certificate, None, HTTPS_PATH.into())?;
        Ok(Self { server })
    }

    /// Stops listening and ends every connection.
    pub(super) async fn shutdown(mut self) {
        if let Err(error) = self.server.shutdown_gracefully().await {
            tracing::warn!(%error, "the listener for DNS over HTTPS did not stop cleanly");
        }
    }
}

struct Handler {
    respond: Arc<Respond>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
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
