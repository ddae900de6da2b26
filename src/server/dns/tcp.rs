//! DNS over TCP (RFC 7766) and what else is a stream: a connection takes requests one after the other, as many as wait, until
//! it says nothing for too long.
//!
//! The stream may be any that reads and writes octets; DNS over TLS brings its own. Connections come from
//! [`crate::server::accept`], which bounds how many there are and for how long they may be silent.
//!
//! Answers are made inline, on the task that received the request. A cold one blocks for an index lookup and a read of
//! the ledger: microseconds when the page cache has them, which is less than handing the question to another thread
//! and back. A stopping server finishes what it has read.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{DnsLimits, Respond};
use crate::server::accept::{Accepted, Ending, Stream};

/// The longest request over a connection, in octets: one question and EDNS options with padding. A longer one ends the
/// connection.
pub const TCP_REQUEST_OCTETS_MAX: u16 = 4_096;

/// What the connections of a listener share, of whichever protocol.
#[derive(Clone)]
pub(super) struct Streams {
    respond: Arc<Respond>,
    /// How long a client may take to take a response.
    pub(super) write_timeout: Duration,
}

/// Where a response is made. It is kept for the next one, which then finds its memory.
#[derive(Default)]
pub(super) struct Buffers {
    response: Vec<u8>,
    framed: Vec<u8>,
}

impl Streams {
    pub(super) fn new(respond: Arc<Respond>, limits: &DnsLimits) -> Self {
        Self { respond, write_timeout: limits.idle_timeout() }
    }

    /// The response to a request, with its length before it (RFC 1035 section 4.2.2); `None` for what gets none.
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

/// Answers what comes over a connection, and says that this is the end.
pub(super) async fn attend(mut accepted: Accepted, streams: Streams) {
    accepted.activity.opened();
    if answer(&mut accepted, &streams).await.is_ok() {
        // Over TLS, a client cannot tell an end without close_notify from one that an attacker made.
        let _ = timeout(streams.write_timeout, accepted.stream.shutdown()).await;
    }
}

/// Answers the requests of one connection, one after the other (RFC 7766 section 6.2.1.1), until it idles, sends what
/// gets no response, or the server stops. An error says that the client takes nothing more.
async fn answer(accepted: &mut Accepted, streams: &Streams) -> io::Result<()> {
    let Accepted { stream, peer, activity, ending } = accepted;
    let mut buffers = Buffers::default();
    loop {
        let Some(request) = next_request(stream, ending).await else { return Ok(()) };
        let _under_way = activity.begin();
        let Some(framed) = streams.respond(&request, peer.ip(), &mut buffers).await else { return Ok(()) };
        let sent = async {
            // In one piece (RFC 7766 section 8).
            stream.write_all(framed).await?;
            stream.flush().await
        };
        timeout(streams.write_timeout, sent).await??;
    }
}

/// The next request; `None` when there is none, and the connection is to end.
async fn next_request(stream: &mut Stream, ending: &mut Ending) -> Option<Vec<u8>> {
    tokio::select! {
        () = ending.asked() => None,
        request = read_request(stream) => request.ok(),
    }
}

/// Reads a message with its length before it (RFC 1035 section 4.2.2).
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let octets = stream.read_u16().await?;
    if octets > TCP_REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; usize::from(octets)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}
