//! DNS over TCP (RFC 7766) and other streams: a connection takes requests one after the other, without a bound on their
//! number, until it is silent for too long.
//!
//! The stream may be any byte stream, such as that of DNS over TLS. Connections come from [`crate::server::accept`],
//! which bounds their number and their silence.
//!
//! Requests are answered inline on the connection's task from memory; one that may wait for a disk or a signature is
//! answered in the read pool, and one that needs a walk after the walk. A stopping server answers the requests that it
//! has read.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{DnsLimits, Respond};
use crate::server::accept::{Accepted, Ending, Stream};

/// Maximum length of a request over a connection, in octets: one question and EDNS options with padding. A longer one
/// ends the connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;

/// State shared by the connections of a listener, for any stream protocol.
#[derive(Clone)]
pub(super) struct Streams {
    respond: Arc<Respond>,
    /// Timeout for a client to take a response.
    pub(super) write_timeout: Duration,
}

/// Buffers of a response, reused for the next one.
#[derive(Default)]
pub(super) struct Buffers {
    response: Vec<u8>,
    framed: Vec<u8>,
}

impl Streams {
    pub(super) fn new(respond: Arc<Respond>, limits: &DnsLimits) -> Self {
        Self { respond, write_timeout: limits.idle_timeout() }
    }

    /// Length-prefixed response to a request (RFC 1035 section 4.2.2); `None` if the request gets none.
    pub(super) async fn respond<'a>(
        &self,
        request: &[u8],
        client: IpAddr,
        buffers: &'a mut Buffers,
    ) -> Option<&'a [u8]> {
        let Buffers { response, framed } = buffers;
        if !self.respond.respond(request, client, response).await {
            return None;
        }
        let octets = u16::try_from(response.len()).ok()?;
        framed.clear();
        framed.extend_from_slice(&octets.to_be_bytes());
        framed.extend_from_slice(response);
        Some(framed)
    }
}

/// Answers the requests of a connection, and shuts the stream down in order.
pub(super) async fn attend(mut accepted: Accepted, streams: Streams) {
    accepted.activity.opened();
    if answer(&mut accepted, &streams).await.is_ok() {
        // Over TLS, an end without close_notify could be an attacker's.
        let _ = timeout(streams.write_timeout, accepted.stream.shutdown()).await;
    }
}

/// Answers the requests of one connection in order (RFC 7766 section 6.2.1.1), until it is silent for too long, a
/// request gets no response, or the server stops. An error means that the client takes no more data.
async fn answer(accepted: &mut Accepted, streams: &Streams) -> io::Result<()> {
    let Accepted { stream, peer, activity, ending } = accepted;
    let mut buffers = Buffers::default();
    loop {
        let Some(request) = next_request(stream, ending).await else { return Ok(()) };
        let _under_way = activity.begin();
        let Some(framed) = streams.respond(&request, peer.ip(), &mut buffers).await else { return Ok(()) };
        let sent = async {
            // Length and message in one write (RFC 7766 section 8).
            stream.write_all(framed).await?;
            stream.flush().await
        };
        timeout(streams.write_timeout, sent).await??;
    }
}

/// Next request; `None` if the connection is to end.
async fn next_request(stream: &mut Stream, ending: &mut Ending) -> Option<Vec<u8>> {
    tokio::select! {
        () = ending.asked() => None,
        request = read_request(stream) => request.ok(),
    }
}

/// Reads a length-prefixed message (RFC 1035 section 4.2.2).
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    if octets > TCP_REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::from(octets)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}
