//! DNS over QUIC (RFC 9250): a stream for each request, its message with the length before it, both ways.
//!
//! * Handshakes run side by side, so a client that falls silent in one delays nobody.
//! * When a quarter of the connections are taken, a client first has to show that it gets what is sent to its address
//!   (RFC 9000 section 8.1.2): forged addresses then cost no memory.
//! * A client network's connections are counted when a handshake is through, so that forged ones cannot use up those of
//!   somebody else.
//!
//! Deliberately absent: early data (RFC 9250 section 4.5 allows it, an attacker can replay it), zone transfers, a bound on the
//! requests of a connection as a whole.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Connection, Endpoint, Incoming, ReadToEndError, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    protocol::dns::request::Request,
    server::dns::{
        DnsLimits,
        tcp::{Buffers, Connections, TCP_REQUEST_OCTETS_MAX, stopped},
    },
};

/// The protocol's name in the handshake (RFC 9250 section 4.1.1).
pub(super) const ALPN: &[u8] = b"doq";
/// Codes of closed connections and reset streams (RFC 9250 section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);
/// The longest stream of a request, in octets: its length and itself.
const STREAM_OCTETS_MAX: u32 = TCP_REQUEST_OCTETS_MAX as u32 + 2;
/// How much of responses waits for a client on one connection, in octets: two of the longest.
const SEND_OCTETS_MAX: u64 = 131_072;
/// How many handshakes wait for the loop that takes them.
const INCOMING_MAX: usize = 256;
/// How much of a handshake that waits is kept, in octets.
const INCOMING_OCTETS_MAX: u64 = 16_384;
/// Option of the keep-alive of TCP (RFC 7828 section 3.1).
const OPTION_TCP_KEEPALIVE: u16 = 11;

/// The client broke a rule of RFC 9250 section 4.3.3; its connection ends.
struct ProtocolError;

/// Binds the socket.
pub(super) fn bind(address: SocketAddr, tls: rustls::ServerConfig, limits: &DnsLimits) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(Arc::new(tls)).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.quic_streams_max.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_OCTETS_MAX.into())
        .receive_window(limits.quic_streams_max.saturating_mul(STREAM_OCTETS_MAX).into())
        .send_window(SEND_OCTETS_MAX)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(limits.idle_timeout().try_into().map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_OCTETS_MAX)
        .incoming_buffer_size_total(INCOMING_OCTETS_MAX * INCOMING_MAX as u64);
    Endpoint::server(config, address)
}

/// Takes connections until the server stops, then waits for those that are there.
pub(super) async fn accept(endpoint: Endpoint, shared: Connections, stopping: watch::Receiver<bool>) {
    let shared = Arc::new(shared);
    let mut stop = stopping.clone();
    let mut connections = JoinSet::new();
    let connections_max = shared.limits.connections_max;
    loop {
        let incoming = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if connections.len() >= connections_max {
            incoming.refuse();
        } else if connections.len() >= connections_max / 4 && incoming.may_retry() {
            // It fails for one that may not be asked again, which was looked at.
            let _ = incoming.retry();
        } else {
            connections.spawn(serve(incoming, Arc::clone(&shared), stopping.clone()));
        }
    }
    // Who comes now is refused.
    endpoint.set_server_config(None);
    shared.drain(connections).await;
    endpoint.close(NO_ERROR, b"");
    let _ = timeout(Duration::from_millis(shared.limits.drain_timeout_ms), endpoint.wait_idle()).await;
}

/// Answers the requests of one connection, each on its stream, until it idles or the server stops.
async fn serve(incoming: Incoming, shared: Arc<Connections>, mut stopping: watch::Receiver<bool>) {
    let connection = tokio::select! {
        () = stopped(&mut stopping) => return,
        connection = timeout(shared.limits.handshake_timeout(), incoming) => connection,
    };
    let Ok(Ok(connection)) = connection else { return };
    let Some(_guard) = shared.sources.admit(connection.remote_address().ip()) else {
        connection.close(EXCESSIVE_LOAD, b"too many connections");
        return;
    };
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(answered) = streams.join_next() => {
                if let Ok(Err(ProtocolError)) = answered {
                    connection.close(PROTOCOL_ERROR, b"");
                    return;
                }
            }
            accepted = timeout(shared.limits.idle_timeout(), connection.accept_bi()),
                if streams.len() < shared.limits.quic_streams_max as usize => match accepted {
                    Ok(Ok((send, receive))) => {
                        let connection = connection.clone();
                        let shared = Arc::clone(&shared);
                        streams.spawn(answer(send, receive, connection, shared, stopping.clone()));
                    }
                    Ok(Err(_)) => return,
                    Err(_) => break,
                },
        }
    }
    while streams.join_next().await.is_some() {}
    connection.close(NO_ERROR, b"");
}

/// Reads one request, answers it, and waits until the client has the response.
async fn answer(
    mut send: SendStream,
    mut receive: RecvStream,
    connection: Connection,
    shared: Arc<Connections>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), ProtocolError> {
    let idle_timeout = shared.limits.idle_timeout();
    let stream = tokio::select! {
        () = stopped(&mut stopping) => Err(UNSPECIFIED_ERROR),
        stream = read(&mut receive, idle_timeout) => stream,
    };
    let mut buffers = Buffers::default();
    let framed = match stream {
        Ok(stream) => respond(&stream, connection.remote_address().ip(), &shared, &mut buffers).await,
        Err(code) => Err(code),
    };
    let framed = match framed {
        Ok(framed) => framed,
        Err(code) => {
            // A stream that is dropped would end as if it were whole.
            let _ = send.reset(code);
            return if code == PROTOCOL_ERROR { Err(ProtocolError) } else { Ok(()) };
        }
    };
    let sent = async {
        if send.write_all(framed).await.is_ok() && send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    };
    // A client that does not take it in time, or went away, needs nothing more.
    let _ = timeout(idle_timeout, sent).await;
    Ok(())
}

/// Reads a stream to its end, which a server may wait for (RFC 9250 section 4.2).
///
/// # Errors
///
/// The code that says why the request gets no response.
async fn read(receive: &mut RecvStream, idle_timeout: Duration) -> Result<Vec<u8>, VarInt> {
    match timeout(idle_timeout, receive.read_to_end(STREAM_OCTETS_MAX as usize)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(ReadToEndError::TooLong)) => Err(PROTOCOL_ERROR),
        // The client took it back, or left it unfinished.
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => Err(UNSPECIFIED_ERROR),
    }
}

/// The response to the request in a stream, with its length before it.
///
/// # Errors
///
/// The code that says why there is none.
async fn respond<'a>(
    stream: &[u8],
    client: IpAddr,
    shared: &Connections,
    buffers: &'a mut Buffers,
) -> Result<&'a [u8], VarInt> {
    let request = unframed(stream).ok_or(PROTOCOL_ERROR)?;
    shared.respond(request, client, buffers).await.ok_or(INTERNAL_ERROR)
}

/// The request in a stream: as long as it says, with the id 0 (RFC 9250 section 4.2.1), and without the keep-alive of TCP
/// (section 5.5.2).
fn unframed(stream: &[u8]) -> Option<&[u8]> {
    let (octets, request) = stream.split_first_chunk()?;
    let whole = usize::from(u16::from_be_bytes(*octets)) == request.len();
    let request = Some(request).filter(|request| whole && request.starts_with(&[0, 0]))?;
    let edns = Request::read(request).ok().and_then(|request| request.edns);
    let keepalive = edns.is_some_and(|edns| edns.option(OPTION_TCP_KEEPALIVE).is_some());
    (!keepalive).then_some(request)
}
